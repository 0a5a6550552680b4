"""Histories for the algebra: drawn by hypothesis, as records of a log. All of it is synthetic."""

import zlib
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st

from streams.codec import encode, key_of, topic_of
from streams.config import StreamsConfig
from streams.events import Event
from streams.pipeline import EPOCH, Record
from tests.features.histories import at, erasure, reaction, shown, verdict

CONFIG = StreamsConfig()
RESPONSES = ("r1", "r2", "r3", "never-shown")
USERS = ("u1", "u2", "u3")
MONTH_S = 30 * 86_400
TAP_S = (0, 1, 5, 9, 10, 11, 60, 4000)
"""Few times, so that ties, mis-taps and late ones are common."""
Bytes = tuple[str, bytes | None, bytes | None, int]
"""Topic, key, value, timestamp in ms: a record without a place yet."""

RESPONSE, USER = st.sampled_from(RESPONSES), st.sampled_from(USERS)
SECONDS, LATE_S = st.sampled_from(TAP_S), st.sampled_from((0, 3, MONTH_S))


@st.composite
def exposures(draw: st.DrawFn) -> Event:
    """One of few exposures; the same pair always says the same, heard of sooner or later."""
    number = draw(st.integers(0, 2))
    user_id = draw(st.sampled_from((USERS[number], USERS[number], USERS[0])))
    seconds = number * 3
    return shown(
        RESPONSES[number],
        user_id,
        seconds,
        learnable=number != 2 or user_id != "u1",
        policy=f"chat@{number % 2 + 1}",
        known_at=at(seconds + draw(LATE_S)),
    )


@st.composite
def reactions(draw: st.DrawFn) -> Event:
    """Added or removed, by anybody, to anything, early, late or at the same instant."""
    seconds = draw(SECONDS)
    return reaction(
        draw(RESPONSE),
        draw(st.sampled_from(("add", "remove"))),
        seconds,
        user_id=draw(USER),
        signal=draw(st.sampled_from(("love", "dislike", "continue"))),
        known_at=at(seconds + draw(LATE_S)),
    )


@st.composite
def others(draw: st.DrawFn) -> Event:
    """An erasure, or a verdict of the guard."""
    user_id, seconds = draw(USER), draw(SECONDS)
    if draw(st.booleans()):
        return erasure(user_id, seconds)
    action = draw(st.sampled_from(("quarantine", "release")))
    return verdict(user_id, action, seconds, response_id=draw(st.sampled_from(("", "r1"))))


def unplaced(event: Event) -> Bytes:
    """The record of an event, stamped with when it became known."""
    stamp_ms = (event.known_at - EPOCH) // timedelta(milliseconds=1)
    return topic_of(event, CONFIG), key_of(event), encode(event), stamp_ms


MALFORMED = st.sampled_from((b"{", b"\xff", b"", b"[]", b'{"specversion":"1.0"}')).map(
    lambda value: (CONFIG.reactions_topic, b"r1", value, 1_772_366_400_000)
)
HISTORIES = st.lists(
    st.one_of(
        exposures().map(unplaced),
        reactions().map(unplaced),
        reactions().map(unplaced),
        reactions().map(unplaced),
        others().map(unplaced),
        MALFORMED,
    ),
    min_size=5,
    max_size=40,
)


def in_log(records: Sequence[Bytes], *, partitions: int) -> dict[tuple[str, int], list[Record]]:
    """Give each record a partition by its key, and the next offset there."""
    log: dict[tuple[str, int], list[Record]] = {}
    for topic, key, value, stamp_ms in records:
        partition = zlib.crc32(key or b"") % partitions
        held = log.setdefault((topic, partition), [])
        held.append(Record(topic, partition, len(held), stamp_ms, key, value, ()))
    return log
