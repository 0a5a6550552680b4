"""Requests shaped like Open WebUI's: one key, users in headers, background calls, two ids.

The shapes are those that its 0.6 line sends with ENABLE_FORWARD_USER_INFO_HEADERS=true; the
settings of the server are those of docs/frontends.md.
"""

import json
import urllib.request
import uuid

from checks import (
    KEY,
    MODEL,
    SOON_S,
    URL,
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

TITLE = """### Task:
Generate a title of a few words, with an emoji, for the chat below.
### Output:
JSON format: { "title": "..." }
### Chat History:
<chat_history>
USER: hello there
</chat_history>"""
TAGS = TITLE.replace("a title of a few words, with an emoji,", "one to three tags")
FOLLOW_UPS = TITLE.replace(
    "Generate a title of a few words, with an emoji,", "Suggest next questions"
)


def headers(user, chat, message):
    return {
        "X-OpenWebUI-User-Name": "Ada%20Lovelace",
        "X-OpenWebUI-User-Id": user,
        "X-OpenWebUI-User-Email": "ada@example.org",
        "X-OpenWebUI-User-Role": "user",
        "X-OpenWebUI-Chat-Id": chat,
        "X-OpenWebUI-Message-Id": message,
        "user-agent": "Python/3.11 aiohttp/3.12",
    }


def ask(user, *, chat="", message="", text="hello there", stream=True):
    body = {
        "stream": stream,
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    chat, message = chat or uuid.uuid4().hex, message or uuid.uuid4().hex
    said = send("/v1/chat/completions", body, headers=headers(user, chat, message))
    expect(said.status == 200, said)
    if not stream:
        return said.json()["id"], said
    lines = [row[6:] for row in said.body.decode().splitlines() if row.startswith("data: {")]
    return json.loads(lines[0])["id"], said


@check
def a_streamed_chat_is_answered_as_open_webui_reads_it():
    _, said = ask(new_user())
    lines = [row for row in said.body.decode().splitlines() if row.startswith("data: ")]
    expect(lines[-1] == "data: [DONE]", lines[-1])
    expect(said.headers["content-type"].startswith("text/event-stream"), said.headers)


@check
def the_models_are_listed():
    said = send("/v1/models")
    expect(said.json()["data"][0]["id"] == MODEL, said)


@check
def the_user_in_the_header_is_the_user():
    user = new_user()
    ask(user)
    wait_for(lambda: features(user).get("num_shown") == 1, lambda: features(user))


@check
def a_love_by_the_answers_id_counts_for_the_user_of_the_header():
    user = new_user()
    response, _ = ask(user)
    expect(love(response, user).status == 202)
    wait_for(lambda: features(user).get("num_love") == 1, lambda: features(user))


@check
def a_love_by_the_message_id_of_the_front_end_counts():
    user, message = new_user(), uuid.uuid4().hex
    ask(user, message=message)
    expect(love(message, user).status == 202)
    wait_for(lambda: features(user).get("num_love") == 1, lambda: features(user))


@check
def two_users_of_one_key_are_two_users():
    first, second = new_user(), new_user()
    ask(first)
    ask(second)
    for user in (first, second):
        wait_for(lambda user=user: features(user).get("num_shown") == 1)


def _background(name, prompt):
    def run():
        expect_not_learned(lambda: ask(new_user(), text=prompt, stream=False))

    run.__name__ = f"the_background_call_for_{name}_is_no_answer_to_a_person"
    return run


for _name, _prompt in (("a_title", TITLE), ("tags", TAGS), ("follow_ups", FOLLOW_UPS)):
    check(_background(_name, _prompt))


@check
def a_stopped_stream_does_not_disturb_the_next():
    body = json.dumps(
        {
            "stream": True,
            "model": MODEL,
            "max_tokens": 900,
            "messages": [{"role": "user", "content": "hello"}],
        }
    ).encode()
    request = urllib.request.Request(
        f"{URL}/v1/chat/completions",
        data=body,
        headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SOON_S) as stream:
        stream.readline()
    ask(new_user())


if __name__ == "__main__":
    main()
