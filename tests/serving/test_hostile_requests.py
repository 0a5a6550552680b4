"""Goal: no request ends in a 500 or without an answer, whatever it holds.

Method: every route and verb of the application's own table, so that a new one is swept too, with
hostile values in path, query, header and body; and what of a body is not honoured is named.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from models.arms import Arm
from serving.app import create_app
from serving.headers import HEADER_CHARS_MAX, header_text
from serving.openapi import ROUTES
from tests.serving.conftest import FAST, Place, StartApi

ADMIN = "admin"
PATHS = ["%00", "a%00b", "%0a", "%0d%0ax-evil:1", "%ff", "%ed%a0%80", "v" + "9" * 30, "-1", "%20"]
PATHS += ["x" * 5_000, "chat@v99999999999999999999", "chat@-1", "..%2f..", "%e2%9d%a4", "'"]
QUERIES = ["limit=99999999999999999999", "offset=-1", "as_stored=%00", "as_of=9999999-01-01", "%00"]
VALUES: list[Any] = [
    "\x00",
    "a\r\nb",
    "x" * 3_000,
    10**30,
    -(10**30),
    1e308,
    1e-320,
    -1,
    0,
    True,
    None,
    [],
    {},
    [[]],
    {"": ""},
    [None],
    "❤",
    "v" + "9" * 30,
]
BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"[" * 100_000,
    b'{"a":' * 5_000,
    b"\xff\xfe{}",
    b'{"a":NaN}',
    b'{"a":1e999}',
    b'{"model":"\\ud800"}',
    b'{"a":1,"a":2}',
    b'{"model":"\\u0000"}',
    b"\x00",
    b'{"n":' + b"9" * 5_000 + b"}",
]
EXAMPLES = {key: route.example for key, route in ROUTES.items() if route.example is not None}


def routes() -> list[tuple[str, str]]:
    return sorted(ROUTES)


@pytest.fixture
def api(start: StartApi) -> TestClient:
    made = start(admin_keys=(ADMIN,))
    made.headers["authorization"] = f"Bearer {ADMIN}"
    return made


def is_answer(response: Any) -> bool:
    return response.status_code < 500 or response.status_code == 503


def filled(path: str, value: str) -> str:
    for name in ("model", "user_id", "policy", "name", "alias"):
        path = path.replace(f"{{{name}}}", value)
    return path


def test_the_table_holds_every_route(live: Place):
    room = live.room()
    app = create_app(replace(room, config=replace(room.config, admin_keys=(ADMIN,))))
    found = {
        (method, route.path_format)
        for route in app.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }
    assert found <= set(ROUTES)


@pytest.mark.parametrize(("method", "path"), [key for key in routes() if "{" in key[1]])
def test_paths_and_queries(api: TestClient, method: str, path: str):
    body = EXAMPLES.get((method, path))
    for value in PATHS:
        assert is_answer(api.request(method, filled(path, value), json=body)), value
    for query in QUERIES:
        assert is_answer(api.request(method, f"{filled(path, 'chat')}?{query}", json=body)), query


@pytest.mark.parametrize(("method", "path"), [key for key in routes() if ROUTES[key].takes])
def test_bodies(api: TestClient, method: str, path: str):
    headers = {"content-type": "application/json"}
    for body in BODIES:
        response = api.request(method, filled(path, "chat"), content=body, headers=headers)
        assert 400 <= response.status_code < 500, body[:20]
        assert "json" in response.headers["content-type"]
    response = api.request(
        method, filled(path, "chat"), content=b"{}", headers=headers | {"content-encoding": "gzip"}
    )
    assert response.status_code == 415


@pytest.mark.parametrize(("method", "path"), sorted(EXAMPLES))
def test_fields(api: TestClient, method: str, path: str):
    example = EXAMPLES[method, path]
    name = ROUTES[method, path].takes
    document = api.get("/openapi.json").json()
    properties = document["components"]["schemas"][name]["properties"]
    for field in properties:
        for value in VALUES:
            body = {**example, field: value, "user": "u"} if "Request" in name else example
            response = api.request(method, filled(path, "champion"), json=body)
            assert is_answer(response), (field, str(value)[:40])


def test_every_get_answers_head_alike(api: TestClient):
    for method, path in routes():
        if method == "GET":
            place = filled(path, "chat")
            get, head = api.get(place), api.head(place)
            assert head.status_code == get.status_code, path
            assert head.content == b""
            assert head.headers["content-type"] == get.headers["content-type"]
    assert api.head("/").status_code == 200
    assert api.head("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"messages": [{"role": "user", "content": "x", "cache_control": {"type": "e"}}]},
         ["messages[0].cache_control"]),
        ({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "x", "cache_control": {"type": "e"}}]}]},
         ["messages[0].content[0].cache_control"]),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                       {"role": "tool", "content": "y", "tool_call_id": "1"}]},
         ["messages[0].tool_calls", "messages[1].tool_call_id"]),
        ({"messages": [{"role": "user", "content": "x", "name": "Ada"}]}, ["messages[0].name"]),
        ({"stream_options": {"include_obfuscation": True}}, ["stream_options.include_obfuscation"]),
        ({"audio": {"voice": "a"}, "modalities": ["text", "audio"]}, ["audio", "modalities"]),
        ({"prediction": {"type": "content"}, "web_search_options": {}},
         ["prediction", "web_search_options"]),
        ({"reasoning_effort": "high", "verbosity": "low"}, ["reasoning_effort", "verbosity"]),
        ({"logit_bias": {"1": 2}, "response_format": {"type": "json_object"}},
         ["logit_bias", "response_format"]),
        ({"tools": [{"type": "function"}], "tool_choice": "required"}, ["tools", "tool_choice"]),
        ({"service_tier": "flex"}, ["service_tier"]),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_named_and_refused_when_strict(
    api: TestClient, fields: dict[str, Any], paths: list[str]
):
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]} | fields
    answer = api.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    warning = answer.headers["x-rluf-warnings"]
    assert sorted(json.loads(f"[{warning.removeprefix('ignored ')}]")) == sorted(paths)
    strict = api.post("/v1/chat/completions", json=body, headers={"x-rluf-strict": "true"})
    assert strict.status_code == 400
    assert strict.json()["error"]["param"] in paths


def test_what_asks_for_nothing_is_no_warning(api: TestClient):
    harmless = {
        "service_tier": "auto", "store": True, "tools": [], "tool_choice": "auto", "logit_bias": {},
        "response_format": {"type": "text"}, "parallel_tool_calls": True, "modalities": ["text"],
        "audio": None, "prediction": None, "frobnicate": None, "prompt_cache_key": "k",
        "stream_options": None, "temperature": 0, "top_p": 0, "n": 1.0, "max_tokens": 256.0,
        "seed": 1e3, "presence_penalty": 1, "frequency_penalty": -2, "logprobs": False,
    }  # fmt: skip
    message = {"role": "user", "content": "x", "name": None, "tool_calls": None}
    body = {"model": "chat", "messages": [message]} | harmless
    answer = api.post("/v1/chat/completions", json=body, headers={"x-rluf-strict": "true"})
    assert answer.status_code == 200, answer.text
    assert "x-rluf-warnings" not in answer.headers


def test_many_and_long_names_give_a_short_header(api: TestClient):
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    body |= {f"{n}❤\r\n{'💔' * 500}": n for n in range(300)}
    warning = api.post("/v1/chat/completions", json=body).headers["x-rluf-warnings"]
    assert len(warning) <= HEADER_CHARS_MAX
    assert warning.isascii()
    assert warning.isprintable()


@pytest.mark.parametrize("value", ["a\r\nb", "é", "❤", "\x00", "\ud800", "x" * 100_000, " y "])
def test_a_headers_text_is_printable_ascii_and_short(value: str):
    text = header_text(value)
    assert text.isascii()
    assert text.isprintable() or not text
    assert len(text) <= HEADER_CHARS_MAX


def test_an_arm_that_was_named_with_a_line_break_before_names_were_checked_answers(
    live: Place, start: StartApi, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.arms.check_name", lambda *args, **named: None)
    arms = [Arm(name="a\r\nx-evil: ❤", version=1, share=1.0)]
    live.registry.set_arms("chat", arms, experiment="e\n", why="w", who="me")
    api = start(live.room(FAST))
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    for fields in ({}, {"stream": True}):
        answer = api.post("/v1/chat/completions", json=body | fields)
        assert answer.status_code == 200
        assert "x-evil" not in answer.headers
        assert answer.headers["x-rluf-arm"] == r"a\r\nx-evil: \u2764"
    assert api.get("/metrics").status_code == 200
    assert api.get("/v1/status").status_code == 200
