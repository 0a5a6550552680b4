"""Stop sequences: where a reply ends because the client said so.

In a stream the beginning of a stop sequence must not be sent before it is clear that the rest does
not follow, so up to the longest sequence less one character is held back.
"""

from collections.abc import Sequence


class StopCutter:
    """Takes a reply piece by piece and lets through what is before the first stop sequence."""

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops` are not empty texts; without any, everything passes at once."""
        self._stops = tuple(stops)
        self._held = ""
        self.text = ""
        """What was let through so far."""
        self.is_cut = False

    def feed(self, piece: str) -> str:
        """Take the next piece; give what may be shown now."""
        if self.is_cut:
            return ""
        self._held += piece
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.is_cut = True
            return self._let_through(min(found))
        return self._let_through(len(self._held) - self._num_held_back())

    def end(self) -> str:
        """Give what was held back, now that nothing follows."""
        return "" if self.is_cut else self._let_through(len(self._held))

    def _let_through(self, num_chars: int) -> str:
        passed, self._held = self._held[:num_chars], self._held[num_chars:]
        self.text += passed
        return passed

    def _num_held_back(self) -> int:
        """Give the length of the longest end of the text that begins a stop sequence."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
