"""Goal: events are values, their ids are unique and sort by time. Method: make many, change one."""

import time
import uuid

import msgspec
import pytest

from streams.config import StreamsConfig
from streams.events import new_id
from tests.streams.samples import reaction, shown


def test_ids_are_unique_uuids_of_version_7_that_tell_when_they_were_made():
    before_ms = time.time_ns() // 1_000_000
    ids = [uuid.UUID(new_id()) for _ in range(1_000)]
    after_ms = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1_000
    assert {each.version for each in ids} == {7}
    assert {each.variant for each in ids} == {uuid.RFC_4122}
    assert all(before_ms <= each.int >> 80 <= after_ms for each in ids)


def test_ids_made_in_later_milliseconds_sort_later():
    first = new_id()
    while time.time_ns() // 1_000_000 <= uuid.UUID(first).int >> 80:
        pass
    assert new_id() > first


@pytest.mark.parametrize("event", [shown(), reaction()])
def test_events_are_values(event):
    with pytest.raises(AttributeError):
        event.user_id = "someone else"
    assert msgspec.structs.replace(event) == event
    assert len({event, msgspec.structs.replace(event)}) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"partitions": 0}, {"linger_ms": -1}, {"event_bytes_max": 0}, {"dedup_ids_max": -1}],
)
def test_a_setting_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StreamsConfig(**wrong)
