"""Goal: records become facts once each, whatever the batches, and bad ones hurt nobody.

Method: small batches by hand for each behaviour; generated logs, cut into generated batches with
crashes between them, for the law that all cuts tell the same facts. What is late or out of order is
counted again by the plainest rule.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import encode
from streams.config import LATE_S_MAX, StreamsConfig
from streams.dedup import hash_id
from streams.events import Message, Reaction
from streams.kafka_binding import STRUCTURED_HEADER
from streams.pipeline import EPOCH, Facts, Pipeline, Record
from tests.streams.samples import (
    KNOWN_AT,
    KNOWN_AT_MS,
    envelope_bytes,
    erasure,
    reaction,
    record,
    shown,
)


def pipeline(**settings: object) -> Pipeline:
    return Pipeline(StreamsConfig(**settings))


def test_each_event_lands_in_its_list_in_the_order_of_the_log():
    events = [reaction(id="1"), shown(id="2"), erasure(id="3"), reaction(id="4")]
    facts = pipeline().run([record(encode(e), offset=n) for n, e in enumerate(events)])
    assert facts.reactions == [events[0], events[3]]
    assert facts.shown == [events[1]]
    assert facts.erasures == [events[2]]
    assert (facts.received, facts.duplicates, facts.dead_letters) == (4, 0, [])


def test_no_records_are_no_facts():
    assert pipeline().run([]) == Facts()


def test_the_time_of_the_record_is_when_we_knew():
    (found,) = pipeline().run([record(encode(reaction()), timestamp_ms=KNOWN_AT_MS + 1)]).reactions
    assert found.known_at == datetime(2025, 11, 24, 12, 0, 0, 1000, tzinfo=UTC)
    assert found.occurred_at == reaction().occurred_at


def test_a_bad_record_becomes_a_dead_letter_and_its_neighbours_facts():
    good = [encode(reaction(id=str(n))) for n in range(4)]
    values = [good[0], b"{", good[1], None, good[2], b"\xff", good[3]]
    facts = pipeline().run([record(v, offset=n) for n, v in enumerate(values)])
    assert [r.id for r in facts.reactions] == ["0", "1", "2", "3"]
    assert [(d.offset, d.reason, d.value) for d in facts.dead_letters] == [
        (1, "malformed_json", b"{"),
        (3, "empty_value", b""),
        (5, "malformed_json", b"\xff"),
    ]
    assert facts.received == 7


def test_a_dead_letter_keeps_the_exact_bytes_and_where_they_stood():
    value = b"\x00\xff" + b"x" * 5_000_000
    bad = record(value, offset=42, topic="t", partition=3, key=b"\xfe")
    (letter,) = pipeline().run([bad]).dead_letters
    assert (letter.topic, letter.partition, letter.offset) == ("t", 3, 42)
    assert (letter.key, letter.value, letter.reason) == (b"\xfe", value, "too_large")
    assert letter.known_at == KNOWN_AT


@pytest.mark.parametrize("timestamp_ms", [-1, -(10**18), 10**15, 2**63 - 1])
def test_a_record_time_that_no_clock_shows_is_a_dead_letter(timestamp_ms):
    records = [
        record(encode(reaction(id="1"))),
        record(encode(reaction(id="2")), timestamp_ms=timestamp_ms),
        record(encode(reaction(id="3"))),
    ]
    facts = pipeline().run(records)
    assert [r.id for r in facts.reactions] == ["1", "3"]
    assert [(d.reason, d.known_at) for d in facts.dead_letters] == [("absurd_time", EPOCH)]
    assert all(r.known_at == KNOWN_AT for r in facts.reactions)


def test_headers_are_read():
    value = encode(reaction())
    assert pipeline().run([record(value, headers=(STRUCTURED_HEADER,))]).reactions == [reaction()]
    letter = pipeline().run([record(value, headers=(("ce_id", b"1"),))]).dead_letters[0]
    assert letter.reason == "bad_headers"


def test_unknown_fields_are_counted_over_the_batch():
    records = [record(envelope_bytes(id=str(n), mood="good")) for n in range(3)]
    facts = pipeline().run(records)
    assert (facts.unknown_fields, len(facts.reactions)) == (3, 3)


def test_personal_data_does_not_get_into_facts():
    said = shown(
        response="Mail ada@example.com",
        messages=(Message(role="user", content="call 555-010-9999"),),
    )
    (found,) = pipeline().run([record(encode(said))]).shown
    assert found.response == "Mail [email]"
    assert found.messages[0].content == "call [phone]"


def test_the_same_event_twice_in_a_batch_is_one_fact():
    facts = pipeline().run([record(encode(reaction()), offset=n) for n in range(3)])
    assert (len(facts.reactions), facts.duplicates) == (1, 2)


def test_the_same_id_of_another_source_is_another_event():
    values = [encode(reaction(source=source)) for source in ("/a", "/b")]
    assert len(pipeline().run([record(v) for v in values]).reactions) == 2


def test_running_changes_nothing_so_a_batch_can_be_written_again():
    a, batch = pipeline(), [record(encode(reaction()))]
    assert a.run(batch) == a.run(batch)


def test_an_event_is_a_duplicate_only_once_its_facts_were_remembered():
    a, batch = pipeline(), [record(encode(reaction()))]
    facts = a.run(batch)
    a.remember(facts)
    again = a.run(batch)
    assert (again.reactions, again.duplicates, again.received) == ([], 1, 1)


def test_a_partition_that_is_forgotten_takes_its_ids_along_and_no_others():
    a = pipeline()
    batch = [record(encode(reaction()), partition=n) for n in (0, 1)]
    a.remember(a.run(batch))
    a.forget("rluf.reactions.v1", 0)
    a.forget("never.heard.of", 7)
    assert [len(a.run([each]).reactions) for each in batch] == [1, 0]


def test_dead_letters_are_no_duplicates_of_each_other():
    facts = pipeline().run([record(b"{", offset=n) for n in range(2)])
    assert [d.offset for d in facts.dead_letters] == [0, 1]


def test_memory_of_ids_is_bounded_and_keeps_the_latest():
    a = pipeline(dedup_ids_max=100)
    values = [encode(reaction(id=str(n))) for n in range(1_000)]
    for value in values:
        a.remember(a.run([record(value)]))
    assert a.run([record(v) for v in values[-50:]]).duplicates == 50
    assert a.run([record(v) for v in values[:800]]).duplicates == 0


def test_no_memory_at_all_still_finds_duplicates_within_a_batch():
    a, batch = pipeline(dedup_ids_max=0), [record(encode(reaction()))] * 2
    a.remember(a.run(batch))
    facts = a.run(batch)
    assert (len(facts.reactions), facts.duplicates) == (1, 1)


def test_hashes_of_ids_are_the_same_in_every_process_and_pairs_do_not_run_together():
    assert hash_id("/serving", "r-1") == 0x1863375D32FAB01
    assert (
        len({hash_id("a", "bc"), hash_id("ab", "c"), hash_id("1 a", "b"), hash_id("1", "ab")}) == 4
    )


LOGS = st.lists(
    st.tuples(st.sampled_from(["r", "s", "e", "bad"]), st.integers(0, 12), st.integers(0, 1)),
    max_size=30,
)


def value_of(kind: str, number: int) -> bytes:
    made = {"r": reaction, "s": shown, "e": erasure}
    return encode(made[kind](id=f"{kind}{number}")) if kind in made else b"bad %d" % number


@given(log=LOGS, cuts=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12))
def test_any_cut_into_batches_with_any_retries_tells_the_same_facts(log, cuts):
    records = [
        record(value_of(kind, number), offset=offset, partition=partition)
        for offset, (kind, number, partition) in enumerate(log)
    ]
    at_once = pipeline().run(records)
    a, told = pipeline(), Facts()
    position = 0
    for size, is_retried in [*cuts, (len(records) + 1, False)]:
        batch = records[position : position + size]
        if is_retried:
            a.run(batch)  # Its facts could not be made durable; nothing was remembered.
        facts = a.run(batch)
        a.remember(facts)
        told = merged(told, facts)
        position += size
    assert told == at_once


def merged(one: Facts, two: Facts) -> Facts:
    return replace(
        one,
        shown=one.shown + two.shown,
        reactions=one.reactions + two.reactions,
        erasures=one.erasures + two.erasures,
        dead_letters=one.dead_letters + two.dead_letters,
        received=one.received + two.received,
        duplicates=one.duplicates + two.duplicates,
        unknown_fields=one.unknown_fields + two.unknown_fields,
        out_of_order=one.out_of_order + two.out_of_order,
        late=one.late + two.late,
        latest=one.latest | two.latest,
        ids={
            place: one.ids.get(place, set()) | two.ids.get(place, set())
            for place in one.ids | two.ids
        },
    )


def tapped(number: int, seconds: float, **changes: object) -> Record:
    """The record of a tap that happened `seconds` before the log had it."""
    at = KNOWN_AT - timedelta(seconds=seconds)
    return record(encode(reaction(id=f"t{number}", occurred_at=at)), offset=number, **changes)


def test_an_event_before_one_taken_earlier_is_out_of_order():
    records = [tapped(n, seconds) for n, seconds in enumerate([5, 9, 4, 4, 8, 3])]
    facts = pipeline().run(records)
    assert (facts.out_of_order, facts.late) == ({Reaction: 2}, {})


def test_partitions_and_topics_have_an_order_each():
    a, b = tapped(1, 1), tapped(2, 9, partition=1)
    c = record(encode(shown(occurred_at=KNOWN_AT - timedelta(seconds=9))), topic="rluf.shown.v1")
    assert not pipeline().run([a, b, c]).out_of_order
    d = tapped(3, 9)
    assert pipeline().run([a, b, d]).out_of_order == {Reaction: 1}


def test_order_is_held_over_batches_once_they_are_durable_and_goes_with_the_partition():
    a = pipeline()
    first, second = [tapped(1, 1)], [tapped(2, 9)]
    facts = a.run(first)
    assert not a.run(second).out_of_order  # Nothing was made durable.
    a.remember(facts)
    assert a.run(second).out_of_order == {Reaction: 1}
    a.forget("rluf.reactions.v1", 0)
    assert not a.run(second).out_of_order


def test_an_event_is_late_from_just_above_the_setting_on():
    records = [tapped(1, 60), tapped(2, 60.000001), tapped(3, 59)]
    assert pipeline(late_s=60).run(records).late == {Reaction: 1}
    assert not pipeline(late_s=61).run(records).late


def test_late_is_measured_from_when_the_log_had_each_event_not_the_batch():
    old = tapped(1, 30, timestamp_ms=KNOWN_AT_MS)
    new = tapped(2, -7_000, timestamp_ms=KNOWN_AT_MS + 7_200_000)
    assert not pipeline().run([old, new]).late
    assert not pipeline().run([new, old]).late


def test_duplicates_and_dead_letters_are_neither_late_nor_out_of_order():
    a = pipeline()
    late = tapped(1, 7_200)
    facts = a.run([tapped(0, 1), late, late, record(b"{")])
    assert (facts.out_of_order, facts.late) == ({Reaction: 1}, {Reaction: 1})
    a.remember(facts)
    again = a.run([late, tapped(0, 1)])
    assert (again.duplicates, again.out_of_order, again.late) == (2, {}, {})


@pytest.mark.parametrize("late_s", [-1.0, float("nan"), float("inf")])
def test_a_lateness_that_is_no_span_of_time_is_refused(late_s):
    with pytest.raises(ValueError, match="late_s"):
        StreamsConfig(late_s=late_s)


def test_the_longest_lateness_is_never_reached():
    assert not pipeline(late_s=LATE_S_MAX).run([tapped(1, 7_200)]).late


TIMES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 200), st.integers(0, 300), st.booleans()),
    max_size=40,
)
"""Partition, when the log had it and how long before that it happened (s), and whether a shown."""


@given(times=TIMES, cuts=st.lists(st.integers(1, 9), max_size=8))
def test_late_and_out_of_order_are_what_the_plain_rule_says_whatever_the_batches(times, cuts):
    records, expected = [], {"late": Counter(), "out_of_order": Counter()}
    latest = {}
    for number, (partition, known_s, delay_s, is_shown) in enumerate(times):
        at = KNOWN_AT + timedelta(seconds=known_s - delay_s)
        made = (shown if is_shown else reaction)(id=str(number), occurred_at=at)
        stamp_ms = KNOWN_AT_MS + 1_000 * known_s
        records.append(record(encode(made), partition=partition, timestamp_ms=stamp_ms))
        expected["late"][type(made)] += delay_s > 100
        expected["out_of_order"][type(made)] += at < latest.get(partition, at)
        latest[partition] = max(at, latest.get(partition, at))
    a, position = pipeline(late_s=100), 0
    counted = {"late": Counter(), "out_of_order": Counter()}
    for size in [*cuts, len(records) + 1]:
        facts = a.run(records[position : position + size])
        a.remember(facts)
        counted["late"] += facts.late
        counted["out_of_order"] += facts.out_of_order
        position += size
    assert counted == {name: +found for name, found in expected.items()}


@given(st.lists(st.binary(max_size=60) | st.just(msgspec.json.encode({"id": 1})), max_size=8))
def test_any_bytes_are_all_accounted_for(values):
    facts = pipeline().run([record(v, offset=n) for n, v in enumerate(values)])
    kept = len(facts.shown) + len(facts.reactions) + len(facts.erasures) + len(facts.dead_letters)
    assert kept + facts.duplicates == facts.received == len(values)
