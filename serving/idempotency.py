"""Memory of feedback calls by Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07).

The memory only makes answers nicer: it replays the first answer, and tells a client that it used a
key twice. What must be right does not depend on it. The event's id is derived from actor, key and
payload, so that a call sent again is the same event however often it arrives and whichever process
takes it, and a call with another payload is never taken for it.
"""

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

NAMESPACE = uuid.UUID("6f1c7a0e-3c52-5d0b-9a34-3d1f0c6f9a11")
"""Of the ids derived here. Changing it would make old calls count anew when they are sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A call with a key."""

    fingerprint: str
    is_done: bool
    """False while the first call is under way."""
    has_failed: bool = False
    """It is done and was not recorded: it may be tried again."""
    first_at: datetime
    """When the first call came: a call tried again means what happened then."""
    at_s: float


def event_id(actor: str, key: str, fingerprint: str) -> str:
    """Give the id of the event that a keyed call makes: a UUIDv5, the same every time."""
    return str(uuid.uuid5(NAMESPACE, f"{len(actor)}:{actor}{len(key)}:{key}{fingerprint}"))


def fingerprint_of(*parts: str) -> str:
    """Give a hash of what the client meant; whatever else its bytes hold does not count."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode()).hexdigest()


class KeyMemory:
    """The most recent keys, bounded in number and in time."""

    def __init__(self, *, keys_max: int, window_s: float, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that only go forward."""
        self._keys_max = keys_max
        self._window_s = window_s
        self._clock = clock
        self._calls: OrderedDict[tuple[str, str], Remembered] = OrderedDict()

    def find(self, actor: str, key: str) -> Remembered | None:
        """Give what is known of a key."""
        self._forget()
        return self._calls.get((actor, key))

    def begin(self, actor: str, key: str, fingerprint: str, *, first_at: datetime) -> None:
        """Note that a call is under way."""
        self._calls[actor, key] = Remembered(
            fingerprint=fingerprint, is_done=False, first_at=first_at, at_s=self._clock()
        )

    def finish(self, actor: str, key: str, *, is_recorded: bool) -> None:
        """Note that the call's event is durable, or that it failed and may be tried again."""
        call = self._calls.pop((actor, key), None)
        if call is not None:
            self._calls[actor, key] = replace(
                call, is_done=True, has_failed=not is_recorded, at_s=self._clock()
            )

    def _forget(self) -> None:
        """Drop the oldest beyond the limits, but none that is under way."""
        oldest_s = self._clock() - self._window_s
        for place, call in list(self._oldest()):
            if call.is_done and (len(self._calls) > self._keys_max or call.at_s < oldest_s):
                del self._calls[place]

    def _oldest(self) -> list[tuple[tuple[str, str], Remembered]]:
        """Give a few of the oldest: as many calls forget together as came in together."""
        return [item for item, _ in zip(self._calls.items(), range(4), strict=False)]
