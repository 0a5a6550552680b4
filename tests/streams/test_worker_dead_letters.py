"""Goal: dead letters are on their topic, whole, with where they came from, before we go on.

Method: a fake of Faust's producer that refuses what we tell it to.
"""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from faust.exceptions import ProducerSendError

from streams.dead_letters import CUT_BYTES, send_dead_letters
from streams.errors import Unavailable
from streams.events import DeadLetter

TOPIC = "rluf.dead-letters.v1"


class FakeProducer:
    """Takes records of up to `bytes_max`, unless it is to fail."""

    def __init__(
        self,
        *,
        bytes_max: int = 10**9,
        send_error: Exception | None = None,
        ack_error: Exception | None = None,
    ) -> None:
        self.records: list[tuple[str, bytes | None, bytes, dict[str, bytes]]] = []
        self._bytes_max = bytes_max
        self._send_error = send_error
        self._ack_error = ack_error

    async def send(self, topic, key, value, partition, timestamp, headers) -> Awaitable[object]:
        if self._send_error is not None:
            raise self._send_error
        outcome = asyncio.get_running_loop().create_future()
        if self._ack_error is not None:
            outcome.set_exception(self._ack_error)
        elif len(value) > self._bytes_max:
            outcome.set_exception(MessageSizeTooLargeError())
        else:
            self.records.append((topic, key, value, dict(headers)))
            outcome.set_result(None)
        return outcome


def letter(value: bytes) -> DeadLetter:
    return DeadLetter(
        topic="rluf.reactions.v1",
        partition=2,
        offset=41,
        reason="malformed_json",
        detail="saw }",
        key=b"r1",
        value=value,
        known_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def test_a_dead_letter_keeps_its_bytes_and_says_where_it_stood_and_why():
    producer = FakeProducer()
    asyncio.run(send_dead_letters(producer, TOPIC, [letter(b"\xff}")]))
    headers = {
        "reason": b"malformed_json",
        "topic": b"rluf.reactions.v1",
        "partition": b"2",
        "offset": b"41",
    }
    assert producer.records == [(TOPIC, b"r1", b"\xff}", headers)]


def test_one_too_large_for_the_topic_is_cut_and_says_so_and_the_others_are_whole():
    producer = FakeProducer(bytes_max=200_000)
    asyncio.run(send_dead_letters(producer, TOPIC, [letter(b"x" * 300_000), letter(b"ok")]))
    values = [value for _topic, _key, value, _headers in producer.records]
    assert values == [b"ok", b"x" * CUT_BYTES]
    assert producer.records[1][3]["value_bytes"] == b"300000"


@pytest.mark.parametrize(
    "dials",
    [
        {"send_error": ProducerSendError("buffer is full")},
        {"ack_error": KafkaTimeoutError()},
        {"bytes_max": 10},
    ],
)
def test_what_the_broker_does_not_acknowledge_is_unavailable(dials):
    with pytest.raises(Unavailable):
        asyncio.run(send_dead_letters(FakeProducer(**dials), TOPIC, [letter(b"x" * 100_000)]))


def test_no_dead_letters_need_no_broker():
    asyncio.run(send_dead_letters(FakeProducer(send_error=ProducerSendError()), TOPIC, []))
