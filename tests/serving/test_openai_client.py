"""Goal: the official OpenAI client works against us, without knowing that we are not OpenAI.

Method: its sync and async clients over HTTP to a real server in a thread, with fake voices; one
test at the end with a real policy of random weights.
"""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk

from models.artifacts import store_artifact
from models.policy import Policy
from serving.engine import Engine
from serving.voice import VoiceLoader
from tests.serving.conftest import FAST, Place, open_place
from tests.serving.fakes import set_arms
from tests.serving.live_server import running
from tests.serving.tiny_policy import save_tiny_policy
from tests.waiting import wait_for

HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def shared(live_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = open_place(live_home, tmp_path_factory.mktemp("openai") / "home")
    yield place
    place.registry.close()


@pytest.fixture(scope="module")
def base_url(shared: Place) -> Iterator[str]:
    with running(shared.room()) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=base_url, api_key="any", max_retries=0) as made:
        yield made


def test_a_completion_is_parsed(client: OpenAI, shared: Place):
    answer = client.chat.completions.create(
        model="chat@v1",
        messages=HELLO,
        user="u-1",
        temperature=0.7,
        top_p=0.9,
        max_completion_tokens=20,
        metadata={"conversation_id": "c-1"},
        store=True,
    )
    assert answer.object == "chat.completion"
    assert answer.model == "chat@v1"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "v1 heard hello there"
    assert answer.choices[0].message.refusal is None
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6
    assert answer.system_fingerprint is not None
    assert answer._request_id is not None
    assert shared.producer.shown[-1].response_id == answer.id
    assert shared.producer.shown[-1].conversation_id == "c-1"


def test_raw_responses_carry_our_headers(client: OpenAI):
    raw = client.chat.completions.with_raw_response.create(model="chat@v1", messages=HELLO)
    assert raw.status_code == 200
    assert raw.headers["x-rluf-recorded"] == "true"
    assert raw.headers["x-rluf-policy"] == "chat@1"
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.parse().choices[0].message.content == "v1 heard hello there"


def check_stream(chunks: list[ChatCompletionChunk], text: str) -> None:
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    with_choices = [chunk for chunk in chunks if chunk.choices]
    assert with_choices[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in with_choices) == text
    reasons = [chunk.choices[0].finish_reason for chunk in with_choices]
    assert reasons[:-1] == [None] * (len(reasons) - 1)
    assert reasons[-1] == "stop"


def test_a_stream_gives_the_text_in_pieces_and_then_its_usage(client: OpenAI, shared: Place):
    stream = client.chat.completions.create(
        model="chat@v1",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    check_stream(chunks, "v1 heard hello there")
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 6
    assert all(chunk.usage is None for chunk in chunks[:-1])
    shown = shared.producer.shown[-1]
    assert (shown.response_id, shown.response) == (chunks[0].id, "v1 heard hello there")
    assert shown.learnable


def test_a_stream_without_usage_ends_with_the_finish_reason(client: OpenAI):
    chunks = list(client.chat.completions.create(model="chat@v1", messages=HELLO, stream=True))
    check_stream(chunks, "v1 heard hello there")
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_the_helper_for_streams_accumulates(client: OpenAI):
    with client.chat.completions.stream(model="chat@v1", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done", "chunk"} <= kinds
    assert final.choices[0].message.content == "v1 heard hello there"


def test_a_stream_stops_at_a_stop_sequence_and_shows_nothing_of_it(client: OpenAI, shared: Place):
    stream = client.chat.completions.create(
        model="chat@v1",
        messages=HELLO,
        stream=True,
        stop="hello",
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    check_stream([chunk for chunk in chunks if chunk.choices], "v1 heard ")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert shared.producer.shown[-1].response == "v1 heard "


def test_a_stream_of_several_choices_numbers_them(client: OpenAI, shared: Place):
    chunks = list(
        client.chat.completions.create(model="chat@v1", messages=HELLO, stream=True, n=2, seed=3)
    )
    texts = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "v1 heard hello there seed3", 1: "v1 heard hello there seed4"}
    ids = [shown.response_id for shown in shared.producer.shown[-2:]]
    assert ids == [chunks[0].id, f"{chunks[0].id}-1"]


def test_a_stream_whose_model_crashes_raises_in_the_client(client: OpenAI):
    messages = [{"role": "user", "content": "please crash"}]
    stream = client.chat.completions.create(model="chat@v1", messages=messages, stream=True)
    with pytest.raises(openai.APIError, match="failed to answer"):
        list(stream)


def test_a_reader_who_leaves_a_stream_has_seen_the_beginning(client: OpenAI, shared: Place):
    voice = shared.loader.voices[1]
    voice.step_s = 0.02
    num_before = len(shared.producer.shown)
    messages = [{"role": "user", "content": " ".join("word" for _ in range(25))}]
    stream = client.chat.completions.create(model="chat@v1", messages=messages, stream=True)
    for _ in range(4):
        next(stream)
    stream.close()
    wait_for(lambda: len(shared.producer.shown) > num_before)
    voice.step_s = 0.0
    shown = shared.producer.shown[-1]
    assert shown.response.startswith("v1 heard word")
    assert len(shown.response.split()) < 27
    assert not shown.learnable
    assert shown.logprob is None


def test_errors_are_the_clients_own(client: OpenAI):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    assert missing.value.request_id is not None
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="chat", messages=HELLO, temperature=9)
    assert bad.value.param == "temperature"
    messages = [{"role": "user", "content": "word " * 100}]
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="chat", messages=messages, stream=True)
    assert long.value.code == "context_length_exceeded"
    messages = [{"role": "user", "content": "x" * 5_000_000}]
    with pytest.raises(openai.APIStatusError) as large:
        client.chat.completions.create(model="chat", messages=messages)
    assert large.value.status_code == 413


def test_models_are_listed_and_retrieved(client: OpenAI):
    assert [model.id for model in client.models.list()] == ["chat", "chat@v1", "chat@v2"]
    one = client.models.retrieve("chat@v2")
    assert (one.id, one.object, one.owned_by) == ("chat@v2", "model", "rluf")
    assert one.created > 1_700_000_000
    assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("chat@v9")
    assert missing.value.code == "model_not_found"


def test_unknown_extras_are_ignored(client: OpenAI):
    raw = client.chat.completions.with_raw_response.create(
        model="chat@v1", messages=HELLO, extra_body={"vendor::thing": 1}
    )
    assert "vendor::thing" in raw.headers["x-rluf-warnings"]


def test_many_async_clients_are_answered_together(base_url: str, shared: Place):
    async def play() -> list[str | None]:
        async with AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="chat@v1", messages=[{"role": "user", "content": str(number)}]
                    )
                    for number in range(60)
                )
            )
            return [answer.choices[0].message.content for answer in answers]

    shared.loader.voices[1].batches.clear()
    assert asyncio.run(play()) == [f"v1 heard {number}" for number in range(60)]
    assert len(shared.loader.voices[1].batches) < 60


def test_async_streams_run_side_by_side(base_url: str):
    async def one(client: AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model="chat@v1", messages=[{"role": "user", "content": str(number)}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def play() -> list[str]:
        async with AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
            return list(await asyncio.gather(*(one(client, number) for number in range(12))))

    assert asyncio.run(play()) == [f"v1 heard {number}" for number in range(12)]


def test_keys_are_checked(live: Place):
    with running(live.room(replace(FAST, api_keys=("right",)))) as url:
        with (
            OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as wrong,
            pytest.raises(openai.AuthenticationError) as refused,
        ):
            wrong.models.list()
        assert refused.value.code == "invalid_api_key"
        with OpenAI(base_url=f"{url}/v1", api_key="right", max_retries=0) as right:
            assert right.models.list().data[0].id == "chat"


def test_the_client_retries_while_no_version_is_live_and_then_succeeds(place: Place, live: Place):
    """The client of the empty home waits by `retry-after` until somebody registers a version."""
    with running(place.room()) as url, OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        with pytest.raises(openai.InternalServerError) as not_ready:
            client.with_options(max_retries=0).chat.completions.create(model="chat", messages=HELLO)
        assert not_ready.value.status_code == 503
        assert not_ready.value.response.headers["retry-after"] == "1"

        def register_soon() -> None:
            version = live.registry.version("chat", 1)
            artifact = store_artifact(place.root, "chat", version.artifact_path)
            place.registry.register(
                "chat",
                artifact=artifact,
                kind="policy",
                config_hash="c",
                snapshot_hash=None,
            )
            set_arms(place.registry, [("champion", 1, 1.0)])

        later = threading.Timer(0.3, register_soon)
        later.start()
        answer = client.with_options(max_retries=8).chat.completions.create(
            model="chat", messages=HELLO
        )
        later.join()
        assert answer.choices[0].message.content == "v1 heard hello there"


def test_a_real_policy_answers_whole_and_in_pieces(place: Place):
    save_tiny_policy(place.root / "made")
    artifact = store_artifact(place.root, "chat", place.root / "made")
    place.registry.register(
        "chat", artifact=artifact, kind="policy", config_hash="c", snapshot_hash=None
    )
    set_arms(place.registry, [("champion", 1, 1.0)])
    config = replace(FAST, completion_tokens=12)
    engine = Engine(registry=place.registry, load=VoiceLoader(), config=config, meters=place.meters)
    with (
        running(place.room(config, engine=engine)) as url,
        OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        whole = client.chat.completions.create(model="chat", messages=HELLO, seed=11)
        stream = client.chat.completions.create(model="chat", messages=HELLO, seed=11, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert whole.choices[0].message.content == "".join(pieces)
        assert whole.usage is not None
        assert 1 <= whole.usage.completion_tokens <= 12
        too_long = [{"role": "user", "content": "hello " * 200}]
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="chat", messages=too_long)
        assert refused.value.code == "context_length_exceeded"
    expected = Policy.from_pretrained(artifact.path).reply([HELLO], max_new_tokens=12, seed=[11])
    assert whole.choices[0].message.content == expected[0].text
    logprobs = [shown.logprob for shown in place.producer.shown]
    assert logprobs == [pytest.approx(expected[0].logprob, abs=1e-3)] * 2
