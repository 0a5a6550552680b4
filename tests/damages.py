"""What can happen to a file: each function does it to one, for tests of several rooms."""

from collections.abc import Callable
from pathlib import Path

import pytest

Damage = Callable[[Path], None]


def empty(path: Path) -> None:
    """Its writer was killed before the first byte."""
    path.write_bytes(b"")


def cut(path: Path) -> None:
    """Its writer was killed half way."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    """The length was on disk when the power went, the bytes were not."""
    path.write_bytes(b"\0" * path.stat().st_size)


def not_text(path: Path) -> None:
    """Bytes that are not UTF-8."""
    path.write_bytes(b"\xff\xfe" * 30)


def gone(path: Path) -> None:
    """It was deleted."""
    path.unlink()


def unreadable(path: Path) -> None:
    """A folder bears its name: root, who may run the tests, reads what has no permission too."""
    path.unlink(missing_ok=True)
    path.mkdir()


DAMAGES = (empty, cut, zeroed, not_text, gone, unreadable)
every_damage = pytest.mark.parametrize("damage", DAMAGES)
