"""Topic administration: create what is missing, ask how far the log and the workers are."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
)
from kafka.protocol.consumer import OffsetSpec

from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.errors import Unavailable

REQUEST_TIMEOUT_MS = 10_000
COORDINATOR_WAIT_S = 10.0
"""A cluster that is new, or just came back, first has to make or load its table of commits."""
COORDINATOR_PAUSE_S = 0.1
NOT_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)

Offsets = dict[tuple[str, int], int]
"""(topic, partition) to an offset or a number of records."""


def ensure_topics(config: StreamsConfig) -> list[str]:
    """Create our topics where they are missing; returns the names of those created.

    Existing topics are left as they are. Raises Unavailable.
    """
    with _admin(config) as admin:
        missing = [name for name in config.topics if name not in set(admin.list_topics())]
        if not missing:
            return []
        wanted = {
            name: {
                "num_partitions": config.partitions,
                "replication_factor": config.replication,
                "configs": {"max.message.bytes": str(RECORD_BYTES_MAX)},
            }
            for name in missing
        }
        answer = admin.create_topics(wanted, raise_errors=False)
        for topic in answer["topics"]:
            code = topic["error_code"]
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Unavailable(f"cannot create topic {topic['name']}: {topic['error_message']}")
        admin.wait_for_topics(list(config.topics))
        return [t["name"] for t in answer["topics"] if t["error_code"] == 0]


def delete_topics(config: StreamsConfig, names: Sequence[str]) -> None:
    """Delete topics with all that is in them. Raises Unavailable, also where one is unknown."""
    with _admin(config) as admin:
        admin.delete_topics(list(names))


def end_offsets(config: StreamsConfig, topics: Sequence[str] | None = None) -> Offsets:
    """The offset that the next record will get, of each partition of `topics` (default: those of
    events) that exist. Raises Unavailable."""
    with _admin(config) as admin:
        return _end_offsets(admin, config.event_topics if topics is None else topics)


def committed_offsets(config: StreamsConfig) -> Offsets:
    """Up to where the workers have made durable what the log holds; no entry where they have not
    committed yet. Raises Unavailable."""
    with _admin(config) as admin:
        return _committed(admin, config.group)


def lag(config: StreamsConfig) -> Offsets:
    """Records that the workers have not yet made durable, by partition of the event topics.

    A partition without a commit counts from offset 0. Raises Unavailable.
    """
    with _admin(config) as admin:
        committed = _committed(admin, config.group)
        ends = _end_offsets(admin, config.event_topics)
    return {place: max(0, end - committed.get(place, 0)) for place, end in ends.items()}


def _end_offsets(admin: KafkaAdminClient, topics: Sequence[str]) -> Offsets:
    existing = set(admin.list_topics())
    specs = {
        TopicPartition(topic["name"], partition["partition_index"]): OffsetSpec.LATEST
        for topic in admin.describe_topics([name for name in topics if name in existing])
        for partition in topic["partitions"]
    }
    if not specs:
        return {}
    found = admin.list_partition_offsets(specs)
    return {(place.topic, place.partition): at.offset for place, at in found.items()}


def _committed(admin: KafkaAdminClient, group: str) -> Offsets:
    deadline = time.monotonic() + COORDINATOR_WAIT_S
    while True:
        try:
            found = admin.list_group_offsets(group)[group]
            return {(p.topic, p.partition): at.offset for p, at in found.items() if at.offset >= 0}
        except NOT_YET:
            if time.monotonic() > deadline:
                raise
            time.sleep(COORDINATOR_PAUSE_S)


@contextmanager
def _admin(config: StreamsConfig) -> Iterator[KafkaAdminClient]:
    """A client for one errand; Kafka's errors become Unavailable."""
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=config.brokers.split(","),
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            bootstrap_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        raise Unavailable(f"Kafka at {config.brokers}: {error!r}") from error
