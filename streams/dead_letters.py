"""Sends what could not be taken in to the topic of dead letters: its bytes, and why."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from faust.exceptions import ProducerSendError

from streams.errors import Unavailable
from streams.events import DeadLetter

CUT_BYTES = 65_536
"""What is kept of a value that the topic refuses as too large; the sink still gets all of it."""

Headers = list[tuple[str, bytes]]


class DeadLetterProducer(Protocol):
    """What we need of Faust's producer."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Headers,
    ) -> Awaitable[Awaitable[object]]:
        """Hand a record to the producer; the inner awaitable is its acknowledgement."""


async def send_dead_letters(
    producer: DeadLetterProducer, topic: str, letters: Sequence[DeadLetter]
) -> None:
    """Produce `letters` and wait until the broker has acknowledged each.

    Raises Unavailable if it has not; those that it has may then come twice, as a reader can tell by
    the headers topic, partition and offset.
    """
    refused = await _send(producer, topic, [(letter, letter.value, []) for letter in letters])
    cut = [
        (letter, letter.value[:CUT_BYTES], [("value_bytes", b"%d" % len(letter.value))])
        for letter in refused
    ]
    if await _send(producer, topic, cut):
        raise Unavailable(f"{topic} refuses dead letters of {CUT_BYTES} bytes")


async def _send(
    producer: DeadLetterProducer, topic: str, letters: Sequence[tuple[DeadLetter, bytes, Headers]]
) -> list[DeadLetter]:
    """Give those that the broker refuses as too large."""
    acks: list[Awaitable[object]] = []
    try:
        for letter, value, more in letters:
            headers = [*_headers(letter), *more]
            acks.append(await producer.send(topic, letter.key, value, None, None, headers))
    except ProducerSendError as error:
        raise Unavailable(f"dead letters not sent: {error}") from error
    refused: list[DeadLetter] = []
    for (letter, _value, _more), outcome in zip(
        letters, await asyncio.gather(*acks, return_exceptions=True), strict=True
    ):
        if isinstance(outcome, MessageSizeTooLargeError):
            refused.append(letter)
        elif isinstance(outcome, KafkaError):
            raise Unavailable(f"dead letters not acknowledged: {outcome}") from outcome
        elif isinstance(outcome, BaseException):
            raise outcome
    return refused


def _headers(letter: DeadLetter) -> Headers:
    return [
        ("reason", letter.reason.encode()),
        ("topic", letter.topic.encode()),
        ("partition", b"%d" % letter.partition),
        ("offset", b"%d" % letter.offset),
    ]
