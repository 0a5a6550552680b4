"""Files that are either whole or absent, and locks between processes."""

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

PARTIAL_PREFIX = ".partial-"
"""Names of unfinished files and folders begin so; readers never look at them."""
PARTIAL_AGE_S = 3600.0
"""Unfinished ones older than this were left by a crash, in seconds: no write takes so long."""
ERASE_PARTIAL_AGE_S = 60.0
"""The same when somebody is to be forgotten: a write that is under way takes less."""


def write_all_durably(files: Sequence[tuple[Path, bytes | memoryview]]) -> None:
    """Write every file or, where one cannot be written, none; on disk when it returns.

    Each is written beside its place, synced, then renamed, so that no reader and no crash ever
    sees half of one. Raises OSError, with nothing left behind.
    """
    partial: list[tuple[Path, Path]] = []
    try:
        for path, data in files:
            make_folder(path.parent)
            beside = path.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
            partial.append((beside, path))
            _write(beside, data)
        for beside, path in partial:
            os.replace(beside, path)
        for folder in {path.parent for path, _ in files}:
            sync_folder(folder)
    except OSError:
        for beside, _ in partial:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        raise


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Write one file, whole or not at all. Raises OSError."""
    write_all_durably([(path, data)])


@contextlib.contextmanager
def written_durably(path: Path) -> Iterator[Path]:
    """Gives a name to write one large file to; when the block ends it is on disk as `path`.

    If the block raises, nothing is left behind.
    """
    make_folder(path.parent)
    beside = path.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
    try:
        yield beside
        descriptor = os.open(beside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
        sync_folder(path.parent)
    finally:  # Where it became `path`, nothing bears its name any more.
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def make_private(path: Path, text: str) -> None:
    """Make a file that only its owner may read, unless there is one: of two processes that make it
    at the same time the first wins, and both find the same. On disk when it returns.

    Raises OSError.
    """
    beside = path.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
    try:
        _write(beside, text.encode(), mode=0o600)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def remove_partial(folder: Path, *, before_s: float) -> None:
    """Remove what crashes left unfinished in a folder and nobody has written to since `before_s`,
    in seconds since 1970. Raises OSError."""
    names = os.listdir(folder) if folder.is_dir() else []
    for path in (folder / name for name in names if name.startswith(PARTIAL_PREFIX)):
        with contextlib.suppress(FileNotFoundError):  # Somebody finished it, or was first.
            if path.stat().st_mtime >= before_s:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, for readers at once: no crash leaves them half of it.

    What a crash leaves of it is unfinished, for `remove_partial`. Raises OSError.
    """
    beside = folder.parent / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
    os.rename(folder, beside)
    shutil.rmtree(beside)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they outlive a crash."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk; of a file, its bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock among the processes of this machine; gives whether it was got.

    The kernel frees it when the holder dies.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
