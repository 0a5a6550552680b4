"""OpenAI's older completions, for text: POST /v1/completions.

A policy here answers chats, and what is learned is learned of chats: a prompt is taken as one
turn of a user and answered, not continued. Everything else is as OpenAI does it.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from starlette.requests import Request
from starlette.responses import Response

from models.chat import Chat
from models.spelling import SpeltToken
from serving.answers import Answer, Began, Ended, Finished, StreamEvent, TextDelta
from serving.chat import DONE, LOGPROB_MIN, event
from serving.context import AppContext
from serving.errors import openai_error
from serving.exchange import Exchange
from serving.heeded import COMPLETION
from serving.schemas import Count, SampledRequest, not_taken, whole_number
from serving.shapes import Json, answer
from serving.understand import read_exchange
from serving.wanted import Wanted

TOP_LOGPROBS_MAX = 5
"""OpenAI's limit for this shape."""
PROMPTS_MAX = 128


def _text_prompt(value: object) -> object:
    """Refuse prompts in tokens: whose tokens they are, nothing says."""
    if isinstance(value, list) and value and all(isinstance(v, int | list) for v in value):
        raise not_taken("prompts are taken as text, not as tokens")
    return value


NOT_TOGETHER: list[JsonValue] = [
    {
        "not": {
            "properties": {"stream": {"const": True}, "best_of": {"type": "integer", "minimum": 2}},
            "required": ["stream", "best_of"],
        }
    },
    {
        "not": {
            "properties": {"echo": {"const": True}, "logprobs": {"type": "integer"}},
            "required": ["echo", "logprobs"],
        }
    },
]
"""What is not taken together, as a schema."""


class CompletionRequest(SampledRequest):
    """OpenAI's completion request. `best_of` below `n` is `n`."""

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra={"allOf": NOT_TOGETHER})

    prompt: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=PROMPTS_MAX)],
        BeforeValidator(_text_prompt),
    ]
    best_of: Count | None = None
    echo: bool | None = None
    logprobs: (
        Annotated[int, Field(ge=0, le=TOP_LOGPROBS_MAX), BeforeValidator(whole_number)] | None
    ) = None
    suffix: Annotated[str, Field(max_length=0)] | None = None
    """Filling in between two texts is not served."""

    @model_validator(mode="after")
    def _fits_together(self) -> "CompletionRequest":
        if self.best_of is not None and self.best_of > 1 and self.stream:
            raise not_taken("more than 1 cannot be streamed", param="best_of")
        if self.echo and self.logprobs is not None:
            raise not_taken("not with logprobs: the prompt's are not known", param="echo")
        return self

    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def wanted(self) -> Wanted:
        """Give what is asked for."""
        chats: list[Chat] = [[{"role": "user", "content": text}] for text in self.prompts()]
        return Wanted(
            model=self.model,
            prompts=tuple(chats),
            param="prompt",
            tokens_param="max_tokens",
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            seed=self.seed,
            num_choices=self.n or 1,
            num_tries=max(self.n or 1, self.best_of or 1),
            num_top=self.logprobs,
            stops=self.stops(),
            in_pieces=bool(self.stream),
            with_usage=self.with_usage,
            metadata=self.metadata or {},
            is_stored=self.store is not False,
        )


def completion_routes(context: AppContext) -> APIRouter:
    """Give POST /v1/completions."""
    router = APIRouter()

    @router.post("/v1/completions")
    async def completions(request: Request) -> Response:
        """Answer a prompt, in the shape of OpenAI's older API."""
        asked, exchange = await read_exchange(
            context, request, CompletionRequest, COMPLETION, "cmpl-"
        )
        shape = CompletionShape(asked, exchange)
        return await answer(context, exchange, request, shape)

    return router


class CompletionShape:
    """Writes answers as completions."""

    def __init__(self, asked: CompletionRequest, exchange: Exchange) -> None:
        self._exchange = exchange
        self._echoed = asked.prompts() if asked.echo else []
        self._num_chars = 0
        """Of the choice that is streamed, so far."""
        self._head: Json = {
            "id": exchange.response_id,
            "object": "text_completion",
            "created": exchange.created,
            "model": exchange.model,
            "system_fingerprint": exchange.fingerprint,
        }

    def whole(self, answer: Answer) -> Json:
        return {
            **self._head,
            "choices": [
                self._choice(
                    choice.index,
                    self._prompt_of(choice.index) + choice.text,
                    choice.spelt,
                    choice.finish_reason,
                )
                for choice in answer.choices
            ],
            "usage": answer.usage.as_chat(),
        }

    def write(self, told: StreamEvent) -> bytes:
        with_usage = self._exchange.wanted.with_usage
        if isinstance(told, Began):
            self._num_chars = 0
            prompt = self._prompt_of(told.index)
            return self._chunk(self._choice(told.index, prompt, (), None)) if prompt else b""
        if isinstance(told, TextDelta):
            choice = self._choice(told.index, told.text, told.spelt, None, self._num_chars)
            self._num_chars += len(told.text)
            return self._chunk(choice)
        if isinstance(told, Ended):
            return self._chunk(self._choice(told.index, "", (), told.finish_reason))
        if isinstance(told, Finished):
            usage = {**self._head, "choices": [], "usage": told.usage.as_chat()}
            return (event(usage) if with_usage else b"") + DONE
        return event({"error": openai_error(told)})

    def _chunk(self, choice: Json) -> bytes:
        usage: Json = {"usage": None} if self._exchange.wanted.with_usage else {}
        return event({**self._head, "choices": [choice], **usage})

    def _prompt_of(self, index: int) -> str:
        num = self._exchange.wanted.num_choices
        return self._echoed[index // num] if self._echoed else ""

    def _choice(
        self,
        index: int,
        text: str,
        spelt: Sequence[SpeltToken],
        finish_reason: str | None,
        num_chars_before: int = 0,
    ) -> Json:
        is_wanted = self._exchange.wanted.num_top is not None
        return {
            "index": index,
            "text": text,
            "logprobs": legacy_logprobs(spelt, num_chars_before) if is_wanted else None,
            "finish_reason": finish_reason,
        }


def legacy_logprobs(spelt: Sequence[SpeltToken], num_chars_before: int) -> Json:
    """Give OpenAI's older shape: four lists side by side."""
    offsets, said = [], b""
    for token in spelt:
        offsets.append(num_chars_before + len(said.decode(errors="ignore")))
        said += token.spelling
    return {
        "tokens": [token.text for token in spelt],
        "token_logprobs": [max(token.logprob, LOGPROB_MIN) for token in spelt],
        "top_logprobs": [
            {one.text: max(one.logprob, LOGPROB_MIN) for one in (token, *token.top)}
            if token.top
            else None
            for token in spelt
        ],
        "text_offset": offsets,
    }
