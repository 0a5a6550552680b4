"""Goal: a worker that stands still is ended, and no other.

Method: the watchdog looks when we tell it to, at a broker that we make up, by a clock that we set.
"""

from collections.abc import Mapping, Set

from streams.errors import Unavailable
from streams.kafka.progress import Extent, GroupProgress, Partition
from streams.watchdog import Watchdog

SHOWN, REACTIONS = ("rluf.shown.v1", 0), ("rluf.reactions.v1", 3)


class World:
    """What the watchdog sees, and what it did."""

    def __init__(self, *, mine: Set[Partition] = frozenset({SHOWN, REACTIONS})) -> None:
        self.standings: dict[Partition, GroupProgress] = {}
        self.stalled: list[Mapping[Partition, float]] = []
        self.is_excused = False
        self.is_broker_up = True
        self.dog = Watchdog(
            look=self.look,
            mine=lambda: mine,
            is_excused=lambda: self.is_excused,
            on_stall=self.stalled.append,
            limit_s=60.0,
            interval_s=5.0,
        )

    def look(self) -> Mapping[Partition, GroupProgress]:
        if not self.is_broker_up:
            raise Unavailable("no broker")
        return self.standings

    def see(self, place: Partition, committed: int, end: int, start: int = 0) -> None:
        self.standings[place] = GroupProgress(committed=committed, extent=Extent(start, end, end))


def test_lag_without_a_commit_for_a_minute_is_a_stall():
    world = World()
    world.see(SHOWN, committed=10, end=20)
    assert not world.dog.has_stalled(now=0.0)
    world.see(SHOWN, committed=10, end=500)  # Its lag grows; that is no progress.
    assert not world.dog.has_stalled(now=59.0)
    assert world.dog.has_stalled(now=61.0)
    assert world.stalled == [{SHOWN: 61.0}]


def test_a_slow_worker_that_commits_is_left_alone():
    world = World()
    for second in range(0, 600, 30):
        world.see(SHOWN, committed=second, end=10_000)
        assert not world.dog.has_stalled(now=float(second))


def test_a_worker_without_work_is_left_alone():
    world = World()
    world.see(SHOWN, committed=20, end=20)
    for second in range(0, 600, 30):
        assert not world.dog.has_stalled(now=float(second))


def test_one_partition_that_stands_still_is_enough():
    world = World()
    for second in (0, 30, 70):
        world.see(SHOWN, committed=second, end=10_000)
        world.see(REACTIONS, committed=5, end=6)
        stalled = world.dog.has_stalled(now=float(second))
    assert stalled
    assert world.stalled == [{REACTIONS: 70.0}]


def test_lag_that_came_to_rest_in_between_starts_anew():
    world = World()
    world.see(SHOWN, committed=10, end=20)
    world.dog.has_stalled(now=0.0)
    world.see(SHOWN, committed=20, end=20)
    world.dog.has_stalled(now=50.0)
    world.see(SHOWN, committed=20, end=21)
    assert not world.dog.has_stalled(now=100.0)
    assert world.dog.has_stalled(now=161.0)


def test_a_worker_that_waits_for_its_sink_is_left_alone_and_judged_anew_after():
    world = World()
    world.see(SHOWN, committed=10, end=20)
    world.dog.has_stalled(now=0.0)
    world.is_excused = True
    assert not world.dog.has_stalled(now=500.0)
    world.is_excused = False
    assert not world.dog.has_stalled(now=505.0)
    assert world.dog.has_stalled(now=566.0)


def test_a_broker_that_is_away_is_not_the_workers_fault():
    world = World()
    world.see(SHOWN, committed=10, end=20)
    world.dog.has_stalled(now=0.0)
    world.is_broker_up = False
    assert not world.dog.has_stalled(now=500.0)
    world.is_broker_up = True
    assert not world.dog.has_stalled(now=505.0)
    assert world.dog.has_stalled(now=566.0)


def test_partitions_of_other_workers_are_for_them_to_watch():
    world = World(mine={REACTIONS})
    world.see(SHOWN, committed=10, end=20)
    world.dog.has_stalled(now=0.0)
    assert not world.dog.has_stalled(now=100.0)


def test_a_worker_that_fell_out_of_its_group_watches_all():
    world = World(mine=frozenset())
    world.see(SHOWN, committed=10, end=20)
    world.dog.has_stalled(now=0.0)
    assert world.dog.has_stalled(now=100.0)


def test_what_was_deleted_and_what_is_undecided_is_no_work():
    world = World()
    world.see(SHOWN, committed=10, end=20, start=20)
    world.standings[REACTIONS] = GroupProgress(committed=5, extent=Extent(0, 5, 90))
    for second in range(0, 600, 30):
        assert not world.dog.has_stalled(now=float(second))


def test_deleting_what_stands_still_does_not_look_like_progress():
    world = World()
    for second in (0, 30, 61):
        world.see(SHOWN, committed=10, end=200, start=20 + second)
        stalled = world.dog.has_stalled(now=float(second))
    assert stalled
