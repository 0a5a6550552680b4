"""The two calls that users make, with the patience of a well-behaved client.

A call that the API puts off (429, 503 and the other passing faults) is made again after the time
that it asks for, with the same bytes and the same Idempotency-Key.
"""

import asyncio
import json
import ssl
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed."""
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0
RETRY_AFTER_MAX_S = 10.0
TIMEOUT_S = 60.0


class ApiGone(Exception):
    """The API has not answered anything for as long as we are willing to wait."""


class Refused(Exception):
    """The API will not take this call, now or later."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text[:300]}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An acknowledged chat completion."""

    response_id: str
    text: str
    model: str
    """The version that answered, such as "chat@v12"."""
    is_recorded: bool
    """Whether the API says that the exposure is safely stored."""
    status: int


@dataclass(slots=True)
class Api:
    """The HTTP API of the house, as any other client sees it."""

    url: str
    clients: Sequence[httpx.AsyncClient]
    """Each user always goes through the same one."""
    give_up_s: float
    """Raise ApiGone after so long without any answer but passing faults."""
    start_give_up_s: float = 5.0
    """The same while nothing has been answered yet and the address refuses connections."""
    has_answered: bool = False
    retries: Counter[str] = field(default_factory=Counter)
    """Calls made again, by status or by the name of the network error."""
    latencies_s: list[float] = field(default_factory=list)
    """Of each answered chat call, the last try alone."""
    answered_at: float = field(default_factory=time.monotonic)

    async def chat(
        self, *, messages: list[dict[str, str]], user: str, conversation: str, turn: int
    ) -> Answer:
        """One completion. Raises Refused or ApiGone."""
        body = {
            "model": "chat",
            "messages": messages,
            "user": user,
            "metadata": {"conversation_id": conversation, "surface": "web", "turn": str(turn)},
        }
        response = await self._post(user, "/v1/chat/completions", body, {}, is_timed=True)
        try:
            answer = response.json()
            return Answer(
                response_id=answer["id"],
                text=answer["choices"][0]["message"]["content"] or "",
                model=answer["model"],
                is_recorded=response.headers.get("x-rluf-recorded", "") == "true",
                status=response.status_code,
            )
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Refused(
                response.status_code, f"not a chat completion: {response.text}"
            ) from error

    async def feedback(
        self, *, response_id: str, user: str, signal: str, action: str, occurred_at: str, key: str
    ) -> tuple[str, int]:
        """One reaction; gives its feedback id and the status. Raises Refused or ApiGone."""
        body = {
            "response_id": response_id,
            "signal": signal,
            "action": action,
            "actor_id": user,
            "occurred_at": occurred_at,
        }
        response = await self._post(user, "/v1/feedback", body, {"idempotency-key": key})
        try:
            return str(response.json()["feedback_id"]), response.status_code
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(response.status_code, f"no feedback_id: {response.text}") from error

    async def _post(
        self,
        user: str,
        path: str,
        body: object,
        headers: dict[str, str],
        *,
        is_timed: bool = False,
    ) -> httpx.Response:
        client = self.clients[zlib.crc32(user.encode()) % len(self.clients)]
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"content-type": "application/json", **headers}
        backoff_s = BACKOFF_FIRST_S
        while True:
            started_at = time.monotonic()
            wait_s = backoff_s
            try:
                response = await client.post(path, content=content, headers=headers)
            except httpx.TransportError as error:
                reason = type(error).__name__
                patience_s = self.give_up_s
                if isinstance(error, httpx.ConnectError) and not self.has_answered:
                    patience_s = min(patience_s, self.start_give_up_s)
            else:
                self.has_answered = True
                patience_s = self.give_up_s
                reason = str(response.status_code)
                if response.is_success:
                    self.answered_at = time.monotonic()
                    if is_timed:
                        self.latencies_s.append(self.answered_at - started_at)
                    return response
                if response.status_code not in PASSING:
                    self.answered_at = time.monotonic()
                    raise Refused(response.status_code, response.text)
                wait_s = max(wait_s, _asked_wait_s(response))
            if time.monotonic() - self.answered_at > patience_s:
                raise ApiGone(f"{self.url} gave only {reason} for {patience_s:.0f} s")
            self.retries[reason] += 1
            await asyncio.sleep(wait_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)


@asynccontextmanager
async def new_clients(url: str, num_clients: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Several clients of one address, which take nothing from the environment.

    The pool of an httpx client looks at all of its connections at every call: with one client for
    64 users that took half of the processor time, with one for each user it takes none.
    """
    trust = ssl.create_default_context()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, verify=trust, trust_env=False)
            )
            for _ in range(num_clients)
        ]


def _asked_wait_s(response: httpx.Response) -> float:
    """The wait that the API asks for, at most RETRY_AFTER_MAX_S; 0 where it names no seconds."""
    text = response.headers.get("retry-after", "")
    try:
        return min(max(float(text), 0.0), RETRY_AFTER_MAX_S)
    except ValueError:
        return 0.0
