"""Spans from feedback to fact, for OpenTelemetry: one for the request, one where an event is sent,
one where it is fact.

The sender's context travels as a W3C `traceparent` in the record's headers, after our own. No user
id, prompt or reply is in a span, and no exception's text. A collector that is away costs spans,
never events: they are exported from a thread of the SDK, and what does not fit its queue is lost.

Source: W3C Trace Context; OpenTelemetry's semantic conventions for HTTP, messaging and Kafka. We
deviate in that a worker's span is the child of the sender's, that `tracestate` does not travel,
that `url.path` is the route's pattern, and that neither peer, host nor user agent is written.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streams.codec import decode, topic_of
from streams.config import StreamsConfig
from streams.dedup import hash_id
from streams.events import Event
from streams.pipeline import Facts, Record, known_at_of
from streams.tracing import SpanAnswer, TracingConfig

TRACEPARENT = "traceparent"
SERVICE = "rluf"
"""What `service.name` begins with where nobody says otherwise."""
EXPORT_TIMEOUT_S = 3.0
"""How long the collector may take for one batch of spans."""
CLOSE_WAIT_S = 3.0
"""The longest that a collector holds up a process that stops; by itself the SDK waits for 30 s."""
QUEUE_SPANS_MAX = 8_192
"""Spans that wait for the collector; more are lost."""
METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
"""Of HTTP; a client may send any word in place of one, and such words are not written."""
FLAGS_AT, KEPT_FLAGS = 54, b"13579bdf"
"""Where the last digit of a `traceparent`'s flags is, and which ones say that the trace is kept."""

RecordId = tuple[str, int, int]
"""(topic, partition, offset)."""


class Spans:
    """Makes the spans of one process; `process` is api or worker."""

    def __init__(
        self,
        config: TracingConfig,
        streams: StreamsConfig,
        *,
        process: str,
        processor: SpanProcessor | None = None,
    ) -> None:
        """`processor` takes the finished spans; None sends them to `config.endpoint`."""
        self._streams = streams
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
            resource=_resource(config.service, process),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor or _exporting(config))
        self._tracer = self._provider.get_tracer("rluf")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def answering(self, method: str, scheme: str, traceparent: str) -> Iterator[SpanAnswer]:
        """Span the answering of a request, as part of the trace that `traceparent` names, if it
        names one; what is sent inside is its child. Gives what to fill in until the end."""
        verb = method if method in METHODS else ""
        span = self._tracer.start_span(
            verb or "HTTP",
            context=self._context(traceparent),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": verb or "_OTHER", "url.scheme": scheme},
        )
        token = attach(set_span_in_context(span, Context()))
        answer = SpanAnswer()
        error_type = ""
        try:
            yield answer
        except BaseException as error:
            error_type = type(error).__name__
            raise
        finally:
            detach(token)
            if answer.route:
                span.update_name(f"{verb or 'HTTP'} {answer.route}")
                span.set_attribute("http.route", answer.route)
                span.set_attribute("url.path", answer.route)
            span.set_attribute("http.response.status_code", answer.status)
            if answer.status >= 500 or error_type:
                _fail(span, error_type or str(answer.status))
            span.end()

    @contextmanager
    def sending(self, event: Event) -> Iterator[list[tuple[str, bytes]]]:
        """Span the sending of an event, within the span of the request under way, if there is one.
        Gives the headers that the record must carry."""
        topic = topic_of(event, self._streams)
        span = self._tracer.start_span(
            f"send {topic}",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
                "rluf.event_id": event.id,
            },
        )
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, Context()))
        try:
            yield [(TRACEPARENT, carrier[TRACEPARENT].encode())]
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    def wrote(self, records: Sequence[Record], facts: Facts, write_s: float) -> None:
        """Span each record of a batch that a kept trace sent; it took `write_s` (s) until now."""
        traced = [(record, context) for record in records if (context := self._kept(record))]
        if not traced:
            return
        end_ns = time.time_ns()
        start_ns = end_ns - int(write_s * 1e9)
        outcomes = self._outcomes(records, facts, {_place(record) for record, _ in traced})
        for record, context in traced:
            event, outcome = outcomes[_place(record)]
            attributes: dict[str, str | int] = {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "rluf.outcome": outcome,
            }
            if event is not None:
                attributes["rluf.event_id"] = event.id
            self._tracer.start_span(
                f"process {record.topic}",
                context=context,
                kind=SpanKind.CONSUMER,
                attributes=attributes,
                start_time=start_ns,
            ).end(end_ns)

    def close(self) -> None:
        """Export what is left, for CLOSE_WAIT_S at most, and make no more."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_WAIT_S)

    def _context(self, traceparent: str) -> Context:
        """The context that it names; an empty one where it names none."""
        return self._propagator.extract({TRACEPARENT: traceparent}, Context())

    def _kept(self, record: Record) -> Context | None:
        """The context of a record whose trace is kept."""
        for name, value in record.headers:
            if name == TRACEPARENT and value and value[FLAGS_AT : FLAGS_AT + 1] in KEPT_FLAGS:
                context = self._context(value.decode("ascii", "replace"))
                sender = get_current_span(context).get_span_context()
                return context if sender.is_valid and sender.trace_flags.sampled else None
        return None

    def _outcomes(
        self, records: Sequence[Record], facts: Facts, traced: set[RecordId]
    ) -> dict[RecordId, tuple[Event | None, str]]:
        """The event of each traced record, None where it was refused, and what became of it.

        A record is decoded at most once more, and one that is not traced only where there were
        duplicates: the first of a batch is the fact, whoever sent it.
        """
        outcomes: dict[RecordId, tuple[Event | None, str]] = {
            (each.topic, each.partition, each.offset): (None, "refused")
            for each in facts.dead_letters
        }
        awaited = {partition: set(ids) for partition, ids in facts.ids.items()}
        for record in records:
            place = _place(record)
            if place in outcomes or not (facts.duplicates or place in traced):
                continue
            event = self._event(record)
            hashed, ids = hash_id(event.source, event.id), awaited[record.topic, record.partition]
            outcomes[place] = event, "stored" if hashed in ids else "duplicate"
            ids.discard(hashed)
        return outcomes

    def _event(self, record: Record) -> Event:
        """The event of a record that was not refused."""
        known_at = known_at_of(record.timestamp_ms)
        return decode(record.value, record.headers, known_at=known_at, config=self._streams)


def _fail(span: Span, error_type: str) -> None:
    """Say what kind of fault ended a span; its words may be a user's."""
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


def _place(record: Record) -> RecordId:
    return record.topic, record.partition, record.offset


def _resource(service: str, process: str) -> Resource:
    """What the spans say of this process; without a `service` the environment may name it."""
    resource = Resource.create({"service.name": f"{service or SERVICE}-{process}"})
    return resource if service else resource.merge(OTELResourceDetector().detect())


def _exporting(config: TracingConfig) -> SpanProcessor:
    """Sends spans to the collector from a thread of its own."""
    exporter = OTLPSpanExporter(endpoint=config.endpoint, timeout=EXPORT_TIMEOUT_S)
    return BatchSpanProcessor(
        exporter,
        max_queue_size=QUEUE_SPANS_MAX,
        export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
    )
