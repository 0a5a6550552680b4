"""Goal: one trace from a client's request to the fact, and no word of a user in it.

Method: the real API and recorder before a producer that keeps headers, the real worker's writer
behind it, spans kept in memory.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from serving.app import ApiDependencies, create_app
from serving.head import HeadAsGet
from serving.middleware import RequestMiddleware
from serving.origins import OriginMiddleware
from serving.prefix import UnderPrefix
from serving.tracing import TraceRequests
from streams.codec import encode, topic_of
from streams.config import StreamsConfig
from streams.events import Event
from streams.kafka.producer import RecordPlace
from streams.kafka_binding import STRUCTURED_HEADER
from streams.ledger import Chunk
from streams.pipeline import Facts, Record
from streams.spans import Spans
from streams.tracing import TracingConfig
from streams.writer import Writer
from tests.serving.conftest import Place, StartApi
from tests.serving.fakes import FakeProducer

ROOT = Path(__file__).resolve().parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
INCOMING = f"00-{TRACE}-{PARENT}-01"
LOVE = {"response_id": "chatcmpl-1", "signal": "love", "actor_id": "u-9"}
CONFIG = StreamsConfig()


class TracedProducer(FakeProducer):
    """The fake producer, and the headers that came with each event."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[Sequence[tuple[str, bytes]]] = []

    def send(
        self, event: Event, headers: Sequence[tuple[str, bytes]] = ()
    ) -> "Future[RecordPlace]":
        self.headers.append(headers)
        return super().send(event)


class Traced:
    """An API that makes spans, its producer and the spans."""

    def __init__(self, start: StartApi, live: Place, **overrides: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = self.make("api")
        live.producer = self.producer = TracedProducer()
        self.api: TestClient = start(live.room(tracing=self.spans, **overrides))

    def make(self, process: str) -> Spans:
        processor = SimpleSpanProcessor(self.exporter)
        return Spans(TracingConfig(), CONFIG, process=process, processor=processor)

    @property
    def finished(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def of_kind(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.finished if span.kind is kind]

    def write_what_was_sent(self) -> None:
        """Give the worker's writer the records that a broker would."""
        records = [
            Record(
                topic_of(event, CONFIG),
                0,
                offset,
                int(event.known_at.timestamp() * 1000),
                event.response_id.encode(),
                encode(event),
                [STRUCTURED_HEADER, *headers],
            )
            for offset, (event, headers) in enumerate(
                zip(self.producer.events, self.producer.headers, strict=True)
            )
        ]

        async def done(*_: object) -> None:
            pass

        def append(facts: Facts) -> None:
            pass

        async def run() -> None:
            trace = self.make("worker").wrote
            writer = Writer(CONFIG, append=append, send_dead_letters=done, commit=done, trace=trace)
            await writer._write([FakeEvent(records)])

        asyncio.run(run())


class FakeEvent:
    """A stream event that nobody waits for."""

    def __init__(self, records: list[Record]) -> None:
        self.value = Chunk(records=records, first=0, next=len(records), num_bytes=0, generation=1)

    def ack(self) -> None:
        pass


@pytest.fixture
def traced(start: StartApi, live: Place) -> Traced:
    return Traced(start, live)


def test_from_request_to_fact_is_one_trace(traced: Traced):
    answer = traced.api.post("/v1/feedback", json=LOVE, headers={"traceparent": INCOMING})
    assert answer.status_code == 202
    traced.write_what_was_sent()
    sent, request, processed = traced.finished
    assert (request.name, request.kind) == ("POST /v1/feedback", SpanKind.SERVER)
    assert (sent.name, sent.kind) == ("send rluf.reactions.v1", SpanKind.PRODUCER)
    assert (processed.name, processed.kind) == ("process rluf.reactions.v1", SpanKind.CONSUMER)
    assert {f"{span.context.trace_id:032x}" for span in traced.finished} == {TRACE}
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.parent.is_remote
    assert sent.parent.span_id == request.context.span_id
    assert not sent.parent.is_remote
    assert processed.parent.span_id == sent.context.span_id
    ids = {span.attributes["rluf.event_id"] for span in (sent, processed)}
    assert ids == {answer.json()["feedback_id"]}
    assert processed.attributes["rluf.outcome"] == "stored"
    services = [span.resource.attributes["service.name"] for span in traced.finished]
    assert services == ["rluf-api", "rluf-api", "rluf-worker"]


def test_a_request_is_described_by_its_route_and_by_nothing_that_its_client_chose(traced: Traced):
    asked = {"user-agent": "a-browser", "host": "a-host.localhost", "x-forwarded-for": "192.0.2.7"}
    url = "/v1/feedback?actor=u-9"
    assert traced.api.post(url, json=LOVE, headers=asked).status_code == 202
    [request] = traced.of_kind(SpanKind.SERVER)
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 202,
        "http.route": "/v1/feedback",
        "url.path": "/v1/feedback",
        "url.scheme": "http",
    }
    assert request.status.status_code is StatusCode.UNSET
    assert (request.events, request.links) == ((), ())


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/features/users/user-ferdinand", "/v1/features/users/{user_id:path}"),
        ("/v1/models/user-ferdinand", "/v1/models/{model:path}"),
        ("/v1/user-ferdinand", None),
    ],
)
def test_an_id_in_a_path_stays_out(traced: Traced, path: str, route: str | None):
    assert traced.api.get(path).status_code == 404
    [request] = traced.finished
    assert request.name == (f"GET {route}" if route else "GET")
    assert request.attributes.get("http.route") == request.attributes.get("url.path") == route
    assert request.attributes["http.response.status_code"] == 404
    assert request.status.status_code is StatusCode.UNSET  # A client's mistake is not ours.
    assert "ferdinand" not in request.to_json()


def test_a_word_in_place_of_a_method_stays_out(traced: Traced):
    assert traced.api.request("FERDINAND", "/v1/feedback").status_code == 405
    [request] = traced.finished
    assert request.name.split() == ["HTTP", "/v1/feedback"]
    assert request.attributes["http.request.method"] == "_OTHER"
    assert "ferdinand" not in request.to_json().lower()


def test_a_fault_of_ours_is_named_by_its_type_and_not_by_its_words(start: StartApi, live: Place):
    def fail(*_: object, **__: object) -> None:
        raise LookupError("of user-ferdinand")

    traced = Traced(start, live, online=fail)
    assert traced.api.get("/v1/features/users/u-9").status_code == 500
    [request] = traced.finished
    assert request.attributes["http.response.status_code"] == 500
    assert request.attributes["error.type"] == "LookupError"
    assert (request.status.status_code, request.status.description) == (StatusCode.ERROR, None)
    assert request.events == ()
    assert "ferdinand" not in request.to_json()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_supervisors_and_scrapers_ask_is_not_spanned(traced: Traced, path: str):
    assert traced.api.get(path, headers={"traceparent": INCOMING}).status_code == 200
    assert traced.finished == []


def test_a_request_without_a_trace_begins_one_of_its_own_each_time(traced: Traced):
    for signal in ("love", "dislike"):
        assert traced.api.post("/v1/feedback", json=LOVE | {"signal": signal}).status_code == 202
    first, second = traced.of_kind(SpanKind.SERVER)
    assert (first.parent, second.parent) == (None, None)
    assert first.context.trace_id != second.context.trace_id
    sent = traced.of_kind(SpanKind.PRODUCER)
    assert [span.parent.span_id for span in sent] == [
        span.context.span_id for span in (first, second)
    ]
    for span, [(name, value)] in zip(sent, traced.producer.headers, strict=True):
        assert name == "traceparent"
        match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[13]", value.decode())
        assert match is not None
        assert match[1] == f"{span.context.trace_id:032x}"
        assert match[2] == f"{span.context.span_id:016x}"


def test_a_trace_does_not_leak_into_the_next_request(traced: Traced):
    traced.api.post("/v1/feedback", json=LOVE, headers={"traceparent": INCOMING})
    traced.api.post("/v1/feedback", json=LOVE | {"signal": "dislike"})
    assert traced.of_kind(SpanKind.SERVER)[1].parent is None


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "nonsense")],
        [("traceparent", "x" * 5_000)],
        [("traceparent", "\xff".encode("latin-1"))],
        [("traceparent", INCOMING), ("traceparent", INCOMING)],
        [("tracestate", "a=b")],
    ],
)
def test_a_header_that_names_no_trace_is_as_good_as_none(traced: Traced, headers: list):
    assert traced.api.post("/v1/feedback", json=LOVE, headers=headers).status_code == 202
    [span] = traced.of_kind(SpanKind.SERVER)
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" != TRACE


def test_exposures_are_part_of_the_trace_of_their_request(traced: Traced):
    chat = {"model": "chat", "messages": [{"role": "user", "content": "a kettle"}], "user": "u-9"}
    answer = traced.api.post("/v1/chat/completions", json=chat, headers={"traceparent": INCOMING})
    assert answer.status_code == 200
    sent, request = traced.finished
    assert (sent.name, request.name) == ("send rluf.shown.v1", "POST /v1/chat/completions")
    assert f"{request.parent.span_id:016x}" == PARENT
    assert sent.parent.span_id == request.context.span_id
    said = sent.to_json() + request.to_json()
    assert not [word for word in ("u-9", "kettle") if word in said]


def test_a_streamed_reply_is_spanned_to_its_end(traced: Traced):
    chat = {"model": "chat", "messages": [{"role": "user", "content": "a kettle"}], "user": "u-9"}
    answer = traced.api.post("/v1/chat/completions", json=chat | {"stream": True})
    assert answer.text.rstrip().endswith("[DONE]")
    sent, request = traced.finished
    assert sent.parent.span_id == request.context.span_id
    assert request.attributes["http.response.status_code"] == 200
    assert request.start_time <= sent.start_time <= sent.end_time <= request.end_time


def test_a_broker_that_is_away_is_an_error_in_the_span_without_its_words(traced: Traced):
    traced.producer.mode = "down"
    assert traced.api.post("/v1/feedback", json=LOVE).status_code == 503
    sent, request = traced.finished
    assert sent.attributes["error.type"] == "Unavailable"
    assert request.attributes["error.type"] == "503"
    assert request.attributes["http.response.status_code"] == 503
    for span in (sent, request):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.events, span.status.description) == ((), None)


def test_without_tracing_no_header_is_sent(start: StartApi, live: Place):
    live.producer = producer = TracedProducer()
    api = start(live.room())
    answer = api.post("/v1/feedback", json=LOVE, headers={"traceparent": INCOMING})
    assert answer.status_code == 202
    assert producer.headers == [()]


def test_without_tracing_nothing_of_it_is_in_a_requests_way(live: Place):
    def passed(room: ApiDependencies) -> list[object]:
        return [each.cls for each in create_app(room).user_middleware]

    processor = SimpleSpanProcessor(InMemorySpanExporter())
    tracing = Spans(TracingConfig(), CONFIG, process="api", processor=processor)
    assert passed(live.room()) == [UnderPrefix, RequestMiddleware, OriginMiddleware, HeadAsGet]
    assert passed(live.room(tracing=tracing)) == [
        *(UnderPrefix, TraceRequests),
        *(RequestMiddleware, OriginMiddleware, HeadAsGet),
    ]


def test_the_api_imports_neither_sdk_nor_exporter_while_tracing_is_off():
    script = (
        "import sys\n"
        "import serving.server, streams.kafka.producer\n"
        "from rluf.settings import load_settings\n"
        "from rluf.wiring import open_spans\n"
        "assert open_spans(load_settings([], {}), 'api') is None\n"
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'streams.spans')\n"
        "print([name for name in sys.modules if name.startswith(ours)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
