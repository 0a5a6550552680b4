"""Remembers which trace a request belongs to, until its events are sent.

Plain ASGI, like the doorway, and free of OpenTelemetry: what is remembered is the header's text.
"""

from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""The W3C `traceparent` of the request under way, unchecked; empty without one."""


class ContinueTrace:
    """Puts each request's `traceparent` where the recorder finds it; two are as good as none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = [value for name, value in scope.get("headers", ()) if name == b"traceparent"]
        token = TRACEPARENT.set(found[0].decode("latin-1") if len(found) == 1 else "")
        try:
            await self._app(scope, receive, send)
        finally:
            TRACEPARENT.reset(token)
