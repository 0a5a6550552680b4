"""An answer in the shape in which its client reads it, whole or as a stream."""

from typing import Protocol, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from serving.answers import Answer, StreamEvent, answer_in_pieces, answer_whole
from serving.context import AppContext
from serving.exchange import Exchange
from serving.leaving import ClientLeft

CLIENT_LEFT = 499
"""nginx's status for a client that closed its connection; nobody reads it but our meters."""
Json: TypeAlias = dict[str, object]


class Shape(Protocol):
    """One of OpenAI's ways to write an answer."""

    def whole(self, answer: Answer) -> Json:
        """Give the body of a whole answer."""

    def write(self, told: StreamEvent) -> bytes:
        """Give the server-sent events that say this part of a streamed one; may be none."""


async def answer(
    context: AppContext, exchange: Exchange, request: Request, shape: Shape
) -> Response:
    """Answer as was asked: whole, or in pieces."""
    try:
        if exchange.wanted.in_pieces:
            return await answer_in_pieces(context, exchange, request, shape)
        made = await answer_whole(context, exchange, request)
    except ClientLeft:
        return Response(status_code=CLIENT_LEFT)
    return Response(
        msgspec.json.encode(shape.whole(made)),
        media_type="application/json",
        headers=exchange.headers(str(made.is_recorded).lower()),
    )
