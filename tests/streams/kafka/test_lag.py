"""Goal: the lag that a worker shows is the group's, fresh for partitions that others took over.

Method: a broker that we make up, and the gauge read as Prometheus would read it.
"""

import pytest
from prometheus_client import REGISTRY

from streams import watchdog
from streams.config import StreamsConfig
from streams.kafka import topics
from streams.kafka.progress import Extent, GroupProgress, Partition

PLACES = (("rluf.shown.v1", 0), ("rluf.reactions.v1", 3))


def shown_lag(topic: str, partition: int) -> float | None:
    labels = {"topic": topic, "partition": str(partition)}
    return REGISTRY.get_sample_value("rluf_consumer_lag_records", labels)


def see(monkeypatch: pytest.MonkeyPatch, committed: dict[Partition, int]) -> None:
    """Have the group committed so far, of 100 records in each partition."""
    found = {
        place: GroupProgress(committed=at, extent=Extent(0, 100, 100))
        for place, at in committed.items()
    }
    monkeypatch.setattr(topics, "standings", lambda config: found)
    watchdog.standings(StreamsConfig())


def test_each_look_shows_every_partition_afresh_whoever_holds_it(monkeypatch: pytest.MonkeyPatch):
    see(monkeypatch, dict.fromkeys(PLACES, 10))
    assert [shown_lag(*place) for place in PLACES] == [90, 90]
    see(monkeypatch, {PLACES[0]: 10, PLACES[1]: 100})  # Another worker caught up there.
    assert [shown_lag(*place) for place in PLACES] == [90, 0]


def test_a_topic_that_is_gone_has_no_lag(monkeypatch: pytest.MonkeyPatch):
    see(monkeypatch, dict.fromkeys(PLACES, 0))
    see(monkeypatch, {PLACES[1]: 0})
    assert [shown_lag(*place) for place in PLACES] == [None, 100]


@pytest.mark.parametrize(
    ("committed", "extent", "lag", "lost", "undecided"),
    [
        (0, Extent(0, 0, 0), 0, 0, 0),
        (4, Extent(0, 9, 9), 5, 0, 0),
        (4, Extent(4, 9, 9), 5, 0, 0),
        (4, Extent(6, 9, 9), 3, 2, 0),
        (4, Extent(9, 9, 9), 0, 5, 0),  # All was deleted.
        (0, Extent(9, 9, 9), 0, 9, 0),  # And nothing was ever committed.
        (4, Extent(0, 6, 9), 2, 0, 3),  # A transaction is open.
        (6, Extent(0, 6, 9), 0, 0, 3),
        (8, Extent(0, 6, 9), 0, 0, 1),  # Read by an older worker, before it was decided.
        (12, Extent(2, 9, 9), 7, 0, 0),  # The log's end was lost: it is read again.
    ],
)
def test_lag_is_what_can_still_be_read(committed, extent, lag, lost, undecided):
    standing = GroupProgress(committed=committed, extent=extent)
    assert (standing.lag, standing.lost, standing.undecided) == (lag, lost, undecided)
