"""Goal: the status says what is live and why, and stays cheap however many look at it.

Method: the API over a registry and a store of its own; a clock that a test sets for the cache.
"""

import asyncio
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from starlette.testclient import TestClient

from models.arms import Arm
from models.artifacts import store_artifact
from serving import status as status_module
from serving.app import _context
from serving.status import StatusBoard
from tests.features.histories import reaction, shown, store_all
from tests.serving.conftest import FAST, Place, StartApi
from tests.serving.fakes import register, set_arms
from tests.verdicts import said

WORKER_METERS = b"""\
# TYPE rluf_events_duplicate_total counter
rluf_events_duplicate_total{type="shown"} 3
rluf_events_duplicate_total{type="reaction"} 4
# TYPE rluf_consumer_lag_records gauge
rluf_consumer_lag_records{topic="a",partition="0"} 10
rluf_consumer_lag_records{topic="a",partition="1"} 2
"""


def status_of(api: TestClient) -> dict:
    response = api.get("/v1/status")
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return response.json()


def test_nothing_registered_is_told_as_such(start: StartApi, place: Place):
    told = status_of(start(place.room()))
    assert told["live"] == told["verdicts"] == told["history"] == told["lineage"] == []
    assert told["service"]["is_ready"] is False
    assert told["service"]["reasons"] == ["chat has no live version"]
    assert told["funnel"]["num_shown"] == 0


def test_the_live_arms_are_told_with_reason_and_shares(start: StartApi, live: Place):
    told = status_of(start())
    assert [(arm["arm"], arm["policy"], arm["share"]) for arm in told["live"]] == [
        ("champion", "chat@1", 0.75),
        ("challenger", "chat@2", 0.25),
    ]
    assert {(arm["why"], arm["who"], arm["problem"]) for arm in told["live"]} == {
        ("a test", "tester", "")
    }
    assert told["experiment"] == "weights-2026-11"
    assert told["service"]["serving"] == [
        {"arm": arm["arm"], "policy": arm["policy"], "share": arm["share"]} for arm in told["live"]
    ]


def test_an_alias_alone_makes_its_version_live_for_everybody(start: StartApi, place: Place):
    register(place.registry, text="first")
    place.registry.move_alias("chat", "champion", 1, expected=None, why="a start", who="me")
    [arm] = status_of(start(place.room()))["live"]
    assert (arm["policy"], arm["share"], arm["why"], arm["who"]) == ("chat@1", 1.0, "a start", "me")


def test_an_arm_is_live_since_it_got_its_version_and_not_since_its_share_changed(
    start: StartApi, live: Place
):
    since = status_of(start())["live"][0]["since"]
    set_arms(live.registry, [("champion", 1, 0.5), ("challenger", 2, 0.5)], why="a ramp")
    told = status_of(start())
    assert told["live"][0]["since"] == since
    assert told["live"][0]["share"] == 0.5
    assert [row["why"] for row in told["history"]] == ["a ramp", "a test"]


def test_a_version_that_cannot_be_loaded_says_so_on_its_arm(start: StartApi, live: Place):
    live.loader.broken[2] = "a byte changed"
    told = status_of(start())
    assert "a byte changed" in told["live"][1]["problem"]
    assert told["service"]["is_whole"] is False
    assert [row["policy"] for row in told["service"]["serving"]] == ["chat@1"]


def test_verdicts_come_newest_first_with_their_measures_and_are_cut(start: StartApi, live: Place):
    for gate, ruling in [("style", "passed"), ("safety", "undecided"), ("love", "refused")]:
        live.registry.record_verdict("chat", 2, said(gate, ruling, kl_nats=3.5))
    first, second = status_of(start(history_max=2))["verdicts"]
    assert (first["policy"], first["gate"], first["ruling"]) == ("chat@2", "love", "refused")
    assert first["reasons"] == ["closer_rise is 0.03 [0.01, 0.05], allowed is at most 0.005"]
    [check] = first["checks"]
    assert (check["high"], check["allowed_low"], check["allowed_high"]) == (0.05, None, 0.005)
    assert first["informative"][0]["value"] == 3.5
    assert (second["gate"], second["ruling"]) == ("safety", "undecided")
    assert second["checks"][0]["users_needed"] == 320  # The interval has to be half as wide.


def test_the_store_is_told_beside_the_registry(start: StartApi, live: Place):
    store_all(live.root, [shown("r"), reaction("r", seconds=20)])
    told = status_of(start())
    [love] = told["love"]
    assert (love["policy"], love["num_loved"], love["num_shown"]) == ("chat@1", 1, 1)
    assert 0 <= love["rate"]["low"] <= love["rate"]["value"] <= love["rate"]["high"] <= 1
    assert told["freshness"]["last_shown_at"] == "2026-03-01T12:00:00Z"


def test_a_registry_that_cannot_be_read_leaves_the_stores_part(start: StartApi, live: Place):
    store_all(live.root, [shown("r")])
    api = start()
    with closing(sqlite3.connect(live.root / "registry.db")) as connection:
        connection.execute("ALTER TABLE versions RENAME TO lost")
    told = status_of(api)
    assert "does not answer" in told["registry_error"]
    assert told["service"]["is_ready"] is False
    assert told["service"]["reasons"] == [told["registry_error"]]
    assert told["funnel"]["num_shown"] == 1
    assert "live" not in told


def test_lineage_is_cut_where_it_grows_old(start: StartApi, live: Place, monkeypatch):
    monkeypatch.setattr(status_module, "LINEAGE_DEPTH", 0)
    source = live.registry.open_artifact(live.registry.version("chat", 1))
    child = live.registry.register(
        "chat",
        artifact=store_artifact(live.registry.root, "chat", source),
        kind="policy",
        config_hash="d" * 64,
        snapshot_hash=None,
        recipe="child",
        parents=[("chat", 1)],
    )
    set_arms(live.registry, [("champion", child.number, 1.0)])
    [tree] = status_of(start())["lineage"]
    assert (tree["ref"], tree["parents"], tree["cut"]) == (f"chat@{child.number}", [], True)


def test_a_status_needs_a_key_where_there_are_keys(start: StartApi):
    api = start(api_keys=("secret",))
    assert api.get("/v1/status").status_code == 401
    assert api.get("/v1/status", headers={"authorization": "Bearer secret"}).status_code == 200


def test_the_workers_meters_are_added_up(start: StartApi, live: Place):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(WORKER_METERS)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        told = status_of(start(worker_metrics_url=url))["worker"]
        server.shutdown()
        thread.join()
    assert told == {"num_duplicates": 7, "num_lagging": 12}


def test_a_worker_that_does_not_answer_is_left_out(start: StartApi):
    assert status_of(start(worker_metrics_url="http://127.0.0.1:9/metrics"))["worker"] is None


class Counted:
    """A board whose computations are counted; its clock stands until it is moved."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch, cache_s: float) -> None:
        self.seconds = 0.0
        self.num = 0
        self.took_s = 0.0
        context = _context(place.room(replace(FAST, status_cache_s=cache_s)))
        monkeypatch.setattr(status_module, "_whole", self.compute)
        self.board = StatusBoard(context, clock=lambda: self.seconds)

    def compute(self, *_: object) -> bytes:
        self.num += 1
        self.seconds += self.took_s
        return str(self.num).encode()


def test_many_askers_cost_one_computation(live: Place, monkeypatch):
    counted = Counted(live, monkeypatch, cache_s=2.0)

    async def ask_together() -> list[bytes]:
        return list(await asyncio.gather(*(counted.board.read() for _ in range(20))))

    assert asyncio.run(ask_together()) == [b"1"] * 20
    assert counted.num == 1


def test_a_status_is_served_again_until_it_is_stale(live: Place, monkeypatch):
    counted = Counted(live, monkeypatch, cache_s=2.0)

    async def ask() -> list[bytes]:
        answers = []
        for counted.seconds in (0.0, 1.9, 2.0):
            answers.append(await counted.board.read())
        return answers

    assert asyncio.run(ask()) == [b"1", b"1", b"2"]


def test_a_status_that_takes_long_is_kept_long(live: Place, monkeypatch):
    counted = Counted(live, monkeypatch, cache_s=0.1)
    counted.took_s = 10.0

    async def ask() -> list[bytes]:
        first = await counted.board.read()
        counted.seconds += 49.0
        return [first, await counted.board.read()]

    assert asyncio.run(ask()) == [b"1", b"1"]


def test_an_arm_without_users_is_no_fault(start: StartApi, live: Place):
    live.registry.set_arms(
        "chat",
        [Arm(name="champion", version=1, share=1.0), Arm(name="next", version=2, share=0.0)],
        experiment="",
        why="warm it up",
        who="tester",
    )
    assert [arm["share"] for arm in status_of(start())["live"]] == [1.0, 0.0]
