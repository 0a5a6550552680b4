"""Goal: a record that a kept trace sent is spanned as its child once it is fact; nothing else is.

Method: the writer with a sink in memory, records with headers of every kind, OpenTelemetry's own
exporter in memory; a fake of kafka-python; a fresh interpreter for what must not be imported.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from rluf.settings import BadSettings, load_settings
from rluf.wiring import open_spans
from streams import spans as spans_module
from streams.codec import encode
from streams.config import StreamsConfig
from streams.events import DeadLetter
from streams.kafka import producer as producer_module
from streams.kafka.producer import Producer
from streams.kafka_binding import STRUCTURED_HEADER
from streams.ledger import Chunk
from streams.pipeline import Facts, Pipeline, Record
from streams.spans import Spans
from streams.tracing import TracingConfig
from streams.writer import Writer
from tests.streams.samples import KNOWN_AT_MS, envelope, erasure, reaction, shown
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEPT = f"00-{TRACE}-{PARENT}-01"
UNKEPT = f"00-{TRACE}-{PARENT}-00"
CONFIG = StreamsConfig()


class FakeEvent:
    """A stream event that nobody waits for."""

    def __init__(self, records: list[Record]) -> None:
        self.value = Chunk(records=records, first=0, next=len(records), num_bytes=0, generation=1)

    def ack(self) -> None:
        pass


class Rig:
    """A writer that makes spans, and what it stored and spanned."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = Spans(
            TracingConfig(), CONFIG, process="worker", processor=SimpleSpanProcessor(self.exporter)
        )
        self.stored: list[Facts] = []
        self.num_spans_at_append: list[int] = []

    def append(self, facts: Facts) -> None:
        self.num_spans_at_append.append(len(self.finished))
        self.stored.append(facts)

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        pass

    async def commit(self) -> None:
        pass

    def write(self, *batches: list[Record]) -> list[ReadableSpan]:
        """Write these batches, one after the other; gives all spans."""

        async def run() -> None:
            writer = Writer(
                CONFIG,
                append=self.append,
                send_dead_letters=self.send_dead_letters,
                commit=self.commit,
                trace=self.spans.wrote,
            )
            for records in batches:
                await writer._write([FakeEvent(records)])

        asyncio.run(run())
        return self.finished

    @property
    def finished(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def outcomes(self) -> list[tuple[int, str]]:
        return [
            (span.attributes["messaging.kafka.offset"], span.attributes["rluf.outcome"])
            for span in self.finished
        ]


def record(
    offset: int, value: bytes, traceparent: bytes | None = KEPT.encode(), **changes
) -> Record:
    headers = [STRUCTURED_HEADER] + ([] if traceparent is None else [("traceparent", traceparent)])
    fields = {"topic": "rluf.reactions.v1", "partition": 2, "offset": offset}
    fields |= {"timestamp_ms": KNOWN_AT_MS, "key": b"chatcmpl-1", "headers": headers}
    return Record(value=value, **(fields | changes))


def love(number: int, traceparent: bytes | None = KEPT.encode()) -> Record:
    return record(number, encode(reaction(id=f"r-{number}")), traceparent)


def test_a_reaction_that_is_fact_is_the_child_of_its_sending():
    [span] = Rig().write([love(7)])
    assert span.name == "process rluf.reactions.v1"
    assert span.kind is SpanKind.CONSUMER
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.parent.is_remote
    assert dict(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": "rluf.reactions.v1",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": 7,
        "rluf.event_id": "r-7",
        "rluf.outcome": "stored",
    }
    assert span.resource.attributes["service.name"] == "rluf-worker"
    assert span.start_time <= span.end_time


def test_spans_are_made_only_once_the_facts_are_durable():
    rig = Rig()
    rig.write([love(1)])
    assert rig.num_spans_at_append == [0]
    assert len(rig.finished) == 1


def test_duplicates_of_earlier_batches_and_of_this_one_are_told_from_what_was_stored():
    rig = Rig()
    again = replace_offset(love(1), 5)
    rig.write([love(1)], [love(4), again, replace_offset(love(4), 6)])
    assert rig.outcomes() == [(1, "stored"), (4, "stored"), (5, "duplicate"), (6, "duplicate")]


def test_a_duplicate_of_a_record_without_a_trace_is_a_duplicate():
    rig = Rig()
    rig.write([love(1, None), replace_offset(love(1), 2), replace_offset(love(1), 3)])
    assert rig.outcomes() == [(2, "duplicate"), (3, "duplicate")]


def test_one_id_in_two_partitions_is_two_facts():
    rig, other = Rig(), record(2, encode(reaction(id="r-1")), partition=3)
    rig.write([love(1), other], [replace_offset(other, 4), love(9)])
    assert rig.outcomes() == [(1, "stored"), (2, "stored"), (4, "duplicate"), (9, "stored")]
    assert [len(facts.reactions) for facts in rig.stored] == [2, 1]


def test_spans_decode_a_record_at_most_once_more(monkeypatch: pytest.MonkeyPatch):
    rig, decoded = Rig(), list[bytes]()
    real = spans_module.decode

    def counting(value, headers, **keywords):
        decoded.append(value)
        return real(value, headers, **keywords)

    monkeypatch.setattr(spans_module, "decode", counting)
    rig.write([love(1), love(2, None)], [love(1), love(2, None), love(3)])
    assert decoded == [love(number).value for number in (1, 1, 2, 3)]


def test_what_was_refused_is_spanned_without_an_id():
    rig = Rig()
    rig.write([record(1, b"{not json"), record(2, encode(reaction()))])
    assert rig.outcomes() == [(1, "refused"), (2, "stored")]
    assert "rluf.event_id" not in rig.finished[0].attributes


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"00",
        b"\xff\x00\xfe",
        KEPT.upper().encode() + b"x" * 100_000,
        f"ff-{TRACE}-{PARENT}-01".encode(),
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        UNKEPT.encode(),
    ],
)
def test_a_header_that_names_no_kept_trace_makes_no_span_and_costs_no_fact(header: bytes | None):
    rig = Rig()
    assert rig.write([love(1, header)]) == []
    assert len(rig.stored[0].reactions) == 1


def test_a_header_without_a_value_makes_no_span():
    rig = Rig()
    none = record(1, encode(reaction()), None, headers=[("traceparent", None)])
    assert rig.write([none]) == []
    assert len(rig.stored[0].reactions) == 1


def test_no_user_and_no_word_of_theirs_is_in_a_span():
    rig = Rig()
    rig.write(
        [
            record(1, encode(shown(user_id="u-secret")), topic="rluf.shown.v1"),
            record(2, encode(erasure(user_id="u-secret")), key=b"u-secret"),
            record(3, b'{"user_id": "u-secret"', key=b"u-secret"),
        ]
    )
    text = "".join(span.to_json() for span in rig.finished)
    assert len(rig.finished) == 3
    assert not [word for word in ("u-secret", "u-9", "kettle", "vinegar") if word in text]


def test_a_trace_header_changes_no_fact():
    records = [love(1), record(2, encode(shown())), record(3, b"oops")]
    bare = [replace_headers(each, [STRUCTURED_HEADER]) for each in records]
    assert Pipeline(CONFIG).run(records) == Pipeline(CONFIG).run(bare)


def test_events_in_binary_mode_are_spanned_too():
    event = envelope()
    headers = [("content-type", b"application/json"), ("traceparent", KEPT.encode())]
    headers += [
        (f"ce_{name}", event[name].encode()) for name in ("specversion", "id", "source", "type")
    ]
    headers += [("ce_time", event["time"].encode())]
    data = b'{"response_id": "r", "user_id": "u", "signal": "love", "action": "add"}'
    [span] = Rig().write([record(1, data, None, headers=headers)])
    assert span.attributes["rluf.event_id"] == event["id"]


class FakeKafka:
    """kafka-python's producer, as far as a send needs it."""

    def __init__(self, **settings: object) -> None:
        self.headers: list[object] = []

    def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def send(self, topic: str, **fields: object) -> "FakeKafka":
        self.headers.append(fields["headers"])
        return self

    def add_callback(self, done: object) -> None:
        pass

    add_errback = add_callback


@pytest.mark.parametrize("extra", [(), [("traceparent", KEPT.encode())]])
def test_headers_of_a_trace_come_after_ours_and_without_one_ours_stand_alone(
    monkeypatch: pytest.MonkeyPatch, extra: Sequence[tuple[str, bytes]]
):
    monkeypatch.setattr(producer_module, "ensure_topics", lambda config: [])
    monkeypatch.setattr(producer_module, "KafkaProducer", FakeKafka)
    producer = Producer(StreamsConfig(brokers="b:1"))
    sent = producer.send(reaction(), extra) if extra else producer.send(reaction())
    assert isinstance(sent, Future)
    assert producer._kafka.headers == [[STRUCTURED_HEADER, *extra]]


@pytest.mark.parametrize(
    ("service", "environment", "name"),
    [
        ("", {}, "rluf-worker"),
        ("chat", {}, "chat-worker"),
        ("", {"OTEL_SERVICE_NAME": "their-name"}, "their-name"),
        ("", {"OTEL_RESOURCE_ATTRIBUTES": "service.name=their-name,a=b"}, "their-name"),
        ("", {"OTEL_RESOURCE_ATTRIBUTES": "a=b"}, "rluf-worker"),
        ("chat", {"OTEL_SERVICE_NAME": "their-name"}, "chat-worker"),
    ],
)
def test_our_service_wins_over_the_environments_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch, service: str, environment: dict[str, str], name: str
):
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    spans = Spans(TracingConfig(service=service), CONFIG, process="worker", processor=processor)
    with spans.sending(reaction()):
        pass
    [span] = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == name


def test_sampling_keeps_its_share_and_what_a_client_decided():
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    spans = Spans(TracingConfig(sample_ratio=0.0), CONFIG, process="api", processor=processor)
    for incoming, num_spans in (("", 0), (UNKEPT, 0), (KEPT, 2)):
        with (
            spans.answering("POST", "http", incoming),
            spans.sending(reaction()) as [(name, value)],
        ):
            pass
        is_kept = int(value[-2:], 16) & 1
        assert (name, is_kept) == ("traceparent", int(num_spans > 0))
        assert len(exporter.get_finished_spans()) == num_spans


def test_what_is_sent_after_a_request_is_not_within_it_however_the_request_ended():
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    spans = Spans(TracingConfig(), CONFIG, process="api", processor=processor)
    with spans.answering("POST", "http", KEPT), spans.sending(reaction()):
        pass
    with pytest.raises(LookupError), spans.answering("POST", "http", KEPT):
        raise LookupError
    with spans.sending(reaction()):
        pass
    within, _, _, after = exporter.get_finished_spans()
    assert within.parent is not None
    assert after.parent is None


def test_tracing_is_off_by_default_and_wrong_dials_are_refused():
    assert open_spans(load_settings([], {}), "worker") is None
    wrong = {"ENDPOINT": "collector:4318", "SAMPLE_RATIO": "1.5"}
    for variable, value in wrong.items():
        with pytest.raises(BadSettings, match=variable.lower()):
            load_settings([], {f"RLUF_TRACING__{variable}": value})


def test_a_collector_that_is_away_costs_spans_and_no_fact_and_does_not_hold_up_the_end():
    spans = open_spans(
        load_settings([], {"RLUF_TRACING__ENDPOINT": "http://127.0.0.1:9/v1/traces"}), "worker"
    )
    assert spans is not None
    rig = Rig()
    rig.spans = spans
    rig.write([love(1)])
    spans.close()
    assert len(rig.stored[0].reactions) == 1


def test_a_collector_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spans_module, "CLOSE_WAIT_S", 0.05)
    answering = threading.Event()
    rig = Rig()
    monkeypatch.setattr(rig.exporter, "shutdown", lambda: answering.wait(WAIT_S))
    rig.spans.close()
    assert not answering.is_set()
    [waiting] = [each for each in threading.enumerate() if each.name == "spans"]
    assert waiting.daemon  # So that the process ends all the same.
    answering.set()
    waiting.join(WAIT_S)


def test_the_room_does_not_import_opentelemetry_while_tracing_is_off():
    script = (
        "import sys\n"
        "import streams.kafka.producer, streams.worker\n"
        "from rluf.settings import load_settings\n"
        "from rluf.wiring import open_spans\n"
        "{more}"
        "print(any(name.split('.')[0] == 'opentelemetry' for name in sys.modules))\n"
    )
    off = "assert open_spans(load_settings([], {}), 'worker') is None\n"
    on = "open_spans(load_settings([], {'RLUF_TRACING__ENDPOINT': 'http://a/b'}), 'worker')\n"
    assert [_printed(script.replace("{more}", more)) for more in (off, on)] == ["False", "True"]


def _printed(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def replace_offset(record: Record, offset: int) -> Record:
    return Record(record.topic, record.partition, offset, *_rest(record), record.headers)


def replace_headers(record: Record, headers: list[tuple[str, bytes]]) -> Record:
    return Record(record.topic, record.partition, record.offset, *_rest(record), headers)


def _rest(record: Record) -> tuple[int, bytes | None, bytes | None]:
    return record.timestamp_ms, record.key, record.value
