"""What must hold of the facts of any records, however hostile.

The oracle is slower and simpler than the pipeline: one record at a time, ids kept whole instead of
hashed, texts read by the standard library's parser.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from streams.codec import DEFAULTS, decode, decode_counting, encode
from streams.config import StreamsConfig
from streams.errors import BadEvent
from streams.events import Event, Message, Shown
from streams.pipeline import EPOCH, Facts, Record
from streams.redaction.redact import redact, redact_shown

Name: TypeAlias = tuple[str, int, str, str]
"""(topic, partition, source, id)."""


@dataclass(slots=True)
class Oracle:
    """Knows, record by record, what a pipeline must make of them."""

    config: StreamsConfig
    seen: set[Name] = field(default_factory=set)
    """Every event of earlier batches."""

    def broken_laws(self, records: Sequence[Record], facts: Facts) -> list[str]:
        """The laws that `facts` of `records` break, in words; takes their events for seen."""
        broken = []
        expected: list[Event] = []
        refused: list[tuple[Record, str]] = []
        num_again = 0
        for record in records:
            event = self._event_of(record)
            if isinstance(event, str):
                refused.append((record, event))
                continue
            name = (record.topic, record.partition, event.source, event.id)
            if name in self.seen:
                num_again += 1
                continue
            self.seen.add(name)
            expected.append(event)
            if decode(encode(event), known_at=event.known_at) != event:
                broken.append(f"not the same after encoding: {record!r}")
            if isinstance(event, Shown) and not _keeps_its_text(event, record):
                broken.append(f"a text was lost: {record!r}")
        kinds = (facts.shown, facts.reactions, facts.erasures, facts.verdicts)
        num_facts = sum(len(kind) for kind in kinds)
        if facts.received != num_facts + len(facts.dead_letters) + facts.duplicates:
            broken.append(f"{facts.received} received, {num_facts} facts: a drop without a name")
        if facts.received != len(records):
            broken.append(f"{len(records)} given, {facts.received} received")
        if facts.duplicates != num_again:
            broken.append(f"{facts.duplicates} duplicates, the oracle says {num_again}")
        found = [*facts.shown, *facts.reactions, *facts.erasures, *facts.verdicts]
        if _sorted([redact_shown(e) if isinstance(e, Shown) else e for e in expected]) != found:
            broken.append("other facts, or in another order, than record by record")
        letters = [
            (d.topic, d.partition, d.offset, d.reason, d.key, d.value) for d in facts.dead_letters
        ]
        if letters != [
            (r.topic, r.partition, r.offset, reason, r.key, r.value or b"") for r, reason in refused
        ]:
            broken.append("dead letters that are not the refused records, byte by byte")
        return broken

    def _event_of(self, record: Record) -> Event | str:
        """The event of a record, or the reason for which it must be refused."""
        try:
            known_at = EPOCH + timedelta(milliseconds=record.timestamp_ms)
        except OverflowError:
            return "absurd_time"
        if record.timestamp_ms < 0:
            return "absurd_time"
        try:
            return decode_counting(
                record.value, record.headers, known_at=known_at, config=self.config
            )[0]
        except BadEvent as error:
            return error.reason


def _sorted(events: Sequence[Event]) -> list[Event]:
    """Events by kind, each kind in the order of the log, as Facts lists them."""
    kinds = ("Shown", "Reaction", "Erasure", "GuardRuling")
    return sorted(events, key=lambda event: kinds.index(type(event).__name__))


def _keeps_its_text(event: Shown, record: Record) -> bool:
    """Whether the response and the messages are those that the bytes spell."""
    told = json.loads(record.value or b"")
    data = (
        told if any(name.lower().startswith("ce_") for name, _ in record.headers) else told["data"]
    )
    messages = data.get("messages") or []
    return bool(
        data["response"] == event.response
        and len(messages) == len(event.messages)
        and all(map(_is_kept, messages, event.messages))
        and redact(event.response) == redact_shown(event).response
    )


def _is_kept(told: dict[str, Any], stored: Message) -> bool:
    """Whether a message's text is all there: alone, or among what its other fields add."""
    text = told.get("content")
    if not isinstance(text, str):
        return True  # Parts, or nothing: tests/streams/test_messages.py says what becomes of them.
    return text == stored.content if told.keys() <= {"role", "content"} else text in stored.content


def config_for_fuzzing() -> StreamsConfig:
    """Small limits, so that they are met often and memory stays small."""
    return StreamsConfig(event_bytes_max=4_096, dedup_ids_max=1_000_000, oldest=DEFAULTS.oldest)
