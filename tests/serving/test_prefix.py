"""Goal: under a path of a proxy's, everything is found: routes, the page's addresses, redirects.

Method: a proxy as nginx is (it takes the prefix off, or leaves it) in front of the application,
and a client that follows what the page and the answers say.
"""

import re
from dataclasses import replace

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import create_app
from tests.serving.conftest import FAST, Place, StartApi

PUBLIC = "http://chat.example.com"


class Proxy:
    """Offers an application under /rluf, and asks it by another name."""

    def __init__(self, app: ASGIApp, *, takes_off: bool) -> None:
        self._app = app
        self._takes_off = takes_off

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith("/rluf"), scope["path"]
            path = scope["path"].removeprefix("/rluf") if self._takes_off else scope["path"]
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            headers.append((b"host", b"127.0.0.1:8000"))
            scope = {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
        await self._app(scope, receive, send)


@pytest.fixture(params=[True, False], ids=["taken off", "left"])
def proxied(request, live: Place):
    app = create_app(live.room(replace(FAST, root_path="/rluf")))
    with TestClient(Proxy(app, takes_off=request.param), base_url=PUBLIC) as client:
        yield client


def test_the_page_and_all_that_it_links_to_are_found(proxied: TestClient):
    page = proxied.get("/rluf/")
    assert page.status_code == 200
    links = re.findall(r'href="([^"#:]+)"', page.text) + re.findall(r'fetch\("([^"]+)"', page.text)
    assert {"v1/status", "metrics", "openapi.json"} <= set(links)
    for link in links:
        assert proxied.get(str(page.url.join(link))).status_code in (200, 503), link


def test_routes_answer_in_their_own_manner(proxied: TestClient):
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
    assert proxied.post("/rluf/v1/chat/completions", json=body).status_code == 200
    refused = proxied.post("/rluf/v1/chat/completions", json={})
    assert "error" in refused.json(), "not in OpenAI's shape"
    tap = {"response_id": "r", "signal": "love", "actor_id": "u"}
    assert proxied.post("/rluf/v1/feedback", json=tap).status_code == 202
    assert proxied.post("/rluf/v1/feedback", json={}).json()["status"] == 400


def test_redirects_stay_under_the_prefix_and_on_the_clients_host(proxied: TestClient):
    moved = proxied.get("/rluf/v1/status/", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, "/rluf/v1/status")
    assert proxied.get("/rluf/v1/status/").status_code == 200


def test_openapi_says_where_the_api_is(proxied: TestClient):
    assert proxied.get("/rluf/openapi.json").json()["servers"] == [{"url": "/rluf"}]


def test_the_prefix_alone_leads_to_the_page(live: Place):
    app = create_app(live.room(replace(FAST, root_path="/rluf")))
    with TestClient(app, base_url="http://localhost") as client:
        moved = client.get("/rluf", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (307, "/rluf/")
        assert client.get("/rluf").headers["content-type"].startswith("text/html")


def test_supervisors_that_know_no_prefix_are_answered_too(start: StartApi):
    api = start(root_path="/rluf")
    assert api.get("/healthz").status_code == api.get("/rluf/healthz").status_code == 200
    assert b'route="/healthz"' in api.get("/metrics").content


def test_without_a_prefix_redirects_name_no_host(api: TestClient):
    moved = api.get("/v1/status/", follow_redirects=False)
    assert moved.headers["location"] == "/v1/status"
