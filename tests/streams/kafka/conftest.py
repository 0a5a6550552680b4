"""Workers that are ended, once they are watched, where they stand still."""

from collections.abc import Callable, Iterator

import pytest

from tests.streams.silent_rig import Dials, start_silent
from tests.streams.worker_rig import RunningWorker

STALL_S = 3.0


@pytest.fixture
def start(tmp_path, config) -> Iterator[Callable[[], RunningWorker]]:
    """Starts a worker that is ended after STALL_S without progress while it is watched."""
    running: list[RunningWorker] = []
    (tmp_path / "unwatched").touch()

    def start() -> RunningWorker:
        dials = Dials(stall_limit_s=STALL_S, is_unwatched=True)
        running.append(start_silent(config, tmp_path, dials))
        return running[-1]

    yield start
    for worker in running:
        if worker.process.poll() is None:
            worker.kill()
