"""Goal: the lag that a worker shows is the group's, fresh for partitions that others took over.

Method: a broker that we make up, and the gauge read as Prometheus would read it.
"""

import pytest
from prometheus_client import REGISTRY

from streams import watchdog
from streams.config import StreamsConfig

PLACES = (("rluf.shown.v1", 0), ("rluf.reactions.v1", 3))


def shown_lag(topic: str, partition: int) -> float | None:
    labels = {"topic": topic, "partition": str(partition)}
    return REGISTRY.get_sample_value("rluf_consumer_lag_records", labels)


def test_each_look_shows_every_partition_afresh_whoever_holds_it(monkeypatch: pytest.MonkeyPatch):
    committed = dict.fromkeys(PLACES, 10)
    monkeypatch.setattr(watchdog, "committed_offsets", lambda config: committed)
    monkeypatch.setattr(watchdog, "end_offsets", lambda config: dict.fromkeys(PLACES, 100))
    watchdog.standings(StreamsConfig())
    assert [shown_lag(*place) for place in PLACES] == [90, 90]
    committed[PLACES[1]] = 100  # Another worker of the group caught up there.
    watchdog.standings(StreamsConfig())
    assert [shown_lag(*place) for place in PLACES] == [90, 0]


def test_a_topic_that_is_gone_has_no_lag(monkeypatch: pytest.MonkeyPatch):
    there = dict.fromkeys(PLACES, 100)
    monkeypatch.setattr(watchdog, "committed_offsets", lambda config: {})
    monkeypatch.setattr(watchdog, "end_offsets", lambda config: there)
    watchdog.standings(StreamsConfig())
    del there[PLACES[0]]
    watchdog.standings(StreamsConfig())
    assert [shown_lag(*place) for place in PLACES] == [None, 100]
