"""LiteLLM's SDK, as `openai/chat` with our base URL."""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # It would ask the network for prices.

import litellm
from checks import HELLO, KEY, URL, check, expect, expect_loved, expect_raises, main, new_user

litellm.telemetry = False
GIVEN = {
    "model": "openai/chat",
    "api_base": f"{URL}/v1",
    "api_key": KEY,
    "messages": HELLO,
    "num_retries": 0,
    "timeout": 60,
}

NAMED = {"allowed_openai_params": ["user"]}
"""It drops `user` in silence for models that are not in its own list."""


@check
def a_whole_answer_has_its_usage():
    answer = litellm.completion(**GIVEN, seed=3)
    expect(isinstance(answer.choices[0].message.content, str), answer)
    expect(answer.usage.total_tokens > 0, answer.usage)


@check
def a_stream_says_the_same_as_the_whole_answer():
    whole = litellm.completion(**GIVEN, seed=3).choices[0].message.content
    chunks = list(litellm.completion(**GIVEN, seed=3, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    expect(text == whole, (text, whole))


@check
def async_calls_work():
    async def play():
        whole = await litellm.acompletion(**GIVEN, seed=3)
        stream = await litellm.acompletion(**GIVEN, seed=3, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = asyncio.run(play())
    expect(whole == streamed, (whole, streamed))


@check
def a_love_counts_by_the_id_of_a_whole_answer():
    user = new_user()
    answer = litellm.completion(**GIVEN, **NAMED, user=user)
    expect_loved(answer.id, user)


@check
def a_love_counts_by_the_id_of_a_stream():
    user = new_user()
    chunks = list(litellm.completion(**GIVEN, **NAMED, user=user, stream=True))
    expect_loved(chunks[0].id, user)


@check
def several_choices_come_through():
    expect(len(litellm.completion(**GIVEN, n=2).choices) == 2)


@check
def log_probabilities_come_through():
    answer = litellm.completion(**GIVEN, logprobs=True, top_logprobs=2, max_tokens=5)
    expect(answer.choices[0].logprobs.content, answer.choices[0])


@check
def text_completions_are_answered():
    answer = litellm.text_completion(
        model="text-completion-openai/chat",
        prompt="hello there",
        api_base=f"{URL}/v1",
        api_key=KEY,
        max_tokens=8,
    )
    expect(isinstance(answer.choices[0].text, str), answer)


@check
def the_responses_api_is_answered():
    answer = litellm.responses(
        model="openai/chat", input="hello there", api_base=f"{URL}/v1", api_key=KEY
    )
    expect(answer.output, answer)


@check
def errors_are_its_own_classes():
    expect_raises(
        litellm.NotFoundError, lambda: litellm.completion(**(GIVEN | {"model": "openai/gpt-4o"}))
    )
    expect_raises(
        litellm.AuthenticationError, lambda: litellm.completion(**(GIVEN | {"api_key": "wrong"}))
    )
    long = [{"role": "user", "content": "word " * 20_000}]
    expect_raises(
        litellm.ContextWindowExceededError,
        lambda: litellm.completion(**(GIVEN | {"messages": long})),
    )


@check
def tools_are_refused_in_strict_mode():
    tool = {"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}
    expect_raises(
        litellm.BadRequestError,
        lambda: litellm.completion(**GIVEN, tools=[tool], extra_headers={"x-rluf-strict": "true"}),
    )


if __name__ == "__main__":
    main()
