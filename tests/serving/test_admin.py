"""Goal: only an operator changes what is live, nothing a gate refused gets by unsaid, all is kept.

Method: the API with one admin key over a registry of its own, whose two versions a gate passed; its
history is read back. That HTTP and the command line do the same: tests/rluf/test_live_doors.py.
"""

import pytest
from starlette.testclient import TestClient

from streams.events import Erasure
from tests.serving.conftest import Place, StartApi
from tests.verdicts import said

OPERATOR = {"authorization": "Bearer let-me-in"}
ALIAS = "/v1/admin/models/chat/aliases/champion"
ARMS = "/v1/admin/models/chat/arms"
HALVES = [
    {"name": "champion", "version": 1, "share": 0.5},
    {"name": "challenger", "version": 2, "share": 0.5},
]


@pytest.fixture
def admin(start: StartApi, live: Place) -> TestClient:
    for number in (1, 2):
        live.registry.record_verdict("chat", number, said("policy"))
    return start(admin_keys=("let-me-in",))


def shares(live: Place) -> list[tuple[int, float]]:
    return [(arm.version, arm.share) for arm in live.registry.arms("chat").arms]


def served(admin: TestClient) -> list[tuple[str, float]]:
    serving = admin.get("/v1/status").json()["service"]["serving"]
    return [(row["policy"], row["share"]) for row in serving]


def move(admin: TestClient, **fields):
    body = {"version": 2, "expected": None, "why": "it is better"} | fields
    return admin.put(ALIAS, json=body, headers=OPERATOR)


def divide(admin: TestClient, arms=None, **fields):
    body = {"experiment": "e-1", "arms": arms or HALVES, "why": "to measure"} | fields
    return admin.put(ARMS, json=body, headers=OPERATOR)


def refuse(live: Place, *, gate: str = "safety", passed: bool = False) -> None:
    live.registry.record_verdict("chat", 2, said(gate, "passed" if passed else "refused"))


def test_without_an_admin_key_the_routes_do_not_exist(api: TestClient):
    assert api.put(ALIAS, json={}, headers=OPERATOR).status_code == 404
    assert api.post("/v1/admin/erasures", json={"user_id": "u"}).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
def test_nobody_but_an_operator_gets_in(admin: TestClient, live: Place, headers: dict):
    body = {"version": 2, "expected": None, "why": "w"}
    assert admin.put(ALIAS, json=body, headers=headers).status_code == 401
    assert live.registry.aliases("chat") == {}


def test_a_users_key_is_no_operators_key(start: StartApi):
    api = start(api_keys=("user",), admin_keys=("let-me-in",))
    assert api.put(ARMS, json={}, headers={"authorization": "Bearer user"}).status_code == 401


def test_a_new_champion_gets_every_user_and_the_history_says_who_and_why_but_not_the_key(
    admin: TestClient, live: Place
):
    response = move(admin)
    assert response.status_code == 200, response.text
    assert (response.json()["version"], response.json()["done"]) == ("chat@2", True)
    assert shares(live) == [(2, 1.0)]
    assert served(admin) == [("chat@2", 1.0)]
    [entry] = live.registry.history("chat")
    assert (entry.alias, entry.from_number, entry.to_number) == ("champion", None, 2)
    assert entry.why == "it is better"
    assert entry.who.startswith("admin key-")
    assert "let-me-in" not in response.text + entry.who


def test_an_alias_that_moved_meanwhile_is_409_with_what_was_found(admin: TestClient):
    assert move(admin, version=1).status_code == 200
    response = move(admin, version=2, expected=None)
    assert response.status_code == 409
    body = response.json()
    assert (body["code"], body["expected"], body["found"]) == ("moved_meanwhile", None, 1)


def test_the_champion_promoted_again_ends_the_experiment(admin: TestClient, live: Place):
    assert move(admin, version=1).status_code == 200
    assert divide(admin).status_code == 200
    assert shares(live) == [(1, 0.5), (2, 0.5)]
    assert move(admin, version=1, expected=1).status_code == 200
    assert shares(live) == [(1, 1.0)]


def test_a_bookmark_that_is_there_already_is_409(admin: TestClient, live: Place):
    path = ALIAS.replace("champion", "curious")
    body = {"version": 2, "expected": None, "why": "to look at"}
    assert admin.put(path, json=body, headers=OPERATOR).status_code == 200
    again = admin.put(path, json=body | {"expected": 2}, headers=OPERATOR)
    assert (again.status_code, again.json()["code"]) == (409, "no_move")
    assert len(live.registry.history("chat")) == 1


@pytest.mark.parametrize("alias", ["previous", "challenger"])
def test_an_alias_that_follows_what_is_live_is_not_moved_by_hand(
    admin: TestClient, live: Place, alias: str
):
    """Else a rollback would go to a version that no gate passed, or the history would name a
    challenger that no user gets."""
    body = {"version": 2, "expected": None, "why": "w", "override": True}
    response = admin.put(ALIAS.replace("champion", alias), json=body, headers=OPERATOR)
    assert response.status_code == 422
    assert "not moved by hand" in response.json()["detail"]
    assert live.registry.aliases("chat") == {}


def test_the_champion_is_never_taken_away(admin: TestClient, live: Place):
    assert move(admin).status_code == 200
    response = move(admin, version=None, expected=2)
    assert response.status_code == 422
    assert "never taken away" in response.json()["detail"]
    assert live.registry.aliases("chat") == {"champion": 2}


def test_a_rollback_and_the_end_of_an_experiment_are_served_at_once(admin: TestClient, live: Place):
    base = "/v1/admin/models/chat/"
    why = {"why": "complaints"}
    stop = admin.post(base + "experiment/stop", json=why, headers=OPERATOR)
    assert (stop.status_code, stop.json()["code"]) == (409, "no_champion")
    assert move(admin, version=1).status_code == 200
    back = admin.post(base + "rollback", json=why, headers=OPERATOR)
    assert (back.status_code, back.json()["code"]) == (409, "no_previous")
    assert divide(admin).status_code == 200
    assert admin.post(base + "experiment/stop", json=why, headers=OPERATOR).status_code == 200
    assert served(admin) == [("chat@1", 1.0)]
    assert move(admin, version=2, expected=1).status_code == 200
    assert admin.post(base + "rollback", json=why, headers=OPERATOR).status_code == 200
    assert served(admin) == [("chat@1", 1.0)]
    assert live.registry.aliases("chat") == {"champion": 1, "previous": 2}


def test_users_are_not_moved_by_arms_without_an_experiment(admin: TestClient, live: Place):
    before = shares(live)
    everybody = [{"name": "champion", "version": 2, "share": 1.0}]
    response = divide(admin, arms=everybody, experiment="")
    assert response.status_code == 422
    assert "promote it" in response.json()["detail"]
    assert shares(live) == before


def test_a_model_that_nobody_registered_is_404_whatever_is_asked_of_it(admin: TestClient):
    elsewhere = ARMS.replace("/chat/", "/nobody/")
    body = {"experiment": "", "arms": [{"name": "a", "version": 1, "share": 0.5}], "why": "w"}
    assert admin.put(elsewhere, json=body, headers=OPERATOR).status_code == 404


def test_a_version_that_a_gate_refused_is_not_made_champion(admin: TestClient, live: Place):
    refuse(live)
    response = move(admin)
    assert response.status_code == 409
    assert response.json()["code"] == "refused_by_gate"
    assert "gate safety refused chat@2: closer_rise is 0.03" in response.json()["detail"]
    assert live.registry.aliases("chat") == {}


def test_an_operator_may_insist_and_that_is_written_down(admin: TestClient, live: Place):
    refuse(live)
    assert move(admin, override=True).status_code == 200
    [entry] = live.registry.history("chat")
    assert entry.why.startswith("it is better (forced: gate safety refused chat@2: closer_rise")


def test_a_version_that_no_gate_has_judged_gets_no_users_unsaid(start: StartApi, live: Place):
    admin = start(admin_keys=("let-me-in",))
    assert move(admin).json()["code"] == "refused_by_gate"
    assert divide(admin).json()["code"] == "refused_by_gate"
    assert divide(admin, override=True).status_code == 200
    assert "no gate has judged chat@2" in live.registry.arms("chat").why


def test_only_the_last_verdict_of_a_gate_counts(admin: TestClient, live: Place):
    refuse(live)
    refuse(live, passed=True)
    assert move(admin).status_code == 200


def test_an_alias_that_puts_nothing_before_users_is_free(admin: TestClient, live: Place):
    refuse(live)
    body = {"version": 2, "expected": None, "why": "to look at"}
    path = ALIAS.replace("champion", "curious")
    assert admin.put(path, json=body, headers=OPERATOR).status_code == 200


def test_a_version_that_does_not_exist_is_404(admin: TestClient):
    response = move(admin, version=99)
    assert response.status_code == 404
    assert response.json()["code"] == "not_registered"


@pytest.mark.parametrize("fields", [{"why": ""}, {"version": 0}, {"version": "two"}])
def test_a_move_without_sense_is_refused(admin: TestClient, fields: dict):
    assert move(admin, **fields).status_code == 400


def test_users_are_divided_anew_and_served_so_at_once(admin: TestClient, live: Place):
    response = divide(admin)
    assert response.status_code == 200, response.text
    arms = live.registry.arms("chat")
    assert [(a.name, a.version, a.share) for a in arms.arms] == [
        ("champion", 1, 0.5),
        ("challenger", 2, 0.5),
    ]
    assert (arms.experiment, arms.why) == ("e-1", "to measure")
    serving = admin.get("/v1/status").json()["service"]["serving"]
    assert [row["share"] for row in serving] == [0.5, 0.5]


@pytest.mark.parametrize(
    "arms",
    [
        [{"name": "a", "version": 1, "share": 0.5}],
        [HALVES[0], HALVES[0]],
        [{"name": "a", "version": 1, "share": 1.5}],
    ],
)
def test_shares_that_are_no_division_are_refused(admin: TestClient, live: Place, arms: list):
    before = live.registry.arms("chat")
    assert divide(admin, arms=arms).status_code in (400, 422)
    assert live.registry.arms("chat") == before


def test_an_arm_of_a_version_that_does_not_exist_is_404(admin: TestClient):
    response = divide(admin, arms=[{"name": "a", "version": 99, "share": 1.0}])
    assert response.status_code == 404


def test_an_erasure_is_202_once_the_broker_has_it(admin: TestClient, live: Place):
    response = admin.post("/v1/admin/erasures", json={"user_id": "u-9"}, headers=OPERATOR)
    assert response.status_code == 202
    [event] = [event for event in live.producer.events if isinstance(event, Erasure)]
    assert response.json() == {"erasure_id": event.id}
    assert (event.user_id, event.occurred_at) == ("u-9", live.clock.at)


def test_an_erasure_that_the_broker_did_not_take_is_503(admin: TestClient, live: Place):
    live.producer.mode = "down"
    response = admin.post("/v1/admin/erasures", json={"user_id": "u-9"}, headers=OPERATOR)
    assert response.status_code == 503
    assert response.json()["code"] == "not_recorded"
    assert response.headers["retry-after"] == "1"


def test_an_erasure_names_a_user(admin: TestClient):
    assert admin.post("/v1/admin/erasures", json={}, headers=OPERATOR).status_code == 400
