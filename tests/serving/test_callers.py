"""Goal: each user of a front end is a user of their own, a reaction finds its answer under any name
that it had, and background calls are no answers to people.

Method: requests shaped as Open WebUI and LibreChat shape theirs, and feedback on what they got; the
store is asked in the end, through the same events.
"""

import pytest
from starlette.testclient import TestClient

from features.views import connect
from rluf.settings import load_settings
from serving.config import ServingConfig
from tests.features.histories import store_all
from tests.serving.conftest import Place, StartApi

HEADERS = ("user_header", "conversation_header", "message_header")


def dials_of(recipe: str) -> dict[str, str]:
    serving = load_settings([recipe], {}).serving
    return {name: getattr(serving, name) for name in HEADERS}


OPEN_WEBUI = dials_of("openwebui")
KEY = {"authorization": "Bearer front-end"}


def open_webui(user: str, message: str = "m-1") -> dict[str, str]:
    return {
        **KEY,
        "X-OpenWebUI-User-Id": user,
        "X-OpenWebUI-User-Email": f"{user}%40example.com",
        "X-OpenWebUI-Chat-Id": f"chat-of-{user}",
        "X-OpenWebUI-Message-Id": message,
    }


def chat(api: TestClient, headers=None, content="hello", **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": content}], **fields}
    response = api.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response


def love(api: TestClient, headers=None, **fields):
    response = api.post("/v1/feedback", json={"signal": "love", **fields}, headers=headers)
    assert response.status_code == 202, response.text
    return response.json()


def labels(live: Place):
    store_all(live.root, live.producer.events)
    with connect(live.root) as connection:
        return connection.sql("SELECT response_id, user_id, value, dangling FROM labels").fetchall()


def meter(api: TestClient, line: str) -> bool:
    return line in api.get("/metrics").text


def test_users_behind_one_key_are_divided_among_the_arms(start: StartApi, live: Place):
    api = start(**OPEN_WEBUI)
    arms = {chat(api, open_webui(f"user-{n}", f"m-{n}")).headers["x-rluf-arm"] for n in range(24)}
    assert arms == {"champion", "challenger"}
    assert len({shown.user_id for shown in live.producer.shown}) == 24
    assert {shown.conversation_id for shown in live.producer.shown} == {
        f"chat-of-user-{n}" for n in range(24)
    }


def test_users_of_librechat_are_told_apart_too(start: StartApi, live: Place):
    api = start(**dials_of("librechat"))
    for user in ("ada", "bob"):
        told = {"X-LibreChat-User-Id": user, "X-LibreChat-Conversation-Id": f"talk-of-{user}"}
        answered = chat(api, {**KEY, **told}, user="librechat").json()["id"]
        assert love(api, KEY, response_id=answered, actor_id=user)["learns"] is True
    assert [shown.user_id for shown in live.producer.shown] == ["ada", "bob"]
    assert {user for _, user, _, _ in labels(live)} == {"ada", "bob"}


def test_headers_are_not_believed_unless_the_settings_say_so(api: TestClient, live: Place):
    chat(api, open_webui("ada"))
    [shown] = live.producer.shown
    assert (shown.user_aliases, shown.response_aliases) == ((), ())
    assert shown.user_id == shown.client_id != "ada"
    assert shown.conversation_id == shown.response_id


def test_the_header_goes_before_the_body_and_every_name_is_kept(start: StartApi, live: Place):
    api = start(**OPEN_WEBUI)
    names = {"safety_identifier": "hash-of-ada", "user": "ada@example.com"}
    chat(api, open_webui("ada"), metadata={"conversation_id": "told"}, **names)
    [shown] = live.producer.shown
    assert shown.user_id == "ada"
    assert shown.user_aliases == ("hash-of-ada", "ada@example.com")
    assert shown.conversation_id == "told"
    assert shown.client_id.startswith("key-")


@pytest.mark.parametrize(
    "actor", ["ada", "hash-of-ada", "ada@example.com", None], ids=["header", "safe", "user", "key"]
)
@pytest.mark.parametrize("by_message", [False, True])
def test_a_thumb_under_any_name_counts_as_the_users(start, live, actor, by_message):
    api = start(**OPEN_WEBUI)
    names = {"safety_identifier": "hash-of-ada", "user": "ada@example.com"}
    answered = chat(api, open_webui("ada"), **names).json()["id"]
    told = {"actor_id": actor} if actor else {}
    said = love(api, KEY, response_id="m-1" if by_message else answered, **told)
    assert said["learns"] is True
    assert labels(live) == [(answered, "ada", True, False)]


def test_a_front_ends_headers_are_enough_for_feedback(start: StartApi, live: Place):
    api = start(**OPEN_WEBUI)
    answered = chat(api, open_webui("ada")).json()["id"]
    assert love(api, open_webui("ada"))["learns"] is True
    assert labels(live) == [(answered, "ada", True, False)]


def test_a_client_may_name_the_answer_itself(api: TestClient, live: Place):
    answered = chat(api, user="ada", metadata={"message_id": "mine"}).json()["id"]
    assert love(api, response_id="mine", actor_id="ada")["learns"] is True
    assert labels(live) == [(answered, "ada", True, False)]


@pytest.mark.parametrize("value", [" ", "x" * 513, ""])
def test_a_client_may_not_name_the_answer_so_that_it_would_be_refused_later(api, value):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    response = api.post("/v1/chat/completions", json={**body, "metadata": {"message_id": value}})
    assert response.status_code == (200 if value == "" else 400)


def test_a_trusted_header_given_twice_may_be_forged_and_is_refused(start: StartApi):
    api = start(**OPEN_WEBUI)
    headers = [("X-OpenWebUI-User-Id", "mallory"), ("X-OpenWebUI-User-Id", "ada")]
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    assert api.post("/v1/chat/completions", json=body, headers=headers).status_code == 400
    assert api.post("/v1/feedback", json={"signal": "love"}, headers=headers).status_code == 400


@pytest.mark.parametrize("value", ["", "  ", "{{LIBRECHAT_USER_ID}}", "undefined", "null"])
def test_a_header_that_the_front_end_did_not_fill_names_nobody(start, live, value):
    api = start(user_header="X-User")
    chat(api, {**KEY, "X-User": value})
    [shown] = live.producer.shown
    assert shown.user_id == shown.client_id


@pytest.mark.parametrize(
    ("tap", "why"),
    [
        ({"response_id": "nowhere", "actor_id": "ada"}, (None, ["unknown_response"])),
        ({"actor_id": "bob"}, (False, ["other_user"])),
        ({}, (False, ["no_user_named"])),
        ({"actor_id": "ada"}, (True, None)),
    ],
)
def test_feedback_says_whether_it_will_teach_anything(api: TestClient, tap, why):
    answered = chat(api, user="ada").json()["id"]
    said = love(api, **{"response_id": answered, **tap})
    assert (said["learns"], said.get("why")) == why
    learns = {True: "yes", False: "no", None: "unknown"}[why[0]]
    reason = why[1][0] if why[1] else ""
    assert meter(api, f'rluf_feedback_learning_total{{learns="{learns}",why="{reason}"}} 1.0')


def test_feedback_outside_the_window_says_so(api: TestClient, live: Place):
    answered = chat(api, user="ada").json()["id"]
    live.clock.move(8 * 86_400)
    said = love(api, response_id=answered, actor_id="ada")
    assert said == {
        "feedback_id": said["feedback_id"],
        "learns": False,
        "why": ["outside_window"],
        "retry_safe": False,
    }


def test_feedback_on_what_may_not_be_learned_from_says_so(api: TestClient):
    answered = chat(api, user="ada", store=False).json()["id"]
    assert love(api, response_id=answered, actor_id="ada")["why"] == ["not_learnable"]
    assert meter(api, 'rluf_answers_not_learned_total{why="store"} 1.0')


def test_what_is_forgotten_is_unknown_and_never_told_wrong(start: StartApi):
    api = start(exposures_remembered_max=1)
    answered = chat(api, user="ada").json()["id"]
    chat(api, user="ada")
    assert love(api, response_id=answered, actor_id="ada")["learns"] is None


TITLE = "### Task:\nGenerate a short title for what was said.\n<chat_history>…</chat_history>"
BACKGROUND = [
    TITLE,
    "### Task:\nGenerate broad tags for what was said.",
    "### Task:\nSuggest some follow-up questions.",
    "### Task:\nAnalyze the chat history for search queries.",
    "### task:\n  You are an autocompletion system. Go on.",
    "Provide a concise, 5-word-or-less title for this.\n\nUser: hello",
    "Analyze this conversation and provide:\n1. The detected language\n2. …",
]


@pytest.mark.parametrize("prompt", BACKGROUND)
@pytest.mark.parametrize("role", ["user", "system"])
def test_background_calls_of_front_ends_are_no_answers_to_people(api, live, prompt, role):
    messages = [{"role": role, "content": prompt}]
    messages += [{"role": "user", "content": "hello"}] if role == "system" else []
    body = {"model": "chat", "messages": messages}
    assert api.post("/v1/chat/completions", json=body).status_code == 200
    [shown] = live.producer.shown
    assert not shown.learnable
    assert meter(api, 'rluf_answers_not_learned_total{why="prompt"} 1.0')


def test_a_streamed_background_call_is_marked_too(api: TestClient, live: Place):
    chat(api, content=TITLE, stream=True)
    [shown] = live.producer.shown
    assert not shown.learnable


@pytest.mark.parametrize(
    ("headers", "metadata", "is_learnable"),
    [
        ({"x-rluf-learnable": "false"}, {}, False),
        ({}, {"learnable": "False"}, False),
        ({"x-rluf-learnable": "true"}, {"learnable": "false"}, True),
        ({}, {"learnable": "true"}, True),
        ({}, {}, True),
    ],
)
def test_a_request_says_itself_whether_it_is_a_persons(api, live, headers, metadata, is_learnable):
    chat(api, headers, metadata=metadata)
    [shown] = live.producer.shown
    assert shown.learnable is is_learnable


def test_the_callers_word_goes_before_the_rule_and_store_before_all(api, live):
    chat(api, {"x-rluf-learnable": "true"}, content=TITLE)
    chat(api, {"x-rluf-learnable": "true"}, store=False)
    assert [shown.learnable for shown in live.producer.shown] == [True, False]


@pytest.mark.parametrize("headers", [{"x-rluf-learnable": "maybe"}, {"x-rluf-learnable": ""}])
def test_a_mark_that_is_neither_true_nor_false_is_refused(api: TestClient, headers):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    assert api.post("/v1/chat/completions", json=body, headers=headers).status_code == 400


def test_what_people_say_is_learned_from(start: StartApi, live: Place):
    api = start()
    for content in ("What is a task: generate it", "#Task", "Please Provide a concise title", ""):
        chat(api, content=content)
    assert all(shown.learnable for shown in live.producer.shown)
    custom = start(background_prompts=("Name  this CHAT",))
    chat(custom, content="name this\nchat, please")
    chat(custom, content=TITLE)
    assert [shown.learnable for shown in live.producer.shown[-2:]] == [False, True]


def test_a_message_id_that_a_title_shares_still_means_the_answer(start: StartApi, live: Place):
    api = start(**OPEN_WEBUI)
    chat(api, open_webui("ada"), content=TITLE)
    answered = chat(api, open_webui("ada")).json()["id"]
    chat(api, open_webui("ada"), content=TITLE)
    assert love(api, open_webui("ada"))["learns"] is True
    assert labels(live) == [(answered, "ada", True, False)]


def test_events_over_http_keep_their_names_as_pseudonyms_and_say_what_they_teach(start, live):
    api = start()
    common = {"specversion": "1.0", "source": "/x", "time": "2026-11-24T11:59:00Z"}
    data = {"response_id": "r", "conversation_id": "c", "user_id": "ada", "response": "Hi."}
    shown = {
        **common,
        "id": "s",
        "type": "rluf.response.shown.v1",
        "data": {**data, "policy": "chat@1", "user_aliases": ["a@example.com"]},
    }
    tap = {"response_id": "r", "user_id": "a@example.com", "signal": "love", "action": "add"}
    reaction = {**common, "id": "t", "type": "rluf.reaction.v1", "data": tap}
    kind = {"content-type": "application/cloudevents+json", **KEY}
    assert api.post("/v1/events", json=shown, headers=kind).json() == {"id": "s"}
    assert api.post("/v1/events", json=reaction, headers=kind).json()["learns"] is True
    assert live.producer.shown[0].client_id.startswith("key-")
    assert labels(live) == [("r", "ada", True, False)]


@pytest.mark.parametrize("door", ["chat", "events"])
def test_nobody_is_nobodys_other_name(api: TestClient, live: Place, door: str):
    """Were it, a tap of nobody would be Ada's, and to forget her would forget all unnamed."""
    if door == "chat":
        chat(api, user="ada", safety_identifier="anonymous")
    else:
        data = {"response_id": "r", "conversation_id": "c", "response": "Hi.", "policy": "p"}
        names = {"user_id": "anonymous", "user_aliases": ["ada", "anonymous"]}
        head = {"specversion": "1.0", "source": "/x", "id": "s", "time": "2026-11-24T11:59:00Z"}
        event = {**head, "type": "rluf.response.shown.v1", "data": {**data, **names}}
        kind = {"content-type": "application/cloudevents+json"}
        assert api.post("/v1/events", json=event, headers=kind).status_code == 202
    assert [(shown.user_id, shown.user_aliases) for shown in live.producer.shown] == [("ada", ())]


@pytest.mark.parametrize(
    "dials",
    [
        {"user_header": "X User"},
        {"user_header": "Authorization"},
        {"background_prompts": ("hello", " ")},
    ],
    ids=str,
)
def test_settings_that_match_nothing_or_everything_are_refused(dials):
    with pytest.raises(ValueError, match=r"must be|every prompt"):
        ServingConfig(**dials)
