"""Goal: one CloudEvent over HTTP, in either mode, is on the broker once it is answered 202.

Method: an API on a broker with faults; every refusal is asked for by a request that earns it.
"""

import base64

import msgspec
import pytest
from starlette.testclient import TestClient

from serving.pseudonyms import Pseudonyms
from streams.codec import encode
from streams.config import StreamsConfig
from streams.events import Erasure, Reaction
from tests.serving.conftest import Place, StartApi
from tests.serving.fakes import FakeClock
from tests.streams.samples import shown
from tests.streams.test_worker import reaction

STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
NOW = FakeClock().at
EVENT = msgspec.structs.replace(reaction("e-1"), occurred_at=NOW, known_at=NOW)


def binary() -> tuple[bytes, dict[str, str]]:
    """The event's data, and its attributes as headers."""
    envelope = msgspec.json.decode(encode(EVENT))
    data = envelope.pop("data")
    envelope["source"] = "/caf%C3%A9"
    headers = {f"ce-{name}": value for name, value in envelope.items() if name != "datacontenttype"}
    return msgspec.json.encode(data), headers | {"content-type": "application/json"}


def test_an_event_in_structured_mode_is_202_once_the_broker_has_it(api: TestClient, live: Place):
    response = api.post("/v1/events", content=encode(EVENT), headers=STRUCTURED)
    assert (response.status_code, response.json()) == (
        202,
        {"id": "e-1", "learns": None, "why": ["unknown_response"]},
    )
    [taken] = live.producer.reactions
    assert msgspec.structs.replace(taken, known_at=EVENT.known_at) == EVENT
    assert taken.known_at == live.clock.at


def test_an_event_in_binary_mode_has_its_attributes_in_headers_percent_encoded(
    api: TestClient, live: Place
):
    data, headers = binary()
    assert api.post("/v1/events", content=data, headers=headers).status_code == 202
    [taken] = live.producer.reactions
    assert (taken.id, taken.source, taken.signal) == ("e-1", "/café", EVENT.signal)


def test_user_ids_become_pseudonyms(start: StartApi, live: Place):
    pseudonyms = Pseudonyms(bytes(32))
    api = start(live.room(pseudonyms=pseudonyms))
    api.post("/v1/events", content=encode(EVENT), headers=STRUCTURED)
    [taken] = live.producer.reactions
    assert taken.user_id == pseudonyms.user(EVENT.user_id)


def test_without_an_acknowledgement_there_is_no_202(start: StartApi, live: Place):
    api = start(ack_timeout_s=0.05)
    live.producer.mode = "down"
    response = api.post("/v1/events", content=encode(EVENT), headers=STRUCTURED)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


BATCH = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
ERASURE = encode(
    Erasure(
        id="x", source="/s", user_id="u", occurred_at=EVENT.occurred_at, known_at=EVENT.known_at
    )
)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", STRUCTURED, 400, "malformed_json"),
        (b"", STRUCTURED, 400, "empty_value"),
        (encode(EVENT).replace(b"love", b"adore"), STRUCTURED, 400, "unknown_signal"),
        (b"{}", {"ce-id": "1"}, 400, "bad_headers"),
        (ERASURE, STRUCTURED, 422, "unsupported_value"),
        (b"{}", {"ce_id": "1", "content-type": "application/json"}, 400, "bad_headers"),
        (b"{}", BATCH, 400, "wrong_type"),
        (b"[" + encode(EVENT) + b",[]]", BATCH, 400, "not_an_object"),
        (b"[" + encode(EVENT) + b"," + ERASURE + b"]", BATCH, 422, "unsupported_value"),
        (b"[" + encode(EVENT), BATCH, 400, "malformed_json"),
    ],
)
def test_what_is_not_taken_says_why_and_sends_nothing(
    api: TestClient, live: Place, content, headers, status, code
):
    response = api.post("/v1/events", content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert live.producer.events == []


def test_a_key_is_asked_for_where_keys_are_set(start: StartApi):
    api = start(api_keys=("k",))
    response = api.post("/v1/events", content=encode(EVENT), headers=STRUCTURED)
    assert response.status_code == 401


def named(number: int) -> Reaction:
    return msgspec.structs.replace(EVENT, id=f"e-{number}")


def test_a_batch_is_202_once_the_broker_has_all_of_it(start: StartApi, live: Place):
    api = start(ack_timeout_s=60.0)
    body = b"[" + b",".join(encode(named(number)) for number in range(300)) + b"]"
    response = api.post("/v1/events", content=body, headers=BATCH)
    assert response.status_code == 202
    assert response.json() == {"ids": [f"e-{number}" for number in range(300)]}
    assert {reaction.id for reaction in live.producer.reactions} == set(response.json()["ids"])
    assert api.post("/v1/events", content=b"[]", headers=BATCH).json() == {"ids": []}


def test_a_batch_with_a_fault_names_its_place_and_sends_nothing(api: TestClient, live: Place):
    broken = encode(named(1)).replace(b'"add"', b'"toggle"')
    body = b"[" + encode(named(0)) + b"," + broken + b"]"
    problem = api.post("/v1/events", content=body, headers=BATCH).json()
    assert (problem["code"], problem["param"]) == ("unknown_action", "[1].data.action")
    assert live.producer.events == []


def test_a_batch_that_the_broker_has_in_part_is_no_202(start: StartApi, live: Place):
    api = start(ack_timeout_s=0.05)
    live.producer.mode = "silent"
    body = b"[" + encode(named(0)) + b"]"
    response = api.post("/v1/events", content=body, headers=BATCH)
    assert (response.status_code, response.json()["code"]) == (503, "not_recorded")
    assert "0 of 1" in response.json()["detail"]


def test_data_in_base64_is_data(api: TestClient, live: Place):
    envelope = msgspec.json.decode(encode(EVENT))
    envelope["data_base64"] = base64.b64encode(msgspec.json.encode(envelope.pop("data"))).decode()
    assert api.post("/v1/events", json=envelope, headers=STRUCTURED).status_code == 202
    assert [taken.response_id for taken in live.producer.reactions] == [EVENT.response_id]


def test_an_event_that_is_too_large_once_its_user_is_a_pseudonym_is_413(
    start: StartApi, live: Place
):
    limit = len(encode(EVENT)) + 2  # The body is within it; a pseudonym is longer than the id.
    streams = StreamsConfig(event_bytes_max=limit)
    api = start(live.room(streams=streams, pseudonyms=Pseudonyms(bytes(32))))
    response = api.post("/v1/events", content=encode(EVENT), headers=STRUCTURED)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert live.producer.events == []


def test_a_fault_names_its_field(api: TestClient):
    body = encode(EVENT).replace(EVENT.user_id.encode(), b" ")
    response = api.post("/v1/events", content=body, headers=STRUCTURED)
    assert (response.status_code, response.json()["param"]) == (400, "data.user_id")


def test_a_content_type_may_have_parameters_and_any_case(api: TestClient, live: Place):
    for number, kind in enumerate(
        ["Application/CloudEvents+JSON", "application/cloudevents+json;charset=UTF-8"]
    ):
        response = api.post(
            "/v1/events", content=encode(named(number)), headers={"Content-Type": kind}
        )
        assert response.status_code == 202
    data, headers = binary()
    loud = {name.upper(): value for name, value in headers.items()} | {
        "CONTENT-TYPE": "application/json; charset=utf-8"
    }
    assert api.post("/v1/events", content=data, headers=loud).status_code == 202


@pytest.mark.parametrize("num_bytes", [999_900, 999_999, 1_000_000])
def test_an_event_at_the_limit_that_grows_on_its_way_is_413_and_never_500(
    start: StartApi, live: Place, num_bytes: int
):
    api = start(live.room(pseudonyms=Pseudonyms(bytes(32))))
    exposure = shown(response="", user_id="u", occurred_at=NOW, known_at=NOW)
    room = num_bytes - len(encode(exposure))
    body = encode(msgspec.structs.replace(exposure, response="x" * room))
    assert len(body) == num_bytes
    response = api.post("/v1/events", content=body, headers=STRUCTURED)
    is_taken = num_bytes + len(Pseudonyms(bytes(32)).user("u")) - 1 <= 1_000_000
    assert response.status_code == (202 if is_taken else 413)
    assert len(live.producer.events) == int(is_taken)
