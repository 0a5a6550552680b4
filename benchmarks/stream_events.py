"""The events that the streaming benchmark reads: reactions, 10 % sent twice, 1 % malformed."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from streams.config import StreamsConfig

DUPLICATE_SHARE = 0.10
MALFORMED_SHARE = 0.01
SEED = 7
BATCH_BYTES = 256 * 1024
"""A producer under load fills its batches; so do we."""
DUPLICATE_WITHIN = 5_000
"""A duplicate follows its first within so many events: a client that sends again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What was produced."""

    events: int
    unique: int
    malformed: int
    bytes_mean: float


def reaction(number: int) -> tuple[bytes, bytes]:
    """Key and value of a reaction as on the wire; the shortest that the contract allows."""
    key = b"chatcmpl-%012d" % (number // 3)
    action = b"remove" if number % 11 == 0 else b"add"
    return key, (
        b'{"specversion":"1.0","id":"e%015d","source":"/s","type":"rluf.reaction.v1",'
        b'"time":"2026-11-23T22:%02d:%02d.%03dZ","data":{"response_id":"%s","user_id":"u-%05d",'
        b'"signal":"love","action":"%s"}}'
        % (
            number,
            number // 60_000 % 60,
            number // 1000 % 60,
            number % 1000,
            key,
            number % 9973,
            action,
        )
    )


def events(num: int) -> Iterator[tuple[bytes, bytes, str]]:
    """Key, value and kind ("new", "duplicate" or "malformed") of `num` records."""
    chance = random.Random(SEED)
    for number in range(num):
        at = chance.random()
        if at < MALFORMED_SHARE:
            key, value = reaction(number)
            yield key, value[: len(value) // 2], "malformed"
        elif at < MALFORMED_SHARE + DUPLICATE_SHARE and number > DUPLICATE_WITHIN:
            yield *reaction(number - chance.randrange(1, DUPLICATE_WITHIN)), "duplicate"
        else:
            yield *reaction(number), "new"


async def produce(config: StreamsConfig, num: int) -> Mix:
    """Put `num` events on the topic of reactions, by key as a producer does."""
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers, max_batch_size=BATCH_BYTES)
    await producer.start()
    places = sorted(await producer.partitions_for(config.reactions_topic))
    batches = {place: producer.create_batch() for place in places}
    num_bytes, malformed, ids = 0, 0, set[bytes]()

    async def send(place: int) -> None:
        await producer.send_batch(batches[place], config.reactions_topic, partition=place)
        batches[place] = producer.create_batch()

    for key, value, kind in events(num):
        num_bytes += len(value)
        if kind == "malformed":
            malformed += 1
        else:
            ids.add(value[28:44])
        place = hash_of(key) % len(places)
        now_ms = int(time.time() * 1000)
        if batches[place].append(key=key, value=value, timestamp=now_ms) is None:
            await send(place)
            batches[place].append(key=key, value=value, timestamp=now_ms)
    for place in places:
        await send(place)
    await producer.flush()
    await producer.stop()
    return Mix(events=num, unique=len(ids), malformed=malformed, bytes_mean=num_bytes / num)


def hash_of(key: bytes) -> int:
    """A hash that is the same in every process; events of one response share a partition."""
    return int(key[-12:])
