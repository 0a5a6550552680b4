"""LangChain's ChatOpenAI and OpenAI."""

import asyncio

import openai
from checks import (
    KEY,
    MODEL,
    URL,
    check,
    expect,
    expect_loved,
    expect_raises,
    main,
    new_user,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI

GIVEN = {"base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "timeout": 60}


def chat(**given):
    return ChatOpenAI(model=MODEL, **{"use_responses_api": False, **GIVEN, **given})


@check
def a_chat_is_answered_with_its_usage():
    answer = chat(seed=3).invoke([SystemMessage("be kind"), HumanMessage("hello there")])
    expect(isinstance(answer, AIMessage) and isinstance(answer.content, str), answer)
    expect(answer.usage_metadata["total_tokens"] > 0, answer.usage_metadata)
    expect(answer.response_metadata["finish_reason"] in ("stop", "length"), answer)


@check
def a_stream_says_the_same_as_the_whole_answer():
    model = chat(seed=3, stream_usage=True)
    whole = model.invoke("hello there")
    chunks = list(model.stream("hello there"))
    expect("".join(chunk.content for chunk in chunks) == whole.content)
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    expect(total.usage_metadata == whole.usage_metadata, total.usage_metadata)


@check
def async_calls_and_streams_work():
    async def play():
        whole = await chat(seed=3).ainvoke("hello there")
        pieces = [chunk.content async for chunk in chat(seed=3).astream("hello there")]
        return whole.content, "".join(pieces)

    whole, streamed = asyncio.run(play())
    expect(whole == streamed, (whole, streamed))


@check
def a_batch_is_answered_in_its_order():
    answers = chat(seed=1).batch(["hello one", "hello two", "hello three"])
    expect(len(answers) == 3)
    expect(len({answer.response_metadata["id"] for answer in answers}) == 3, answers)


@check
def a_chain_with_a_prompt_and_a_parser_works():
    prompt = ChatPromptTemplate.from_messages([("system", "be kind"), ("human", "{question}")])
    text = (prompt | chat() | StrOutputParser()).invoke({"question": "how are you"})
    expect(isinstance(text, str), text)


@check
def several_choices_and_a_stop_come_through():
    result = chat(n=2, seed=2).generate([[HumanMessage("hello there")]])
    expect(len(result.generations[0]) == 2, result)
    whole = chat(seed=9).invoke("hello there").content
    stop = whole[3:5]
    cut = chat(seed=9).invoke("hello there", stop=[stop]).content
    expect(cut == whole[: whole.index(stop)], (whole, cut))


@check
def log_probabilities_come_through():
    answer = chat(max_tokens=6).bind(logprobs=True, top_logprobs=2).invoke("hello there")
    expect(answer.response_metadata["logprobs"]["content"], answer.response_metadata)


@check
def a_love_counts_by_the_id_in_the_response_metadata():
    user = new_user()
    answer = chat(model_kwargs={"user": user}).invoke("hello there")
    expect_loved(answer.response_metadata["id"], user)


@check
def a_love_counts_by_the_id_in_the_headers_of_a_stream():
    """A chunk's own id is LangChain's, of its run."""
    user = new_user()
    model = chat(model_kwargs={"user": user}, include_response_headers=True)
    headers = [
        chunk.response_metadata["headers"]
        for chunk in model.stream("hello there")
        if "headers" in chunk.response_metadata
    ]
    expect("x-rluf-response-id" in headers[0], headers)
    expect_loved(headers[0]["x-rluf-response-id"], user)


@check
def the_responses_api_is_spoken_where_chosen():
    user = new_user()
    model = chat(use_responses_api=True, model_kwargs={"user": user})
    answer = model.invoke("hello there")
    text = "".join(chunk.text for chunk in model.stream("hello there"))
    expect(isinstance(text, str))
    expect_loved(answer.response_metadata["id"], user)


@check
def the_older_completions_are_answered():
    old = OpenAI(model=MODEL, max_tokens=8, **GIVEN)
    expect(isinstance(old.invoke("hello there"), str))
    expect(isinstance("".join(old.stream("hello there")), str))


@check
def errors_are_raised_as_openais_classes():
    wrong = ChatOpenAI(model="gpt-4o", **GIVEN)
    expect_raises(openai.NotFoundError, lambda: wrong.invoke("hi"))
    denied = chat(api_key="wrong")
    expect_raises(openai.AuthenticationError, lambda: denied.invoke("hi"))


@check
def tools_are_warned_of_and_refused_in_strict_mode():
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    loose = chat(include_response_headers=True).bind_tools([weather]).invoke("hello there")
    warnings = loose.response_metadata["headers"].get("x-rluf-warnings", "")
    expect("tools" in warnings, loose.response_metadata["headers"])
    strict = chat(default_headers={"x-rluf-strict": "true"}).bind_tools([weather])
    expect_raises(openai.BadRequestError, lambda: strict.invoke("hello there"))


@check
def structured_output_never_passes_for_honoured():
    schema = {"title": "answer", "type": "object", "properties": {"a": {"type": "string"}}}
    strict = chat(default_headers={"x-rluf-strict": "true"}).with_structured_output(schema)
    expect_raises(openai.BadRequestError, lambda: strict.invoke("hello there"))


if __name__ == "__main__":
    main()
