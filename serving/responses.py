"""OpenAI's responses, for text: POST /v1/responses.

Nothing is kept between calls: what asks for an earlier response or a stored conversation is
refused, for an answer without its history would be another answer.
"""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from models.replies import FinishReason
from models.spelling import SpeltToken
from serving.answers import Answer, Began, Ended, Finished, StreamEvent, TextDelta
from serving.chat import token_json
from serving.context import AppContext
from serving.errors import ApiError
from serving.exchange import Exchange, Usage
from serving.heeded import RESPONSE
from serving.schemas import AnswerRequest, Count, TopLogprobs, Turn, Whole, not_taken
from serving.shapes import Json, answer
from serving.understand import read_exchange
from serving.wanted import Wanted

PREFIX = "resp_"
TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
"""Types of content parts, each with what the same part is called in a chat."""
WITH_LOGPROBS = "message.output_text.logprobs"


def _content(value: object) -> object:
    """Give a chat's content parts for those of a response's input."""
    if not isinstance(value, list):
        return value
    return [
        {**part, "type": TEXT_PARTS.get(part.get("type", ""), part.get("type"))}
        if isinstance(part, dict) and isinstance(part.get("type"), str)
        else part
        for part in value
    ]


def _items(value: object) -> object:
    """Take messages; what else may stand in an input is of things that are not served."""
    if not isinstance(value, list):
        return value
    turns = []
    for item in value:
        if not isinstance(item, dict):
            turns.append(item)
            continue
        kind = item.get("type", "message")
        if kind == "reasoning":
            continue  # Of another model's thoughts; the warning names it.
        if kind != "message":
            raise not_taken(
                f'only items of type "message" are allowed, got one of type {kind!r:.40}'
            )
        turns.append({**item, "content": _content(item.get("content"))})
    return turns


def _refused(value: object) -> object:
    if value is not None:
        raise not_taken("nothing is kept between calls here; send the whole conversation as input")
    return value


def _in_the_foreground(value: bool) -> bool:
    if value:
        raise not_taken("answers are not made in the background")
    return value


Refused = Annotated[None, BeforeValidator(_refused)]


INPUT_CONTENT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": kind},
                            field: {"type": ["string", "null"]},
                        },
                        "required": ["type"],
                    }
                    for kind, field in TEXT_PARTS.items()
                ]
            },
        },
        {"type": "null"},
    ]
}
INPUT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "type": {"enum": ["message"]},
                    "role": {"enum": ["system", "developer", "user", "assistant"]},
                    "content": INPUT_CONTENT,
                },
                "required": ["role"],
            },
        },
    ]
}
"""What an input may be, as a schema; what a client sends back of an answer fits it."""


class ResponseTurn(Turn):
    """One message of a response's input."""

    role: Literal["system", "developer", "user", "assistant"]


class ResponseRequest(AnswerRequest):
    """OpenAI's response request."""

    input: Annotated[
        str | Annotated[list[ResponseTurn], Field(min_length=1)],
        BeforeValidator(_items),
        WithJsonSchema(INPUT),
    ]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Whole | None = None
    top_logprobs: TopLogprobs | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    background: (
        Annotated[bool, AfterValidator(_in_the_foreground), WithJsonSchema({"const": False})] | None
    ) = None
    previous_response_id: Refused = None
    conversation: Refused = None
    prompt: Refused = None

    def wanted(self) -> Wanted:
        """Give what is asked for."""
        first = [{"role": "system", "content": self.instructions}] if self.instructions else []
        turns = (
            [{"role": "user", "content": self.input}]
            if isinstance(self.input, str)
            else [turn.read() for turn in self.input]
        )
        is_told = WITH_LOGPROBS in (self.include or ()) or bool(self.top_logprobs)
        return Wanted(
            model=self.model,
            prompts=([*first, *turns],),
            param="input",
            tokens_param="max_output_tokens",
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            num_top=(self.top_logprobs or 0) if is_told else None,
            in_pieces=bool(self.stream),
            metadata=self.metadata or {},
            is_stored=self.store is not False,
        )


def response_routes(context: AppContext) -> APIRouter:
    """Give POST /v1/responses."""
    router = APIRouter()

    @router.post("/v1/responses")
    async def responses(request: Request) -> Response:
        """Answer an input, in the shape of OpenAI's responses."""
        asked, exchange = await read_exchange(context, request, ResponseRequest, RESPONSE, PREFIX)
        return await answer(context, exchange, request, ResponseShape(asked, exchange))

    return router


class ResponseShape:
    """Writes answers as responses."""

    def __init__(self, asked: ResponseRequest, exchange: Exchange) -> None:
        self._asked = asked
        self._exchange = exchange
        self._message_id = f"msg_{exchange.response_id.removeprefix(PREFIX)}"
        self._num_events = 0
        self._ended: Ended | None = None

    def whole(self, answer: Answer) -> Json:
        [choice] = answer.choices
        message = self._message(choice.text, choice.spelt, choice.finish_reason)
        return self._response(message, choice.finish_reason, answer.usage)

    def write(self, told: StreamEvent) -> bytes:
        if isinstance(told, Began):
            return self._begin()
        if isinstance(told, TextDelta):
            return self._event(
                "response.output_text.delta", delta=told.text, **self._place(told.spelt)
            )
        if isinstance(told, Ended):
            self._ended = told
            return self._end(told)
        if isinstance(told, Finished):
            assert self._ended is not None
            ended = self._ended
            message = self._message(ended.text, ended.spelt, ended.finish_reason)
            response = self._response(message, ended.finish_reason, told.usage)
            return self._event(f"response.{response['status']}", response=response)
        return self._fail(told)

    def _begin(self) -> bytes:
        begun = self._response(None, None, None)
        item = self._message("", (), None) | {"content": []}
        return (
            self._event("response.created", response=begun)
            + self._event("response.in_progress", response=begun)
            + self._event("response.output_item.added", output_index=0, item=item)
            + self._event(
                "response.content_part.added",
                item_id=self._message_id,
                output_index=0,
                content_index=0,
                part=self._part("", ()),
            )
        )

    def _end(self, ended: Ended) -> bytes:
        message = self._message(ended.text, ended.spelt, ended.finish_reason)
        return (
            self._event("response.output_text.done", text=ended.text, **self._place(ended.spelt))
            + self._event(
                "response.content_part.done",
                item_id=self._message_id,
                output_index=0,
                content_index=0,
                part=self._part(ended.text, ended.spelt),
            )
            + self._event("response.output_item.done", output_index=0, item=message)
        )

    def _fail(self, error: ApiError) -> bytes:
        failed = self._response(None, None, None)
        failed["status"] = "failed"
        failed["error"] = {"code": "server_error", "message": error.message}
        return self._event("response.failed", response=failed)

    def _place(self, spelt: Sequence[SpeltToken]) -> Json:
        return {
            "item_id": self._message_id,
            "output_index": 0,
            "content_index": 0,
            "logprobs": self._logprobs(spelt),
        }

    def _event(self, kind: str, **fields: object) -> bytes:
        body = {"type": kind, "sequence_number": self._num_events, **fields}
        self._num_events += 1
        return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(body) + b"\n\n"

    def _logprobs(self, spelt: Sequence[SpeltToken]) -> list[Json]:
        if self._exchange.wanted.num_top is None:
            return []
        return [{**token_json(t), "top_logprobs": [*map(token_json, t.top)]} for t in spelt]

    def _part(self, text: str, spelt: Sequence[SpeltToken]) -> Json:
        return {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": self._logprobs(spelt),
        }

    def _message(
        self, text: str, spelt: Sequence[SpeltToken], finish_reason: FinishReason | None
    ) -> Json:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": _status_of(finish_reason),
            "content": [self._part(text, spelt)],
        }

    def _response(
        self, message: Json | None, finish_reason: FinishReason | None, usage: Usage | None
    ) -> Json:
        """Give the response object; without a finish reason, as it is while it is made."""
        asked, exchange = self._asked, self._exchange
        is_cut = finish_reason == "length"
        return {
            "id": exchange.response_id,
            "object": "response",
            "created_at": exchange.created,
            "completed_at": None if finish_reason is None else int(time.time()),
            "status": _status_of(finish_reason),
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": asked.max_tool_calls,
            "metadata": asked.metadata or {},
            "model": exchange.model,
            "output": [] if message is None else [message],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "prompt_cache_key": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": asked.safety_identifier,
            "service_tier": "default",
            "store": asked.store is not False,
            "temperature": exchange.asks[0].temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": exchange.wanted.num_top or 0,
            "top_p": exchange.asks[0].top_p,
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
            "user": asked.user,
        }


def _status_of(finish_reason: FinishReason | None) -> str:
    if finish_reason is None:
        return "in_progress"
    return "incomplete" if finish_reason == "length" else "completed"


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
