"""POST /v1/events: CloudEvents over HTTP, for systems that answer users by themselves.

Exposures and reactions, in binary or structured mode, or many in one batch; user ids become
pseudonyms as they do elsewhere at this door. Erasures and verdicts are an operator's, with ways of
their own.
"""

import asyncio
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.callers import names_of
from serving.context import AppContext
from serving.errors import NotReady, Unprocessable
from serving.middleware import key_unit, read_body, require_key
from streams.codec import TYPE_OF, decode
from streams.errors import BadEvent
from streams.events import Reaction, Shown
from streams.http_binding import kafka_headers
from streams.kafka_binding import Headers
from streams.rejections import bad_event_of
from streams.wire import REACTION_TYPE, SHOWN_TYPE

TOGETHER = 100
"""Events of a batch that wait for the broker together: each has `serving.ack_timeout_s` from when
it is handed over, and handing over thousands takes its time too."""
BATCH = "application/cloudevents-batch+json"
ELEMENTS: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


def event_routes(context: AppContext) -> APIRouter:
    """Give the route."""
    router = APIRouter()

    @router.post("/v1/events", status_code=202)
    async def take(request: Request) -> Response:
        """Take one CloudEvent, or a batch of them as a whole; 202 once the broker has all of it.

        Sending it again is safe: (source, id) counts once.
        """
        require_key(request, context.config.api_keys)
        body = await read_body(request, context.config.body_bytes_max)
        key = key_unit(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == BATCH:
            events = await asyncio.to_thread(_read_batch, context, body, key)
        else:
            events = [_read(context, body, kafka_headers(request.headers.items()), key)]
        num_acknowledged = await _record(context, events)
        if num_acknowledged < len(events):
            raise NotReady(
                f"the broker acknowledged {num_acknowledged} of {len(events)}; send the same"
                " again, unchanged: what it has counts once",
                code="not_recorded",
                retry_after_s=context.config.retry_after_s,
            )
        told = _told(context, events)
        answer: dict[str, object] = {"ids": [event.id for event in events]}
        if kind != BATCH:
            answer = {"id": events[0].id, **(told[0] if told else {})}
        return Response(msgspec.json.encode(answer), status_code=202, media_type="application/json")

    return router


async def _record(context: AppContext, events: Sequence[Shown | Reaction]) -> int:
    """Give how many of them the broker has; after some that it has not, no more are sent."""
    num_acknowledged = 0
    for first in range(0, len(events), TOGETHER):
        together = events[first : first + TOGETHER]
        acknowledged = await asyncio.gather(*map(context.recorder.record, together))
        num_acknowledged += sum(acknowledged)
        if not all(acknowledged):
            break
    return num_acknowledged


def _read(context: AppContext, body: bytes, headers: Headers, key: str) -> Shown | Reaction:
    """Give the event as it is to be sent. Raises BadEvent, Unprocessable."""
    event = decode(body, headers, known_at=context.now(), config=context.streams)
    if not isinstance(event, Shown | Reaction):
        raise Unprocessable(
            f"{TYPE_OF[type(event)]} is an operator's; taken here are {SHOWN_TYPE} and"
            f" {REACTION_TYPE}",
            code="unsupported_value",
        )
    event = _as_stored(context, event, key)
    context.recorder.check(event)
    return event


def _read_batch(context: AppContext, body: bytes, key: str) -> list[Shown | Reaction]:
    """Give the events of a batch: every one of them is sound, or none is sent.

    Raises BadEvent and Unprocessable, which say the place of the first that is at fault.
    """
    try:
        elements = ELEMENTS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_event_of(error, body) from None
    events = []
    for index, element in enumerate(elements):
        try:
            events.append(_read(context, bytes(element), (), key))
        except BadEvent as error:
            field = f"[{index}].{error.field}" if error.field else f"[{index}]"
            raise BadEvent(error.reason, f"event [{index}]: {error.detail}", field) from None
        except Unprocessable as error:
            raise Unprocessable(
                f"event [{index}]: {error.message}", param=f"[{index}]", code=error.code
            ) from None
    return events


def _as_stored(context: AppContext, event: Shown | Reaction, key: str) -> Shown | Reaction:
    """The event with pseudonyms for its user's names, and the key that sent an exposure."""
    if isinstance(event, Reaction):
        return msgspec.structs.replace(event, user_id=context.user(event.user_id))
    user_id, aliases = names_of(
        [context.user(name) for name in (event.user_id, *event.user_aliases)]
    )
    return msgspec.structs.replace(
        event,
        user_id=user_id,
        user_aliases=aliases,
        client_id=context.user(event.client_id or key),
    )


def _told(context: AppContext, events: list[Shown | Reaction]) -> list[dict[str, object]]:
    """Count what each reaction will teach, now that the exposures beside it are known, and say it;
    the answer to a batch has no room for that."""
    for event in events:
        if isinstance(event, Shown):
            context.recent.note(event, is_recorded=True)
    prospects = [context.recent.prospect(event) for event in events if isinstance(event, Reaction)]
    for prospect in prospects:
        prospect.count(context.meters)
    return [prospect.told() for prospect in prospects]
