"""Goal: a time is the same instant, or refused, whatever the door.

Method: an API whose clock stands; spellings from their parts go to feedback and, as a field and as
a header, to events; what is taken is compared.
"""

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from streams.codec import encode
from tests.serving.conftest import Place
from tests.serving.fakes import NOON
from tests.streams.samples import reaction

EVENT = msgspec.json.decode(encode(reaction(occurred_at=NOON, known_at=NOON)))
FEEDBACK = {"response_id": "r", "signal": "love", "actor_id": "u"}


@st.composite
def near_noon(draw: st.DrawFn) -> str:
    """Times around that of the API's clock, and near misses."""
    fraction = draw(st.just("") | st.from_regex(r"\.[0-9]{1,12}", fullmatch=True))
    zone = draw(st.sampled_from(["Z", "z", "+00:00", "-00:00", "+0000", "+00", "", "+01:00"]))
    hour, minute, second = draw(
        st.tuples(st.integers(11, 13), st.integers(0, 60), st.sampled_from([0, 1, 59, 60, 61]))
    )
    join = draw(st.sampled_from("Tt _"))
    return f"2026-11-24{join}{hour}:{minute:02}:{second:02}{fraction}{zone}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=near_noon())
@example(text="2016-12-31T23:59:60Z")
@example(text="2016-12-31T18:59:60.5-05:00")
@example(text="2026-11-24T11:59:59.1234567Z")
@example(text="2026-11-24T12:05:00Z")
@example(text="2026-11-24T12:04:59.9999999Z")
@example(text="0001-01-01T00:00:00+00:01")
def test_every_door_reads_a_time_alike(api: TestClient, live: Place, text: str):
    live.producer.events.clear()
    told = api.post("/v1/feedback", json={**FEEDBACK, "occurred_at": text})
    whole = api.post(
        "/v1/events",
        json={**EVENT, "time": text},
        headers={"content-type": "application/cloudevents+json"},
    )
    headers = {f"ce-{name}": EVENT[name] for name in ("specversion", "id", "source", "type")}
    parts = api.post("/v1/events", json=EVENT["data"], headers={**headers, "ce-time": text})
    taken = {answer.status_code == 202 for answer in (told, whole, parts)}
    assert len(taken) == 1, (told.text, whole.text, parts.text)
    assert len({reaction.occurred_at for reaction in live.producer.reactions}) == int(taken.pop())


@pytest.mark.parametrize("text", ["2026-11-24T12:00:00", "2026-11-24", "12:00", "1764000000"])
def test_what_is_no_time_is_refused_with_an_example(api: TestClient, text: str):
    answer = api.post("/v1/feedback", json={**FEEDBACK, "occurred_at": text})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")
    assert "RFC 3339" in answer.json()["detail"]
