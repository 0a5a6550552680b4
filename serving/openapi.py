"""The API's description for tools: /openapi.json (OpenAPI 3.1).

Each route has one row in ROUTES: what it takes, what it gives, who may ask, and which errors occur.
Paths, methods and parameters come from the routes themselves; a route without a row is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from models.aliases import ALIAS
from models.artifacts import NAME
from models.names import NAME_CHARS_MAX
from serving.completions import CompletionRequest
from serving.config import ServingConfig
from serving.errors import is_openai_path
from serving.events import BATCH
from serving.openapi_schemas import (
    ANSWERS,
    ERRORS,
    ID,
    SCHEMAS,
    Json,
    event_schemas,
    feedback_schema,
    put_limits,
)
from serving.responses import ResponseRequest
from serving.schemas import (
    AliasRequest,
    ArmsRequest,
    ChatRequest,
    ErasureRequest,
    FeedbackRequest,
    ReasonRequest,
    ScoreRequest,
)
from streams.config import StreamsConfig
from streams.kafka_binding import STRUCTURED

REQUESTS: Sequence[type[BaseModel]] = (
    ChatRequest,
    CompletionRequest,
    ResponseRequest,
    FeedbackRequest,
    ScoreRequest,
    AliasRequest,
    ArmsRequest,
    ReasonRequest,
    ErasureRequest,
)
ANYWHERE = (400, 403, 421, 500)
"""Errors that any route may answer with: a malformed Host, a foreign page, a Host that is not ours,
a fault of ours."""
BODY = (413, 415)
GENERATING = (404, 409, 422, 429, 503)
CHAT_EXAMPLE = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a tool must know of a route beside its path."""

    takes: str = ""
    """Name of the schema of its body."""
    answer: str = ""
    """Name of the schema of a good answer in JSON; empty: an object, which is not described."""
    gives: Mapping[int, str]
    """Content type of each good answer, by status."""
    errors: tuple[int, ...] = ()
    keys: Literal["", "api_keys", "admin_keys"] = "api_keys"
    """The setting that holds who may ask; empty: everybody."""
    example: Json | None = None


JSON = "application/json"
PARAMETERS: Mapping[str, Json] = {
    "name": {"type": "string", "pattern": f"^{NAME.pattern}$", "maxLength": NAME_CHARS_MAX},
    "alias": {"type": "string", "pattern": f"^{ALIAS.pattern}$", "maxLength": NAME_CHARS_MAX},
}
"""Parameters that are names of the registry; the rest are ids."""
STREAMED = "application/json, text/event-stream"
ROUTES: Mapping[tuple[str, str], Route] = {
    ("POST", "/v1/chat/completions"): Route(
        answer="ChatCompletion",
        takes="ChatRequest",
        gives={200: STREAMED},
        errors=GENERATING,
        example=CHAT_EXAMPLE,
    ),
    ("POST", "/v1/completions"): Route(
        answer="Completion",
        takes="CompletionRequest",
        gives={200: STREAMED},
        errors=GENERATING,
        example={"model": "chat", "prompt": "Hello"},
    ),
    ("POST", "/v1/responses"): Route(
        answer="Response",
        takes="ResponseRequest",
        gives={200: STREAMED},
        errors=GENERATING,
        example={"model": "chat", "input": "Hello"},
    ),
    ("POST", "/v1/feedback"): Route(
        answer="Feedback",
        takes="FeedbackRequest",
        gives={202: JSON, 200: JSON},
        errors=(404, 409, 422, 429, 503),
        example={"response_id": "chatcmpl-1", "signal": "love"},
    ),
    ("POST", "/v1/events"): Route(
        answer="EventTaken", takes="CloudEvent", gives={202: JSON}, errors=(409, 422, 503)
    ),
    ("POST", "/v1/score"): Route(
        answer="Scores",
        takes="ScoreRequest",
        gives={200: JSON},
        errors=(422, 503),
        example={
            "chats": [
                [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
            ]
        },
    ),
    ("GET", "/v1/status"): Route(gives={200: JSON}, errors=(503,)),
    ("GET", "/v1/models"): Route(answer="Models", gives={200: JSON}, errors=(503,)),
    ("GET", "/v1/models/{model}"): Route(answer="Model", gives={200: JSON}, errors=(404, 503)),
    ("GET", "/v1/features/users/{user_id}"): Route(gives={200: JSON}, errors=(404, 503)),
    ("GET", "/v1/features/policies/{policy}"): Route(gives={200: JSON}, errors=(404, 503)),
    ("GET", "/healthz"): Route(answer="Health", gives={200: JSON}, keys=""),
    ("GET", "/readyz"): Route(answer="Readiness", gives={200: JSON, 503: JSON}, keys=""),
    ("GET", "/metrics"): Route(gives={200: "text/plain"}, keys=""),
    ("PUT", "/v1/admin/models/{name}/aliases/{alias}"): Route(
        takes="AliasRequest",
        gives={200: JSON},
        errors=(404, 409, 422, 503),
        keys="admin_keys",
        example={"version": 2, "expected": 1, "why": "it is loved more"},
    ),
    ("PUT", "/v1/admin/models/{name}/arms"): Route(
        takes="ArmsRequest",
        gives={200: JSON},
        errors=(404, 409, 422, 503),
        keys="admin_keys",
        example={
            "experiment": "nov-1",
            "arms": [
                {"name": "control", "version": 1, "share": 0.5},
                {"name": "new", "version": 2, "share": 0.5},
            ],
            "why": "is it loved more?",
        },
    ),
    ("POST", "/v1/admin/models/{name}/experiment/stop"): Route(
        takes="ReasonRequest",
        gives={200: JSON},
        errors=(404, 409, 422, 503),
        keys="admin_keys",
        example={"why": "seen enough"},
    ),
    ("POST", "/v1/admin/models/{name}/rollback"): Route(
        takes="ReasonRequest",
        gives={200: JSON},
        errors=(404, 409, 422, 503),
        keys="admin_keys",
        example={"why": "complaints about length"},
    ),
    ("POST", "/v1/admin/erasures"): Route(
        answer="Erasure",
        takes="ErasureRequest",
        gives={202: JSON},
        errors=(422, 503),
        keys="admin_keys",
        example={"user_id": "u-1"},
    ),
}


def describe(app: FastAPI, config: ServingConfig, streams: StreamsConfig) -> None:
    """Have the app serve its description, made once, when it is first asked for."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = build_document(app, config, streams)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way.


def build_document(app: FastAPI, config: ServingConfig, streams: StreamsConfig) -> Json:
    """Give the whole description."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    _, made = models_json_schema(
        [(model, "validation") for model in REQUESTS], ref_template=SCHEMAS + "{model}"
    )
    schemas: Json = {
        **made["$defs"],
        **ERRORS,
        **ANSWERS,
        **event_schemas(streams.signal_aliases),
        "FeedbackRequest": feedback_schema(streams.signal_aliases),
    }
    put_limits(schemas, config)
    document["components"] = {
        "schemas": schemas,
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer", "description": "serving.api_keys"},
            "adminKey": {"type": "http", "scheme": "bearer", "description": "serving.admin_keys"},
        },
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, path, ROUTES[method.upper(), path], config)
    return document


def _complete(operation: Json, path: str, route: Route, config: ServingConfig) -> None:
    keys = {"": (), "api_keys": config.api_keys, "admin_keys": config.admin_keys}[route.keys]
    operation["security"] = [{"adminKey" if route.keys == "admin_keys" else "key": []}] * bool(keys)
    if route.takes:
        content: Json = {"schema": {"$ref": SCHEMAS + route.takes}}
        if route.example is not None:
            content["example"] = route.example
        bodies = {JSON: content}
        if route.takes == "CloudEvent":
            batch: Json = {"schema": {"$ref": SCHEMAS + "CloudEventBatch"}}
            bodies |= {STRUCTURED: content, BATCH: batch}
        operation["requestBody"] = {"required": True, "content": bodies}
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = PARAMETERS.get(parameter["name"], ID)
    errors = {*ANYWHERE, *route.errors, *(BODY if route.takes else ()), *((401,) if keys else ())}
    operation["responses"] = {
        str(status): _answer(status, types, route.answer) for status, types in route.gives.items()
    } | {
        str(status): _error(status, path) for status in sorted(errors) if status not in route.gives
    }


def _answer(status: int, types: str, name: str) -> Json:
    body: Json = {"$ref": SCHEMAS + name} if name else {"type": "object"}
    schemas: Json = {JSON: body, "text/plain": {"type": "string"}}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {kind: {"schema": schemas.get(kind, {})} for kind in types.split(", ")},
    }


def _error(status: int, path: str) -> Json:
    kind, name = (
        (JSON, "OpenAIError") if is_openai_path(path) else ("application/problem+json", "Problem")
    )
    return {
        "description": HTTPStatus(status).phrase,
        "content": {kind: {"schema": {"$ref": SCHEMAS + name}}},
    }
