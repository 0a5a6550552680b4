"""Answers, whole or in pieces, before they take the shape in which their client reads them.

The order is the promise: the broker acknowledges that a reply was shown before its answer ends, so
a reaction that follows finds what it is about. Where the broker does not, the user gets the answer
all the same and `x-rluf-recorded: false` says so.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from models.replies import FinishReason, Piece, Reply
from models.spelling import SpeltToken
from serving.batcher import Ask, Made, Opened
from serving.context import AppContext
from serving.errors import ApiError
from serving.exchange import Exchange, Usage, count_reply, record_exposure
from serving.exposure import Seen
from serving.headers import safe_headers
from serving.leaving import ClientLeft, unless_left
from serving.middleware import is_off

NO_COMMENTS = "x-rluf-sse-comments"
"""Request header: "false" leaves comment lines out of a stream, as some clients trip over them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One answer of a whole response."""

    index: int
    text: str
    finish_reason: FinishReason
    spelt: tuple[SpeltToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole response."""

    choices: tuple[Choice, ...]
    usage: Usage
    is_recorded: bool


async def answer_whole(context: AppContext, exchange: Exchange, request: Request) -> Answer:
    """Generate and record. Raises ClientLeft, with nothing recorded: nobody saw it."""
    usage = Usage(prompt_tokens=0, completion_tokens=0)
    replies: list[Reply] = []
    for ask in exchange.asks:
        voice = exchange.assignment.voice
        made = await unless_left(request.receive, context.engine.reply(voice, ask))
        usage = Usage(
            prompt_tokens=usage.prompt_tokens + made[0].prompt_tokens,
            completion_tokens=usage.completion_tokens + sum(r.completion_tokens for r in made),
        )
        replies += _likeliest(made, exchange.wanted.num_choices)
    is_best_of = exchange.wanted.num_tries > exchange.wanted.num_choices
    recorded = []
    for index, reply in enumerate(replies):
        # The probability of a part is not known, nor that of the likeliest of several.
        logprob = None if reply.is_cut or is_best_of else reply.logprob
        seen = Seen(index=index, text=reply.text, logprob=logprob, is_whole=True)
        recorded.append(await record_exposure(context, exchange, seen))
        count_reply(context, exchange, reply.finish_reason)
    usage.count(context)
    return Answer(
        choices=tuple(
            Choice(index=i, text=r.text, finish_reason=r.finish_reason, spelt=r.spelt)
            for i, r in enumerate(replies)
        ),
        usage=usage,
        is_recorded=all(recorded),
    )


def _likeliest(replies: Sequence[Reply], num: int) -> list[Reply]:
    """Keep so many, those of the highest log-probability a token (OpenAI's best_of)."""
    if len(replies) == num:
        return list(replies)
    return sorted(replies, key=lambda r: r.logprob / r.completion_tokens, reverse=True)[:num]


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """A choice begins."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """Further text of a choice."""

    index: int
    text: str
    spelt: tuple[SpeltToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A choice has ended; whether its exposure was recorded is known."""

    index: int
    finish_reason: FinishReason
    text: str
    """The whole of it."""
    spelt: tuple[SpeltToken, ...]
    """The same, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """All choices are at their end."""

    usage: Usage


StreamEvent: TypeAlias = Began | TextDelta | Ended | Finished | ApiError


class StreamWriter(Protocol):
    """One client's way to read a stream."""

    def write(self, told: StreamEvent) -> bytes:
        """Give the server-sent events that say it; may be none."""


async def answer_in_pieces(
    context: AppContext, exchange: Exchange, request: Request, writer: StreamWriter
) -> Response:
    """Begin a stream. What goes wrong before the first piece is an HTTP error like any other.

    Raises ClientLeft.
    """
    started = time.perf_counter()
    pieces = context.engine.stream(exchange.assignment.voice, _single(exchange.asks[0], 0))
    opened = await unless_left(request.receive, _first(pieces))
    assert isinstance(opened, Opened)
    context.meters.first_token.observe(time.perf_counter() - started)
    with_comments = context.config.sse_comments and not is_off(request, NO_COMMENTS)
    return EventStream(
        _events(context, exchange, pieces, opened, writer, with_comments=with_comments),
        headers={
            **exchange.headers("at-end"),
            **safe_headers({"cache-control": "no-cache"}),
            "x-accel-buffering": "no",  # nginx would hold the pieces back.
        },
    )


class EventStream(StreamingResponse):
    """Ends its generator when the client leaves, at once and not when memory is collected."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(events, headers=headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientLeft, OSError):  # OSError: the server's word for the same.
            await unless_left(receive, self.stream_response(send))

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):
            await super().stream_response(send)


async def _first(pieces: AsyncGenerator[Made, None]) -> Made:
    return await anext(pieces)


async def _events(
    context: AppContext,
    exchange: Exchange,
    first: AsyncGenerator[Made, None],
    opened: Opened,
    writer: StreamWriter,
    *,
    with_comments: bool,
) -> AsyncGenerator[bytes, None]:
    """The broker acknowledges an exposure before the choice's end is sent, so that a client that
    stops reading there finds it recorded. Whether it was is told by a comment line, which clients
    skip: the headers are long gone by then."""
    prompt_tokens, completion_tokens = opened.prompt_tokens, 0
    try:
        for index in range(exchange.num_choices):
            choice = ChoiceStream(context, exchange, index)
            pieces = first if index == 0 else _another(context, exchange, index)
            yield writer.write(Began(index=index))
            async with aclosing(choice.said(pieces)) as parts:
                async for said in parts:
                    yield writer.write(said)
            if with_comments:
                yield f": x-rluf-recorded: {str(choice.is_recorded).lower()}\n\n".encode()
            ended = choice.ended()
            yield writer.write(ended)
            completion_tokens += choice.num_tokens
            if index > 0 and index % exchange.wanted.num_choices == 0:
                prompt_tokens += choice.prompt_tokens
    except ApiError as error:
        yield writer.write(error)
        return
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    usage.count(context)
    yield writer.write(Finished(usage=usage))


class ChoiceStream:
    """One choice of a streamed answer: passes its text on, then has it recorded."""

    def __init__(self, context: AppContext, exchange: Exchange, index: int) -> None:
        self._context = context
        self._exchange = exchange
        self._index = index
        self._text = ""
        self._reply: Reply | None = None
        self.prompt_tokens = 0
        self.is_recorded = False

    @property
    def num_tokens(self) -> int:
        assert self._reply is not None
        return self._reply.completion_tokens

    def ended(self) -> Ended:
        assert self._reply is not None
        return Ended(
            index=self._index,
            finish_reason=self._reply.finish_reason,
            text=self._reply.text,
            spelt=self._reply.spelt,
        )

    async def said(self, pieces: AsyncGenerator[Made, None]) -> AsyncGenerator[TextDelta, None]:
        """Give what to send. Left early, what was sent is recorded all the same."""
        is_over = False
        try:
            async with aclosing(pieces):
                async for made in pieces:
                    if isinstance(made, Opened):
                        self.prompt_tokens = made.prompt_tokens
                    elif isinstance(made, Reply):
                        self._reply = made
                    elif isinstance(made, Piece):
                        self._text += made.text
                        yield TextDelta(index=self._index, text=made.text, spelt=made.spelt)
            is_over = True
            assert self._reply is not None
            logprob = None if self._reply.is_cut else self._reply.logprob
            seen = Seen(index=self._index, text=self._text, logprob=logprob, is_whole=True)
            self.is_recorded = await record_exposure(self._context, self._exchange, seen)
            count_reply(self._context, self._exchange, self._reply.finish_reason)
        finally:
            if not is_over and self._text:
                self._leave()

    def _leave(self) -> None:
        part = Seen(index=self._index, text=self._text, logprob=None, is_whole=False)
        self._context.later(record_exposure(self._context, self._exchange, part))
        count_reply(self._context, self._exchange, "left")


def _another(context: AppContext, exchange: Exchange, index: int) -> AsyncGenerator[Made, None]:
    ask = _single(exchange.ask_of(index), index % exchange.wanted.num_choices)
    return context.engine.stream(exchange.assignment.voice, ask)


def _single(ask: Ask, choice: int) -> Ask:
    """Give the ask of one choice, seeded as it is where all are made at once."""
    seed = None if ask.seed is None else ask.seed + choice
    return replace(ask, seed=seed, num_choices=1)
