"""How tests wait: for what is awaited, and so long that no busy machine fails them."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from streams.errors import Unavailable

Answer = TypeVar("Answer")

WAIT_S = 300.0
"""Longest wait for anything that comes within seconds on an idle machine. pytest's own limit for a
test (`timeout` in pyproject.toml) is longer, so that a wait in vain says what it waited for."""
LOOK_S = 0.02
ASYNC_LOOK_S = 0.002
"""Shorter: it takes no thread's time."""


def wait_for(
    is_true: Callable[[], bool], what: str = "what was awaited", *, limit_s: float = WAIT_S
) -> None:
    """Return once `is_true` says so. Raises TimeoutError that says what did not come about."""
    until = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(LOOK_S)


async def until(is_true: Callable[[], bool], what: str = "what was awaited") -> None:
    """The same in an event loop, which goes on meanwhile."""
    last = time.monotonic() + WAIT_S
    while not is_true():
        if time.monotonic() > last:
            raise TimeoutError(f"not within {WAIT_S:g} s: {what}")
        await asyncio.sleep(ASYNC_LOOK_S)


def patiently(errand: Callable[[], Answer]) -> Answer:
    """What an errand to a broker gives, which is up but may be too busy to answer at first."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return errand()
        except Unavailable:
            if time.monotonic() > until:
                raise
        time.sleep(LOOK_S)
