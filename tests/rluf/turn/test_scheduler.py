"""Goal: turns start when due, one at a time, whoever else runs and whatever died before.

Method: TurnStarter with a set clock and a fake turn; run_scheduler itself with a beat of
milliseconds.
"""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.database import sqlite_url
from models.errors import Unavailable
from models.migrate import migrate
from models.registry import Registry
from rluf.turn.schedule import Drift, ScheduleConfig
from rluf.turn.scheduler import SCHEDULER_LEASE, TURN_LEASE, TurnStarter, run_scheduler
from tests.waiting import WAIT_S, wait_for

CONFIG = ScheduleConfig(every_s=3_600, poll_s=0.02)


@dataclass
class FakeLoop:
    """A store and turns that a test sets, and the clock that both live by."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 24, 12, 0, tzinfo=UTC))
    labels: int = 10
    exit_code: int = 0
    turns: list[str] = field(default_factory=list)
    at_turn: Callable[[], None] = lambda: None

    def clock(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    def num_new_labels(self) -> int:
        return self.labels

    def drift(self) -> Drift:
        return Drift()

    def turn(self, why: str) -> int:
        self.turns.append(why)
        self.at_turn()
        return self.exit_code


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "registry.db"
    migrate(sqlite_url(file))
    return file


@pytest.fixture
def url(tmp_path: Path, migrated: Path) -> str:
    shutil.copy(migrated, tmp_path / "registry.db")
    return sqlite_url(tmp_path / "registry.db")


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def registry(url: str, loop: FakeLoop) -> Iterator[Registry]:
    opened = Registry(url, clock=loop.clock)
    yield opened
    opened.close()


def starter_of(registry: Registry, loop: FakeLoop, config: ScheduleConfig = CONFIG) -> TurnStarter:
    return TurnStarter(config, registry, loop, loop.turn)


def _ends(registry: Registry) -> list[str]:
    return [run.status for run in registry.runs(kind="schedule")]


def test_a_turn_is_taken_when_due_and_not_again_before_its_time(
    registry: Registry, loop: FakeLoop
) -> None:
    starter = starter_of(registry, loop)
    for _ in range(3):
        starter.look()
        loop.advance(minutes=10)
    assert loop.turns == ["clock: there was no turn yet"]
    loop.advance(minutes=30)
    starter.look()
    assert loop.turns[1:] == ["clock: the last turn began 3600 s ago"]
    assert _ends(registry) == ["done", "done"]
    [first, _] = registry.runs(kind="schedule")
    assert first.settings == {"reason": "clock", "detail": "there was no turn yet"}
    assert first.result == {"exit_code": 0}


def test_a_restart_does_not_forget_when_the_last_turn_was(
    registry: Registry, loop: FakeLoop
) -> None:
    starter_of(registry, loop).look()
    for _ in range(5):
        loop.advance(minutes=13)
        starter_of(registry, loop).look()
    assert len(loop.turns) == 2


def test_no_turn_is_started_while_one_runs_by_hand(registry: Registry, loop: FakeLoop) -> None:
    starter = starter_of(registry, loop)
    with registry.lease(TURN_LEASE, holder="ada"):
        assert starter.look() is None
    assert loop.turns == []
    loop.advance(minutes=30)
    assert starter.look() is None  # What ada did was the last turn.
    loop.advance(minutes=30)
    assert starter.look() is not None


@pytest.mark.parametrize(
    ("exit_code", "status"), [(0, "done"), (3, "done"), (1, "failed"), (-9, "failed")]
)
def test_how_a_turn_ended_is_kept(
    registry: Registry, loop: FakeLoop, exit_code: int, status: str
) -> None:
    loop.exit_code = exit_code
    starter_of(registry, loop).look()
    assert _ends(registry) == [status]
    assert registry.runs()[0].result == {"exit_code": exit_code}


def test_a_turn_that_raises_is_kept_as_failed(registry: Registry, loop: FakeLoop) -> None:
    def fail() -> None:
        raise FileNotFoundError("no python")

    loop.at_turn = fail
    with pytest.raises(FileNotFoundError):
        starter_of(registry, loop).look()
    assert _ends(registry) == ["failed"]


def test_a_failed_turn_rests_before_labels_start_it_again(
    registry: Registry, loop: FakeLoop
) -> None:
    loop.labels, loop.exit_code = 9_000, 1
    starter = starter_of(registry, loop, replace(CONFIG, every_s=0))
    for _ in range(13):
        starter.look()
        loop.advance(minutes=10)
    assert loop.turns == ["labels: 9000 new ones"] * 3  # At 0, 60 and 120 minutes.


def test_a_crontab_line_falls_once_and_is_made_up_for_when_missed(
    registry: Registry, loop: FakeLoop
) -> None:
    starter = starter_of(registry, loop, replace(CONFIG, cron="0 3 * * *"))
    starter.look()
    assert loop.turns == []  # It is noon, and the next three o'clock is to come.
    loop.advance(hours=20)
    starter.look()
    starter.look()
    assert loop.turns == ["clock: 0 3 * * * fell at 2026-11-25 03:00"]
    loop.advance(hours=24)
    starter.look()
    assert len(loop.turns) == 2


def test_turns_whose_scheduler_died_are_closed(registry: Registry, loop: FakeLoop) -> None:
    registry.start_run("schedule", "yesterday", {})
    other = registry.start_run("refresh", "by hand", {})
    starter_of(registry, loop).close_abandoned()
    assert _ends(registry) == ["abandoned"]
    assert registry.run(other.id).status == "running"


def test_the_scheduler_looks_on_every_beat_until_stopped(url: str, loop: FakeLoop) -> None:
    stop = threading.Event()
    loop.at_turn = lambda: stop.set() if len(loop.turns) == 2 else loop.advance(hours=1)
    registry = Registry(url, clock=loop.clock)
    run_scheduler(CONFIG, registry, loop, loop.turn, stop=stop)
    assert len(loop.turns) == 2
    lease = registry.find_lease(SCHEDULER_LEASE)
    assert lease is not None
    assert lease.is_released
    registry.close()


def test_a_database_that_is_away_for_a_beat_stops_nothing(url: str, loop: FakeLoop) -> None:
    stop = threading.Event()
    looks = []

    class Flaky(FakeLoop):
        def num_new_labels(self) -> int:
            looks.append(1)
            if len(looks) == 1:
                raise Unavailable("away")
            return 10

    flaky = Flaky(at_turn=stop.set)
    registry = Registry(url)
    run_scheduler(CONFIG, registry, flaky, flaky.turn, stop=stop)
    assert len(flaky.turns) == 1
    registry.close()


def test_of_two_schedulers_one_works_and_the_other_takes_over(url: str) -> None:
    loops = [FakeLoop(), FakeLoop()]
    stops = [threading.Event(), threading.Event()]
    registries = [Registry(url), Registry(url)]
    config = replace(CONFIG, every_s=0.01, labels_min=0)
    threads = [
        threading.Thread(
            target=run_scheduler,
            args=(config, registries[i], loops[i], loops[i].turn),
            kwargs={"stop": stops[i]},
        )
        for i in range(2)
    ]
    threads[0].start()
    wait_for(lambda: len(loops[0].turns) >= 2)
    threads[1].start()
    wait_for(lambda: len(loops[0].turns) >= 4)
    assert loops[1].turns == []
    stops[0].set()
    threads[0].join(WAIT_S)
    wait_for(lambda: len(loops[1].turns) >= 1)
    stops[1].set()
    threads[1].join(WAIT_S)
    for registry in registries:
        registry.close()


def test_sigterm_in_the_middle_of_a_turn_ends_it_and_gives_the_lease_back(
    url: str, tmp_path: Path
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_schedule_a_long_turn, args=(url, tmp_path / "in a turn")
    )
    process.start()
    assert process.pid is not None
    wait_for((tmp_path / "in a turn").exists)
    os.kill(process.pid, signal.SIGTERM)
    process.join(WAIT_S)
    assert process.exitcode == 0
    registry = Registry(url)
    lease = registry.find_lease(SCHEDULER_LEASE)
    assert lease is not None
    assert lease.is_released
    assert _ends(registry) == ["failed"]
    registry.close()


def _schedule_a_long_turn(url: str, marker: Path) -> None:
    def wait() -> None:
        marker.touch()
        time.sleep(WAIT_S)

    loop = FakeLoop(at_turn=wait)
    run_scheduler(CONFIG, Registry(url), loop, loop.turn)
