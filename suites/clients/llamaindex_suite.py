"""LlamaIndex's OpenAILike."""

import asyncio

import openai
from checks import KEY, MODEL, URL, check, expect, expect_loved, expect_raises, main, new_user
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

HELLO = [ChatMessage(role="user", content="hello there")]


def model(**given):
    fixed = {
        "model": MODEL,
        "api_base": f"{URL}/v1",
        "api_key": KEY,
        "is_chat_model": True,
        "context_window": 4096,
        "max_tokens": 24,
        "max_retries": 0,
        "timeout": 60.0,
    }
    return OpenAILike(**{**fixed, **given})


SEEDED = {"additional_kwargs": {"seed": 3}}


@check
def a_chat_is_answered():
    answer = model(**SEEDED).chat(HELLO)
    expect(isinstance(answer.message.content, str), answer)
    expect(answer.raw.usage.total_tokens > 0, answer.raw)


@check
def a_streamed_chat_says_the_same():
    whole = model(**SEEDED).chat(HELLO).message.content
    last = list(model(**SEEDED).stream_chat(HELLO))[-1]
    expect(last.message.content == whole, (last.message.content, whole))


@check
def a_completion_is_answered_over_the_chat():
    expect(isinstance(model().complete("hello there").text, str))


@check
def a_completion_is_answered_over_the_older_route():
    plain = model(is_chat_model=False, **SEEDED)
    whole = plain.complete("hello there").text
    last = list(plain.stream_complete("hello there"))[-1]
    expect(last.text == whole, (last.text, whole))


@check
def async_calls_work():
    async def play():
        whole = await model(**SEEDED).achat(HELLO)
        stream = await model(**SEEDED).astream_chat(HELLO)
        pieces = [piece.delta or "" async for piece in stream]
        return whole.message.content, "".join(pieces)

    whole, streamed = asyncio.run(play())
    expect(whole == streamed, (whole, streamed))


@check
def log_probabilities_come_through():
    answer = model(logprobs=True, top_logprobs=2).chat(HELLO)
    expect(answer.logprobs, answer.raw)


@check
def a_love_counts_by_the_id_of_the_raw_answer():
    user = new_user()
    answer = model(additional_kwargs={"user": user}).chat(HELLO)
    expect_loved(answer.raw.id, user)


@check
def errors_are_raised_as_openais_classes():
    expect_raises(openai.NotFoundError, lambda: model(model="gpt-4o").chat(HELLO))
    expect_raises(openai.AuthenticationError, lambda: model(api_key="wrong").chat(HELLO))


if __name__ == "__main__":
    main()
