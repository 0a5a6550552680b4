"""What tests of the workers share: worker processes that end with the test."""

from collections.abc import Iterator

import pytest

from tests.streams.worker_rig import RunningWorker


@pytest.fixture
def workers() -> Iterator[list[RunningWorker]]:
    """Workers to be ended with the test, whatever became of it."""
    running: list[RunningWorker] = []
    yield running
    for worker in running:
        if worker.process.poll() is None:
            worker.kill()
