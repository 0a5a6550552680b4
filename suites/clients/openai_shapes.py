"""The Responses and Completions APIs by OpenAI's client; their checks run with openai_python.py."""

import openai
from checks import KEY, MODEL, SOON_S, URL, check, expect, expect_loved, expect_raises, new_user
from openai import OpenAI

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=SOON_S)
STRICT = {"x-rluf-strict": "true"}


@check
def the_responses_api_answers_text():
    user = new_user()
    answer = client.responses.create(
        model=MODEL, input="hello there", max_output_tokens=20, user=user
    )
    expect(answer.object == "response", answer)
    expect(isinstance(answer.output_text, str), answer)
    expect(answer.status in ("completed", "incomplete"), answer.status)
    expect(answer.usage.input_tokens > 0, answer.usage)
    expect_loved(answer.id, user)


@check
def the_responses_api_streams_its_events():
    events = list(
        client.responses.create(
            model=MODEL,
            instructions="be kind",
            input=[{"role": "user", "content": [{"type": "input_text", "text": "hello there"}]}],
            stream=True,
        )
    )
    kinds = [event.type for event in events]
    expect(kinds[0] == "response.created", kinds)
    expect(kinds[-1] in ("response.completed", "response.incomplete"), kinds)
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    expect(text == events[-1].response.output_text, (text, events[-1]))
    numbers = [event.sequence_number for event in events]
    expect(numbers == sorted(set(numbers)), numbers)


@check
def the_responses_stream_helper_works():
    for _ in range(12):  # It raises where an answer ends by its length, as this policy's often do.
        given = {"model": MODEL, "input": "hello there", "max_output_tokens": 600}
        with client.responses.stream(**given) as stream:
            kinds = [event.type for event in stream]
            if kinds[-1] == "response.completed":
                final = stream.get_final_response()
                break
    expect(kinds[-1] == "response.completed", kinds[-1])
    expect(final.object == "response", final)


@check
def the_responses_api_refuses_in_strict_mode_what_it_does_not_honour():
    for given in (
        {"tools": [{"type": "web_search_preview"}]},
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"text": {"format": {"type": "json_object"}}},
    ):
        expect_raises(
            openai.BadRequestError,
            lambda given=given: client.responses.create(
                model=MODEL, input="hi", extra_headers=STRICT, **given
            ),
        )


@check
def the_completions_api_answers_text():
    answer = client.completions.create(model=MODEL, prompt="hello there", max_tokens=12, seed=1)
    expect(answer.object == "text_completion", answer)
    expect(isinstance(answer.choices[0].text, str), answer)
    expect(answer.usage.completion_tokens <= 12, answer.usage)


@check
def the_completions_api_streams_the_same_text():
    given = {"model": MODEL, "prompt": "hello there", "max_tokens": 12, "seed": 1}
    whole = client.completions.create(**given).choices[0].text
    chunks = list(client.completions.create(**given, stream=True))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    expect(text == whole, (text, whole))
