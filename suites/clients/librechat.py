"""Requests shaped like LibreChat's custom endpoints: its parameters, its title calls, its user.

LibreChat sends through openai-node and @langchain/openai: `user` holds its user id, titles are made
by calls of their own, and unknown parameters are dropped by `dropParams`.
"""

import json

from checks import (
    MODEL,
    check,
    expect,
    expect_not_learned,
    features,
    love,
    main,
    new_user,
    send,
    wait_for,
)

TITLE = """Provide a concise, 5-word-or-less title for the conversation.

Conversation:
User: hello there
AI: hello"""


def ask(user, text="hello there", headers=None, **given):
    body = {
        "model": MODEL,
        "user": user,
        "stream": True,
        "temperature": 0.7,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "messages": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": text},
        ],
        **given,
    }
    said = send(
        "/v1/chat/completions", body, headers={"user-agent": "OpenAI/JS 5.10.1", **(headers or {})}
    )
    expect(said.status == 200, said)
    if not body["stream"]:
        return said.json()["id"], said
    lines = [row[6:] for row in said.body.decode().splitlines() if row.startswith("data: {")]
    return json.loads(lines[0])["id"], said


@check
def a_streamed_chat_is_answered():
    _, said = ask(new_user(), stream_options={"include_usage": True})
    lines = [row for row in said.body.decode().splitlines() if row.startswith("data: ")]
    expect(lines[-1] == "data: [DONE]", lines[-1])


@check
def its_neutral_parameters_are_not_warned_of():
    _, said = ask(new_user())
    expect("x-rluf-warnings" not in said.headers, said.headers)


@check
def a_love_by_its_user_counts():
    user = new_user()
    response, _ = ask(user)
    expect(love(response, user).status == 202)
    wait_for(lambda: features(user).get("num_love") == 1, lambda: features(user))


@check
def its_title_call_is_no_answer_to_a_person():
    expect_not_learned(lambda: ask(new_user(), TITLE, stream=False))


@check
def several_text_parts_are_read():
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}]
    ask(new_user(), messages=[{"role": "user", "content": parts}])


@check
def a_conversation_that_goes_on_is_answered():
    history = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "and now?"},
    ]
    ask(new_user(), messages=history)


@check
def a_call_that_is_not_to_be_stored_is_not_learned_from():
    expect_not_learned(lambda: ask(new_user(), store=False))


@check
def a_call_marked_by_a_header_is_not_learned_from():
    expect_not_learned(lambda: ask(new_user(), headers={"x-rluf-learnable": "false"}))


if __name__ == "__main__":
    main()
