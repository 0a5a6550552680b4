"""Goal: no page of another site has a browser change anything here, and no name of another's is
answered for; programs and our own page notice nothing.

Method: requests as browsers make them (Host, Origin, Sec-Fetch-Site, the body types that need no
preflight) against every route that there is, with the default settings and with pages and hosts
allowed one by one.
"""

import json

import pytest
from starlette.testclient import TestClient

from serving.config import ServingConfig
from serving.origins import SAFE
from tests.serving.conftest import Place, StartApi

TAP = {"response_id": "r", "actor_id": "u", "signal": "love"}
PAGE = "https://chat.example.com"
FOREIGN = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://localhost"},
    {"origin": "http://localhost:8000.evil.example"},
    {"origin": "http://localhost:8000@evil.example"},
    {"origin": "file://localhost:8000"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)
SIMPLE_TYPES = (
    "text/plain",
    "text/plain;charset=UTF-8",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    "application/jsonp",
    "text/plain, application/json",
    "text/json",
)


def changing_routes(api: TestClient) -> list[tuple[str, str]]:
    """Every (method, path) that may change something, /feedback among them."""
    found = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in api.get("/openapi.json").json()["paths"].items()
        for method in methods
        if method.upper() not in SAFE
    ]
    assert len(found) >= 7, found
    return [*found, ("POST", "/feedback")]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_foreign_page_changes_nothing_on_any_route(start: StartApi, live: Place, headers):
    api = start(admin_keys=("admin",))
    for method, path in changing_routes(api):
        response = api.request(method, path, json=TAP, headers=headers)
        assert response.status_code == 403, (method, path)
        assert "access-control-allow-origin" not in response.headers
    assert live.producer.events == []


@pytest.mark.parametrize("kind", SIMPLE_TYPES)
def test_what_needs_no_preflight_is_taken_by_no_route(start: StartApi, live: Place, kind: str):
    api = start(admin_keys=("admin",))
    told = {"content-type": kind} if kind else {}
    for method, path in changing_routes(api):
        headers = {"authorization": "Bearer admin", **told}
        response = api.request(method, path, content=json.dumps(TAP), headers=headers)
        assert response.status_code == 415, (method, path)
    assert live.producer.events == []


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"],
)
def test_json_by_any_of_its_names_is_taken(api: TestClient, kind: str):
    headers = {"content-type": kind}
    response = api.post("/v1/feedback", content=json.dumps(TAP), headers=headers)
    assert response.status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8000"},
        {"origin": "HTTP://LOCALHOST:8000", "sec-fetch-site": "same-origin"},
        {"host": "localhost", "origin": "https://localhost"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
        {"sec-fetch-site": "none"},
    ],
)
def test_programs_and_our_own_page_are_let_in(api: TestClient, headers):
    assert api.post("/v1/feedback", json=TAP, headers=headers).status_code == 202


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9",
        "localhost.",
        "127.0.0.1:8000",
        "127.8.9.1",
        "[::1]:8000",
        "a.localhost",
    ],
)
def test_loopback_names_are_answered_for(api: TestClient, host: str):
    assert api.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "api", "10.0.0.7:8000"),
        *("notlocalhost", "0.0.0.0:8000", "[2001:db8::1]", "127.0.0.1.evil.example"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/v1/status", "/openapi.json"])
def test_other_hosts_are_answered_for_nowhere(api: TestClient, host: str, path: str):
    response = api.get(path, headers={"host": host, "x-forwarded-host": "localhost"})
    assert response.status_code == 421
    assert "serving.hosts" in response.json()["detail"]


@pytest.mark.parametrize("host", ["", "a b", "localhost:port", "[::1", "a@localhost", "localhost/"])
def test_what_is_no_host_is_a_bad_request(api: TestClient, host: str):
    assert api.get("/healthz", headers={"host": host}).status_code == 400


def test_hosts_are_allowed_by_setting_by_being_bound_to_and_all_addresses_by_no_address(start):
    api = start(hosts=("api", ".example.com"), host="rluf.internal")
    for host in ("api:8000", "API.", "chat.example.com", "rluf.internal:8000"):
        assert api.get("/healthz", headers={"host": host}).status_code == 200, host
    for host in ("example.com", "badexample.com", "10.0.0.7"):
        assert api.get("/healthz", headers={"host": host}).status_code == 421, host


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_bound_to_every_address_it_is_asked_for_by_any_but_by_no_foreign_name(start, bound):
    api = start(host=bound)
    for host in ("10.0.0.7:8000", "[2001:db8::1]:8000", "localhost"):
        assert api.get("/healthz", headers={"host": host}).status_code == 200, host
    assert api.get("/healthz", headers={"host": "evil.example"}).status_code == 421


def test_any_host_is_answered_for_where_the_setting_says_so(start: StartApi):
    assert start(hosts=("*",)).get("/healthz", headers={"host": "evil.example"}).is_success


def test_a_page_that_may_send_feedback_asks_first_and_reads_the_answer(start, live: Place):
    api = start(feedback_origins=(PAGE,))
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    preflight = api.options("/v1/feedback", headers=asked)
    assert preflight.status_code == 204
    told = preflight.headers
    assert (told["access-control-allow-origin"], told["access-control-allow-methods"]) == (
        PAGE,
        "POST",
    )
    assert {"authorization", "content-type", "idempotency-key"} <= set(
        told["access-control-allow-headers"].split(", ")
    )
    assert int(told["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in told
    answer = api.post("/v1/feedback", json=TAP, headers={"origin": PAGE})
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Origin" in answer.headers["vary"]
    refused = api.post("/v1/feedback", json={}, headers={"origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, PAGE)
    assert len(live.producer.reactions) == 1


def test_a_page_that_may_send_feedback_may_nothing_else(start: StartApi):
    api = start(feedback_origins=(PAGE,), admin_keys=("admin",))
    for method, path in changing_routes(api):
        if path in ("/v1/feedback", "/feedback"):
            continue
        response = api.request(method, path, json={}, headers={"origin": PAGE})
        assert response.status_code == 403, path
        preflight = api.options(path, headers={"origin": PAGE})
        assert "access-control-allow-origin" not in preflight.headers
    status = api.get("/v1/status", headers={"origin": PAGE})
    assert "access-control-allow-origin" not in status.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://chat.example.com"])
def test_pages_that_are_not_listed_get_no_cors_headers(start: StartApi, origin: str):
    api = start(feedback_origins=(PAGE,))
    for response in (
        api.options("/v1/feedback", headers={"origin": origin}),
        api.post("/v1/feedback", json=TAP, headers={"origin": origin}),
    ):
        assert response.status_code in (403, 405)
        assert "access-control-allow-origin" not in response.headers
        assert "origin" in response.headers["vary"].lower()


def test_a_page_behind_a_proxy_that_renames_us_is_ours_where_it_is_listed(start: StartApi):
    api = start(origins=(f"{PAGE}:443",))
    assert api.post("/v1/feedback", json=TAP, headers={"origin": PAGE}).status_code == 202


@pytest.mark.parametrize(
    "dials",
    [
        {"hosts": ("http://a",)},
        {"hosts": ("a:8000",)},
        {"hosts": ("",)},
        {"origins": ("*",)},
        {"origins": ("null",)},
        {"feedback_origins": ("chat.example.com",)},
        {"feedback_origins": ("https://chat.example.com/path",)},
        {"root_path": "rluf"},
        {"root_path": "/rluf/"},
        {"root_path": "/v1"},
    ],
    ids=str,
)
def test_settings_that_would_allow_nothing_or_everything_are_refused(dials):
    with pytest.raises(ValueError, match=r"must be"):
        ServingConfig(**dials)


def test_a_body_of_two_types_is_no_json(api: TestClient, live: Place):
    types = [("content-type", "application/json"), ("content-type", "text/plain")]
    for headers in (types, types[::-1]):
        response = api.post("/v1/feedback", content=json.dumps(TAP), headers=headers)
        assert response.status_code == 415
    assert live.producer.reactions == []
