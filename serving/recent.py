"""What became of the latest exposures, so that an answer to feedback says whether it will teach.

A memory of this process and nothing more: what it does not know it calls unknown. What will be
learned is decided by the facts, later; the guard or an erasure may still take a reaction out.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from serving.meters import Meters
from serving.pseudonyms import ANONYMOUS
from streams.events import Reaction, Shown
from streams.signals import SIGNALS


@dataclass(frozen=True, slots=True)
class Recalled:
    """An exposure."""

    users: tuple[str, ...]
    """Every name under which a reaction is its user's."""
    is_learnable: bool
    is_recorded: bool
    """False: the broker did not say that it has it."""
    shown_at: datetime


@dataclass(frozen=True, slots=True)
class Prospect:
    """Whether a reaction will teach anything, and why not."""

    learns: bool | None
    """None: this process cannot know."""
    why: tuple[str, ...] = ()

    def told(self) -> dict[str, object]:
        """Give it as the answer says it."""
        return {"learns": self.learns, **({"why": self.why} if self.why else {})}

    def count(self, meters: Meters) -> None:
        """Count it, once for each reason."""
        learns = {True: "yes", False: "no", None: "unknown"}[self.learns]
        for why in self.why or ("",):
            meters.learning.labels(learns, why).inc()


class Recent:
    """The latest exposures by each name of their response, bounded in number."""

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._exposures: OrderedDict[str, Recalled] = OrderedDict()

    def note(self, event: Shown, *, is_recorded: bool) -> None:
        """Remember an exposure. One that may be learned from keeps an alias that it shares."""
        users = (event.user_id, *event.user_aliases, *filter(None, (event.client_id,)))
        made = Recalled(users, event.learnable, is_recorded, event.occurred_at)
        for name in (event.response_id, *event.response_aliases):
            known = self._exposures.get(name)
            if known is None or not known.is_learnable:
                self._exposures[name] = made
                self._exposures.move_to_end(name)
        while len(self._exposures) > self._names_max:
            self._exposures.popitem(last=False)

    def prospect(self, tap: Reaction) -> Prospect:
        """Say what is known of a reaction's future."""
        known = self._exposures.get(tap.response_id)
        if known is None:
            return Prospect(None, ("unknown_response",))
        if not known.is_recorded:
            return Prospect(None, ("exposure_not_recorded",))
        why = []
        if tap.user_id not in known.users:
            why.append("no_user_named" if tap.user_id == ANONYMOUS else "other_user")
        if not known.is_learnable:
            why.append("not_learnable")
        if tap.action == "add" and tap.occurred_at > known.shown_at + SIGNALS[tap.signal].window:
            why.append("outside_window")
        return Prospect(not why, tuple(why))
