"""How far a group has come in one partition of the log, and what of it can still be read.

One rule says where a worker reads next, whatever is committed: there, or, where the log no longer
holds that offset, at the log's first. What lies between was deleted before it was read.

Records of a transaction that is open cannot be read yet, and those of one that was rolled back
never: what counts as behind ends at the last stable offset, before which all is decided (KIP-98).
"""

from dataclasses import dataclass
from typing import NamedTuple

Partition = tuple[str, int]
"""(topic, partition)."""


class Extent(NamedTuple):
    """What the log holds of one partition: [start, end)."""

    start: int
    """First offset that it still holds."""
    stable: int
    """Last stable offset: the first of a transaction that is open; the end where none is."""
    end: int
    """Offset that the next record will get."""

    def position(self, committed: int) -> int:
        """The offset that is read next where `committed` is; 0: nothing is.

        A commit beyond the end is of records that a leader without them took back (an unclean
        election): what was written since may lie anywhere before it.
        """
        return committed if self.start <= committed <= self.end else self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupProgress:
    """How far a group has come in one partition, at the moment when it was asked for."""

    committed: int
    """Offset before which all is durable; 0 where nothing was committed."""
    extent: Extent

    @property
    def lag(self) -> int:
        """Offsets that can be read and are not committed."""
        return max(0, self.extent.stable - self.extent.position(self.committed))

    @property
    def lost(self) -> int:
        """Offsets that were deleted before they were committed."""
        return max(0, self.extent.start - self.committed)

    @property
    def undecided(self) -> int:
        """Offsets from the first record of an open transaction on, or 0."""
        return max(0, self.extent.end - max(self.extent.stable, self.committed))
