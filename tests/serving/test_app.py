"""Goal: supervisors, scrapers and browsers get what they ask for, without a key.

Method: the API over a registry of its own; what is broken is broken on purpose.
"""

import base64
import hashlib
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serving.dashboard.page import build_page
from serving.recorder import AWAY_AFTER
from tests.serving.conftest import Place, StartApi

KEYED = {"api_keys": ("secret",)}
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


def test_health_is_said_whatever_else_is_wrong(start: StartApi, place: Place):
    response = start(place.room()).get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_an_api_with_a_live_version_and_a_broker_is_ready(api: TestClient):
    response = api.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "reasons": [], "warnings": []}


def test_without_a_live_version_it_is_not_ready_and_says_why(start: StartApi, place: Place):
    response = start(place.room()).get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == ["chat has no live version"]


def test_without_a_broker_it_is_not_ready_until_the_broker_is_back(start: StartApi, live: Place):
    api = start()
    live.producer.mode = "down"
    for _ in range(AWAY_AFTER):
        assert api.get("/readyz").status_code == 200
        assert api.post("/v1/chat/completions", json=ASK).status_code == 200
    unready = api.get("/readyz")
    assert unready.status_code == 503
    assert unready.json()["reasons"]
    live.producer.mode = "up"
    assert api.post("/v1/chat/completions", json=ASK).status_code == 200
    assert api.get("/readyz").status_code == 200


def test_a_version_that_cannot_be_loaded_is_a_warning_while_another_serves(
    start: StartApi, live: Place
):
    live.loader.broken[2] = "a byte changed"
    response = start().get("/readyz")
    assert response.status_code == 200
    assert "a byte changed" in " ".join(response.json()["warnings"])


def test_the_meters_are_in_prometheus_format_and_count_requests(api: TestClient):
    api.get("/healthz")
    api.get("/no/such/path/u-17")
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [
        sample
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    ]
    counts = {
        sample.labels["route"]: sample.value
        for sample in samples
        if sample.name == "rluf_http_requests_total"
    }
    assert counts["/healthz"] == 1
    assert counts["unmatched"] == 1
    assert "u-17" not in response.text
    serves = {sample.labels["version"] for sample in samples if sample.name == "rluf_model_info"}
    assert len(serves) == 2


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_none_of_them_needs_a_key(start: StartApi, path: str):
    assert start(**KEYED).get(path).status_code == 200


def test_the_page_allows_its_own_script_and_style_and_nothing_else(api: TestClient):
    response = api.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        [inner] = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_loads_nothing_from_elsewhere_and_styles_nothing_in_place():
    text = build_page().body.decode()
    assert re.findall(r"https?://(?!www\.w3\.org)", text) == []
    assert "style=" not in text  # The policy would refuse it.
    assert "innerHTML" not in text


def test_what_does_not_exist_is_answered_as_a_problem(api: TestClient):
    response = api.get("/nowhere")
    assert response.status_code == 404
    assert response.json()["detail"] == "Not Found: GET /nowhere"
    assert response.json()["title"] == "Not Found"
