"""Goal: who goes away costs nothing more: it leaves queue and batch at once, and nobody notices.

Method: the engine on an event loop over a fake that counts its steps and over a real tiny policy;
over HTTP, connections that are closed.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from models.chat import Chat
from models.generation import Wish
from models.policy import Policy
from models.replies import Piece, Reply
from serving.batcher import Ask, Batcher
from serving.meters import Meters
from serving.voice import PolicyVoice, Voice
from tests.serving.conftest import FAST, Place
from tests.serving.fakes import wait_until
from tests.serving.live_server import running
from tests.tiny_policy import byte_tokenizer, llama
from tests.waiting import WAIT_S, until

ENDLESS = 10_000


@dataclass
class Talker:
    """Says as many words as are asked for, one a step; notes who talks at each step."""

    context_tokens: int = 100_000
    gate: threading.Event = field(default_factory=threading.Event)
    steps: list[list[str]] = field(default_factory=list)

    texts: list[str] = field(default_factory=list)

    def prompt_ids(self, chat: Chat) -> list[int]:
        self.texts.append(chat[-1]["content"])
        return [len(self.texts) - 1]

    def begin(self) -> "Talk":
        return Talk(self)


@dataclass
class Talk:
    """What a talker says."""

    talker: Talker
    left: dict[Wish, int] = field(default_factory=dict)
    """Words that each has still to say."""

    @property
    def num_wishes(self) -> int:
        return len(self.left)

    def join(self, wishes: Sequence[Wish]) -> None:
        self.left |= {wish: wish.dials.max_new_tokens for wish in wishes}

    def leave(self, wish: Wish) -> None:
        self.left.pop(wish, None)

    def step(self) -> list[tuple[Wish, Piece | Reply]]:
        self.talker.steps.append([self.talker.texts[wish.prompt[0]] for wish in self.left])
        assert self.talker.gate.wait(WAIT_S)
        self.left = {wish: num - 1 for wish, num in self.left.items()}
        ended = [wish for wish, num in self.left.items() if num == 0]
        pieces = [(wish, Piece("x")) for wish in self.left if wish.in_pieces]
        self.left = {wish: num for wish, num in self.left.items() if num > 0}
        return [*pieces, *((wish, REPLY) for wish in ended)]

    def split(self, groups: Sequence[Sequence[Wish]]) -> "list[Talk]":
        raise AssertionError("nothing fails here")


REPLY = Reply(text="x", logprob=-1.0, prompt_tokens=1, completion_tokens=1, finish_reason="length")


def ask_for(text: str, max_new_tokens: int = ENDLESS, **dials: Any) -> Ask:
    chat = [{"role": "user", "content": text}]
    given = {"temperature": 1.0, "top_p": 1.0} | dials
    return Ask(chat=chat, max_new_tokens=max_new_tokens, **given)


def play(scene: Callable[[Batcher, Meters], Awaitable[None]], **dials: Any) -> None:
    async def run() -> None:
        meters = Meters()
        batcher = Batcher(replace(FAST, **dials), meters)
        batcher.start()
        try:
            await scene(batcher, meters)
        finally:
            await batcher.stop()

    asyncio.run(run())


async def leave(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def begin(batcher: Batcher, voice: Voice, ask: Ask) -> "asyncio.Task[object]":
    async def reply() -> object:
        return await batcher.reply(voice, ask)

    return asyncio.create_task(reply())


def num_left(meters: Meters, place: str) -> float:
    return meters.registry.get_sample_value("rluf_engine_left_total", {"place": place}) or 0.0


def test_one_who_waits_leaves_the_queue_at_once():
    async def scene(batcher: Batcher, meters: Meters) -> None:
        talker = Talker()
        first = begin(batcher, talker, ask_for("a", 3))
        await until(lambda: len(talker.steps) == 1)
        waiting = [begin(batcher, talker, ask_for(text, 3)) for text in "bc"]
        await asyncio.sleep(0)
        await leave(waiting[0])
        assert meters.registry.get_sample_value("rluf_engine_queue_requests") == 1
        assert num_left(meters, "queue") == 1
        talker.gate.set()
        await asyncio.gather(first, waiting[1])
        assert not any("b" in step for step in talker.steps)

    play(scene)


@pytest.mark.parametrize("seed", [None, 7])
def test_one_who_is_answered_leaves_the_batch_at_once(seed: int | None):
    async def scene(batcher: Batcher, meters: Meters) -> None:
        talker = Talker()
        alone = begin(batcher, talker, ask_for("a", seed=seed))
        await until(lambda: len(talker.steps) == 1)
        await leave(alone)
        talker.gate.set()
        await batcher.reply(talker, ask_for("b", 3))
        assert sum(step == ["a"] for step in talker.steps) == 1
        assert num_left(meters, "batch") == 1

    play(scene)


def test_the_place_of_one_who_left_is_given_to_another_before_its_neighbour_is_done():
    async def scene(batcher: Batcher, meters: Meters) -> None:
        talker = Talker()
        talker.gate.set()
        staying, leaving = (begin(batcher, talker, ask_for(text)) for text in "ab")
        await until(lambda: ["a", "b"] in talker.steps)
        waiting = begin(batcher, talker, ask_for("c", 3))
        await until(lambda: len(talker.steps) > 20)
        assert not waiting.done()  # The batch is full.
        await leave(leaving)
        await waiting
        assert not staying.done()
        await leave(staying)

    play(scene, batch_max=2)


def test_leaving_changes_no_answer_of_a_real_policys_batch():
    tokenizer = byte_tokenizer()
    voice = PolicyVoice(Policy(llama(len(tokenizer)), tokenizer, "tiny"))

    async def scene(batcher: Batcher, meters: Meters) -> None:
        seeded = ask_for("hello", 40, seed=3)
        [undisturbed] = await batcher.reply(voice, seeded)
        greedy = [ask_for(text, 40, temperature=0.0) for text in ("one", "two", "three")]
        alone = [await batcher.reply(voice, ask) for ask in greedy]
        tasks = [begin(batcher, voice, ask) for ask in greedy]
        tasks.append(begin(batcher, voice, ask_for("other", 60, seed=9)))
        again = begin(batcher, voice, seeded)
        await until(lambda: num_left(meters, "batch") + num_left(meters, "queue") == 0)
        await asyncio.sleep(0.01)
        await leave(tasks[1])
        await leave(tasks[3])
        first, third, repeated = await asyncio.gather(tasks[0], tasks[2], again)
        assert repeated == [undisturbed]
        texts = [replies[0].text for replies in (first, third)]  # type: ignore[index]
        assert texts == [alone[0][0].text, alone[2][0].text]

    play(scene)


PROMPTS: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "a b c d"}]},
    "completions": {"prompt": "a b c d"},
    "responses": {"input": "a b c d"},
}


async def ask_and_leave(url: str, body: dict[str, Any], is_begun: Callable[[], bool]) -> None:
    """Close the connection once the answer is being made."""
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        asking = asyncio.create_task(client.post(url, json=body))
        await until(is_begun, "the answer is begun")
        await leave(asking)


@pytest.mark.parametrize("fields", [{}, {"seed": 5}, {"stream": True}, {"stream": True, "seed": 5}])
@pytest.mark.parametrize("path", PROMPTS)
def test_a_closed_connection_takes_its_request_out(live: Place, fields: dict[str, Any], path: str):
    if path == "responses":
        fields = {name: value for name, value in fields.items() if name != "seed"}
    with running(live.room()) as url:
        wait_until(lambda: 1 in live.loader.voices)
        voice = live.loader.voices[1]
        voice.gate = threading.Event()
        body = {"model": "chat@v1", **PROMPTS[path], **fields}
        asyncio.run(ask_and_leave(f"{url}/v1/{path}", body, lambda: bool(voice.threads)))
        wait_until(lambda: num_left(live.meters, "batch") + num_left(live.meters, "queue") == 1)
        voice.gate.set()
        answer = httpx.post(f"{url}/v1/{path}", json=body | {"stream": False}, timeout=WAIT_S)
        assert answer.status_code == 200
    assert len(live.producer.shown) == 1  # Who left before the first word saw nothing.


def test_a_half_sent_request_harms_nobody(live: Place):
    with running(live.room()) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            head += "content-type: application/json\r\ncontent-length: 500\r\n\r\n{"
            connection.sendall(head.encode())
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]})
        headers = {"content-type": "application/json"}
        answer = httpx.post(
            f"{url}/v1/chat/completions", content=body, headers=headers, timeout=WAIT_S
        )
        assert answer.status_code == 200
