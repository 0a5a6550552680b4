"""A worker as a process of its own, with a sink that we can read and take down.

`python -m tests.streams.worker_rig FOLDER` runs it by FOLDER/rig.json. What was stored stands in
FOLDER/facts.jsonl, one line per event or dead letter. While FOLDER/down exists the sink is
unavailable.
"""

import asyncio
import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import streams.worker as worker_module
from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.pipeline import Facts
from streams.worker import run_worker
from streams.writer import ChunkEvent, Writer
from tests.offsets import committed_offsets, end_offsets
from tests.waiting import WAIT_S, patiently, wait_for

ROOT = Path(__file__).parents[2]


class FileSink:
    """Appends lines and syncs them; slow by `append_s`, so that a kill finds it at work."""

    def __init__(self, folder: Path, *, append_s: float) -> None:
        self._folder = folder
        self._append_s = append_s
        self._lock = threading.Lock()

    def append(self, facts: Facts) -> None:
        if (self._folder / "down").exists():
            raise Unavailable("taken down by the test")
        time.sleep(self._append_s)
        lines = [
            *(f'{{"kind": "shown", "id": "{each.id}"}}\n' for each in facts.shown),
            *(f'{{"kind": "reaction", "id": "{each.id}"}}\n' for each in facts.reactions),
            *(f'{{"kind": "erasure", "id": "{each.id}"}}\n' for each in facts.erasures),
            *(
                json.dumps(
                    {
                        "kind": "dead",
                        "id": f"{each.topic}/{each.partition}/{each.offset}",
                        "reason": each.reason,
                        "value": base64.b64encode(each.value).decode(),
                    }
                )
                + "\n"
                for each in facts.dead_letters
            ),
        ]
        with self._lock, (self._folder / "facts.jsonl").open("a") as out:
            out.write("".join(lines))
            out.flush()
            os.fsync(out.fileno())

    def push(self) -> int:
        raise RuntimeError("a push that fails must not matter")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningWorker:
    """One worker process."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it like a power cut."""
        self.process.kill()
        self.process.wait()

    def stop(self, *, wait_s: float = WAIT_S) -> int:
        """Ask it to end; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait_s)


def start_worker(
    config: StreamsConfig, folder: Path, *, append_s: float = 0.0, fault: str = ""
) -> RunningWorker:
    """Start a worker and wait until it has its partitions."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"worker-{time.monotonic_ns()}"
    ready = folder / f"{name}.ready"
    rig = {
        "config": {
            "brokers": config.brokers,
            "group": config.group,
            "shown_topic": config.shown_topic,
            "reactions_topic": config.reactions_topic,
            "erasures_topic": config.erasures_topic,
            "verdicts_topic": config.verdicts_topic,
            "dead_letters_topic": config.dead_letters_topic,
            "decisions_topic": config.decisions_topic,
            "linger_ms": config.linger_ms,
            "batch_events_max": config.batch_events_max,
        },
        "data_dir": str(folder / name),
        "ready": str(ready),
        "append_s": append_s,
        "fault": fault,
    }
    told = folder / f"{name}.json"
    told.write_text(json.dumps(rig))
    worker = launch("tests.streams.worker_rig", told, ready)
    if not fault:
        assert ready.exists(), worker.log.read_text()
    return worker


def launch(module: str, told: Path, ready: Path) -> RunningWorker:
    """Run a rig by the file that tells it what to do, until it is ready or has ended."""
    log = told.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(told)], cwd=ROOT, stdout=out, stderr=out
        )
    worker = RunningWorker(process=process, log=log)
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, "the worker is ready")
    except TimeoutError:
        worker.kill()
        raise
    return worker


def stored(folder: Path) -> Counter[tuple[str, str]]:
    """How often each (kind, id) was stored."""
    path = folder / "facts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter((fact["kind"], fact["id"]) for fact in map(json.loads, lines))


def dead_letters(folder: Path) -> dict[bytes, str]:
    """The bytes of each dead letter stored, and its reason."""
    facts = map(json.loads, (folder / "facts.jsonl").read_text().splitlines())
    return {
        base64.b64decode(fact["value"]): fact["reason"] for fact in facts if fact["kind"] == "dead"
    }


def is_caught_up(config: StreamsConfig) -> bool:
    """Whether all that the log holds is committed, to the last offset."""
    committed = patiently(lambda: committed_offsets(config))
    ends = patiently(lambda: end_offsets(config))
    return all(committed.get(place, 0) == end for place, end in ends.items())


def num_read(folder: Path) -> int:
    """How many records the workers of this folder have taken in, stored or not."""
    path = folder / "read"
    return sum(map(int, path.read_text().split())) if path.exists() else 0


def _tell_what_is_read(path: Path) -> None:
    put = Writer.put

    def told(self: Writer, event: ChunkEvent) -> None:
        put(self, event)
        with path.open("a") as out:
            out.write(f"{len(event.value.records)}\n")

    Writer.put = told  # type: ignore[method-assign]


def main() -> None:
    """Run one worker by a description, with the fault that it names."""
    rig = json.loads(Path(sys.argv[1]).read_text())
    logging.basicConfig(level=logging.WARNING)
    config = StreamsConfig(**rig["config"], data_dir=Path(rig["data_dir"]))
    folder = Path(sys.argv[1]).parent
    sink = FileSink(folder, append_s=rig["append_s"])
    _tell_what_is_read(folder / "read")
    match rig["fault"]:
        case "agent":  # It dies on the first chunk.

            def put(self: Writer, event: object) -> None:
                raise RuntimeError("an agent's fault")

            Writer.put = put  # type: ignore[method-assign, assignment]
        case "sink":

            def append(facts: Facts) -> None:
                raise RuntimeError("a sink's fault")

            sink.append = append  # type: ignore[method-assign]
        case "standstill":  # Alive, with heartbeats, and doing nothing.

            async def gather(self: Writer) -> None:
                await asyncio.Event().wait()

            Writer._gather = gather  # type: ignore[method-assign]
            worker_module.STALL_LIMIT_S = 2.0
            worker_module.LOOK_INTERVAL_S = 0.5
    run_worker(config, sink, ready_file=Path(rig["ready"]))


if __name__ == "__main__":
    main()
