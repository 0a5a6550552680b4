"""instructor: structured output, which policies here do not do; it must never pass for done."""

import instructor
import openai
from checks import HELLO, KEY, MODEL, URL, check, expect, expect_raises, main
from openai import OpenAI
from pydantic import BaseModel


class Answer(BaseModel):
    """What would be wanted."""

    city: str
    degrees: int


def wrapped(mode, **headers):
    client = OpenAI(
        base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=60, default_headers=headers
    )
    return instructor.from_openai(client, mode=mode)


def ask(client):
    return client.chat.completions.create(
        model=MODEL, messages=HELLO, response_model=Answer, max_retries=1
    )


def cause_of(fault):
    """Whether the server's refusal is what the wrapper raised, or what it wraps."""
    while fault is not None:
        if isinstance(fault, openai.BadRequestError) or "BadRequest" in type(fault).__name__:
            return True
        if "400" in str(fault):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


@check
def tools_mode_is_refused_in_strict_mode():
    client = wrapped(instructor.Mode.TOOLS, **{"x-rluf-strict": "true"})
    fault = expect_raises(Exception, lambda: ask(client))
    expect(cause_of(fault), repr(fault))


@check
def json_mode_is_refused_in_strict_mode():
    client = wrapped(instructor.Mode.JSON, **{"x-rluf-strict": "true"})
    fault = expect_raises(Exception, lambda: ask(client))
    expect(cause_of(fault), repr(fault))


@check
def without_strict_mode_it_raises_its_own_fault_and_makes_nothing_up():
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.MD_JSON):
        expect_raises(Exception, lambda mode=mode: ask(wrapped(mode)))


@check
def an_answer_without_a_model_is_plain_text():
    answer = wrapped(instructor.Mode.TOOLS).chat.completions.create(
        model=MODEL, messages=HELLO, response_model=None
    )
    expect(isinstance(answer.choices[0].message.content, str), answer)


if __name__ == "__main__":
    main()
