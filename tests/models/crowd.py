"""Four processes that do the same thing at the same time, started once for all tests."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any

from tests.waiting import WAIT_S

SIZE = 4


_barrier: Barrier | None = None


class Crowd:
    """Runs a function in every process at once."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.models.hammer"])
        barrier = context.Barrier(SIZE, timeout=WAIT_S)
        self._pool = ProcessPoolExecutor(SIZE, context, initializer=_meet, initargs=(barrier,))

    def run(
        self, work: Callable[..., Any], arguments: Callable[[int], tuple[Any, ...]]
    ) -> list[Any]:
        """Give what work(*arguments(i)) returned in each process, i from 0.

        The work calls wait_for_all first, which also makes each process take one call only.
        """
        calls = [self._pool.submit(work, *arguments(i)) for i in range(SIZE)]
        return [call.result(WAIT_S) for call in calls]

    def close(self) -> None:
        self._pool.shutdown()


def wait_for_all() -> None:
    """Return when every process of the crowd has come here."""
    assert _barrier is not None
    _barrier.wait()


def _meet(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
