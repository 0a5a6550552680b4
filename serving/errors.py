"""What can go wrong with a request, and the two shapes in which we say so.

    ApiError                 anything answered with an HTTP error
    ├── BadRequest      400  what was asked is malformed; says the field, what was seen and allowed
    │   └── ContextTooLong   the prompt does not fit (code context_length_exceeded)
    ├── Unauthorised    401  no key, or one that we do not know
    ├── Forbidden       403  known, and not allowed: a page of another site, another's token
    ├── NoSuchResource  404  no such path, version or feature row
    ├── InConflict      409  the same thing is under way, has changed, or is no time for our clock
    ├── TooLarge        413  the body is larger than we read
    ├── WrongType       415  the body is not JSON, or does not say that it is
    ├── Misdirected     421  asked for a host that we do not answer for
    ├── Unprocessable   422  well formed, but not allowed: an unknown signal
    ├── Busy            429  too much at once; retry after a moment
    └── NotReady        503  something that we need is away; retry after a moment

Below /v1, all but what is ours alone speaks OpenAI's error shape, so that its clients understand
and retry; every other route speaks RFC 9457 (application/problem+json).
"""

from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from streams.errors import BadEvent

OWN_PATHS = ("feedback", "events", "score", "status", "features", "admin")
"""Paths below /v1 that only we serve. On all others a client of OpenAI's may ask, and it parses no
error but OpenAI's."""
OPENAI_ROOTS = ("chat", "completions", "embeddings", "models", "responses")
"""Paths that OpenAI's clients ask for where their base URL lacks /v1."""
SEEN_CHARS_MAX = 80
"""How much of a refused value an error repeats."""


class ApiError(Exception):
    """An answer with an HTTP error."""

    status: int = 500
    title: str = "Internal error"
    kind: str = "server_error"
    """OpenAI's `type`."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """`param` is the field at fault (messages[0].role); `extra` goes into problem+json."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s
        self.extra = extra or {}


class BadRequest(ApiError):
    status = 400
    title = "Bad request"
    kind = "invalid_request_error"


class ContextTooLong(BadRequest):
    title = "Prompt too long"


class Unauthorised(ApiError):
    status = 401
    title = "Unauthorised"
    kind = "invalid_request_error"


class Forbidden(ApiError):
    status = 403
    title = "Forbidden"
    kind = "invalid_request_error"


class NoSuchResource(ApiError):
    status = 404
    title = "Not found"
    kind = "invalid_request_error"


class InConflict(ApiError):
    status = 409
    title = "Conflict"
    kind = "conflict_error"


class TooLarge(ApiError):
    status = 413
    title = "Body too large"
    kind = "invalid_request_error"


class WrongType(ApiError):
    status = 415
    title = "Unsupported media type"
    kind = "invalid_request_error"


class Misdirected(ApiError):
    status = 421
    title = "Misdirected request"
    kind = "invalid_request_error"


class Unprocessable(ApiError):
    status = 422
    title = "Not allowed"
    kind = "invalid_request_error"


class Busy(ApiError):
    status = 429
    title = "Too many requests"
    kind = "rate_limit_error"


class NotReady(ApiError):
    status = 503
    title = "Not ready"
    kind = "server_error"


class RefusedByFramework(ApiError):
    """An error of the framework (no such route, wrong method), with its own status."""

    kind = "invalid_request_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.title = HTTPStatus(status).phrase


def answer(error: ApiError, path: str) -> Response:
    """Render an error in the shape that the path's clients understand."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Unauthorised):
        headers["www-authenticate"] = "Bearer"
    if is_openai_path(path):
        body: dict[str, object] = {"error": openai_error(error)}
        media_type = "application/json"
    else:
        body = {
            "type": "about:blank",
            "title": error.title,
            "status": error.status,
            "detail": error.message,
            **({"param": error.param} if error.param is not None else {}),
            **({"code": error.code} if error.code is not None else {}),
            **error.extra,
        }
        media_type = "application/problem+json"
    return Response(
        msgspec.json.encode(body),
        status_code=error.status,
        headers=headers,
        media_type=media_type,
    )


EVENT_REFUSALS: Mapping[str, type[ApiError]] = {
    "too_large": TooLarge,
    "absurd_time": InConflict,  # With the clock: the same event may be taken at another time.
}
"""What an event is answered with that the log would refuse for a reason; the rest is malformed."""


def refused_event(error: BadEvent, *, param: str = "") -> ApiError:
    """Give the answer to an event that the log would refuse."""
    kind = EVENT_REFUSALS.get(error.reason, BadRequest)
    return kind(error.detail, param=param or error.field or None, code=error.reason)


def is_openai_path(path: str) -> bool:
    """Whether errors on a path are told in OpenAI's shape."""
    parts = path.split("/")
    return lacks_v1(path) or (len(parts) > 2 and parts[1] == "v1" and parts[2] not in OWN_PATHS)


def lacks_v1(path: str) -> bool:
    """Whether a path is one of OpenAI's, but for its beginning."""
    return path.split("/")[1] in OPENAI_ROOTS


def openai_error(error: ApiError) -> dict[str, object]:
    """Give the inner object of OpenAI's error shape."""
    return {
        "message": error.message,
        "type": error.kind,
        "param": error.param,
        "code": error.code,
    }


def seen(value: object) -> str:
    """Show a refused value in an error: its JSON type and its beginning."""
    kind = {
        type(None): "null",
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }.get(type(value), type(value).__name__)
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return f"an {kind} of {len(value)}"
    text = repr(value)
    if len(text) > SEEN_CHARS_MAX:
        text = f"{text[: SEEN_CHARS_MAX - 1]}…"
    return f"{text} ({kind})"


def nearest(word: str, allowed: list[str]) -> str | None:
    """Give the allowed word that is closest to a mistyped one, if one is close."""
    close = get_close_matches(word.strip().lower(), allowed, n=1, cutoff=0.5)
    return close[0] if close else None
