"""OpenAI-compatible chat: a reply from the version that the user's arm says, and its exposure.

The order is the promise: the broker acknowledges that the reply was shown before the answer ends,
so a reaction that follows finds what it is about. Where the broker does not, the user gets the
answer all the same and `x-rluf-recorded: false` says so.
"""

import time

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models.policy import Reply
from serving.batcher import Ask
from serving.chat_stream import answer_in_pieces
from serving.desk import Desk
from serving.doorway import ignored_fields, key_unit, read_request, require_key
from serving.errors import BadRequest
from serving.exchange import Exchange, check_recordable, count_reply, record_exposure, usage_of
from serving.exposure import Seen
from serving.leaving import ClientLeft, unless_left
from serving.schemas import ChatRequest
from serving.stops import StopCutter
from streams.events import new_id

CLIENT_LEFT = 499
"""nginx's status for a client that closed its connection; nobody reads it but our meters."""


def chat_routes(desk: Desk) -> APIRouter:
    """Give POST /v1/chat/completions."""
    router = APIRouter()

    @router.post(
        "/v1/chat/completions",
        openapi_extra={
            "requestBody": {
                "content": {"application/json": {"schema": ChatRequest.model_json_schema()}},
                "required": True,
            }
        },
    )
    async def chat_completions(request: Request) -> Response:
        """Answer a chat, as OpenAI does."""
        require_key(request, desk.config.api_keys)
        exchange = await _understand(desk, request)
        try:
            if exchange.asked.stream:
                return await answer_in_pieces(desk, exchange, request)
            return await _answer_whole(desk, exchange, request)
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)  # Nobody saw it: there is nothing to record.

    return router


async def _understand(desk: Desk, request: Request) -> Exchange:
    config = desk.config
    asked = await read_request(request, ChatRequest, config)
    warnings = ignored_fields(request, asked, asked.unsupported_fields(), config)
    if len(asked.messages) > config.messages_max:
        raise BadRequest(
            f"messages must be at most {config.messages_max}, got {len(asked.messages)}",
            param="messages",
            code="invalid_value",
        )
    num_choices = asked.n or 1
    if num_choices > config.choices_max:
        raise BadRequest(
            f"n must be at most {config.choices_max}, got {num_choices}",
            param="n",
            code="invalid_value",
        )
    chat = asked.chat()
    num_chars = sum(len(turn["content"]) for turn in chat)
    if num_chars > config.prompt_chars_max:
        raise BadRequest(
            f"messages of {num_chars} characters exceed this model's maximum context length: at "
            f"most {config.prompt_chars_max} characters are read",
            param="messages",
            code="context_length_exceeded",
        )
    wanted = asked.max_completion_tokens or asked.max_tokens or config.completion_tokens
    if wanted > config.completion_tokens_max:
        warnings.append(f"max_completion_tokens cut to {config.completion_tokens_max}")
    response_id = f"chatcmpl-{new_id()}"
    unit = desk.user(asked.safety_identifier or asked.user or key_unit(request))
    exchange = Exchange(
        asked=asked,
        # A request by nobody in particular is a unit of its own: shares hold, nothing is sticky.
        assignment=await desk.engine.resolve(asked.model, unit or response_id),
        ask=Ask(
            chat=chat,
            max_new_tokens=min(wanted, config.completion_tokens_max),
            temperature=config.temperature if asked.temperature is None else asked.temperature,
            top_p=config.top_p if asked.top_p is None else asked.top_p,
            seed=asked.seed,
            num_choices=num_choices,
        ),
        response_id=response_id,
        user_id=unit,
        created=int(time.time()),
        warnings=tuple(warnings),
    )
    check_recordable(desk, exchange)
    return exchange


async def _answer_whole(desk: Desk, exchange: Exchange, request: Request) -> Response:
    reply = desk.engine.reply(exchange.assignment.voice, exchange.ask)
    replies = await unless_left(request.receive, reply)
    stops = exchange.asked.stops()
    seen = [_seen_of(index, reply, stops) for index, reply in enumerate(replies)]
    recorded = [await record_exposure(desk, exchange, one) for one in seen]
    choices = [
        {
            "index": one.index,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "logprobs": None,
            "finish_reason": _finish_reason(one, reply),
        }
        for one, reply in zip(seen, replies, strict=True)
    ]
    for choice in choices:
        count_reply(desk, exchange, str(choice["finish_reason"]))
    num_tokens = sum(reply.completion_tokens for reply in replies)
    usage = usage_of(desk, replies[0].prompt_tokens, num_tokens)
    return Response(
        msgspec.json.encode(
            {
                "id": exchange.response_id,
                "object": "chat.completion",
                "created": exchange.created,
                "model": exchange.model,
                "choices": choices,
                "usage": usage,
                "system_fingerprint": exchange.fingerprint,
            }
        ),
        media_type="application/json",
        headers=exchange.headers("true" if all(recorded) else "false"),
    )


def _seen_of(index: int, reply: Reply, stops: tuple[str, ...]) -> Seen:
    cutter = StopCutter(stops)
    cutter.feed(reply.text)
    cutter.end()
    return Seen(
        index=index,
        text=cutter.text,
        logprob=None if cutter.is_cut else reply.logprob,
        is_whole=True,
    )


def _finish_reason(seen: Seen, reply: Reply) -> str:
    return "stop" if len(seen.text) < len(reply.text) else reply.finish_reason
