"""Goal: a tool that reads the API's description finds the API as it is described.

Method: references are followed and examples checked; schemathesis asks every route what it can
think of, with all its checks that need no second server, with keys and without.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    positive_data_acceptance,
    unsupported_method,
)

from serving.app import create_app
from serving.openapi import routes_without_row
from tests.serving.conftest import Place, StartApi
from tests.serving.live_server import running

ADMIN = "admin-key-of-a-test"
KEY = "key-of-a-test"
EXAMPLES_MAX = 8
"""Of each route and mode: the whole takes half a minute."""
NOT_SAYABLE = ("/v1/feedback", "/v1/events", "/v1/score", "/v1/completions", "/v1/admin/")
"""No schema can say that a time is not of the future, that a chat's last turn is of the assistant,
how many answers n and prompts make together, or that shares sum to 1: there valid data may be
refused."""


class Scorer:
    def calibrated_logits(self, chats: Any) -> torch.Tensor:
        return torch.zeros(len(chats))


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
    assert routes_without_row(app) == []


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


@pytest.mark.parametrize("keys", [{}, {"api_keys": (KEY,), "admin_keys": (ADMIN,)}])
def test_schemathesis_finds_nothing_to_complain_of(live: Place, keys: dict[str, Any]):
    load_all_checks()
    live.loader.context_tokens = 1_000_000
    room = replace(live.room(), scorer=Scorer)
    with running(replace(room, config=replace(room.config, **keys))) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            key = ADMIN if "/admin/" in operation.path else KEY
            _ask(operation, {"authorization": f"Bearer {key}"} if keys else {})


def _ask(operation: Any, headers: dict[str, str]) -> None:
    left_out = [ignored_auth, unsupported_method]
    left_out += [positive_data_acceptance] if operation.path.startswith(NOT_SAYABLE) else []
    is_fixed = not operation.body and not operation.path_parameters
    for mode in [schemathesis.GenerationMode.POSITIVE] if is_fixed else schemathesis.GenerationMode:

        @settings(
            max_examples=EXAMPLES_MAX,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            case.call_and_validate(headers=headers, excluded_checks=left_out)

        check()
