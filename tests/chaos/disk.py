"""A disk of the store that can be filled: a small file system of its own, or a limit like it.

With root a tmpfs is mounted, and full means full: writes fail with ENOSPC. Elsewhere the kernel
forbids the workers to write to any file (RLIMIT_FSIZE 0: EFBIG), which the store has to answer in
the same way; reports then say so.
"""

import os
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

DISK_BYTES = 256 << 20
"""Room for the facts of a million events and for the small files before they are merged."""
CHUNK_BYTES = 1 << 20
FILLER = ".filler"

Kind = Literal["tmpfs", "rlimit"]


class StoreDisk:
    """The disk that holds `folder`; use it in a with block, which unmounts what it mounted."""

    def __init__(self, folder: Path, *, num_bytes: int = DISK_BYTES) -> None:
        self._folder = folder
        self._num_bytes = num_bytes
        self._limited: dict[int, float] = {}
        self.kind: Kind = "rlimit"
        self.is_full = False

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and _does(
            "mount", "-t", "tmpfs", "-o", f"size={self._num_bytes}", "rluf-chaos", self._folder
        ):
            self.kind = "tmpfs"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.kind == "tmpfs" and not _does("umount", self._folder):
            _does("umount", "--lazy", self._folder)

    def fill(self, pids: Iterable[int]) -> None:
        """Leave no byte free; `pids` are the workers that are to feel it."""
        self.is_full = True
        if self.kind == "tmpfs":
            _fill(self._folder / FILLER)
        else:
            self.refill(pids)

    def refill(self, pids: Iterable[int]) -> None:
        """While it is full: take what was freed meanwhile, and hold new workers to it as well."""
        if not self.is_full:
            return
        if self.kind == "tmpfs":
            _fill(self._folder / FILLER)
            return
        for pid in pids:
            try:
                started = psutil.Process(pid).create_time()
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
            self._limited[pid] = started

    def free(self) -> None:
        """Give the room back."""
        self.is_full = False
        if self.kind == "tmpfs":
            (self._folder / FILLER).unlink(missing_ok=True)
            return
        for pid, started in self._limited.items():
            try:
                if psutil.Process(pid).create_time() != started:
                    continue
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        self._limited.clear()


def _does(*command: str | Path) -> bool:
    """Whether a command ends well."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _fill(path: Path) -> None:
    """Append to a file until nothing fits any more."""
    num_bytes = CHUNK_BYTES
    with path.open("ab", buffering=0) as file:
        while num_bytes:
            try:
                file.write(b"\0" * num_bytes)
            except OSError:
                num_bytes //= 2
