"""POST /v1/events: CloudEvents over HTTP, for systems that answer users by themselves.

Exposures and reactions, one a request, in binary or structured mode; user ids become pseudonyms as
they do elsewhere at this door. Erasures and verdicts are an operator's, with ways of their own.
"""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.desk import Desk
from serving.doorway import read_body, require_key
from serving.errors import NotReady, Unprocessable
from streams.codec import TYPE_OF, decode
from streams.events import Reaction, Shown
from streams.http_binding import kafka_headers
from streams.wire import REACTION_TYPE, SHOWN_TYPE

BATCH = "application/cloudevents-batch"


def event_routes(desk: Desk) -> APIRouter:
    """Give the route."""
    router = APIRouter()

    @router.post("/v1/events", status_code=202)
    async def take(request: Request) -> Response:
        """Take one CloudEvent; 202 once the broker has it. Sending it again is safe: (source, id)
        counts once."""
        require_key(request, desk.config.api_keys)
        body = await read_body(request, desk.config.body_bytes_max)
        if request.headers.get("content-type", "").lower().startswith(BATCH):
            raise Unprocessable(
                "batches are not taken; send one event a request", code="unsupported_value"
            )
        headers = kafka_headers(request.headers.items())
        event = decode(body, headers, known_at=desk.now(), config=desk.streams)
        if not isinstance(event, Shown | Reaction):
            raise Unprocessable(
                f"{TYPE_OF[type(event)]} is an operator's; taken here are {SHOWN_TYPE} and"
                f" {REACTION_TYPE}",
                code="unsupported_value",
            )
        user_id = desk.user(event.user_id)
        if not await desk.recorder.record(msgspec.structs.replace(event, user_id=user_id)):
            raise NotReady(
                "the broker did not acknowledge the event; send it again, unchanged",
                code="not_recorded",
                retry_after_s=desk.config.retry_after_s,
            )
        return Response(
            msgspec.json.encode({"id": event.id}), status_code=202, media_type="application/json"
        )

    return router
