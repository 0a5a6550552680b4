"""Goal: versions are swapped without dropping anyone, and a broken one changes nothing.

Method: the engine alone on an event loop, over a real registry and fake voices.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from models.errors import Unavailable
from models.replies import Piece, Reply
from serving.batcher import Ask, Opened
from serving.engine import Engine
from serving.errors import ApiError, Busy, ContextTooLong, NoSuchResource, NotReady
from tests.serving.conftest import FAST, Place
from tests.serving.fakes import FakeVoice, register, set_arms
from tests.waiting import until


def ask_for(text: str = "hello", **dials: Any) -> Ask:
    chat = [{"role": "user", "content": text}]
    given = {"max_new_tokens": 32, "temperature": 1.0, "top_p": 1.0} | dials
    return Ask(chat=chat, **given)


def with_engine(place: Place, scene: Callable[[Engine], Awaitable[None]], **dials: Any) -> None:
    """Run a scene with a started engine."""

    async def play() -> None:
        config = replace(FAST, **dials)
        engine = Engine(
            registry=place.registry, load=place.loader, config=config, meters=place.meters
        )
        await engine.start()
        try:
            await scene(engine)
        finally:
            await engine.stop()

    asyncio.run(play())


def voice_of(place: Place, number: int) -> FakeVoice:
    return place.loader.voices[number]


def test_arms_serve_by_share_and_a_change_is_picked_up(live: Place):
    async def scene(engine: Engine) -> None:
        assert engine.live is not None
        assert [(a.name, a.share, a.version.number) for a in engine.live.arms] == [
            ("champion", 0.75, 1),
            ("challenger", 0.25, 2),
        ]
        register(live.registry, text="third")
        set_arms(live.registry, [("champion", 3, 1.0)])
        await until(lambda: engine.live is not None and engine.live.arms[0].version.number == 3)
        assert (await engine.resolve("chat", "anyone")).version.number == 3

    with_engine(live, scene)


def test_versions_stay_loaded_over_a_change_of_shares(live: Place):
    async def scene(engine: Engine) -> None:
        set_arms(live.registry, [("champion", 1, 0.5), ("challenger", 2, 0.5)])
        await until(lambda: engine.live is not None and engine.live.arms[0].share == 0.5)
        assert live.loader.loads == [1, 2]

    with_engine(live, scene)


def test_a_reply_under_way_is_finished_by_the_version_that_began_it(live: Place):
    async def scene(engine: Engine) -> None:
        gate = threading.Event()
        voice_of(live, 1).gate = gate
        assigned = await engine.resolve("chat@v1", "u")
        running = asyncio.create_task(engine.reply(assigned.voice, ask_for()))
        await until(lambda: len(voice_of(live, 1).batches) == 1)
        waiting = asyncio.create_task(engine.reply(assigned.voice, ask_for()))
        register(live.registry, text="third")
        set_arms(live.registry, [("champion", 3, 1.0)])
        await until(lambda: engine.live is not None and engine.live.arms[0].version.number == 3)
        gate.set()
        for replies in await asyncio.gather(running, waiting):
            assert replies[0].text == "v1 heard hello"

    with_engine(live, scene)


def test_a_corrupt_version_leaves_the_last_good_arms_serving_and_is_told(live: Place):
    third = register(live.registry, text="third")
    live.loader.broken[third.number] = "the artifact was changed"

    async def scene(engine: Engine) -> None:
        set_arms(live.registry, [("champion", 3, 1.0)])
        await until(lambda: engine.problems() != [])
        assert engine.problems() == ["chat@v3: the artifact was changed"]
        assert (await engine.resolve("chat", "u")).version.number in (1, 2)
        assert engine.failure_of(3) == "the artifact was changed"
        loads = len(live.loader.loads)
        await asyncio.sleep(0.2)  # Many polls: a broken version is not loaded at each.
        assert len(live.loader.loads) == loads
        set_arms(live.registry, [("champion", 2, 1.0)])
        await until(lambda: engine.problems() == [])
        assert (await engine.resolve("chat", "u")).version.number == 2

    with_engine(live, scene)


def test_a_mended_version_is_tried_again_after_a_while(live: Place):
    live.loader.broken[2] = "no disk"

    async def scene(engine: Engine) -> None:
        assert engine.live is not None
        live.loader.broken.clear()
        await until(lambda: engine.live is not None and engine.live.is_whole)
        assert engine.problems() == []

    with_engine(live, scene, reload_interval_s=0.05)


def test_on_a_cold_start_the_arms_that_load_serve_outside_of_the_experiment(live: Place):
    live.loader.broken[2] = "no disk"

    async def scene(engine: Engine) -> None:
        for unit in ("a", "b", "c", "d", "e", "f"):
            assigned = await engine.resolve("chat", unit)
            assert (assigned.version.number, assigned.arm) == (1, "champion")
            assert (assigned.propensity, assigned.experiment) == (1.0, "")
        assert engine.problems() == ["chat@v2: no disk"]

    with_engine(live, scene)


def test_without_arms_the_champion_serves_alone(place: Place):
    register(place.registry, text="first")
    place.registry.move_alias("chat", "champion", 1, expected=None, why="test", who="tester")

    async def scene(engine: Engine) -> None:
        assigned = await engine.resolve("chat", "u")
        assert (assigned.version.number, assigned.arm, assigned.propensity) == (1, "champion", 1.0)

    with_engine(place, scene)


def test_an_empty_registry_is_told_and_a_first_version_is_picked_up(place: Place):
    async def scene(engine: Engine) -> None:
        with pytest.raises(NotReady, match="chat has no live version") as refusal:
            await engine.resolve("chat", "u")
        assert refusal.value.retry_after_s == 1
        register(place.registry, text="first")
        set_arms(place.registry, [("champion", 1, 1.0)])
        await until(lambda: engine.live is not None)
        assert engine.problems() == []

    with_engine(place, scene)


def test_a_registry_that_does_not_answer_leaves_the_arms_serving(live: Place, monkeypatch):
    async def scene(engine: Engine) -> None:
        def fail(name: str) -> None:
            raise Unavailable("the database is locked")

        monkeypatch.setattr(live.registry, "arms", fail)
        await until(lambda: engine.problems() == ["the database is locked"])
        assert (await engine.resolve("chat", "u")).version.number in (1, 2)
        monkeypatch.undo()
        await until(lambda: engine.problems() == [])

    with_engine(live, scene)


def test_a_named_version_is_loaded_once_and_few_are_kept(live: Place):
    for text in ("third", "fourth", "fifth"):
        register(live.registry, text=text)

    async def scene(engine: Engine) -> None:
        await asyncio.gather(*(engine.resolve("chat@v3", "u") for _ in range(5)))
        assert live.loader.loads == [1, 2, 3]
        for model in ("chat@v4", "chat@v5", "chat@v4"):
            await engine.resolve(model, "u")
        assert live.loader.loads == [1, 2, 3, 4, 5]
        await engine.resolve("chat@v3", "u")
        assert live.loader.loads == [1, 2, 3, 4, 5, 3]

    with_engine(live, scene, pinned_max=2)


def test_a_named_version_that_is_broken_is_503_and_tried_anew(live: Place):
    register(live.registry, text="third")
    live.loader.broken[3] = "its bytes changed"

    async def scene(engine: Engine) -> None:
        with pytest.raises(NotReady, match="its bytes changed"):
            await engine.resolve("chat@v3", "u")
        live.loader.broken.clear()
        assert (await engine.resolve("chat@v3", "u")).version.number == 3
        with pytest.raises(NoSuchResource, match="there are"):
            await engine.resolve("chat@v4", "u")

    with_engine(live, scene)


def test_requests_that_wait_together_are_generated_together_on_one_thread(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        voice.gate = threading.Event()
        first = asyncio.create_task(engine.reply(voice, ask_for("0")))
        await until(lambda: voice.batches == [1])
        others = [asyncio.create_task(engine.reply(voice, ask_for(str(n)))) for n in range(1, 73)]
        await asyncio.sleep(0)
        voice.gate.set()
        replies = await asyncio.gather(first, *others)
        assert [r[0].text for r in replies] == [f"v1 heard {n}" for n in range(73)]
        assert voice.batches == [1, 64, 8]
        assert len(voice.threads) == 1

    with_engine(live, scene)


def test_requests_of_unlike_settings_seeded_or_not_are_generated_together(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        voice.gate = threading.Event()
        first = asyncio.create_task(engine.reply(voice, ask_for()))
        await until(lambda: voice.batches == [1])
        wishes: list[dict[str, Any]] = [
            {"temperature": 0.5},
            {"temperature": 0.5},
            {"top_p": 0.5},
            {"max_new_tokens": 2},
            {"seed": 1},
            {"seed": 1},
            {"num_choices": 3},
        ]
        others = [asyncio.create_task(engine.reply(voice, ask_for(**wish))) for wish in wishes]
        await asyncio.sleep(0)
        voice.gate.set()
        await asyncio.gather(first, *others)
        assert voice.batches == [1, 9]

    with_engine(live, scene)


def test_prompts_that_do_not_fit_are_refused_without_harm_to_their_batch(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        voice.gate = threading.Event()
        first = asyncio.create_task(engine.reply(voice, ask_for()))
        await until(lambda: voice.batches == [1])
        texts = ["word " * 64, "fits", "word " * 62]
        others = [asyncio.create_task(engine.reply(voice, ask_for(text))) for text in texts]
        await asyncio.sleep(0)
        voice.gate.set()
        await first
        too_long, fits, nearly = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(too_long, ContextTooLong)
        assert isinstance(fits, list)
        assert fits[0].text == "v1 heard fits"
        assert isinstance(nearly, list)
        assert nearly[0].completion_tokens == 2

    with_engine(live, scene)


def test_streams_and_batches_take_turns(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        long = " ".join(str(n) for n in range(25))
        pieces = engine.stream(voice, ask_for(long, max_new_tokens=60))
        opened = await anext(pieces)
        assert opened == Opened(25)
        assert await anext(pieces) == Piece("v1")
        await engine.reply(voice, ask_for())
        assert voice.num_pieces < 27  # The batch did not wait for the stream's end.
        rest = [piece async for piece in pieces]
        assert isinstance(rest[-1], Reply)
        assert "v1" + "".join(p.text for p in rest[:-1]) == rest[-1].text == f"v1 heard {long}"

    with_engine(live, scene)


def test_a_stream_that_is_left_is_generated_no_further(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        voice.step_s = 0.005
        pieces = engine.stream(voice, ask_for(" ".join("x" * 40), max_new_tokens=60))
        await anext(pieces)
        await anext(pieces)
        await pieces.aclose()
        await engine.reply(voice, ask_for())
        await engine.reply(voice, ask_for())
        assert voice.num_pieces < 20

    with_engine(live, scene)


def test_a_crash_in_a_stream_is_told_to_its_reader_alone(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        pieces = engine.stream(voice, ask_for("then crash"))
        with pytest.raises(ApiError, match="failed to answer"):
            _ = [piece async for piece in pieces]
        assert (await engine.reply(voice, ask_for()))[0].text == "v1 heard hello"

    with_engine(live, scene)


def test_stopping_finishes_what_runs_and_refuses_what_waits(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        voice.gate = threading.Event()
        running = asyncio.create_task(engine.reply(voice, ask_for()))
        await until(lambda: voice.batches == [1])
        waiting = asyncio.create_task(engine.reply(voice, ask_for(temperature=0.0)))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(0.05)
        voice.gate.set()
        await stopping
        with pytest.raises(NotReady, match="stopping"):
            await waiting
        assert (await running)[0].text == "v1 heard hello"
        with pytest.raises(NotReady):
            await engine.reply(voice, ask_for())

    with_engine(live, scene)


def test_more_than_the_queue_holds_is_refused(live: Place):
    async def scene(engine: Engine) -> None:
        voice = voice_of(live, 1)
        voice.gate = threading.Event()
        tasks = [asyncio.create_task(engine.reply(voice, ask_for()))]
        await until(lambda: voice.batches == [1])
        tasks += [asyncio.create_task(engine.reply(voice, ask_for())) for _ in range(3)]
        await asyncio.sleep(0)
        voice.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, Busy) for outcome in outcomes] == [False, False, False, True]

    with_engine(live, scene, queue_max=2)
