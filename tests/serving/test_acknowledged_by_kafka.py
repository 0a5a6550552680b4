"""Goal: what the doors acknowledge is a fact for a real broker and the worker's own reading of it.

Method: an API with the real producer; requests at the edges of size, time, names and form. Then the
log is read from its beginning: everything acknowledged is there, and nothing is a dead letter.
"""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from serving.pseudonyms import Pseudonyms
from streams.codec import encode
from streams.config import StreamsConfig
from streams.kafka.log import measure, read_log
from streams.kafka.producer import Producer
from streams.pipeline import Pipeline
from tests.serving.conftest import FAST, Place, StartApi
from tests.streams.samples import reaction, shown

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
PATIENT = replace(FAST, ack_timeout_s=60.0)


@pytest.mark.kafka
def test_whatever_a_real_broker_acknowledges_is_a_fact(
    start: StartApi, live: Place, streams_config: StreamsConfig
):
    now = datetime.now(UTC)
    taken: list[int] = []

    def event(**changes: object) -> bytes:
        return encode(reaction(**{"occurred_at": now, "known_at": now, **changes}))

    with Producer(streams_config) as producer:
        room = live.room(PATIENT, streams=streams_config, now=lambda: datetime.now(UTC))
        api = start(replace(room, producer=producer, pseudonyms=Pseudonyms(bytes(32))))

        def post(path: str, num_facts: int, **request: object) -> None:
            answer = api.post(path, **request)
            said = answer.headers.get("x-rluf-recorded", "true")
            is_taken = answer.status_code < 300 and said == "true"
            assert answer.status_code < 500, answer.text
            taken.append(num_facts if is_taken else 0)

        for size in (999_900, 999_966, 999_967, 999_968, 1_000_000):
            exposure = shown(
                id=f"s-{size}", user_id="u", response="", occurred_at=now, known_at=now
            )
            body = encode(exposure)
            body = body.replace(b'"response":""', b'"response":"%b"' % (b"x" * (size - len(body))))
            post("/v1/events", 1, content=body, headers=STRUCTURED)
        for ahead in (0, 290, 294, 295, 300, 301):
            at = now + timedelta(seconds=ahead)
            post(
                "/v1/events", 1, content=event(id=f"t-{ahead}", occurred_at=at), headers=STRUCTURED
            )
            tap = {"response_id": "r", "signal": ":heart:", "occurred_at": at.isoformat()}
            post("/v1/feedback", 1, json=tap)
        told = msgspec.json.decode(event(id="b64"))
        told["data_base64"] = base64.b64encode(msgspec.json.encode(told.pop("data"))).decode()
        post("/v1/events", 1, json=told, headers=STRUCTURED)
        batch = b"[" + b",".join(event(id=f"batch-{n}") for n in range(50)) + b"]"
        post("/v1/events", 50, content=batch, headers=BATCH)
        ask = {"model": "chat", "messages": [{"role": "user", "content": "\x01hello"}]}
        for field, value in ("turn", "7"), ("conversation_id", " "), ("surface", "x" * 257):
            asked = ask | {"metadata": {field: value}, "user": "é" * 512}
            post("/v1/chat/completions", 1, json=asked)
    found = Pipeline(streams_config)
    stretch = measure(streams_config, start=None)
    facts = [found.run(records) for records in read_log(streams_config, stretch)]
    assert [letter.detail for each in facts for letter in each.dead_letters] == []
    num_facts = sum(len(each.shown) + len(each.reactions) for each in facts)
    assert num_facts == sum(taken)
    assert taken[:5] == [1, 1, 1, 0, 0], "a pseudonym adds 33 bytes to the id of one"
