"""Resumable steps: a step's result lies in a folder named by the hash of all that it depends on.

A step that finished is never run again, whoever asks and however often the turn was killed; a step
that did not finish left nothing with that name, because the folder gets it by a rename at the end.
The result says what the bytes beside it were; a folder that was damaged since is no result, and the
step is run again. Steps that do not depend on each other run in separate processes, one torch
thread each, so that the same inputs give the same bytes whatever else the machine is doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import logging
import multiprocessing
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from files.durable import make_folder, sync_folder, write_durably
from rluf.settings import settings_hash
from rluf.turn.inputs import TurnJob, key_of

logger = logging.getLogger(__name__)

Result = dict[str, Any]
Say = Callable[[str], None]
"""Called with a remark for whoever watches."""
OnProgress = Callable[[str, str, int, int], None]
"""Called with step, stage, done and total."""

RESULT = "result.json"
FILES = "files"
"""Key of the result that holds the hashes of the files beside it."""
PARENT_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One job under the name that it has in its turn."""

    name: str
    job: TurnJob

    @property
    def key(self) -> Mapping[str, object]:
        """What the result depends on."""
        return key_of(self.job)

    @property
    def folder(self) -> str:
        """Name of the folder that holds the result."""
        return f"{self.name}-{settings_hash(self.key)[:16]}"


class Steps:
    """Runs steps in worker processes and keeps their results under one folder."""

    def __init__(
        self, root: Path, *, workers: int, on_progress: OnProgress, say: Callable[[str], None]
    ) -> None:
        self.root = root
        self.say = say
        self._on_progress = on_progress
        context = multiprocessing.get_context("spawn")
        self._progress: Queue[tuple[str, str, int, int] | None] = context.Queue()
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_begin_worker,
            initargs=(self._progress, os.getpid()),
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._progress.put(None)
        self._listener.join(timeout=5)

    def run(self, step: Step) -> Result:
        """Give the step's result, from its folder where it finished before."""
        return self.run_all([step])[0]

    def run_all(self, steps: Sequence[Step]) -> list[Result]:
        """Give the results of independent steps, run side by side. The first fault rises."""
        futures = [self._begin(step) for step in steps]
        return [self._finish(step, future) for step, future in zip(steps, futures, strict=True)]

    def _begin(self, step: Step) -> Future[Result] | None:
        folder = self.root / step.folder
        if folder.exists():
            fault = _fault_of(folder)
            if not fault:
                return None
            self.say(f"{step.name}: {folder} {fault}; it is made again")
            logger.warning("step damaged", extra={"path": str(folder), "fault": fault})
            _remove(folder)
        make_folder(self.root)
        out = self.root / f".{step.folder}.{os.getpid()}"
        for left in self.root.glob(f".{step.folder}.*"):
            shutil.rmtree(left)  # What a killed run left; the lease forbids two runs at once.
        out.mkdir()
        return self._pool.submit(_run_job, step.name, step.job, out)

    def _finish(self, step: Step, future: Future[Result] | None) -> Result:
        folder = self.root / step.folder
        if future is None:
            self.say(f"{step.name}: already done, kept ({step.folder})")
        else:
            future.result()
            os.replace(self.root / f".{step.folder}.{os.getpid()}", folder)
            sync_folder(self.root)
        result = _read(folder)
        result.pop(FILES, None)
        return {**result, "folder": str(folder)}

    def _listen(self) -> None:
        while (item := self._progress.get()) is not None:
            self._on_progress(*item)


_progress_queue: Queue[tuple[str, str, int, int] | None] | None = None


def _begin_worker(progress: Queue[tuple[str, str, int, int] | None], parent: int) -> None:
    """Prepare a worker process: one torch thread, and an end when the parent has ended."""
    global _progress_queue
    _progress_queue = progress

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import_module("torch").set_num_threads(1)


def _give_memory_back() -> None:
    """Return freed memory to the system: glibc keeps it, and the next job takes more beside it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # Another C library has no malloc_trim.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _run_job(step: str, job: TurnJob, out: Path) -> Result:
    """Run one job in this worker process and write its result last."""

    def on_progress(stage: str, done: int, total: int) -> None:
        if _progress_queue is not None:
            try:
                _progress_queue.put_nowait((step, stage, done, total))
            except queue.Full:
                logger.debug("progress dropped")

    import_module("rluf.turn.jobs")  # Takes seconds, which are not the step's.
    began = time.monotonic()
    result: Result = job.run(out, on_progress)
    result["seconds"] = round(time.monotonic() - began, 2)
    _give_memory_back()
    result[FILES] = _digest(out)
    _sync(out)
    text = json.dumps(result, indent=1, sort_keys=True, default=str)
    write_durably(out / RESULT, text.encode())
    return result


def _read(folder: Path) -> Result:
    """Give the result in a step's folder. Raises OSError, ValueError."""
    found = json.loads((folder / RESULT).read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{RESULT} holds a {type(found).__name__}, must hold an object")
    return found


def _fault_of(folder: Path) -> str:
    """Say what is wrong with a finished step, as the rest of a sentence; empty: it is sound."""
    try:
        told = _read(folder).get(FILES)
        found = _digest(folder)
    except (OSError, ValueError) as fault:
        return f"cannot be read ({fault})"
    # Steps of an earlier version do not say; they are taken as they are.
    return "" if told in (None, found) else "holds other bytes than when the step had finished"


def _digest(folder: Path) -> str:
    """SHA-256 over names and bytes of all files in a step's folder but its result."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / RESULT:
            total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _sync(folder: Path) -> None:
    """Put everything in a folder on disk, before its name says that it is finished."""
    for path in folder.rglob("*"):
        sync_folder(path)  # A file's bytes are synced in the same way.
    sync_folder(folder)


def _remove(folder: Path) -> None:
    """Remove a damaged step. Raises OSError, naming the path."""
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink()
