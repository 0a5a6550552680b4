"""Fold reaction events into one state, whatever their order and however often they come.

The state keeps only maxima. Taking a maximum is commutative, associative and idempotent, so any
order, any repetition and any replay after a crash end in the same state (a join-semilattice;
Shapiro et al. 2011, "Conflict-free Replicated Data Types").
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from streams.events import Reaction
from streams.signals import Signal

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReactionState:
    """What is known of one (response, user, signal)."""

    added_at: datetime = NEVER
    removed_at: datetime = NEVER

    def is_on(self) -> bool:
        """Whether the signal stands."""
        return self.added_at > self.removed_at  # On a tie the removal wins: doubt is not praise.

    def was_mistap(self, signal: Signal) -> bool:
        """Whether it was taken back so soon that it never happened."""
        was_added = self.added_at != NEVER
        return was_added and not self.is_on() and self.removed_at - self.added_at < signal.mistap


def fold(state: ReactionState, event: Reaction) -> ReactionState:
    """Take one event in."""
    if event.action == "add":
        return replace(state, added_at=max(state.added_at, event.occurred_at))
    return replace(state, removed_at=max(state.removed_at, event.occurred_at))


def merge(left: ReactionState, right: ReactionState) -> ReactionState:
    """The state of all events of both; folding in parts and merging equals folding at once."""
    return ReactionState(
        added_at=max(left.added_at, right.added_at),
        removed_at=max(left.removed_at, right.removed_at),
    )
