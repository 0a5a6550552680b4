"""What can go wrong between the registry, its artifacts and whoever asks them.

ModelsError
├── NotFound            nothing of that name; the text says what there is
├── Conflict            somebody else was first; the text says what was expected and what is there
├── SchemaMismatch      the database is not at this program's schema; the text says what to run
├── CorruptArtifact     the bytes of a model are not the bytes that were registered
└── Unavailable         the database does not answer; trying again later may work
    └── CorruptRegistry the database's file is damaged; the text says what to do
"""

import difflib
from collections.abc import Sequence

NAMES_SHOWN_MAX = 12
"""How many names a message lists before it says how many more there are."""


class ModelsError(Exception):
    """Any of the faults above."""


class NotFound(ModelsError, LookupError):
    """Nothing of that name."""

    def __init__(self, what: str, seen: str, there_are: Sequence[str]) -> None:
        self.what = what
        self.seen = seen
        self.there_are = tuple(there_are)
        super().__init__(f"no {what} {seen!r}{_nearest(seen, there_are)}; {_listed(there_are)}")


class Conflict(ModelsError):
    """A compare-and-set found something else than its caller expected."""

    def __init__(self, text: str, *, expected: object, found: object) -> None:
        self.expected = expected
        self.found = found
        super().__init__(f"{text}: expected {expected!r}, found {found!r}")


class SchemaMismatch(ModelsError):
    """The database has no registry, an older one, or one of a newer program."""


class CorruptArtifact(ModelsError):
    """The files at this path do not have the hash that they were registered with."""


class Unavailable(ModelsError):
    """The database is locked, unreachable or gone; nothing was written."""


class CorruptRegistry(Unavailable):
    """The SQLite file is no sound database; who waits for the registry goes on waiting for it."""


def _nearest(seen: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(seen, allowed, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "there are none yet"
    shown = ", ".join(names[:NAMES_SHOWN_MAX])
    left = len(names) - NAMES_SHOWN_MAX
    return f"there are {shown}" + (f" and {left} more" if left > 0 else "")
