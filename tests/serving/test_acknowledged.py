"""Goal: whatever a door acknowledges becomes a fact.

Method: an API whose broker reads what it is given with the worker's own pipeline, stamped by a log
that keeps milliseconds. Hypothesis sends requests over the whole of each door's schema, bent at
every field; an acknowledgement without a fact, a fact without one, or a 500 fails.
"""

import json
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.pseudonyms import Pseudonyms
from streams.codec import encode, key_of, topic_of
from streams.config import StreamsConfig
from streams.events import DeadLetter, Event
from streams.kafka.producer import HEADERS, RecordPlace
from streams.pipeline import Pipeline, Record
from tests.serving.conftest import FAST, Place, StartApi
from tests.serving.fakes import NOON, FakeClock

CONFIG = StreamsConfig(event_bytes_max=20_000)
ADMIN = {"authorization": "Bearer admin"}


@dataclass
class JudgingProducer:
    """Meets serving.recorder.EventProducer: a broker whose worker reads at once."""

    clock: FakeClock
    facts: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    num_sent: int = 0

    def send(self, event: Event, headers: Any = ()) -> "Future[RecordPlace]":
        # A pipeline of its own each time: a duplicate is a fact too.
        found = Pipeline(CONFIG).run(
            [
                Record(
                    topic_of(event, CONFIG),
                    0,
                    self.num_sent,
                    int(self.clock().timestamp() * 1000),
                    key_of(event),
                    encode(event),
                    (*HEADERS, *headers),
                )
            ]
        )
        self.num_sent += 1
        self.facts += [*found.shown, *found.reactions, *found.erasures, *found.verdicts]
        self.dead_letters += found.dead_letters
        future: Future[RecordPlace] = Future()
        future.set_running_or_notify_cancel()
        future.set_result(RecordPlace("topic", 0, self.num_sent))
        return future


@dataclass
class Doors:
    """An API, and the broker behind it."""

    api: TestClient
    broker: JudgingProducer

    def judge(self, acknowledged: int, status: int) -> None:
        assert status < 500 or status == 503
        assert self.broker.dead_letters == []
        assert len(self.broker.facts) == acknowledged
        self.broker.facts.clear()


@pytest.fixture(params=["pseudonyms", "ids as they are"])
def doors(request: pytest.FixtureRequest, start: StartApi, live: Place) -> Doors:
    live.clock.at = NOON + timedelta(microseconds=999_999)
    broker = JudgingProducer(live.clock)
    pseudonyms = Pseudonyms(bytes(32)) if request.param == "pseudonyms" else None
    room = live.room(
        replace(FAST, admin_keys=("admin",), ack_timeout_s=60.0),
        streams=CONFIG,
        pseudonyms=pseudonyms,
    )
    return Doors(start(replace(room, producer=broker)), broker)


thorough = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=60,
)
BLANKS = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
texts = (
    st.text(max_size=8)
    | st.text(alphabet=BLANKS, max_size=4)
    | st.sampled_from(["", " ", "\0", "\u200b", "\ufeff", "é", "e\u0301", "\ud83d", "anonymous"])
    | st.builds(
        lambda c, n: c * n, st.sampled_from("x é😀"), st.sampled_from([255, 256, 257, 512, 513])
    )
)
numbers = (
    st.sampled_from(
        [
            0,
            1,
            -1,
            0.5,
            1.0,
            1.0000001,
            2**31 - 1,
            2**31,
            2**63,
            2**64,
            10**400,
            1e-320,
            1e308,
            -1e308,
        ]
    )
    | st.floats()
)
times = st.sampled_from(
    [
        "2026-11-24T12:00:00Z",
        "2026-11-24T12:04:55.999999Z",
        "2026-11-24T12:04:56Z",
        "2026-11-24T12:05:00.999999Z",
        "2026-11-24T12:05:01Z",
        "2000-01-01T00:00:00Z",
        "1999-12-31T23:59:59.9999999Z",
        "1999-12-31T23:59:59Z",
        "2016-12-31T23:59:60Z",
        "9999-12-31T23:59:59.9999999Z",
        "0001-01-01T00:00:00+14:00",
        "now",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts | times,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
    optional={
        "content": texts | st.none() | st.just("\x01" * 4_000) | anything,
        "name": texts | st.none(),
        "tool_calls": anything,
        "refusal": texts | st.none(),
    },
)


def bent(
    known: dict[str, st.SearchStrategy[Any]], needed: dict[str, Any]
) -> st.SearchStrategy[Any]:
    """Requests with the fields needed, some of the optional ones, and now and then nonsense."""
    always = {k: st.just(v) | known.get(k, st.just(v)) for k, v in needed.items()}
    optional = {k: strategy for k, strategy in known.items() if k not in needed}
    sound = st.fixed_dictionaries(always, optional=optional)
    nonsense = st.dictionaries(st.sampled_from([*known, *needed]), anything, max_size=1)
    return st.builds(lambda one, other: one | other, sound, nonsense)


def body(request: object) -> bytes:
    """JSON as careless clients write it: NaN, lone surrogates and all."""
    return json.dumps(request).encode()


chats = bent(
    {
        "user": texts,
        "safety_identifier": texts,
        "metadata": st.dictionaries(
            st.sampled_from(
                ["conversation_id", "surface", "language", "turn", "message_id", "learnable"]
            ),
            texts | st.sampled_from(["0", "007", "2147483647", "2147483648", "-1", "1" * 500]),
        ),
        "messages": st.lists(messages, max_size=3),
        "store": st.none() | st.booleans(),
        "stream": st.booleans(),
        "n": st.sampled_from([1, 2]),
        "seed": numbers,
        "temperature": numbers,
        "max_tokens": st.sampled_from([1, 100]),
    },
    {"model": "chat", "messages": [{"role": "user", "content": "hello"}]},
)


@thorough
@given(asked=chats)
@example(
    asked={"metadata": {"conversation_id": " "}, "model": "chat", "messages": [{"role": "user"}]}
)
@example(asked={"user": "\u3000", "model": "chat", "messages": [{"role": "user", "content": "a"}]})
def test_a_chat_that_says_recorded_is_a_fact(doors: Doors, asked: dict[str, Any]):
    answer = doors.api.post("/v1/chat/completions", content=body(asked))
    said = answer.headers.get("x-rluf-recorded", "")
    num = answer.text.count(": x-rluf-recorded: true") if said == "at-end" else 0
    if said == "true":
        num = asked.get("n") or 1
    if answer.status_code == 200:
        assert num == (asked.get("n") or 1), "only an answer too long for an event is not recorded"
    doors.judge(num, answer.status_code)


@thorough
@given(
    asked=bent(
        {
            "actor_id": texts,
            "action": st.sampled_from(["add", "remove", None]),
            "value": st.none() | st.booleans() | numbers,
            "occurred_at": times | texts,
            "response_id": texts,
            "signal": st.sampled_from(["love", "❤️", " LIKE ", "continue", "x"]) | texts,
            "surface": texts,
            "tags": st.dictionaries(texts, anything, max_size=2),
            "dryrun": st.just(False),
        },
        {"response_id": "r-1", "signal": "love", "actor_id": "u-1"},
    ),
    key=st.none()
    | st.text("abé", min_size=1, max_size=3)
    | st.sampled_from(["x" * 255, "x" * 256]),
)
def test_feedback_that_is_202_is_a_fact(doors: Doors, asked: dict[str, Any], key: str | None):
    headers = {} if key is None else {b"idempotency-key": key.encode("latin-1")}
    answer = doors.api.post("/v1/feedback", content=body(asked), headers=headers)
    is_taken = answer.status_code == 202 and "idempotency-replayed" not in answer.headers
    doors.judge(int(is_taken), answer.status_code)


exposures = bent(
    {
        **dict.fromkeys(("response_id", "conversation_id", "user_id", "policy", "response"), texts),
        **{k: texts | st.none() for k in ("experiment", "arm", "surface", "language", "client_id")},
        "turn": numbers | st.none(),
        "propensity": numbers | st.none(),
        "logprob": numbers | st.none(),
        "learnable": st.booleans() | st.none(),
        "messages": st.lists(messages, max_size=3) | st.none(),
        "user_aliases": st.lists(texts, max_size=17),
        "response_aliases": st.lists(texts, max_size=17),
    },
    {"response_id": "r", "conversation_id": "c", "user_id": "u", "policy": "p", "response": "hi"},
)
reactions = bent(
    {"response_id": texts, "user_id": texts, "signal": texts, "network": texts | st.none()},
    {"response_id": "r", "user_id": "u", "signal": "love", "action": "add"},
)
attributes = {
    "id": texts,
    "source": texts,
    "time": times | texts,
    "subject": texts | st.none(),
    "partitionkey": texts | st.none(),
    "datacontenttype": texts | st.none(),
    "ext": texts,
}
ENVELOPE = {"specversion": "1.0", "id": "e", "source": "/s", "time": "2026-11-24T12:00:00Z"}
SHOWN, REACTION = "rluf.response.shown.v1", "rluf.reaction.v1"


@thorough
@given(envelope=bent(attributes, ENVELOPE), shown=exposures, reaction=reactions, pick=st.booleans())
def test_an_event_that_is_202_is_a_fact(doors: Doors, envelope, shown, reaction, pick):
    event = {**envelope, "type": SHOWN if pick else REACTION, "data": shown if pick else reaction}
    answer = doors.api.post(
        "/v1/events", content=body(event), headers={"content-type": "application/cloudevents+json"}
    )
    doors.judge(int(answer.status_code == 202), answer.status_code)


@thorough
@given(envelope=bent(attributes, ENVELOPE), shown=exposures)
def test_an_event_in_binary_mode_that_is_202_is_a_fact(doors: Doors, envelope, shown):
    headers = [(b"ce-type", SHOWN.encode()), (b"content-type", b"application/json")]
    headers += [
        (f"ce-{name}".encode(), value.encode("utf-8", "surrogatepass").strip(b"\0\r\n"))
        for name, value in envelope.items()
        if isinstance(value, str) and not set(value) & set("\0\r\n")
    ]
    answer = doors.api.post("/v1/events", content=body(shown), headers=headers)
    doors.judge(int(answer.status_code == 202), answer.status_code)


@thorough
@given(asked=bent({"user_id": texts, "as_stored": st.booleans()}, {"user_id": "u"}))
@example(asked={"user_id": "  "})
@example(asked={"user_id": "  ", "as_stored": True})
def test_an_erasure_that_is_202_is_a_fact(doors: Doors, asked: dict[str, Any]):
    answer = doors.api.post("/v1/admin/erasures", content=body(asked), headers=ADMIN)
    doors.judge(int(answer.status_code == 202), answer.status_code)
