"""Users who ask one server of chat completions, each its next question once it has an answer."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp

MAX_TOKENS = 96
"""Longest reply, the API's own default; those of the demo's policy end sooner by themselves."""
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How is asked."""

    is_streamed: bool
    is_seeded: bool
    concurrency: int
    """Users who ask at the same time."""

    @property
    def name(self) -> str:
        """What stands in the table."""
        how = "streamed" if self.is_streamed else "whole"
        return f"{how}, seeded" if self.is_seeded else how


@dataclass(slots=True)
class Heard:
    """What came of one round."""

    latencies_s: list[float] = field(default_factory=list)
    """Of the answers that came within the round."""
    chars: int = 0
    not_recorded: int = 0
    """Answers of which the API did not say that they are recorded."""


async def ask(
    url: str, model: str, prompts: Sequence[str], manner: Manner, seconds: float
) -> Heard:
    """Let the users ask for so long. Raises RuntimeError for an answer that is none.

    The same questions in the same order each time, so that everybody answers the same.
    """
    heard = Heard()
    numbers = itertools.count()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        until = time.perf_counter() + seconds
        users = [
            _user(session, f"{url}/v1/chat/completions", bodies, manner, heard, until)
            for bodies in itertools.repeat(
                _bodies(model, prompts, manner, numbers), manner.concurrency
            )
        ]
        await asyncio.gather(*users)
    return heard


def _bodies(
    model: str, prompts: Sequence[str], manner: Manner, numbers: Iterator[int]
) -> Iterator[bytes]:
    for number in numbers:
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": "user", "content": prompts[number % len(prompts)]}],
            "max_tokens": MAX_TOKENS,
            "temperature": 1.0,
            "stream": manner.is_streamed,
            "user": f"user-{number % 97}",
        }
        if manner.is_seeded:
            body["seed"] = number
        yield json.dumps(body).encode()


async def _user(
    session: aiohttp.ClientSession,
    url: str,
    bodies: Iterator[bytes],
    manner: Manner,
    heard: Heard,
    until: float,
) -> None:
    headers = {"content-type": "application/json"}
    while (began := time.perf_counter()) < until:
        async with session.post(url, data=next(bodies), headers=headers) as response:
            body = await response.read()
        ended = time.perf_counter()
        if response.status != 200:
            raise RuntimeError(f"{url} answered {response.status}: {body[:500]!r}")
        if ended <= until:
            heard.latencies_s.append(ended - began)
        if manner.is_streamed:
            texts, recorded = _read_stream(body)
        else:
            texts = [json.loads(body)["choices"][0]["message"]["content"]]
            recorded = response.headers.get("x-rluf-recorded", "")
        heard.chars += sum(map(len, texts))
        heard.not_recorded += recorded != "true"


def _read_stream(body: bytes) -> tuple[list[str], str]:
    """The pieces of text, and what a comment says of the recording."""
    texts, recorded = [], ""
    for line in body.decode().splitlines():
        if line.startswith(": x-rluf-recorded: "):
            recorded = line.rpartition(" ")[2]
        elif line.startswith("data: {"):
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                texts.append(choice["delta"].get("content") or "")
    return texts, recorded
