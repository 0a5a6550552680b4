"""What a file system may lose when the power is cut: whatever was not synced.

A kill leaves all that was written; a power cut does not. Names (made, renamed, deleted) may be lost
until their folder is synced, each on its own and in any order, and bytes until their file is. What
is lost is drawn by a seed: every second of these, on average.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Undo = Callable[[], object]


class PowerCut:
    """Notes what is not yet safe, and takes some of it back."""

    def __init__(self, spare: Path) -> None:
        """`spare` is a folder on the same file system, for what may have to come back."""
        self._spare = spare
        self._undos: list[tuple[str, Undo]] = []
        """Folder whose names changed, and how to change them back; oldest first."""
        self._unsynced: set[str] = set()
        """Files."""

    def before(self, call: str, path: str) -> None:
        """A call of a function of `os` is about to be made."""
        is_there = os.path.lexists(path)
        if call == "mkdir" and not is_there:
            self._note(path, lambda: shutil.rmtree(path))
        elif call == "rmdir" and is_there:
            self._note(path, lambda: os.mkdir(path))
        elif call in ("unlink", "remove") and is_there:
            kept = self._keep(path)
            self._note(path, lambda: os.link(kept, path))
        elif call == "fsync" and os.path.isdir(path):
            self._undos = [undo for undo in self._undos if undo[0] != path]
        elif call == "fsync":
            self._unsynced.discard(path)
        elif call in ("truncate", "ftruncate"):
            self._unsynced.add(path)

    def before_open(self, path: str) -> None:
        """A file is about to be opened for writing."""
        if not os.path.lexists(path):
            self._note(path, lambda: os.unlink(path))
        self._unsynced.add(path)

    def before_rename(self, source: str, target: str) -> None:
        """A file or folder is about to be renamed."""
        kept = self._keep(target) if os.path.isfile(target) else None

        def undo() -> None:
            os.rename(target, source)
            if kept is not None:
                os.link(kept, target)

        self._note(target, undo)
        if source in self._unsynced:
            self._unsynced.add(target)

    def cut(self, seed: int) -> None:
        """Lose some of what is not safe."""
        rng = random.Random(seed)
        for _folder, undo in reversed(self._undos):
            if rng.random() < 0.5:
                with contextlib.suppress(OSError):  # It lies in what was lost already.
                    undo()
        for path in sorted(self._unsynced):
            if os.path.isfile(path):
                os.truncate(path, rng.choice((0, os.path.getsize(path) // 2)))

    def _note(self, path: str, undo: Undo) -> None:
        self._undos.append((os.path.dirname(path), undo))

    def _keep(self, path: str) -> str:
        """A second name of a file, under which it stays."""
        self._spare.mkdir(parents=True, exist_ok=True)
        kept = str(self._spare / str(sum(1 for _ in self._spare.iterdir())))
        os.link(path, kept)
        return kept
