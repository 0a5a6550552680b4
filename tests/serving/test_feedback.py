"""Goal: 202 means durable, once; everything else says what to do. Method: a broker with faults."""

import threading
import uuid
from functools import reduce

import pytest
from starlette.testclient import TestClient

from serving.idempotency import KeyMemory, event_id, fingerprint_of
from streams.reactions import ReactionState, fold
from tests.serving.conftest import Place, StartApi
from tests.serving.fakes import FakeClock
from tests.waiting import wait_for

LOVE = {"response_id": "chatcmpl-1", "signal": "love", "actor_id": "u-9"}


def send(api: TestClient, key: str | None = None, path: str = "/v1/feedback", **fields):
    headers = {} if key is None else {"idempotency-key": key}
    body = {name: value for name, value in (LOVE | fields).items() if value is not ...}
    return api.post(path, json=body, headers=headers)


def problem(response) -> dict:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return body


def test_a_reaction_is_answered_202_once_the_broker_has_it(api: TestClient, live: Place):
    response = send(api, key="k-1")
    assert response.status_code == 202
    [reaction] = live.producer.reactions
    unknown = {"learns": None, "why": ["unknown_response"]}
    assert response.json() == {"feedback_id": reaction.id, "retry_safe": True, **unknown}
    assert (reaction.response_id, reaction.user_id, reaction.signal, reaction.action) == (
        "chatcmpl-1",
        "u-9",
        "love",
        "add",
    )
    assert reaction.occurred_at == live.clock.at


@pytest.mark.parametrize("mode", ["down", "silent"])
def test_without_an_acknowledgement_there_is_no_202_and_the_retry_is_the_same_event(
    start: StartApi, live: Place, mode: str
):
    api = start(ack_timeout_s=0.05)
    live.producer.mode = mode
    refused = send(api, key="k-1")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert problem(refused)["code"] == "not_recorded"
    live.producer.mode = "up"
    live.producer.release()
    accepted = send(api, key="k-1")
    assert accepted.status_code == 202
    assert {r.id for r in live.producer.reactions} == {accepted.json()["feedback_id"]}


@pytest.mark.parametrize("key", [None, "k-1"])
@pytest.mark.parametrize("is_timed", [False, True])
@pytest.mark.parametrize("path", ["/v1/feedback", "/feedback"])
def test_each_answer_says_whether_its_post_is_safe_to_send_again(
    api: TestClient, live: Place, key: str | None, is_timed: bool, path: str
):
    occurred_at = live.clock.at.isoformat() if is_timed else None
    is_safe = key is not None or occurred_at is not None
    taken = send(api, key=key, path=path, occurred_at=occurred_at)
    assert taken.json()["retry_safe"] is is_safe
    assert send(api, path=path, occurred_at=occurred_at, dryrun=True).json()["retry_safe"] is (
        occurred_at is not None
    )
    live.producer.mode = "down"
    refused = problem(send(api, path=path, occurred_at=occurred_at, signal="like"))
    assert refused["retry_safe"] is (occurred_at is not None)
    assert ("with occurred_at" in refused["detail"]) is (occurred_at is None)
    counted = api.get("/metrics").text
    assert f"rluf_feedback_unsafe_retries_total {float(not is_safe)}" in counted


def is_loved(live: Place) -> bool:
    """What the fold makes of all that the broker has, each event once as it was first known."""
    first = {event.id: event for event in reversed(live.producer.reactions)}
    return reduce(fold, first.values(), ReactionState()).is_on()


@pytest.mark.parametrize("forgets", [False, True], ids=["remembered", "after a restart"])
@pytest.mark.parametrize("name", ["key", "occurred_at"])
def test_a_late_retry_of_a_love_that_was_taken_back_does_not_bring_it_back(
    start: StartApi, live: Place, name: str, forgets: bool
):
    named = {"key": "k-1"} if name == "key" else {"occurred_at": live.clock.at.isoformat()}
    api = start(live.room())
    assert send(api, **named).json()["retry_safe"]
    live.clock.move(15)
    send(api, key="k-2", action="remove")
    live.clock.move(5)
    assert not is_loved(live)
    assert send(start(live.room()) if forgets else api, **named).status_code == 202
    assert not is_loved(live)


def test_a_late_retry_of_a_removal_does_not_take_a_second_love_away(api: TestClient, live: Place):
    send(api, key="k-1")
    live.clock.move(15)
    send(api, key="k-2", action="remove")
    live.clock.move(5)
    send(api, key="k-3")
    live.clock.move(5)
    send(api, key="k-2", action="remove")
    assert is_loved(live)


def test_a_keyed_post_that_failed_counts_at_its_first_time_when_it_is_sent_again(
    api: TestClient, live: Place
):
    live.producer.mode = "down"
    assert send(api, key="k-1").status_code == 503
    live.producer.mode = "up"
    live.clock.move(15)
    send(api, key="k-2", action="remove")
    live.clock.move(5)
    assert send(api, key="k-1").status_code == 202
    assert not is_loved(live)


def test_a_post_that_failed_without_a_name_says_with_which_time_to_send_it_again(
    api: TestClient, live: Place
):
    live.producer.mode = "down"
    told = problem(send(api))["occurred_at"]
    live.producer.mode = "up"
    live.clock.move(15)
    send(api, key="k-2", action="remove")
    live.clock.move(5)
    assert send(api, occurred_at=told).json()["retry_safe"]
    assert not is_loved(live)


def test_a_call_sent_again_is_replayed_and_not_recorded_again(api: TestClient, live: Place):
    first, second = send(api, key="k-1"), send(api, key="k-1")
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(live.producer.reactions) == 1


def test_after_a_restart_a_call_sent_again_makes_the_same_event(start: StartApi, live: Place):
    first = send(start(live.room()), key="k-1").json()
    second = send(start(live.room()), key="k-1").json()
    assert first == second
    assert [r.id for r in live.producer.reactions] == [first["feedback_id"]] * 2


def test_a_key_for_another_payload_is_refused(api: TestClient, live: Place):
    send(api, key="k-1")
    refused = send(api, key="k-1", signal="dislike")
    assert refused.status_code == 422
    assert problem(refused)["code"] == "idempotency_key_reused"
    assert len(live.producer.reactions) == 1


def test_a_forgotten_key_for_another_payload_is_another_event_and_not_lost(
    start: StartApi, live: Place
):
    ids = [
        send(start(live.room()), key="k-1", signal=signal).json()["feedback_id"]
        for signal in ("love", "dislike")
    ]
    assert ids[0] != ids[1]


def test_one_key_of_two_users_is_two_events(api: TestClient, live: Place):
    send(api, key="1", actor_id="u-1")
    assert send(api, key="1", actor_id="u-2").status_code == 202
    assert len({r.id for r in live.producer.reactions}) == 2


def test_a_call_under_way_is_answered_409_to_its_twin(start: StartApi, live: Place):
    api = start(ack_timeout_s=20.0)
    live.producer.mode = "held"
    answers = []
    first = threading.Thread(target=lambda: answers.append(send(api, key="k-1")))
    first.start()
    wait_for(lambda: len(live.producer.held) == 1)
    twin = send(api, key="k-1")
    assert twin.status_code == 409
    assert twin.headers["retry-after"] == "1"
    assert problem(twin)["code"] == "idempotency_key_in_flight"
    live.producer.release()
    first.join()
    assert answers[0].status_code == 202
    assert send(api, key="k-1").json() == answers[0].json()


def test_too_many_calls_under_way_are_answered_429(start: StartApi, live: Place):
    api = start(ack_timeout_s=20.0, feedback_inflight_max=1)
    live.producer.mode = "held"
    first = threading.Thread(target=lambda: send(api))
    first.start()
    wait_for(lambda: len(live.producer.held) == 1)
    refused = send(api)
    live.producer.release()
    first.join()
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"


def test_a_backlog_at_the_broker_is_answered_503(start: StartApi, live: Place):
    api = start(ack_timeout_s=0.02, pending_events_max=1)
    live.producer.mode = "silent"
    assert [send(api).status_code for _ in range(3)] == [503, 503, 503]
    assert live.producer.num_sends == 1


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("❤️", "love"),
        ("♥", "love"),
        ("🧡", "love"),
        ("👍🏽", "like"),
        ("👎", "dislike"),
        ("LOVE", "love"),
    ],
)
def test_emoji_stand_for_signals(api: TestClient, live: Place, told: str, name: str):
    assert send(api, signal=told).status_code == 202
    assert live.producer.reactions[0].signal == name


def test_an_unknown_signal_is_refused_with_the_nearest_one(api: TestClient, live: Place):
    body = problem(send(api, signal="lov"))
    assert body["status"] == 422
    assert body["nearest"] == "love"
    assert "did you mean 'love'?" in body["detail"]
    assert "love" in body["allowed"]
    assert "nearest" not in problem(send(api, signal="🥦"))
    assert live.producer.events == []


@pytest.mark.parametrize(
    ("fields", "status", "param", "words"),
    [
        ({"response_id": ...}, 400, "response_id", "required"),
        ({"response_id": " "}, 422, "response_id", "blank"),
        ({"response_id": "x" * 513}, 422, "response_id", "512"),
        ({"response_id": 5}, 400, "response_id", "5 (number)"),
        ({"signal": ...}, 400, "signal", "love"),
        ({"action": "addd"}, 422, "action", "did you mean 'add'?"),
        ({"value": 3}, 422, "value", "true or false"),
        ({"action": "add", "value": False}, 422, "value", "contradict"),
        ({"value": None}, 422, "value", "null"),
        ({"value": None, "action": None}, 422, "value", "null"),
        ({"actor_id": ""}, 422, "actor_id", "blank"),
        ({"occurred_at": "yesterday"}, 422, "occurred_at", "RFC 3339"),
        ({"occurred_at": "2026-11-24T12:00:00"}, 422, "occurred_at", "zone"),
        ({"occurred_at": "2026-11-24T12:06:00Z"}, 409, "occurred_at", "295 s"),
        ({"occurred_at": "1970-01-01T00:00:00Z"}, 409, "occurred_at", "2000"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, 409, "occurred_at", "2000"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, 409, "occurred_at", "295 s"),
        ({"response_id": ..., "episode_id": "e"}, 422, "episode_id", "episode"),
        ({"signal": ..., "metric_name": "comment"}, 422, "metric_name", "words"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_seen_and_what_is_allowed(
    api: TestClient, live: Place, fields: dict, status: int, param: str, words: str
):
    response = send(api, **fields)
    assert response.status_code == status
    assert problem(response)["param"] == param
    assert words in problem(response)["detail"]
    assert live.producer.events == []


def test_the_time_of_the_tap_is_kept(api: TestClient, live: Place):
    assert send(api, occurred_at="2026-11-24T13:00:00+02:00").status_code == 202
    assert live.producer.reactions[0].occurred_at.isoformat() == "2026-11-24T11:00:00+00:00"


def test_null_in_an_optional_field_is_absence(api: TestClient, live: Place):
    names = ("inference_id", "episode_id", "metric_name", "actor_id", "occurred_at", "surface")
    null = dict.fromkeys((*names, "tags", "dryrun"))
    assert send(api, action="add", value=None, **null).status_code == 202
    assert send(api, value=True, action=None).status_code == 202
    assert [reaction.action for reaction in live.producer.reactions] == ["add", "add"]


def test_removal_is_an_event_of_its_own(api: TestClient, live: Place):
    send(api, key="a")
    send(api, key="b", action="remove")
    assert [r.action for r in live.producer.reactions] == ["add", "remove"]


def test_a_dry_run_checks_and_records_nothing(api: TestClient, live: Place):
    response = send(api, dryrun=True)
    assert response.status_code == 200
    assert response.json()["dryrun"] is True
    assert send(api, dryrun=True, signal="lov").status_code == 422
    assert live.producer.events == []


@pytest.mark.parametrize(("value", "action"), [(True, "add"), (False, "remove")])
def test_tensorzeros_names_are_understood(api: TestClient, live: Place, value: bool, action: str):
    body = {"metric_name": "love", "inference_id": "chatcmpl-1", "value": value, "tags": {"a": "b"}}
    response = api.post("/feedback", json=body)
    assert response.status_code == 202
    assert "tags" in response.headers["x-rluf-warnings"]
    [reaction] = live.producer.reactions
    assert (reaction.signal, reaction.action, reaction.user_id) == ("love", action, "anonymous")


def test_without_an_actor_the_key_is_the_user_as_it_is_for_chats(api: TestClient, live: Place):
    headers = {"authorization": "Bearer k"}
    chat = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    api.post("/v1/chat/completions", json=chat, headers=headers)
    body = {"response_id": "r", "signal": "love"}
    api.post("/v1/feedback", json=body, headers=headers)
    assert live.producer.shown[0].user_id == live.producer.reactions[0].user_id


def test_two_keys_of_one_post_are_refused(api: TestClient, live: Place):
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = api.post("/v1/feedback", json={"response_id": "r", "signal": "love"}, headers=keys)
    assert response.status_code == 400
    assert response.json()["param"] == "Idempotency-Key"
    assert live.producer.reactions == []


def test_a_key_may_be_required(start: StartApi):
    api = start(idempotency_required=True)
    assert problem(send(api))["code"] == "idempotency_key_missing"
    assert send(api, key='"quoted"').status_code == 202
    assert problem(send(api, key="x" * 256))["code"] == "invalid_value"


def test_a_large_body_is_refused(api: TestClient):
    response = send(api, tags={"pad": "x" * 5_000_000})
    assert response.status_code == 413
    assert problem(response)["code"] == "body_too_large"


def test_what_came_of_calls_is_counted(api: TestClient, live: Place):
    send(api, key="k")
    send(api, key="k")
    text = api.get("/metrics").text
    for result in ("recorded", "replayed"):
        assert f'rluf_feedback_total{{action="add",result="{result}",signal="love"}} 1.0' in text


def test_event_ids_are_uuids_and_depend_on_every_part():
    ids = {
        event_id("u", "k", fingerprint_of("a", "b")),
        event_id("uk", "", fingerprint_of("a", "b")),
        event_id("u", "k", fingerprint_of("ab", "")),
        event_id("u", "k2", fingerprint_of("a", "b")),
    }
    assert len(ids) == 4
    assert all(uuid.UUID(one).version == 5 for one in ids)


def test_the_memory_of_keys_is_bounded_in_number_and_in_time():
    clock = FakeClock()
    memory = KeyMemory(keys_max=3, window_s=60, clock=lambda: clock.at.timestamp())
    memory.begin("u", "under way", "f", first_at=clock.at)
    for number in range(10):
        memory.begin("u", str(number), "f", first_at=clock.at)
        memory.finish("u", str(number), is_recorded=number % 2 == 0)
        memory.find("u", "anything")
    assert memory.find("u", "under way") is not None
    assert [n for n in range(10) if memory.find("u", str(n)) is not None] == [8, 9]
    clock.move(61)
    assert memory.find("u", "9") is None
    assert memory.find("u", "under way") is not None
