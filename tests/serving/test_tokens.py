"""Goal: a page sends its user's thumb with a token of the answer, and nothing else with it.

Method: an API with keys; tokens as they come, of another response, another user, too old, changed
letter by letter, under a key that was exchanged; every other route.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.pseudonyms import BadKey, Pseudonyms
from serving.tokens import FeedbackTokens, make_keys, read_keys
from tests.serving.conftest import FAST, Place, StartApi

PAGE = "https://chat.example.com"
LIFE_S = 3_600.0
KEY = {"authorization": "Bearer secret"}
OLD, NEW = b"\1" * 32, b"\2" * 32


@pytest.fixture
def api(start: StartApi, live: Place) -> TestClient:
    config = replace(FAST, api_keys=("secret",), feedback_origins=(PAGE,))
    tokens = FeedbackTokens([OLD], life_s=LIFE_S)
    return start(live.room(config, tokens=tokens, pseudonyms=Pseudonyms(b"p" * 32)))


def ask(api: TestClient, user="ada", **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], **fields}
    response = api.post("/v1/chat/completions", json={**body, "user": user}, headers=KEY)
    assert response.status_code == 200
    return response


def token_of(response) -> dict[str, str]:
    return {"authorization": f"Bearer {response.headers['x-rluf-feedback-token']}"}


def thumb(api: TestClient, headers, **fields):
    return api.post("/v1/feedback", json={"signal": "love", **fields}, headers=headers)


def test_a_token_alone_says_whose_thumb_it_is_and_on_what(api: TestClient, live: Place):
    answered = ask(api)
    said = thumb(api, {**token_of(answered), "origin": PAGE})
    assert (said.status_code, said.json()["learns"]) == (202, True)
    [tap] = live.producer.reactions
    assert tap.response_id == answered.json()["id"]
    assert tap.user_id == live.producer.shown[0].user_id


@pytest.mark.parametrize("in_pieces", [False, True])
def test_whole_and_streamed_answers_bear_one(api: TestClient, live: Place, in_pieces: bool):
    answered = ask(api, stream=in_pieces, n=2)
    response_id = live.producer.shown[0].response_id
    assert thumb(api, token_of(answered), response_id=f"{response_id}-1").status_code == 202
    assert thumb(api, token_of(answered), response_id=response_id, actor_id="ada").is_success


@pytest.mark.parametrize(
    "fields", [{"response_id": "chatcmpl-other"}, {"actor_id": "bob"}], ids=str
)
def test_a_token_is_good_for_no_other_response_and_no_other_user(api, live, fields):
    said = thumb(api, token_of(ask(api)), **fields)
    assert (said.status_code, said.json()["code"]) == (403, "token_of_another")
    assert live.producer.reactions == []


@pytest.mark.parametrize("rest", ["x", "-0", "-1x", "-", "-12345", "-1-1"])
def test_a_name_that_begins_like_the_responses_is_another(api, rest):
    answered = ask(api)
    said = thumb(api, token_of(answered), response_id=f"{answered.json()['id']}{rest}")
    assert said.status_code == 403


def test_a_token_ends(api: TestClient, live: Place):
    headers = token_of(ask(api))
    live.clock.move(LIFE_S - 1)
    assert thumb(api, headers).status_code == 202
    live.clock.move(1)
    said = thumb(api, headers)
    assert (said.status_code, said.json()["code"]) == (401, "token_expired")


def test_a_token_changed_anywhere_is_none(api: TestClient):
    token = token_of(ask(api))["authorization"]
    for place in range(len("Bearer "), len(token) - 1):
        letter = "A" if token[place] != "A" else "B"
        changed = f"{token[:place]}{letter}{token[place + 1 :]}"
        assert thumb(api, {"authorization": changed}).status_code == 401, place


@pytest.mark.parametrize(
    "token", ["rft1.", "rft1..", "rft1.e30.", "rft1.!!.??", "rft1." + "A" * 9999]
)
def test_what_is_no_token_is_refused(api: TestClient, token: str):
    assert thumb(api, {"authorization": f"Bearer {token}"}, response_id="r").status_code == 401


def test_a_token_opens_no_other_door(api: TestClient):
    headers = token_of(ask(api))
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    for path in ("/v1/chat/completions", "/v1/events", "/v1/score"):
        assert api.post(path, json=body, headers=headers).status_code == 401
    assert api.get("/v1/status", headers=headers).status_code == 401
    assert api.get("/v1/models", headers=headers).status_code == 401


def test_keys_are_exchanged_while_tokens_are_out(start: StartApi, live: Place):
    def api_with(*keys: bytes) -> TestClient:
        config = replace(FAST, api_keys=("secret",))
        return start(live.room(config, tokens=FeedbackTokens(keys, life_s=LIFE_S)))

    headers = token_of(ask(api_with(OLD)))
    assert thumb(api_with(NEW, OLD), headers).status_code == 202
    assert thumb(api_with(NEW), headers).status_code == 401


def test_without_the_setting_there_are_no_tokens(start: StartApi):
    api = start(api_keys=("secret",))
    assert "x-rluf-feedback-token" not in ask(api).headers
    assert thumb(api, {"authorization": "Bearer rft1.a.b"}, response_id="r").status_code == 401


def test_the_file_of_keys_is_made_once_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "feedback.key"
    keys = make_keys(path)
    assert len(keys) == 1
    assert make_keys(path) == keys
    assert path.stat().st_mode & 0o077 == 0
    path.write_text(f"{NEW.hex()}\n{keys[0].hex()}\n")
    assert read_keys(path) == [NEW, keys[0]]


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff\xfe", b"g" * 64, b"ab" * 31])
def test_a_damaged_file_of_keys_is_refused_and_kept(tmp_path: Path, content: bytes):
    path = tmp_path / "feedback.key"
    path.write_bytes(content)
    with pytest.raises(BadKey):
        make_keys(path)
    assert path.read_bytes() == content
