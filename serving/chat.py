"""OpenAI's chat completions: POST /v1/chat/completions."""

from collections.abc import Sequence

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models.spelling import SpeltToken
from serving.answers import Answer, Began, Ended, Finished, StreamEvent, TextDelta
from serving.context import AppContext
from serving.errors import openai_error
from serving.exchange import Exchange
from serving.heeded import CHAT
from serving.schemas import ChatRequest
from serving.shapes import Json, answer
from serving.understand import read_exchange

DONE = b"data: [DONE]\n\n"
LOGPROB_MIN = -9999.0
"""What OpenAI writes for a token of no probability; JSON has no infinity."""


def chat_routes(context: AppContext) -> APIRouter:
    """Give POST /v1/chat/completions."""
    router = APIRouter()

    @router.post(
        "/v1/chat/completions",
    )
    async def chat_completions(request: Request) -> Response:
        """Answer a chat, as OpenAI does."""
        _, exchange = await read_exchange(context, request, ChatRequest, CHAT, "chatcmpl-")
        return await answer(context, exchange, request, ChatShape(exchange))

    return router


class ChatShape:
    """Writes answers as chat completions."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._head: Json = {
            "id": exchange.response_id,
            "object": "chat.completion.chunk",
            "created": exchange.created,
            "model": exchange.model,
            "system_fingerprint": exchange.fingerprint,
        }
        self._usage: Json = {"usage": None} if exchange.wanted.with_usage else {}

    def whole(self, answer: Answer) -> Json:
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [
                {
                    "index": choice.index,
                    "message": {"role": "assistant", "content": choice.text, "refusal": None},
                    "logprobs": _logprobs(self._exchange, choice.spelt),
                    "finish_reason": choice.finish_reason,
                }
                for choice in answer.choices
            ],
            "usage": answer.usage.as_chat(),
        }

    def write(self, told: StreamEvent) -> bytes:
        if isinstance(told, Began):
            return self._chunk(told.index, {"role": "assistant", "content": ""})
        if isinstance(told, TextDelta):
            return self._chunk(told.index, {"content": told.text}, told.spelt)
        if isinstance(told, Ended):
            return self._chunk(told.index, {}, finish_reason=told.finish_reason)
        if isinstance(told, Finished):
            usage = {**self._head, "choices": [], "usage": told.usage.as_chat()}
            return (event(usage) if self._usage else b"") + DONE
        return event({"error": openai_error(told)})

    def _chunk(
        self,
        index: int,
        delta: dict[str, str],
        spelt: Sequence[SpeltToken] = (),
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": _logprobs(self._exchange, spelt) if spelt else None,
            "finish_reason": finish_reason,
        }
        return event({**self._head, "choices": [choice], **self._usage})


def event(body: Json) -> bytes:
    """Give a server-sent event without a name."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _logprobs(exchange: Exchange, spelt: Sequence[SpeltToken]) -> Json | None:
    """Give OpenAI's shape; null where nobody asked."""
    if exchange.wanted.num_top is None:
        return None
    return {
        "content": [{**token_json(t), "top_logprobs": [*map(token_json, t.top)]} for t in spelt],
        "refusal": None,
    }


def token_json(token: SpeltToken) -> Json:
    """Give one token as OpenAI writes it."""
    return {
        "token": token.text,
        "logprob": max(token.logprob, LOGPROB_MIN),
        "bytes": list(token.spelling),
    }
