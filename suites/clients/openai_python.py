"""The official client of OpenAI in Python, sync and async, over everything that is served."""

import asyncio
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import openai
import openai_shapes  # noqa: F401  Its checks are registered when it is imported.
from checks import (
    HELLO,
    KEY,
    MODEL,
    SOON_S,
    URL,
    check,
    expect,
    expect_loved,
    expect_raises,
    features,
    main,
    new_user,
    send,
    wait_for,
)
from openai import AsyncOpenAI, OpenAI

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=SOON_S)
chats = client.chat.completions
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
STRICT = {"x-rluf-strict": "true"}


@check
def a_whole_answer_is_parsed_with_its_usage():
    answer = chats.create(model=MODEL, messages=HELLO, seed=3, max_completion_tokens=20)
    choice = answer.choices[0]
    expect(answer.object == "chat.completion" and choice.message.role == "assistant", answer)
    expect(isinstance(choice.message.content, str), choice)
    expect(choice.finish_reason in ("stop", "length"), choice)
    expect(answer.usage.prompt_tokens > 0, answer.usage)
    total = answer.usage.prompt_tokens + answer.usage.completion_tokens
    expect(answer.usage.total_tokens == total <= answer.usage.prompt_tokens + 20, answer.usage)


@check
def a_stream_says_the_same_as_the_whole_answer():
    given = {"model": MODEL, "messages": HELLO, "seed": 3, "max_completion_tokens": 30}
    whole = chats.create(**given)
    stream = chats.create(**given, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    expect(text == whole.choices[0].message.content, (text, whole.choices[0].message.content))
    expect(chunks[-1].usage == whole.usage, (chunks[-1].usage, whole.usage))
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    expect(reasons[-1] == whole.choices[0].finish_reason, reasons)
    expect(set(reasons[:-1]) == {None}, reasons)
    expect(len({c.id for c in chunks}) == 1)


@check
def the_stream_helper_accumulates_the_answer():
    whole = chats.create(model=MODEL, messages=HELLO, seed=9).choices[0].message.content
    given = {"model": MODEL, "messages": HELLO, "seed": 9, "stop": whole[3:5]}
    with chats.stream(**given) as stream:  # It raises where an answer ends by its length.
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    expect({"content.delta", "content.done"} <= kinds, kinds)
    expect(final.choices[0].message.content == whole[: whole.index(whole[3:5])], final)


@check
def async_clients_are_answered_side_by_side():
    async def play():
        async with AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as many:
            calls = [
                many.chat.completions.create(model=MODEL, messages=HELLO, seed=seed)
                for seed in range(12)
            ]
            return await asyncio.gather(*calls)

    answers = asyncio.run(play())
    expect(len({answer.id for answer in answers}) == 12)


@check
def async_streams_run_side_by_side():
    async def one(many, seed):
        stream = await many.chat.completions.create(
            model=MODEL, messages=HELLO, seed=seed, stream=True
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def play():
        async with AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as many:
            return await asyncio.gather(*(one(many, seed) for seed in range(8)))

    whole = [
        chats.create(model=MODEL, messages=HELLO, seed=n).choices[0].message.content
        for n in range(8)
    ]
    expect(asyncio.run(play()) == whole)


@check
def the_same_seed_gives_the_same_answer_and_another_another():
    texts = [
        chats.create(model=MODEL, messages=HELLO, seed=seed).choices[0].message.content
        for seed in (5, 5, 6, 7)
    ]
    expect(texts[0] == texts[1], texts)
    expect(len(set(texts)) > 1, texts)


@check
def several_choices_are_numbered_and_each_can_be_loved():
    user = new_user()
    raw = chats.with_raw_response.create(model=MODEL, messages=HELLO, n=3, user=user)
    answer = raw.parse()
    expect([choice.index for choice in answer.choices] == [0, 1, 2])
    ids = [part.strip() for part in raw.headers["x-rluf-response-ids"].split(",")]
    expect(ids == [answer.id, f"{answer.id}-1", f"{answer.id}-2"], ids)
    expect_loved(ids[2], user)


@check
def a_stop_sequence_ends_the_answer_and_is_not_shown():
    whole = chats.create(model=MODEL, messages=HELLO, seed=9).choices[0].message.content
    stop = whole[3:5]
    cut = chats.create(model=MODEL, messages=HELLO, seed=9, stop=stop)
    expect(cut.choices[0].message.content == whole[: whole.index(stop)], (stop, cut))
    expect(cut.choices[0].finish_reason == "stop", cut)
    streamed = chats.create(model=MODEL, messages=HELLO, seed=9, stop=[stop], stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in streamed if c.choices)
    expect(text == whole[: whole.index(stop)], text)


@check
def log_probabilities_of_tokens_are_given_where_asked_for():
    answer = chats.create(
        model=MODEL, messages=HELLO, seed=4, logprobs=True, top_logprobs=3, max_completion_tokens=8
    )
    found = answer.choices[0].logprobs
    expect(found is not None and len(found.content) > 0, found)
    for token in found.content:
        expect(token.logprob <= 0 and len(token.top_logprobs) == 3, token)
        expect(bytes(token.bytes or []) is not None)
    joined = b"".join(bytes(token.bytes) for token in found.content)
    text = answer.choices[0].message.content
    expect(joined.decode("utf-8", "replace").startswith(text), (joined, text))


@check
def log_probabilities_of_a_stream_are_those_of_the_whole_answer():
    given = {"model": MODEL, "messages": HELLO, "seed": 4, "logprobs": True, "top_logprobs": 2}
    whole = chats.create(**given, max_completion_tokens=8).choices[0].logprobs.content
    chunks = list(chats.create(**given, max_completion_tokens=8, stream=True))
    streamed = [
        token
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content or []
    ]
    expect([t.token for t in streamed] == [t.token for t in whole], (streamed, whole))
    pairs = zip(streamed, whole, strict=True)
    expect(all(abs(a.logprob - b.logprob) < 1e-3 for a, b in pairs), (streamed, whole))


@check
def numbers_are_taken_as_openai_takes_them():
    for given in (
        {"top_p": 0},
        {"temperature": 0},
        {"temperature": 2},
        {"frequency_penalty": -2.0, "presence_penalty": 2},
        {"max_completion_tokens": 1},
        {"n": 1},
    ):
        chats.create(model=MODEL, messages=HELLO, **given)
    body = {"model": MODEL, "messages": HELLO, "max_tokens": 16.0}
    expect(send("/v1/chat/completions", body).status == 200)


@check
def penalties_change_the_answer():
    given = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_completion_tokens": 40}
    plain = chats.create(**given).choices[0].message.content
    other = chats.create(**given, frequency_penalty=2.0, presence_penalty=2.0)
    expect(other.choices[0].message.content != plain, plain)


@check
def models_are_listed_and_retrieved():
    names = [model.id for model in client.models.list()]
    expect(names[:2] == ["chat", "chat@v1"], names)
    expect(client.models.retrieve("chat@v1").owned_by == "rluf")
    expect_raises(openai.NotFoundError, lambda: client.models.retrieve("gpt-4o"))


@check
def a_version_is_named_by_its_number():
    expect(chats.create(model="chat@v1", messages=HELLO).model == "chat@v1")


@check
def errors_are_the_clients_own_classes():
    missing = expect_raises(
        openai.NotFoundError, lambda: chats.create(model="gpt-4o", messages=HELLO)
    )
    expect(missing.code == "model_not_found", missing)
    bad = expect_raises(
        openai.BadRequestError, lambda: chats.create(model=MODEL, messages=HELLO, temperature=9)
    )
    expect(bad.param == "temperature", bad)
    expect(bad.request_id is not None)
    long = [{"role": "user", "content": "word " * 20_000}]
    refused = expect_raises(
        openai.BadRequestError, lambda: chats.create(model=MODEL, messages=long)
    )
    expect(refused.code == "context_length_exceeded", refused)
    wrong = OpenAI(base_url=f"{URL}/v1", api_key="wrong", max_retries=0)
    denied = expect_raises(openai.AuthenticationError, wrong.models.list)
    expect(denied.code == "invalid_api_key", denied)
    huge = [{"role": "user", "content": "x" * 5_000_000}]
    large = expect_raises(openai.APIStatusError, lambda: chats.create(model=MODEL, messages=huge))
    expect(large.status_code == 413, large)


@check
def an_error_before_a_stream_is_raised_too():
    expect_raises(
        openai.BadRequestError,
        lambda: chats.create(model=MODEL, messages=HELLO, temperature=9, stream=True),
    )


@check
def a_love_counts_by_the_id_of_a_whole_answer():
    user = new_user()
    answer = chats.create(model=MODEL, messages=HELLO, user=user)
    expect_loved(answer.id, user)


@check
def a_love_counts_by_the_id_of_a_stream():
    user = new_user()
    chunks = list(chats.create(model=MODEL, messages=HELLO, user=user, stream=True))
    expect_loved(chunks[0].id, user)


@check
def a_love_counts_under_the_safety_identifier_as_well():
    user = new_user()
    answer = chats.create(model=MODEL, messages=HELLO, user=f"{user}-old", safety_identifier=user)
    expect_loved(answer.id, user)


@check
def a_love_by_the_older_name_of_a_user_with_two_names_counts():
    older, newer = new_user(), new_user()
    answer = chats.create(model=MODEL, messages=HELLO, user=older, safety_identifier=newer)
    said = send("/v1/feedback", {"response_id": answer.id, "signal": "love", "actor_id": older})
    expect(said.status == 202, said)
    wait_for(lambda: features(newer).get("num_love") == 1, lambda: features(newer))


@check
def metadata_and_headers_pass():
    raw = chats.with_raw_response.create(
        model=MODEL,
        messages=HELLO,
        user=new_user(),
        metadata={"conversation_id": "c-1", "surface": "web", "language": "en"},
        store=True,
    )
    expect(raw.headers["x-rluf-recorded"] == "true", dict(raw.headers))
    expect(raw.headers["x-rluf-policy"] == "chat@1", dict(raw.headers))
    expect("x-rluf-warnings" not in raw.headers, raw.headers.get("x-rluf-warnings"))


@check
def metadata_that_would_be_dead_lettered_is_refused():
    expect_raises(
        openai.BadRequestError,
        lambda: chats.create(model=MODEL, messages=HELLO, metadata={"conversation_id": "   "}),
    )


@check
def what_is_not_honoured_is_named_in_a_warning():
    for given, name in (
        ({"tools": [WEATHER]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"5": -100}}, "logit_bias"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"extra_body": {"vendor_thing": 1}}, "vendor_thing"),
    ):
        raw = chats.with_raw_response.create(model=MODEL, messages=HELLO, **given)
        expect(name in raw.headers.get("x-rluf-warnings", ""), (name, dict(raw.headers)))


@check
def what_is_not_honoured_is_refused_in_strict_mode():
    for given in (
        {"tools": [WEATHER]},
        {"response_format": {"type": "json_object"}},
        {"logit_bias": {"5": -100}},
        {"extra_body": {"vendor_thing": 1}},
    ):
        expect_raises(
            openai.BadRequestError,
            lambda given=given: chats.create(
                model=MODEL, messages=HELLO, extra_headers=STRICT, **given
            ),
        )


@check
def what_is_not_honoured_within_messages_is_named_and_refused_in_strict_mode():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    with_tools = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    named = [{"role": "user", "name": "Ada", "content": "hi"}]
    part = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    cached = [{"role": "user", "content": [part]}]
    for messages, name in ((with_tools, "tool_call"), (named, "name"), (cached, "cache_control")):
        raw = chats.with_raw_response.create(model=MODEL, messages=messages)
        expect(name in raw.headers.get("x-rluf-warnings", ""), (name, dict(raw.headers)))
        expect_raises(
            openai.BadRequestError,
            lambda messages=messages: chats.create(
                model=MODEL, messages=messages, extra_headers=STRICT
            ),
        )


@check
def text_parts_are_read_and_pictures_refused():
    chats.create(
        model=MODEL, messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    )
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    expect_raises(
        openai.BadRequestError,
        lambda: chats.create(model=MODEL, messages=[{"role": "user", "content": [picture]}]),
    )


@check
def structured_output_by_parse_does_not_pass_for_honoured():
    raw = chats.with_raw_response.create(
        model=MODEL,
        messages=HELLO,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
        },
    )
    expect("response_format" in raw.headers.get("x-rluf-warnings", ""), dict(raw.headers))


@check
def routes_that_are_not_served_raise_the_clients_not_found():
    fault = expect_raises(
        openai.APIStatusError, lambda: client.embeddings.create(model=MODEL, input="x")
    )
    expect(fault.status_code in (404, 405, 501), fault)
    expect_raises(openai.APIStatusError, lambda: client.moderations.create(input="x"))


@check
def an_abandoned_stream_is_closed_and_the_next_is_answered():
    stream = chats.create(model=MODEL, messages=HELLO, stream=True, max_completion_tokens=900)
    next(iter(stream))
    stream.close()
    began = time.monotonic()
    chats.create(model=MODEL, messages=HELLO, max_completion_tokens=4)
    expect(time.monotonic() - began < 30, time.monotonic() - began)


@check
def a_client_that_times_out_raises_its_own_class_and_leaves_the_server_well():
    hasty = client.with_options(timeout=0.01)
    expect_raises(
        openai.APITimeoutError,
        lambda: hasty.chat.completions.create(
            model=MODEL, messages=HELLO, max_completion_tokens=900
        ),
    )
    chats.create(model=MODEL, messages=HELLO, max_completion_tokens=4)


@check
def a_feedback_that_is_retried_with_its_key_is_one_reaction():
    user = new_user()
    answer = chats.create(model=MODEL, messages=HELLO, user=user)
    body = {"response_id": answer.id, "signal": "love", "actor_id": user}
    ids = set()
    for _ in range(3):
        said = send("/v1/feedback", body, headers={"idempotency-key": f"k-{answer.id}"})
        expect(said.status == 202, said)
        ids.add(said.json()["feedback_id"])
    expect(len(ids) == 1, ids)
    wait_for(lambda: features(user).get("num_love") == 1, lambda: features(user))


class Flaky(BaseHTTPRequestHandler):
    """A gateway that is busy twice, then hands on."""

    protocol_version = "HTTP/1.1"
    statuses = itertools.cycle((503, 429, 200))
    keys: ClassVar[list] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.keys.append(self.headers.get("idempotency-key"))
        status = next(self.statuses)
        if status == 200:
            said = send("/v1/chat/completions", data=body)
            status, payload = said.status, said.body
        else:
            payload = json.dumps({"error": {"message": "busy"}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


@check
def retries_on_503_and_429_come_to_an_answer():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        through = OpenAI(
            base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key=KEY, max_retries=4
        )
        answer = through.chat.completions.create(model=MODEL, messages=HELLO)
        expect(answer.choices[0].message.content is not None)
        expect(len(Flaky.keys) == 3, Flaky.keys)
    finally:
        server.shutdown()


@check
def a_chat_sent_again_with_its_idempotency_key_is_answered():
    for _ in range(2):
        answer = chats.create(
            model=MODEL, messages=HELLO, extra_headers={"idempotency-key": "chat-once"}
        )
        expect(answer.choices[0].message.role == "assistant")


if __name__ == "__main__":
    main()
