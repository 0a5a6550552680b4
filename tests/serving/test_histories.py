"""Goal: a conversation is the same text whether it comes to the chat or as an exposure's history.

Method: histories as clients of OpenAI's API write them go to both doors; what the events hold is
compared.
"""

import msgspec
import pytest
from starlette.testclient import TestClient

from streams.codec import encode
from tests.serving.conftest import Place
from tests.serving.fakes import NOON
from tests.streams.samples import shown

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
HISTORIES = [
    [{"role": "user", "content": "hello"}],
    [
        {
            "role": "developer",
            "content": [{"type": "text", "text": each} for each in ("Be ", "brief.")],
        }
    ],
    [{"role": "assistant", "content": None}, {"role": "user", "content": None}],
    [
        {"role": "user", "content": "weather?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "9 degrees"},
    ],
    [
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "9 degrees"},
    ],
    [{"role": "user", "content": {"type": "text", "text": "hello"}}],
    [{"role": "user", "content": [{"type": "text", "text": None}]}],
    [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Yes?"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
    ],
    [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
    [{"role": "assistant", "content": None, "refusal": "No.", "audio": {"id": "a"}}],
]


@pytest.mark.parametrize("messages", HISTORIES)
def test_both_doors_read_a_history_alike(api: TestClient, live: Place, messages: list):
    answer = api.post("/v1/chat/completions", json={"model": "chat", "messages": messages})
    assert (answer.status_code, answer.headers["x-rluf-recorded"]) == (200, "true"), answer.text
    event = msgspec.json.decode(encode(shown(occurred_at=NOON, known_at=NOON)))
    event["data"]["messages"] = messages
    headers = {"content-type": "application/cloudevents+json"}
    assert api.post("/v1/events", json=event, headers=headers).status_code == 202
    by_chat, by_event = live.producer.shown
    assert by_chat.messages == by_event.messages
