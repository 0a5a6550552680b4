"""Spans each request, as part of the trace that its client began; what the API sends is within it.

Plain ASGI, like the doorway, and free of OpenTelemetry: the spans are streams/spans.py's, handed in
from the roof. Nothing of this is in the way of a request while tracing is off.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.middleware import route_of
from serving.prefix import route_path
from streams.events import Event
from streams.tracing import SpanAnswer

UNTRACED = ("/healthz", "/readyz", "/metrics")
"""What supervisors and scrapers ask all day long."""


class Tracing(Protocol):
    """What we need of streams.spans.Spans."""

    def answering(
        self, method: str, scheme: str, traceparent: str
    ) -> AbstractContextManager[SpanAnswer]:
        """Span the answering of a request, which is done inside; gives what to fill in."""

    def sending(self, event: Event) -> AbstractContextManager[list[tuple[str, bytes]]]:
        """Span what is done inside; gives the headers that the record must carry."""


class TraceRequests:
    """Spans each request; two `traceparent` are as good as none."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in UNTRACED:
            await self._app(scope, receive, send)
            return
        found = [value for name, value in scope["headers"] if name == b"traceparent"]
        traceparent = found[0].decode("latin-1") if len(found) == 1 else ""
        scheme = scope.get("scheme", "http")
        with self._tracing.answering(scope["method"], scheme, traceparent) as answer:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answer.status = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, send_and_note)
            finally:
                answer.route = route_of(scope)
