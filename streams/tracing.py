"""The dials of tracing, and what it is told of a request; streams/spans.py does it, and is
imported only where it is on."""

from dataclasses import dataclass, field

from streams.secret import without_secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Where spans go, and how many of them."""

    endpoint: str = field(default="", repr=False)
    """URL that takes OTLP over HTTP, such as http://collector:4318/v1/traces. Empty: no tracing,
    unless OpenTelemetry's own variables name a collector (rluf/otel.py)."""
    sample_ratio: float = 1.0
    """Share of traces that we begin and keep, from 0 to 1. A trace that a client began is kept or
    not as its `traceparent` says."""
    service: str = ""
    """What `service.name` begins with; the process follows: NAME-api, NAME-worker. Empty: what
    OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says, else rluf-api and rluf-worker."""

    def __post_init__(self) -> None:
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            seen = without_secrets(self.endpoint)
            raise ValueError(f"endpoint is {seen!r}, must begin with http:// or https://")
        if not 0.0 <= self.sample_ratio <= 1.0:
            raise ValueError(f"sample_ratio is {self.sample_ratio}, must be from 0 to 1")


@dataclass(slots=True, kw_only=True)
class SpanAnswer:
    """What a request's span is told by whoever answers it, by the time that it ends."""

    route: str = ""
    """The route's pattern, such as /v1/models/{model}: the path itself may name a user. Empty:
    there is no such route."""
    status: int = 500
    """Of HTTP; at first what the server sends where nobody answers."""
