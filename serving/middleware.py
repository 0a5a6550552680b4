"""What every request passes on its way in and out: an id, a clock, a size limit, a key.

The middleware is plain ASGI: Starlette's BaseHTTPMiddleware costs more than the rest of the path
and holds streamed answers back.
"""

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.config import ServingConfig
from serving.errors import SEEN_CHARS_MAX, BadRequest, TooLarge, Unauthorised, WrongType, seen
from serving.meters import Meters
from serving.schemas import Asked, explain, parse_json
from streams.events import new_id

logger = logging.getLogger(__name__)

FIELDS_NAMED_MAX = 8
"""How many ignored fields the warning header names."""
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""A client's own id is kept if it can stand in a header and a log line."""
JSON_TYPE = re.compile(r"\s*(application/([\w.-]+\+)?json)\s*(;.*)?", re.IGNORECASE)
DRAIN_FACTOR = 32
"""How much of a body that is too large is read and thrown away, in limits. A client that is cut
off while it still sends mostly sees a broken connection, not the answer that explains it."""
UNMATCHED = "unmatched"
"""What is counted as the route of a request that has none."""
AskedT = TypeVar("AskedT", bound=Asked)


class RequestMiddleware:
    """Gives each request an id and counts it."""

    def __init__(self, app: ASGIApp, *, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(int((time.perf_counter() - started) * 1e3))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route = route_of(scope) or UNMATCHED
            self._meters.requests.labels(route, scope["method"], str(status)).inc()
            self._meters.request_duration.labels(route).observe(time.perf_counter() - started)


async def read_body(request: Request, limit: int) -> bytes:
    """Read the whole body, which must say that it is JSON. Raises WrongType, and TooLarge after
    reading what would otherwise jam the client."""
    require_json(request)
    declared = request.headers.get("content-length", "")
    too_large = TooLarge(
        f"the body is larger than the {limit} bytes allowed", code="body_too_large"
    )
    if declared.isdigit() and int(declared) > limit * DRAIN_FACTOR:
        raise too_large
    body = bytearray()
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes <= limit:
            body += chunk
        elif num_bytes > limit * DRAIN_FACTOR:
            break
    if num_bytes > limit:
        raise too_large
    return bytes(body)


async def read_json(request: Request, config: ServingConfig) -> dict[str, object]:
    """Read a body that must be a JSON object. Raises TooLarge or BadRequest."""
    return parse_json(await read_body(request, config.body_bytes_max))


def require_json(request: Request) -> None:
    """Raise WrongType unless the body says that it is JSON: a page of any site can have a browser
    send everything else without asking us first. An event's own headers (`ce-`) tell as much."""
    # Two types match nothing: whoever reads the body next may believe the other one.
    told = ", ".join(request.headers.getlist("content-type"))
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise WrongType(
            f"the body must come as it is, without a content-encoding, got {seen(encoding)}",
            param="Content-Encoding",
            code="unsupported_media_type",
        )
    is_event = any(name.startswith(("ce-", "ce_")) for name in request.headers)
    if JSON_TYPE.fullmatch(told) or (is_event and not told.strip()):
        return
    raise WrongType(
        "the body must be JSON and say so (content-type: application/json, or a type that ends in"
        f" +json), got {seen(told) if told else 'no content-type'}",
        param="Content-Type",
        code="unsupported_media_type",
    )


async def read_request(request: Request, kind: type[AskedT], config: ServingConfig) -> AskedT:
    """Read and check a JSON body. Raises TooLarge, or BadRequest naming the field at fault."""
    return checked(kind, await read_json(request, config))


def checked(kind: type[AskedT], body: dict[str, object]) -> AskedT:
    """Check a body against a schema. Raises BadRequest naming the field at fault."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        message, field = explain(error)
        raise BadRequest(message, param=field, code="invalid_value") from None


def ignored_fields(
    request: Request, asked: Asked, unsupported: list[str], config: ServingConfig
) -> list[str]:
    """Give warnings about fields that will be ignored; in strict mode raise BadRequest instead."""
    return ignored_paths(request, asked.unknown_fields(), unsupported, config)


def ignored_paths(
    request: Request, unknown: list[str], unsupported: list[str], config: ServingConfig
) -> list[str]:
    """The same, given what is not known and what is known and not done, as paths in the body."""
    if not unknown and not unsupported:
        return []
    if config.strict or is_on(request, "x-rluf-strict"):
        what, name = ("unknown", unknown[0]) if unknown else ("unsupported", unsupported[0])
        raise BadRequest(
            f"{what} field {name[:SEEN_CHARS_MAX]!r}: strict mode refuses it",
            param=name[:SEEN_CHARS_MAX],
            code=f"{what}_parameter",
        )
    logger.info("fields ignored", extra={"unknown": len(unknown), "unsupported": len(unsupported)})
    # JSON's escapes keep names that somebody made up from breaking out of the list.
    names = [*unsupported, *unknown]
    shown = ", ".join(json.dumps(name[:SEEN_CHARS_MAX]) for name in names[:FIELDS_NAMED_MAX])
    more = len(names) - FIELDS_NAMED_MAX
    return [f"ignored {shown}" + (f" and {more} more" if more > 0 else "")]


def bearer(request: Request) -> str:
    """Give the request's bearer key, or nothing."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def require_key(request: Request, keys: Sequence[str]) -> None:
    """Raise Unauthorised unless there are no keys or the request bears one of them."""
    if not keys:
        return
    given = bearer(request)
    if not given:
        raise Unauthorised(
            "You didn't provide an API key. Send it as `Authorization: Bearer KEY`.",
            code="missing_api_key",
        )
    # Every key is compared, each in constant time, so that timing tells nothing.
    found = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]
    if not any(found):
        raise Unauthorised("Incorrect API key provided.", code="invalid_api_key")


def key_unit(request: Request) -> str:
    """Give a stable name for the request's key that does not reveal it; nothing without one."""
    key = bearer(request)
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:16]}" if key else ""


def route_of(scope: Scope) -> str:
    """Give the pattern of the route that was found, never the path, which may hold ids and typing
    errors; empty where none was."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else ""


def is_on(request: Request, header: str) -> bool:
    """Whether a header says true."""
    return request.headers.get(header, "").strip().lower() in ("true", "1", "yes")


def is_off(request: Request, header: str) -> bool:
    """Whether a header says false."""
    return request.headers.get(header, "").strip().lower() in ("false", "0", "no", "off")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if REQUEST_ID.fullmatch(given):
                return str(given)
    return f"req-{new_id()}"
