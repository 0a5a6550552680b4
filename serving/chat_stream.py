"""A chat's answer in pieces, as server-sent events in OpenAI's form.

The exposure is acknowledged before the last chunk of a choice, so that a client that stops reading
at `finish_reason` finds it recorded. Whether it was is told by a comment line, which clients skip:
the headers are long gone by then.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from models.policy import Piece, Reply
from serving.batcher import Made, Opened
from serving.desk import Desk
from serving.errors import ApiError, openai_error
from serving.exchange import Exchange, count_reply, record_exposure, usage_of
from serving.exposure import Seen
from serving.leaving import ClientLeft, unless_left
from serving.stops import StopCutter

DONE = b"data: [DONE]\n\n"


async def answer_in_pieces(desk: Desk, exchange: Exchange, request: Request) -> Response:
    """Begin a stream. What goes wrong before the first piece is an HTTP error like any other.

    Raises ClientLeft.
    """
    started = time.perf_counter()
    pieces = desk.engine.stream(exchange.assignment.voice, exchange.ask)
    opened = await unless_left(request.receive, _first(pieces))
    assert isinstance(opened, Opened)
    desk.meters.first_token.observe(time.perf_counter() - started)
    return EventStream(
        _events(desk, exchange, pieces, opened),
        headers={
            **exchange.headers("at-end"),
            "cache-control": "no-cache",
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
    desk: Desk, exchange: Exchange, first: AsyncGenerator[Made, None], opened: Opened
) -> AsyncGenerator[bytes, None]:
    options = exchange.asked.stream_options
    with_usage = options is not None and bool(options.include_usage)
    chunks = ChunkWriter(exchange, with_usage=with_usage)
    num_tokens = 0
    try:
        for index in range(exchange.ask.num_choices):
            choice = ChoiceStream(desk, exchange, index)
            pieces = first if index == 0 else _another(desk, exchange, index)
            yield chunks.write(index, {"role": "assistant", "content": ""})
            async with aclosing(choice.texts(pieces)) as texts:
                async for text in texts:
                    yield chunks.write(index, {"content": text})
            yield f": x-rluf-recorded: {str(choice.is_recorded).lower()}\n\n".encode()
            yield chunks.write(index, {}, choice.finish_reason)
            num_tokens += choice.num_tokens
    except ApiError as error:
        yield b"data: " + msgspec.json.encode({"error": openai_error(error)}) + b"\n\n"
        return
    usage = usage_of(desk, opened.prompt_tokens, num_tokens)
    if with_usage:
        yield chunks.write_usage(usage)
    yield DONE


class ChunkWriter:
    """Writes chunks of one streamed answer."""

    def __init__(self, exchange: Exchange, *, with_usage: bool) -> None:
        self._head: dict[str, object] = {
            "id": exchange.response_id,
            "object": "chat.completion.chunk",
            "created": exchange.created,
            "model": exchange.model,
            "system_fingerprint": exchange.fingerprint,
        }
        self._usage: dict[str, None] = {"usage": None} if with_usage else {}

    def write(self, index: int, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return self._event({**self._head, "choices": [choice], **self._usage})

    def write_usage(self, usage: dict[str, int]) -> bytes:
        return self._event({**self._head, "choices": [], "usage": usage})

    @staticmethod
    def _event(body: dict[str, object]) -> bytes:
        return b"data: " + msgspec.json.encode(body) + b"\n\n"


class ChoiceStream:
    """One choice of a streamed answer: passes its text on, then has it recorded."""

    def __init__(self, desk: Desk, exchange: Exchange, index: int) -> None:
        self._desk = desk
        self._exchange = exchange
        self._index = index
        self._cutter = StopCutter(exchange.asked.stops())
        self.num_tokens = 0
        """Exact where the reply came to its end; where it was cut, the pieces so far, of which a
        character spelt in several tokens is one."""
        self.finish_reason = "stop"
        self.is_recorded = False

    async def texts(self, pieces: AsyncGenerator[Made, None]) -> AsyncGenerator[str, None]:
        """Give the text to send. Left early, what was sent is recorded all the same."""
        is_over = False
        try:
            reply: Reply | None = None
            async with aclosing(pieces):
                async for made in pieces:
                    if isinstance(made, Reply):
                        reply = made
                    elif isinstance(made, Piece):
                        self.num_tokens += 1
                        if text := self._cutter.feed(made.text):
                            yield text
                    if self._cutter.is_cut:
                        break
            if text := self._cutter.end():
                yield text
            is_over = True
            await self._finish(reply)
        finally:
            if not is_over and self._cutter.text:
                self._leave()

    async def _finish(self, reply: Reply | None) -> None:
        logprob = None
        if reply is not None and not self._cutter.is_cut:
            self.num_tokens = reply.completion_tokens
            self.finish_reason = reply.finish_reason
            logprob = reply.logprob
        seen = Seen(index=self._index, text=self._cutter.text, logprob=logprob, is_whole=True)
        self.is_recorded = await record_exposure(self._desk, self._exchange, seen)
        count_reply(self._desk, self._exchange, self.finish_reason)

    def _leave(self) -> None:
        part = Seen(index=self._index, text=self._cutter.text, logprob=None, is_whole=False)
        self._desk.later(record_exposure(self._desk, self._exchange, part))
        count_reply(self._desk, self._exchange, "left")


def _another(desk: Desk, exchange: Exchange, index: int) -> AsyncGenerator[Made, None]:
    ask = exchange.ask
    if ask.seed is not None:
        ask = replace(ask, seed=ask.seed + index)
    return desk.engine.stream(exchange.assignment.voice, ask)
