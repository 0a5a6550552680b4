"""Goal: responses and completions are answered as OpenAI answers them, on one path with chats.

Method: the official client against a real server over fake voices and a fake broker.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.serving.conftest import FAST, Place, open_place
from tests.serving.live_server import running
from tests.waiting import WAIT_S

EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
"""OpenAI's order; the deltas are as many as there are words."""


@pytest.fixture(scope="module")
def shared(live_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("shapes")
    place = open_place(live_home, folder / "home")
    yield place
    place.registry.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def base_url(shared: Place) -> Iterator[str]:
    with running(shared.room(FAST)) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_a_response_is_parsed_and_its_id_is_what_reactions_name(client: OpenAI, shared: Place):
    made = client.responses.create(
        model="chat@v1",
        input="hello there",
        instructions="be kind",
        metadata={"conversation_id": "c-1"},
        safety_identifier="u-1",
    )
    assert made.output_text == "v1 heard hello there"
    assert (made.status, made.incomplete_details, made.error) == ("completed", None, None)
    assert made.model == "chat@v1"
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (4, 4)
    shown = shared.producer.shown[-1]
    assert (shown.response_id, shown.user_id, shown.conversation_id) == (made.id, "u-1", "c-1")
    assert [(m.role, m.content) for m in shown.messages] == [
        ("system", "be kind"),
        ("user", "hello there"),
    ]
    assert shown.arm == "pinned"


def test_a_response_takes_items_as_its_clients_send_them_back(client: OpenAI, shared: Place):
    first = client.responses.create(model="chat@v1", input=[{"role": "user", "content": "one"}])
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        *[item.model_dump() for item in first.output],
        {"type": "message", "role": "user", "content": "two"},
    ]
    made = client.responses.with_raw_response.create(model="chat@v1", input=items)
    assert "x-rluf-warnings" not in made.headers
    assert made.parse().output_text == "v1 heard two"
    shown = shared.producer.shown[-1]
    assert [(m.role, m.content) for m in shown.messages] == [
        ("user", "one"),
        ("assistant", "v1 heard one"),
        ("user", "two"),
    ]
    assert shown.turn == 1


def test_a_response_cut_by_its_limit_is_incomplete(client: OpenAI):
    made = client.responses.create(model="chat@v1", input="a b c", max_output_tokens=2)
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    last = [
        *client.responses.create(model="chat@v1", input="a b c", max_output_tokens=2, stream=True)
    ][-1]
    assert last.type == "response.incomplete"


def test_a_streamed_response_gives_openais_events_in_their_order(client: OpenAI, shared: Place):
    events = list(client.responses.create(model="chat@v1", input="hello there", stream=True))
    assert list(dict.fromkeys(event.type for event in events)) == EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    last = events[-1]
    assert last.type == "response.completed"
    assert "".join(deltas) == last.response.output_text == "v1 heard hello there"
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == 6
    assert shared.producer.shown[-1].response_id == last.response.id
    with client.responses.stream(model="chat@v1", input="again") as stream:
        assert stream.get_final_response().output_text == "v1 heard again"


def test_a_response_whose_model_crashes_fails_in_the_stream(client: OpenAI):
    events = list(client.responses.create(model="chat@v1", input="then crash", stream=True))
    assert events[-1].type == "response.failed"


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"background": True},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        {"input": []},
        {"top_logprobs": 21},
        {"max_output_tokens": 0},
    ],
)
def test_what_cannot_be_answered_rightly_is_refused(client: OpenAI, fields: dict[str, Any]):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**({"model": "chat", "input": "hi"} | fields))
    assert caught.value.param is not None
    assert caught.value.param.split("[")[0] == next(iter(fields))


def test_responses_tell_log_probabilities_where_asked(client: OpenAI):
    made = client.responses.create(
        model="chat@v1", input="hi", top_logprobs=2, include=["message.output_text.logprobs"]
    )
    [message] = made.output
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert "".join(token.token for token in part.logprobs) == part.text
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)


def test_a_completion_is_parsed_and_recorded(client: OpenAI, shared: Place):
    made = client.completions.create(
        model="chat@v1", prompt="hello there", max_tokens=3, user="u-2", echo=True
    )
    [choice] = made.choices
    assert (choice.text, choice.finish_reason) == ("hello therev1 heard hello", "length")
    assert made.usage is not None
    assert made.usage.completion_tokens == 3
    shown = shared.producer.shown[-1]
    assert (shown.response_id, shown.user_id, shown.response) == (made.id, "u-2", "v1 heard hello")
    assert [(m.role, m.content) for m in shown.messages] == [("user", "hello there")]


def test_several_prompts_have_their_choices_one_after_the_other(client: OpenAI, shared: Place):
    num_before = len(shared.producer.shown)
    raw = client.completions.with_raw_response.create(model="chat@v1", prompt=["a", "b"], n=2)
    made = raw.parse()
    assert [(c.index, c.text) for c in made.choices] == [
        (0, "v1 heard a"),
        (1, "v1 heard a"),
        (2, "v1 heard b"),
        (3, "v1 heard b"),
    ]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (2, 12)
    shown = shared.producer.shown[num_before:]
    assert raw.headers["x-rluf-response-ids"].split(",") == [one.response_id for one in shown]
    assert [one.messages[0].content for one in shown] == ["a", "a", "b", "b"]
    streamed = list(
        client.completions.create(
            model="chat@v1",
            prompt=["a", "b"],
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert streamed[-1].usage == made.usage
    texts = ["", "", "", ""]
    for chunk in streamed[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in made.choices]


def test_best_of_gives_the_likeliest_and_tells_no_probability(client: OpenAI, shared: Place):
    num_before = len(shared.producer.shown)
    made = client.completions.create(model="chat@v1", prompt="a", n=1, best_of=3)
    assert len(made.choices) == 1
    assert made.usage is not None
    assert made.usage.completion_tokens == 9
    [shown] = shared.producer.shown[num_before:]
    assert shown.logprob is None


def test_completions_tell_log_probabilities_in_the_older_shape(client: OpenAI):
    made = client.completions.create(model="chat@v1", prompt="hi", logprobs=2)
    told = made.choices[0].logprobs
    assert told is not None
    assert told.tokens == ["v1", " heard", " hi"]
    assert told.text_offset == [0, 2, 8]
    assert told.token_logprobs == [-0.5] * 3
    assert told.top_logprobs is not None
    assert set(told.top_logprobs[0]) == {"v1", "other0", "other1"}
    chunks = list(client.completions.create(model="chat@v1", prompt="hi", logprobs=2, stream=True))
    found = [c.choices[0].logprobs for c in chunks if c.choices[0].text]
    assert [offset for one in found if one for offset in one.text_offset or []] == [0, 2, 8]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": []},
        {"suffix": "end"},
        {"echo": True, "logprobs": 1},
        {"n": 1, "best_of": 2, "stream": True},
        {"n": 9},
        {"prompt": ["a"] * 5, "n": 2},
        {"logprobs": 6},
    ],
)
def test_completions_refuse_what_they_do_not_do(base_url: str, fields: dict[str, Any]):
    asked = {"model": "chat", "prompt": "hi"} | fields
    answer = httpx.post(f"{base_url}/v1/completions", json=asked, timeout=WAIT_S)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "fields", "param", "words"),
    [
        ("completions", {"prompt": [1, 2]}, "prompt", "not as tokens"),
        ("completions", {"prompt": ["a", 1]}, "prompt[1]", "must be a string, got 1"),
        ("completions", {"best_of": 2, "stream": True}, "best_of", "cannot be streamed"),
        ("completions", {"echo": True, "logprobs": 1}, "echo", "not with logprobs"),
        ("responses", {"input": [5]}, "input[0]", "must be an object, got 5"),
        ("responses", {"input": [{"role": "bot"}]}, "input[0].role", "one of"),
        ("responses", {"input": [{"type": "item_reference"}]}, "input", "'item_reference'"),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content",
            "got one of type 'input_image'",
        ),
        (
            "responses",
            {"previous_response_id": "resp_1"},
            "previous_response_id",
            "nothing is kept",
        ),
        ("responses", {"background": True}, "background", "not made in the background"),
    ],
)
def test_what_is_not_taken_is_named_where_it_stands(
    base_url: str, path: str, fields: dict[str, Any], param: str, words: str
):
    asked = {"model": "chat", "prompt" if path == "completions" else "input": "hi"} | fields
    error = httpx.post(f"{base_url}/v1/{path}", json=asked, timeout=WAIT_S).json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ") or "must be" in error["message"]
    assert words in error["message"]


def test_chats_tell_log_probabilities_whole_and_in_pieces_alike(client: OpenAI):
    asked: dict[str, Any] = {
        "model": "chat@v1",
        "messages": [{"role": "user", "content": "hello there"}],
        "logprobs": True,
        "top_logprobs": 1,
    }
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.logprobs is not None
    assert whole.logprobs.content is not None
    said = b"".join(bytes(token.bytes or []) for token in whole.logprobs.content)
    assert said.decode() == whole.message.content
    streamed = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        told = chunk.choices[0].logprobs
        streamed += (told.content or []) if told is not None else []
    assert streamed == whole.logprobs.content


def test_a_stream_can_be_had_without_comments(base_url: str):
    asked = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    url = f"{base_url}/v1/chat/completions"
    with_comments = httpx.post(url, json=asked, timeout=WAIT_S).text
    without = httpx.post(
        url, json=asked, headers={"x-rluf-sse-comments": "false"}, timeout=WAIT_S
    ).text
    assert any(line.startswith(":") for line in with_comments.splitlines())
    assert not any(line.startswith(":") for line in without.splitlines())
    assert without.rstrip().endswith("data: [DONE]")
