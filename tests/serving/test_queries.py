"""Goal: models, features and scores are answered as documented, and refusals say what to do.

Method: the API over a registry of its own; a fake reward model and fake online features.
"""

import math

import pytest
import torch
from starlette.testclient import TestClient

from models.scores import ScoredChats
from streams.errors import Unavailable
from tests.serving.conftest import Place, StartApi

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello you"}]


class FakeScorer:
    """Scores a chat by the words of its last turn."""

    def score(self, chats):
        words = [len(chat[-1]["content"].split()) for chat in chats]
        return ScoredChats(
            logits_N=torch.tensor(words, dtype=torch.float32),
            prompts_cut=[len(chat) > 3 for chat in chats],
            replies_cut=[num > 100 for num in words],
        )


def known(root, *, users=(), policies=()):
    """Online features of one user and one version."""
    rows = {"users": {}, "policies": {}}
    for user in users:
        rows["users"][user] = {"love_rate_30d": 0.25 if user == "u-9" else None}
    for policy in policies:
        rows["policies"][policy] = {"num_shown": 12 if policy == "chat@2" else None}
    return rows


@pytest.fixture
def asked(start: StartApi, live: Place) -> TestClient:
    return start(live.room(scorer=FakeScorer, online=known))


def test_models_are_listed_as_openai_does(api: TestClient):
    body = api.get("/v1/models").json()
    assert body["object"] == "list"
    assert [row["id"] for row in body["data"]] == ["chat", "chat@v1", "chat@v2"]
    assert {row["object"] for row in body["data"]} == {"model"}


def test_without_versions_no_model_is_listed(start: StartApi, place: Place):
    assert start(place.room()).get("/v1/models").json()["data"] == []


@pytest.mark.parametrize("model", ["chat", "chat@v2", "chat@2"])
def test_a_model_is_found_by_its_names(api: TestClient, model: str):
    response = api.get(f"/v1/models/{model}")
    assert response.status_code == 200, response.text
    assert response.json()["id"] == model


@pytest.mark.parametrize("model", ["nobody", "chat@v9", "chat@nowhere"])
def test_a_model_that_is_not_there_is_404(api: TestClient, model: str):
    assert api.get(f"/v1/models/{model}").status_code == 404


def test_features_of_a_user_are_given(asked: TestClient):
    body = asked.get("/v1/features/users/u-9").json()
    assert body == {"user_id": "u-9", "features": {"love_rate_30d": 0.25}}


@pytest.mark.parametrize("policy", ["chat@2", "chat@v2"])
def test_features_of_a_version_are_given_by_either_name(asked: TestClient, policy: str):
    body = asked.get(f"/v1/features/policies/{policy}").json()
    assert body == {"policy": "chat@2", "features": {"num_shown": 12}}


def test_a_user_of_whom_nothing_is_known_is_404(asked: TestClient):
    response = asked.get("/v1/features/users/u-1")
    assert response.status_code == 404
    assert response.json()["code"] == "unknown_entity"


@pytest.mark.parametrize("entity", ["%20", "u" * 5000])
def test_an_id_that_cannot_be_one_is_refused(asked: TestClient, entity: str):
    assert asked.get(f"/v1/features/users/{entity}").status_code == 400


def test_an_online_store_that_is_away_is_503_with_a_time_to_come_back(start: StartApi, live: Place):
    def away(root, *, users=(), policies=()):
        raise Unavailable("the online store does not answer")

    response = start(live.room(online=away)).get("/v1/features/users/u-9")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_chats_are_scored_with_probability_and_logit(asked: TestClient):
    body = asked.post("/v1/score", json={"chats": [CHAT, CHAT]}).json()
    assert body["object"] == "list"
    first, second = body["scores"]
    assert first == second
    assert first["logit"] == 2.0
    assert first["p_love"] == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-12)


def test_without_a_reward_model_a_score_is_503(api: TestClient):
    response = api.post("/v1/score", json={"chats": [CHAT]})
    assert response.status_code == 503
    assert "no_reward_model" in response.text


def test_the_assistants_last_turn_is_scored_and_the_answer_says_where_it_is(asked: TestClient):
    body = {"chats": [CHAT, [*CHAT, CHAT[0]]]}
    response = asked.post("/v1/score", json=body)
    first, second = response.json()["scores"]
    assert first == second
    assert first["turn"] == len(CHAT) - 1
    assert f"chats[1][{len(CHAT)}]" in response.headers["x-rluf-warnings"]
    strict = asked.post("/v1/score", json=body, headers={"x-rluf-strict": "1"})
    assert strict.status_code == 400


def test_what_the_model_did_not_read_is_told(asked: TestClient):
    long = [CHAT[0], {"role": "assistant", "content": "word " * 101}]
    body = {"chats": [CHAT, long, [*CHAT, *CHAT]]}
    rows = asked.post("/v1/score", json=body).json()["scores"]
    assert [(row["prompt_cut"], row["reply_cut"]) for row in rows] == [
        (False, False), (False, True), (True, False),
    ]  # fmt: skip


def test_a_chat_must_have_a_turn_of_the_assistant(asked: TestClient):
    response = asked.post("/v1/score", json={"chats": [CHAT, CHAT[:1]]})
    assert response.status_code == 400
    assert "chats[1]" in response.text


def test_too_many_chats_are_refused(start: StartApi, live: Place):
    api = start(live.room(scorer=FakeScorer))
    response = api.post("/v1/score", json={"chats": [CHAT] * 257})
    assert response.status_code == 413
    assert "256" in response.text


@pytest.mark.parametrize("body", [{}, {"chats": []}, {"chats": [[]]}, {"chats": "all"}])
def test_what_is_no_list_of_chats_is_refused(asked: TestClient, body: dict):
    assert asked.post("/v1/score", json=body).status_code == 400


def test_unknown_fields_are_ignored_with_a_warning_or_refused_when_strict(asked: TestClient):
    body = {"chats": [CHAT], "mood": "good"}
    relaxed = asked.post("/v1/score", json=body)
    assert relaxed.status_code == 200
    assert "mood" in relaxed.headers["x-rluf-warnings"]
    assert asked.post("/v1/score", json=body, headers={"x-rluf-strict": "1"}).status_code == 400


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/chat", "/v1/features/users/u-9", "/v1/status"]
)
def test_queries_need_a_key_where_there_are_keys(start: StartApi, path: str):
    api = start(api_keys=("secret",))
    assert api.get(path).status_code == 401
    assert api.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
