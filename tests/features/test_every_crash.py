"""Goal: a worker killed at any operation on the disk leaves nothing that the next one trips over.

Method: a small scenario is run once to count the operations that change files and to learn what is
said afterwards (crash_points.py, crash_scenarios.py). Then, for a chosen operation, it is run anew
in a child that kills itself just before it, or half-way through it; what the crash left is made
hours old, another child starts as a supervisor would have it, and must end well and say the same.
For power cuts, some of what is not synced is lost besides (crash_power.py).

There are 337 points of ingestion, killed and cut, and 430 of what is derived. A seed chooses 60 of
the 90 different ones of ingestion that change bytes, 25 power cuts and 6 points of what is derived;
of these `make test` takes a third. RLUF_EVERY_CRASH=1 takes every one, and 100 chains of three
kills: half an hour on two cores.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue

import pytest
from hypothesis import settings

from tests.features.crash_points import KILLED, MUTE, Nursery, Outcome, Work
from tests.features.crash_scenarios import (
    IMPORTED_LATE,
    begin_deriving,
    derive,
    ingest,
    partial_under,
    plain,
)
from tests.properties import FULL

SHARE = 1 if settings.default.max_examples >= FULL else 3
"""One in so many of the chosen points is tried: all in the long profile."""
IS_WHOLE = os.environ.get("RLUF_EVERY_CRASH") == "1"
NUM_AT_ONCE = 2
"""Children that run at a time."""
HOURS_S = 2 * 3600
SEED = 20_261_125
MAY_BE_LOST = ("taken for new",)
"""Ids of events are not synced: an event may be stored twice, and is said once."""


@pytest.fixture(scope="module")
def nurseries() -> Iterator[Queue[Nursery]]:
    """As many as children may run at a time; take one and put it back."""
    idle: Queue[Nursery] = Queue()
    every = [Nursery(IMPORTED_LATE) for _ in range(NUM_AT_ONCE)]
    for nursery in every:
        idle.put(nursery)
    yield idle
    for nursery in every:
        nursery.close()


@contextmanager
def borrowed(nurseries: Queue[Nursery]) -> Iterator[Nursery]:
    nursery = nurseries.get()
    try:
        yield nursery
    finally:
        nurseries.put(nursery)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One scenario, from one beginning, and how it goes without a crash."""

    nurseries: Queue[Nursery]
    work: Work
    folder: Path
    beginning: Path
    calm: Outcome
    is_power_cut: bool = False

    def after_a_crash(self, *points: int) -> str:
        """What is wrong after crashes at these points, one after the other; "" if nothing is.

        A worker that goes on may have less to do, and end before it reaches its point.
        """
        place = self.folder / "-".join(map(str, points))
        shutil.copytree(self.beginning, place)
        home = place / "home"
        with borrowed(self.nurseries) as nursery:
            for point in points:
                crashed = nursery.run(self.work, home, die_at=point, is_power_cut=self.is_power_cut)
                if crashed.exit_code != KILLED and (point == points[0] or crashed.exit_code):
                    return f"was to be killed, ended with {crashed.exit_code}: {crashed.fault}"
                make_old(home)
            restarted = nursery.run(self.work, home)
        if restarted.exit_code:
            return f"the next worker ended with {restarted.exit_code}: {restarted.fault}"
        if wrong := self.differences(restarted.told):
            return wrong
        shutil.rmtree(place)
        return ""

    def differences(self, told: object) -> str:
        """What is said otherwise than without a crash."""
        calm = self.calm.told
        assert isinstance(calm, dict)
        assert isinstance(told, dict)
        return "\n".join(
            f"{key} is {plain(told[key]).decode()}, without a crash {plain(calm[key]).decode()}"
            for key in calm
            if plain(calm[key]) != plain(told[key])
            and not (self.is_power_cut and key in MAY_BE_LOST)
        )


def make_old(home: Path) -> None:
    """Let hours pass for unfinished files."""
    for name in partial_under(home):
        path = home / name
        then = path.stat().st_mtime - HOURS_S
        os.utime(path, (then, then))


def start(nurseries: Queue[Nursery], work: Work, folder: Path, begin: Work | None = None) -> Trial:
    beginning = folder / "beginning"
    (beginning / "home").mkdir(parents=True)
    if begin is not None:
        with borrowed(nurseries) as nursery:
            assert nursery.run(begin, beginning / "home").fault == ""
    shutil.copytree(beginning, folder / "calm")
    with borrowed(nurseries) as nursery:
        calm = nursery.run(work, folder / "calm" / "home")
    assert calm.fault == ""
    return Trial(nurseries=nurseries, work=work, folder=folder, beginning=beginning, calm=calm)


def chosen(labels: Sequence[str], num_max: int) -> list[int]:
    """Numbers of the points to try: all of them, or one of each name, and no more than so many."""
    if IS_WHOLE:
        return list(range(1, len(labels)))
    rng = random.Random(SEED)
    by_label: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        if number and not label.startswith(MUTE):
            by_label.setdefault(label, []).append(number)
    once = [rng.choice(numbers) for numbers in by_label.values()]
    return sorted(rng.sample(once, k=min(num_max, len(once))))


def failures(trial: Trial, tries: list[tuple[int, ...]]) -> Iterator[str]:
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        for points, wrong in zip(
            tries, pool.map(lambda each: trial.after_a_crash(*each), tries), strict=True
        ):
            if wrong:
                where = ", then ".join(f"{n}: {trial.calm.labels[n]}" for n in points)
                yield f"killed at {where}\n{wrong}"


def check(trial: Trial, tries: list[tuple[int, ...]]) -> None:
    wrong = list(failures(trial, tries))
    assert not wrong, f"{len(wrong)} of {len(tries)} tries:\n" + "\n\n".join(wrong[:5])


@pytest.fixture(scope="module")
def ingestion(nurseries, tmp_path_factory) -> Trial:
    trial = start(nurseries, ingest, tmp_path_factory.mktemp("ingestion"))
    assert isinstance(trial.calm.told, dict)
    assert trial.calm.told["taken for new"] == 0
    assert len(trial.calm.told["shown"]) == 4  # One of five is that of a user who is erased.
    assert len(trial.calm.told["dead_letters"]) == len(trial.calm.told["letters"]) == 2
    return trial


@pytest.mark.timeout(3600)
def test_ingestion_killed_anywhere_goes_on_and_says_the_same(ingestion):
    check(ingestion, [(point,) for point in chosen(ingestion.calm.labels, 60 // SHARE)])


@pytest.mark.timeout(3600)
def test_ingestion_killed_again_and_again_goes_on_and_says_the_same(ingestion):
    rng = random.Random(SEED)
    num_points = len(ingestion.calm.labels)
    tries = [
        (rng.randrange(1, num_points), *rng.sample(range(1, 60), k=2))
        for _ in range(100 if IS_WHOLE else 6 // SHARE)
    ]
    check(ingestion, tries)


@pytest.mark.timeout(3600)
def test_ingestion_whose_power_is_cut_anywhere_loses_nothing_that_was_committed(
    ingestion, tmp_path
):
    points = list(range(1, len(ingestion.calm.labels)))
    if not IS_WHOLE:
        points = random.Random(SEED).sample(points, k=25 // SHARE)
    check(replace(ingestion, folder=tmp_path, is_power_cut=True), [(point,) for point in points])


@pytest.mark.timeout(3600)
def test_what_is_derived_killed_anywhere_is_made_anew_and_the_same(nurseries, tmp_path):
    trial = start(nurseries, derive, tmp_path, begin_deriving)
    check(trial, [(point,) for point in chosen(trial.calm.labels, 6 // SHARE)])
