"""Goal: a history is kept as its client wrote it, readable, and never costs its exposure.

Method: messages in the forms of OpenAI's chat and responses APIs, Anthropic's and Ollama's; then
any JSON in their places.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.events import Shown
from tests.streams.samples import KNOWN_AT, shown

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
}


def stored(*messages: object) -> list[tuple[str, str]]:
    event = msgspec.json.decode(encode(shown()))
    event["data"]["messages"] = messages
    read = decode(msgspec.json.encode(event), known_at=KNOWN_AT)
    assert isinstance(read, Shown)
    assert decode(encode(read), known_at=KNOWN_AT) == read
    return [(message.role, message.content) for message in read.messages]


@pytest.mark.parametrize(
    ("message", "role", "content"),
    [
        ({"role": "assistant", "content": None}, "assistant", ""),
        ({"role": "assistant"}, "assistant", ""),
        ({"role": "user", "content": []}, "user", ""),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}, "user", "ab"),
        ({"role": "user", "content": {"type": "text", "text": "a"}}, "user", "a"),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this? "},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                    {"type": "file", "file": {"file_id": "f"}},
                    {"type": "video_url", "video_url": {"url": "x"}},
                ],
            },
            "user",
            "What is this? [image][audio][file][video_url]",
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            "assistant",
            '[tool_call] get_weather({"city": "Oslo"})',
        ),
        (
            {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]},
            "assistant",
            'Let me see.\n[tool_call] get_weather({"city": "Oslo"})'
            '\n[tool_call] get_weather({"city": "Oslo"})',
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            "assistant",
            "[tool_call] f({})",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
            },
            "assistant",
            '[tool_call] f({"x":1})',
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
                ],
            },
            "assistant",
            'Let me see.\n[tool_call] f({"x":1})',
        ),
        (
            {
                "role": "user",
                "content": [{"type": "tool_result", "content": [{"type": "text", "text": "9 °C"}]}],
            },
            "user",
            "9 °C",
        ),
        ({"role": "tool", "tool_call_id": "call_1", "content": "9 °C"}, "tool", "9 °C"),
        ({"role": "function", "name": "f", "content": "9 °C"}, "tool", "f: 9 °C"),
        ({"role": "developer", "content": "Be brief."}, "system", "Be brief."),
        ({"role": "user", "name": "Ada", "content": "hello"}, "user", "Ada: hello"),
        ({"role": "assistant", "content": None, "refusal": "I cannot."}, "assistant", "I cannot."),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]},
            "assistant",
            "I cannot.",
        ),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "assistant", "[audio]"),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            "assistant",
            "a",
        ),
        ({"role": "user", "content": "a", "name": None, "tool_calls": None}, "user", "a"),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": {"value": "a"}}],
            },
            "user",
            "a",
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                    {"type": "reasoning", "text": "Hm."},
                    {"type": "text", "text": "a"},
                ],
            },
            "assistant",
            "a",
        ),
        ({"role": "model", "parts": [{"text": "a"}, {"text": "b"}]}, "assistant", "ab"),
        ({"role": "user", "parts": [{"type": "text", "text": "a"}]}, "user", "a"),
        ({"role": "user", "content": "a", "parts": [{"type": "text", "text": "a"}]}, "user", "a"),
        ({"role": "Human", "content": "a"}, "user", "a"),
        ({"role": "ai", "content": "a"}, "assistant", "a"),
        ({"role": "narrator", "content": "a"}, "narrator", "a"),
    ],
)
def test_a_message_is_kept_as_text_that_a_person_can_read(message, role, content):
    assert stored(message) == [(role, content)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "function", "name", "arguments", "input"])
            | st.text(max_size=4),
            inner | st.sampled_from(["text", "tool_use", "tool_result", "image_url"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    content=st.text()
    | st.none()
    | st.lists(json_values, max_size=4)
    | st.dictionaries(st.text(max_size=4), json_values, max_size=3),
    calls=st.none() | st.lists(json_values, max_size=3),
    role=st.text(min_size=1, max_size=9),
)
def test_whatever_a_history_holds_its_exposure_is_taken(content, calls, role):
    [(_, text)] = stored({"role": role, "content": content, "tool_calls": calls})
    if isinstance(content, str):
        assert content in text


def test_results_within_results_are_kept_as_json_and_end():
    nested: object = "9 °C"
    for _ in range(200):
        nested = [{"type": "tool_result", "content": nested}]
    [(_, text)] = stored({"role": "user", "content": nested})
    assert "9 °C" in text
