"""Goal: records become facts once each, whatever the batches, and bad ones hurt nobody.

Method: small batches by hand for each behaviour; generated logs, cut into generated batches with
crashes between them, for the law that all cuts tell the same facts.
"""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import STRUCTURED_HEADER, encode
from streams.config import StreamsConfig
from streams.dedup import hash_id
from streams.events import Message
from streams.pipeline import EPOCH, Facts, Pipeline
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
        ids={
            place: one.ids.get(place, set()) | two.ids.get(place, set())
            for place in one.ids | two.ids
        },
    )


@given(st.lists(st.binary(max_size=60) | st.just(msgspec.json.encode({"id": 1})), max_size=8))
def test_any_bytes_are_all_accounted_for(values):
    facts = pipeline().run([record(v, offset=n) for n, v in enumerate(values)])
    kept = len(facts.shown) + len(facts.reactions) + len(facts.erasures) + len(facts.dead_letters)
    assert kept + facts.duplicates == facts.received == len(values)
