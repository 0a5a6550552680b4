"""Stop sequences: where a reply ends because the client said so.

In a stream the beginning of a stop sequence must not be sent before it is clear that the rest does
not follow, so up to the longest sequence less one character is held back, with its tokens.
"""

import codecs
from collections import deque
from collections.abc import Sequence

from models.spelling import SpeltToken


class StopCutter:
    """Takes a reply piece by piece and lets through what is before the first stop sequence."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Empty stops stop nothing; without any, everything passes at once."""
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self._spelt: deque[tuple[int, int, SpeltToken]] = deque()
        """Tokens not yet let through, with where in the text each begins and ends."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_spelt_chars = 0
        self.text = ""
        """What was let through so far."""
        self.is_cut = False

    def feed(self, piece: str, spelt: Sequence[SpeltToken] = ()) -> str:
        """Take the next piece, with its tokens; give what may be shown now."""
        if self.is_cut:
            return ""
        for token in spelt:
            start = self._num_spelt_chars
            self._num_spelt_chars += len(self._decoder.decode(token.spelling))
            self._spelt.append((start, self._num_spelt_chars, token))
        self._held += piece
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.is_cut = True
            return self._let_through(min(found))
        return self._let_through(len(self._held) - self._num_held_back())

    def end(self) -> str:
        """Give what was held back, now that nothing follows."""
        return "" if self.is_cut else self._let_through(len(self._held))

    def take_spelt(self, *, is_over: bool) -> tuple[SpeltToken, ...]:
        """Give the tokens of what was let through since the last time.

        A token of which only the beginning may be shown is given with the last part, so that the
        tokens are never less than the text.
        """
        taken = []
        while self._spelt:
            start, end, token = self._spelt[0]
            if end > len(self.text) and not (is_over and start < len(self.text)):
                break
            taken.append(token)
            self._spelt.popleft()
        return tuple(taken)

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
