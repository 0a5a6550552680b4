"""The HTTP API, put together: what outside hands in, what runs while it serves, its routes."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.registry import Registry
from serving.admin import admin_routes
from serving.chat import chat_routes
from serving.completions import completion_routes
from serving.config import ServingConfig
from serving.context import AppContext, Clock, FindScorer, OnlineFeatures, utc_now
from serving.dashboard.page import build_page
from serving.engine import Engine, make_engine
from serving.errors import ApiError, RefusedByFramework, answer, lacks_v1, refused_event
from serving.events import event_routes
from serving.feedback import feedback_routes
from serving.head import HeadAsGet
from serving.meters import CONTENT_TYPE, Meters
from serving.middleware import RequestMiddleware
from serving.openapi import describe
from serving.origins import OriginMiddleware
from serving.prefix import UnderPrefix, route_path
from serving.pseudonyms import Pseudonyms
from serving.queries import query_routes
from serving.recent import Recent
from serving.recorder import EventProducer, Recorder
from serving.registry_meters import RegistryMeters
from serving.responses import response_routes
from serving.status import StatusBoard, readiness
from serving.tokens import FeedbackTokens
from serving.tracing import TraceRequests, Tracing
from streams.config import StreamsConfig
from streams.errors import BadEvent

logger = logging.getLogger(__name__)

DRAIN_WAIT_S = 5.0
"""How long work that outlived its request may take when the API stops."""


def no_scorer() -> None:
    """There is no P[Love] model."""


def read_online(
    root: Path, *, users: Sequence[str] = (), policies: Sequence[str] = ()
) -> Mapping[str, Mapping[str, Mapping[str, object]]]:
    """Give the latest features. Feast is imported when they are first asked for: it is 100 MB."""
    from features.online import online_features

    return online_features(root, users=users, policies=policies)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDependencies:
    """What the API is made of. Whoever made the producer and the registry closes them."""

    config: ServingConfig
    streams: StreamsConfig
    root: Path
    """The home: the store, Feast's files and the registry's artifacts lie in it."""
    registry: Registry
    producer: EventProducer
    scorer: FindScorer = no_scorer
    """Gives the reward model of the moment, or None; called in a thread and may load it there."""
    engine: Engine | None = None
    """None makes one over the registry's policies, in this process."""
    meters: Meters | None = None
    """Those of `engine`, where one is given."""
    online: OnlineFeatures = read_online
    pseudonyms: Pseudonyms | None = None
    """None stores user ids as clients send them."""
    tokens: FeedbackTokens | None = None
    """None gives and takes no feedback tokens."""
    tracing: Tracing | None = None
    """None makes no spans."""
    now: Clock = utc_now


def create_app(given: ApiDependencies) -> FastAPI:
    """Give the application. The engine and the recorder live as long as its lifespan."""
    context = _context(given)
    board = StatusBoard(context)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context.recorder.watch(given.streams.brokers)
        await context.engine.start()
        logger.info("api is up", extra={"live": context.engine.live is not None})
        yield
        await context.finish_background(DRAIN_WAIT_S)
        await context.engine.stop()
        await context.recorder.stop()

    app = FastAPI(
        title="rluf",
        summary="An OpenAI-compatible chat API that learns what its users love.",
        lifespan=lifespan,
        docs_url=None,  # Both pages load their scripts from other people's servers.
        redoc_url=None,
    )
    app.add_middleware(HeadAsGet)
    app.add_middleware(OriginMiddleware, config=given.config)
    app.add_middleware(RequestMiddleware, meters=context.meters)
    if given.tracing is not None:
        app.add_middleware(TraceRequests, tracing=given.tracing)
    app.add_middleware(UnderPrefix, root_path=given.config.root_path)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(BadEvent, _on_bad_event)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
    app.include_router(chat_routes(context))
    app.include_router(completion_routes(context))
    app.include_router(response_routes(context))
    app.include_router(feedback_routes(context))
    app.include_router(event_routes(context))
    app.include_router(query_routes(context, board))
    app.include_router(_house_routes(context, RegistryMeters(context.registry, context.meters)))
    if given.config.admin_keys:
        app.include_router(admin_routes(context))
    describe(app, given.config, given.streams)
    return app


def _context(given: ApiDependencies) -> AppContext:
    meters = given.meters or Meters()
    engine = given.engine or make_engine(
        registry=given.registry, config=given.config, meters=meters
    )
    return AppContext(
        config=given.config,
        streams=given.streams,
        root=given.root,
        registry=given.registry,
        engine=engine,
        recorder=Recorder(given.producer, given.config, given.streams, meters, given.tracing),
        meters=meters,
        scorer=given.scorer,
        online=given.online,
        now=given.now,
        pseudonyms=given.pseudonyms,
        tokens=given.tokens,
        recent=Recent(given.config.exposures_remembered_max),
    )


def _house_routes(context: AppContext, record: RegistryMeters) -> APIRouter:
    """Give the page, and what a supervisor and a scraper ask for; none of them needs a key."""
    router = APIRouter()
    page = build_page()

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        """Show the page."""
        return Response(page.body, media_type="text/html", headers=page.headers)

    @router.get("/healthz")
    async def healthz() -> Response:
        """Say that the process answers."""
        return _json({"status": "ok"})

    @router.get("/readyz")
    async def readyz() -> Response:
        """Say whether users get recorded answers, and if not, why."""
        reasons, warnings = readiness(context)
        body = {"ready": not reasons, "reasons": reasons, "warnings": warnings}
        return _json(body, status=503 if reasons else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Give the meters in Prometheus' text format."""
        await record.refresh()
        return Response(
            context.meters.text() + record.text(), headers={"content-type": CONTENT_TYPE}
        )

    return router


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(error, route_path(request.scope))


async def _on_bad_event(request: Request, error: Exception) -> Response:
    """Whatever the door: what the log would refuse is not acknowledged."""
    assert isinstance(error, BadEvent)
    return answer(refused_event(error), route_path(request.scope))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = route_path(request.scope)
    what = f"{error.detail}: {request.method} {request.url.path[:200]}"
    if lacks_v1(path):
        what += "; the base URL of OpenAI's clients must end in /v1 here"
    response = answer(RefusedByFramework(error.status_code, what), path)
    response.headers.update(error.headers or {})
    return response


async def _on_fault(request: Request, error: Exception) -> Response:
    """A mistake of ours; Starlette has logged it with its traceback by then."""
    return answer(ApiError("internal error", code="internal_error"), route_path(request.scope))


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
