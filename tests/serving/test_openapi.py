"""Goal: a tool that reads the API's description finds the API as it is described.

Method: references are followed and examples checked; schemathesis asks every route what it can
think of, with all its checks, with keys and without.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator, FormatChecker
from starlette.testclient import TestClient

from models.scores import ScoredChats
from serving.app import create_app
from serving.openapi import ROUTES
from tests.serving.conftest import Place, StartApi
from tests.serving.live_server import running

ADMIN = "admin-key-of-a-test"
KEY = "key-of-a-test"
EXAMPLES_MAX = "5"
"""Of each route and phase, beside the cases that schemathesis makes of each schema's bounds."""
CONFIG = Path(__file__).resolve().parents[2] / "suites" / "clients" / "schemathesis.toml"
FORMATS = FormatChecker()
TAKEN: tuple[dict[str, Any], ...] = (
    {},
    {"signal": "❤"},
    {"action": "remove"},
    {"action": "remove", "value": False},
    {"value": True},
    {"actor_id": None, "occurred_at": "2026-11-24T12:00:00Z"},
    {"tags": {"any": 1}},
)
REFUSED: tuple[dict[str, Any], ...] = (
    {"response_id": " "},
    {"signal": "rocket"},
    {"action": "toggle"},
    {"action": "add", "value": False},
    {"value": None},
    {"value": 0.5},
    {"actor_id": ""},
)


class Scorer:
    def score(self, chats: Any) -> ScoredChats:
        whole = [False] * len(chats)
        return ScoredChats(logits_N=torch.zeros(len(chats)), prompts_cut=whole, replies_cut=whole)


@pytest.fixture
def document(start: StartApi) -> dict[str, Any]:
    answer = start(admin_keys=(ADMIN,), api_keys=(KEY,)).get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def test_every_reference_leads_to_something(document: dict[str, Any]):
    found = set(refs(document))
    assert found
    for ref in found:
        assert ref.startswith("#/components/")
        node: Any = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]


def test_every_route_is_described(live: Place):
    room = live.room()
    app = create_app(replace(room, config=replace(room.config, admin_keys=(ADMIN,))))
    described = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    assert described == set(ROUTES)


def test_every_body_is_described_with_an_example_that_fits(document: dict[str, Any]):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "requestBody" not in operation:
                continue
            content = operation["requestBody"]["content"]["application/json"]
            if "example" in content:
                whole = {**content["schema"], "components": document["components"]}
                Draft202012Validator(whole).validate(content["example"])
            assert {"401", "413", "415"} <= operation["responses"].keys(), path


def test_keys_are_described_where_they_are_set(document: dict[str, Any], start: StartApi):
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"key": []}]
    assert document["paths"]["/v1/admin/erasures"]["post"]["security"] == [{"adminKey": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    open_to_all = start().get("/openapi.json").json()
    assert open_to_all["paths"]["/v1/models"]["get"]["security"] == []


def test_feedback_that_the_description_allows_is_taken_and_no_other(
    document: dict[str, Any], api: TestClient
):
    whole = {"$ref": "#/components/schemas/FeedbackRequest", "components": document["components"]}
    allowed = Draft202012Validator(whole, format_checker=FORMATS).is_valid
    tap = {"response_id": "r-1", "signal": "love"}
    for changed in TAKEN:
        assert allowed({**tap, **changed}), changed
    for changed in REFUSED:
        assert not allowed({**tap, **changed}), changed
    assert allowed({"inference_id": "r-1", "metric_name": ":heart:"})
    assert not allowed({"response_id": "r-1"})
    assert not allowed({"signal": "love"})
    for changed in (*TAKEN, *REFUSED):
        answer = api.post("/v1/feedback", json={**tap, **changed})
        assert (answer.status_code == 202) == (changed in TAKEN), (changed, answer.text)


def test_completions_are_described_up_to_as_many_answers_as_are_given(
    document: dict[str, Any], api: TestClient
):
    whole = {"$ref": "#/components/schemas/CompletionRequest", "components": document["components"]}
    allowed = Draft202012Validator(whole).is_valid
    for num_prompts in range(1, 10):
        for n in range(1, 10):
            body = {"model": "chat", "prompt": ["Hi"] * num_prompts, "n": n}
            assert allowed(body) == (num_prompts * n <= 8), body
    most = {"model": "chat", "prompt": ["Hi"] * 4, "n": 2, "max_tokens": 1}
    assert api.post("/v1/completions", json=most).status_code == 200
    assert api.post("/v1/completions", json={**most, "n": 3}).status_code == 400


def test_events_are_described_by_their_type_alone_and_in_batches(document: dict[str, Any]):
    body = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    assert set(body) == {
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    }
    batch = {
        **body["application/cloudevents-batch+json"]["schema"],
        "components": document["components"],
    }
    allowed = Draft202012Validator(batch).is_valid
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "s",
        "type": "rluf.reaction.v1",
        "time": "2026-11-24T12:00:00Z",
        "data": {"response_id": "r-1", "user_id": "u-1", "signal": "love", "action": "add"},
    }
    assert allowed([event, event])
    assert not allowed([{**event, "data": {}}])
    assert not allowed([{**event, "type": "rluf.subject.erased.v1"}])
    assert not allowed([{**event, "id": " "}])


@pytest.mark.parametrize("keys", [{}, {"api_keys": (KEY,), "admin_keys": (ADMIN,)}])
def test_schemathesis_finds_nothing_to_complain_of(
    live: Place, keys: dict[str, Any], tmp_path: Path
):
    live.loader.context_tokens = 1_000_000
    room = replace(live.room(), scorer=Scorer)
    given = ["-H", f"Authorization: Bearer {KEY}"] if keys else []
    with running(replace(room, config=replace(room.config, **keys))) as url:
        done = subprocess.run(
            [
                sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
                "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--checks", "all",
                *given, "--max-examples", EXAMPLES_MAX, "--seed", "1", "--continue-on-failure",
                "--no-shrink", "--generation-database", "none",
            ],
            cwd=tmp_path,
            env={**os.environ, "SUITES_ADMIN_KEY": ADMIN},
            capture_output=True,
            text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
