"""Goal: what a batch told is what its meters say, each event under its type.

Method: batches through the pipeline, and the difference that counting them makes; meters belong to
the process, so other tests' counts stand in them too.
"""

from datetime import timedelta

from prometheus_client import REGISTRY

from streams.codec import encode
from streams.config import StreamsConfig
from streams.meters import TYPES, count
from streams.pipeline import Pipeline
from tests.streams.samples import KNOWN_AT, reaction, record, shown


def counted(name: str) -> dict[str, float]:
    """The meter's value for each type of event."""
    return {kind: REGISTRY.get_sample_value(name, {"type": kind}) or 0 for kind in TYPES.values()}


def raised(name: str, values: list[bytes]) -> dict[str, float]:
    """By how much counting a batch of these raises the meter; types left alone are not in it."""
    before = counted(name)
    count(Pipeline(StreamsConfig()).run([record(value) for value in values]), 0.01)
    return {kind: n - before[kind] for kind, n in counted(name).items() if n != before[kind]}


def long_ago(hours: float) -> dict[str, object]:
    return {"occurred_at": KNOWN_AT - timedelta(hours=hours)}


def test_late_events_are_counted_by_type_and_dead_letters_are_not():
    values = [
        encode(reaction(id="1", **long_ago(2))),
        encode(shown(id="2", **long_ago(3))),
        encode(reaction(id="3", **long_ago(0.5))),
        b"{",
    ]
    assert raised("rluf_events_late_total", values) == {"reaction": 1, "shown": 1}


def test_events_out_of_order_are_counted_by_type_and_what_was_sent_twice_once():
    values = [
        encode(reaction(id="1")),
        encode(reaction(id="2", **long_ago(0.5))),
        encode(reaction(id="2", **long_ago(0.5))),
    ]
    assert raised("rluf_events_out_of_order_total", values) == {"reaction": 1}


def test_every_type_is_there_before_its_first_event():
    count(Pipeline(StreamsConfig()).run([]), 0.01)
    for name in ("rluf_events_late_total", "rluf_events_out_of_order_total"):
        assert all(
            REGISTRY.get_sample_value(name, {"type": kind}) is not None for kind in TYPES.values()
        )
