"""Goal: over Apache Kafka, a collector gets one trace from the HTTP request to the durable fact,
with nothing in it of users or their words; one that is away or mute costs spans and nothing else.

Method: `rluf api` and `rluf worker` as processes. First before a collector of ours that takes OTLP
over HTTP, with so long a pause between exports that only a clean end sends the spans; the worker
finds it by OpenTelemetry's own variable, the API by ours. Then with nobody on the collector's port,
then with somebody who takes connections and never answers. All events are synthetic.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from features.views import query
from streams.config import StreamsConfig
from streams.events import new_id
from streams.kafka.topics import ensure_topics, lag
from tests.rluf.command import ROOT, environment
from tests.waiting import WAIT_S, patiently, wait_for

pytestmark = pytest.mark.kafka

TOPICS = ("shown", "reactions", "erasures", "verdicts", "dead_letters", "decisions")
TRACE = "0af7651916cd43dd8448eb211c80319c"
SHOWN_BY, LOVED_BY = "b7ad6b7169203331", "00f067aa0ba902b7"
"""Span ids of the client's two requests."""
ROUTES = {SHOWN_BY: "/v1/events", LOVED_BY: "/v1/feedback"}
USER, QUESTION, REPLY = "user-ferdinand", "how do I descale a kettle", "with vinegar, gently"
AGENT = "agent-of-ferdinand/1.0"
NUM_TAPS = 20
NEVER_MS = "600000"


class Collector:
    """Takes OTLP over HTTP, and keeps each body as it came."""

    def __init__(self, port: int) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            """One export."""

            def do_POST(self) -> None:
                """Take it."""
                bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[tuple[str, Span]]:
        """Each span with the `service.name` that it came under."""
        return [
            (attributes(group.resource)["service.name"], span)
            for body in self.bodies
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]


def attributes(of) -> dict[str, str]:
    """Those that are text."""
    return {each.key: each.value.string_value for each in of.attributes}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A home, its topics, and where its API and the collector are."""

    home: Path
    config: StreamsConfig
    port: int
    collector_port: int

    def settings(self) -> dict[str, str]:
        names = ("brokers", "group", *(f"{kind}_topic" for kind in TOPICS))
        streams = {f"RLUF_STREAMS__{name.upper()}": getattr(self.config, name) for name in names}
        return {**streams, "RLUF_SERVING__PORT": str(self.port)}

    def is_up(self, ready: Path) -> bool:
        try:
            said = httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=WAIT_S)
        except httpx.TransportError:
            return False
        return said.status_code == 200 and ready.exists()

    def post(self, path: str, body: dict[str, object], headers: dict[str, str]) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.port}{path}",
            content=json.dumps(body),
            headers={"content-type": "application/json", **headers},
            timeout=WAIT_S,
        )

    def wait_until_stored(self) -> None:
        wait_for(lambda: sum(lag(self.config).values()) == 0, "the worker is behind")

    @contextmanager
    def running(self, name: str, more: dict[str, str] | None = None) -> Iterator[None]:
        """API and worker, both told to stop at the end: each must end with 0."""
        url = f"http://127.0.0.1:{self.collector_port}"
        base, ready = self.home.parent, self.home.parent / f"{name}.ready"
        told = {
            "api": {"RLUF_TRACING__ENDPOINT": f"{url}/v1/traces"},
            "worker": {"OTEL_EXPORTER_OTLP_ENDPOINT": url},
        }
        with ExitStack() as stack:
            started = []
            for verb, options in (("worker", ["--ready-file", str(ready)]), ("api", [])):
                log = stack.enter_context((base / f"{name}-{verb}.log").open("w+b"))
                process = subprocess.Popen(
                    [sys.executable, "-m", "rluf", verb, *options],
                    cwd=ROOT,
                    env=environment(self.home, self.settings() | told[verb] | (more or {})),
                    stdout=log,
                    stderr=log,
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
                started.append((process, Path(log.name)))
            wait_for(lambda: self.is_up(ready), f"not up; see {base}")
            yield
            for process, _ in started:
                process.send_signal(signal.SIGTERM)
            for process, log_path in started:
                assert process.wait(WAIT_S) == 0, log_path.read_text("utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What was sent within one trace, and the collector that was told."""

    place: Place
    event_ids: dict[str, str]
    """Of the exposure and of the reaction, by the span id of the request that brought it."""
    collector: Collector


@pytest.fixture(scope="module")
def place(kafka_broker, tmp_path_factory) -> Place:
    own = new_id()
    topics = {f"{kind}_topic": f"{own}.{kind}" for kind in TOPICS}
    config = StreamsConfig(brokers=kafka_broker.brokers, group=f"{own}.group", **topics)
    patiently(lambda: ensure_topics(config))
    home = tmp_path_factory.mktemp("traced") / "home"
    return Place(home=home, config=config, port=free_port(), collector_port=free_port())


@pytest.fixture(scope="module")
def traced(place: Place) -> Traced:
    """An exposure and a reaction to it, each sent with a `traceparent` of one trace."""
    event_id = new_id()
    exposure = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/a-test",
        "type": "rluf.response.shown.v1",
        "time": "2025-11-01T12:00:00Z",
        "data": {
            "response_id": "response-1",
            "conversation_id": "c-1",
            "user_id": USER,
            "messages": [{"role": "user", "content": QUESTION}],
            "response": REPLY,
            "policy": "chat@1",
        },
    }
    with (
        closing(Collector(place.collector_port)) as collector,
        place.running("seen", {"OTEL_BSP_SCHEDULE_DELAY": NEVER_MS}),
    ):
        shown = place.post(
            f"/v1/events?of={USER}",
            exposure,
            {
                "content-type": "application/cloudevents+json",
                "traceparent": f"00-{TRACE}-{SHOWN_BY}-01",
                "user-agent": AGENT,
                "x-request-id": f"asked-by-{USER}",
            },
        )
        assert shown.status_code == 202, shown.text
        loved = place.post(
            "/v1/feedback",
            {"response_id": "response-1", "signal": "love", "actor_id": USER},
            {"traceparent": f"00-{TRACE}-{LOVED_BY}-01"},
        )
        assert loved.status_code == 202, loved.text
        place.wait_until_stored()
        # A path that names a user, in a trace that the API begins.
        url = f"http://127.0.0.1:{place.port}/v1/features/users/{USER}"
        assert httpx.get(url, timeout=WAIT_S).status_code in (200, 404)
    event_ids = {SHOWN_BY: event_id, LOVED_BY: loved.json()["feedback_id"]}
    return Traced(place=place, event_ids=event_ids, collector=collector)


def test_one_trace_leads_from_each_request_through_its_sending_to_its_fact(traced):
    topics = {
        SHOWN_BY: traced.place.config.shown_topic,
        LOVED_BY: traced.place.config.reactions_topic,
    }
    spans = [each for each in traced.collector.spans() if each[1].trace_id.hex() == TRACE]
    assert len(spans) == 6
    of_parent = {span.parent_span_id.hex(): (service, span) for service, span in spans}
    for request, topic in topics.items():
        service, answered = of_parent[request]
        assert (service, answered.name) == ("rluf-api", f"POST {ROUTES[request]}")
        assert answered.kind == Span.SPAN_KIND_SERVER
        [status] = [
            each.value.int_value
            for each in answered.attributes
            if each.key == "http.response.status_code"
        ]
        assert status == 202
        service, sent = of_parent[answered.span_id.hex()]
        assert (service, sent.name) == ("rluf-api", f"send {topic}")
        assert sent.kind == Span.SPAN_KIND_PRODUCER
        service, fact = of_parent[sent.span_id.hex()]
        assert (service, fact.name) == ("rluf-worker", f"process {topic}")
        assert fact.kind == Span.SPAN_KIND_CONSUMER
        assert attributes(fact)["rluf.outcome"] == "stored"
        for span in (sent, fact):
            assert attributes(span)["rluf.event_id"] == traced.event_ids[request]
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert answered.start_time_unix_nano <= sent.start_time_unix_nano
        assert sent.end_time_unix_nano <= answered.end_time_unix_nano
        assert sent.start_time_unix_nano <= fact.end_time_unix_nano


def test_what_was_traced_is_fact(traced):
    facts = query(traced.place.home, "SELECT id FROM shown UNION ALL SELECT id FROM reactions")
    ids = facts.column("id").to_pylist()
    assert [ids.count(each) for each in traced.event_ids.values()] == [1, 1]


def test_a_request_without_a_trace_begins_one_and_is_named_by_its_route(traced):
    [span] = [span for _, span in traced.collector.spans() if span.trace_id.hex() != TRACE]
    assert span.name == "GET /v1/features/users/{user_id:path}"
    assert (span.kind, span.parent_span_id) == (Span.SPAN_KIND_SERVER, b"")


def test_no_user_and_no_word_of_theirs_reaches_the_collector(traced):
    [stored] = query(traced.place.home, "SELECT user_id, messages, response FROM shown").to_pylist()
    assert REPLY in str(stored)  # It was there to leak.
    assert stored["user_id"] != USER
    raw = b"".join(traced.collector.bodies)
    assert all(each.encode() in raw for each in traced.event_ids.values())
    assert b"/v1/features/users/" in raw
    words = [
        AGENT,
        "127.0.0.1",
        USER,
        stored["user_id"],
        QUESTION,
        REPLY,
        "ferdinand",
        "kettle",
        "vinegar",
    ]
    assert [word for word in words if word.encode() in raw] == []


def test_a_collector_that_is_away_or_mute_costs_no_fact_and_both_processes_end_with_0(place):
    tapped: list[str] = []

    def tap(name: str) -> None:
        body = {"response_id": f"response-{name}", "signal": "love", "actor_id": USER}
        said = place.post("/v1/feedback", body, {})
        assert said.status_code == 202, said.text
        tapped.append(said.json()["feedback_id"])

    # Exports are due all the time, so that the collector is missed while taps come.
    with (
        closing(socket.socket()) as mute,
        place.running("unseen", {"OTEL_BSP_SCHEDULE_DELAY": "50"}),
    ):
        for number in range(NUM_TAPS):
            tap(f"away-{number}")
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mute.bind(("127.0.0.1", place.collector_port))
        mute.listen()
        mute.settimeout(WAIT_S)
        with closing(mute.accept()[0]):  # An export is under way, and stays so.
            for number in range(NUM_TAPS):
                tap(f"mute-{number}")
            place.wait_until_stored()
    ids = query(place.home, "SELECT id FROM reactions").column("id").to_pylist()
    assert len(tapped) == 2 * NUM_TAPS
    assert [ids.count(each) for each in tapped] == [1] * len(tapped)
