"""A client that goes away while it waits: what is done for it ends at once."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.types import Receive

Result = TypeVar("Result")


class ClientLeft(Exception):
    """The client closed its connection before its answer was ready."""


async def unless_left(receive: Receive, work: Coroutine[object, object, Result]) -> Result:
    """Do the work; where the client leaves before it is done, cancel it. Raises ClientLeft.

    The request's body must have been read: whatever comes after it is the client's leaving.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_until_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
