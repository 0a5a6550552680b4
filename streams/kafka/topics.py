"""Topic administration: create what is missing, ask how far the log and the workers are.

A commit of the workers says in its metadata of which topic it is, by the id that Kafka gave the
topic when it was made: a topic that is deleted and made again under its name is another one, and
what was committed of the old one says nothing about the records in the new one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypedDict, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import (
    ClusterAuthorizationFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from kafka.protocol.consumer import IsolationLevel, OffsetSpec

from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.errors import Unavailable
from streams.kafka.progress import Extent, GroupProgress, Partition
from streams.kafka.reach import require_reachable
from streams.kafka.rights import lacks, refusal_of, require_group, require_rights
from streams.kafka.security import client_settings

T = TypeVar("T")

REQUEST_TIMEOUT_MS = 30_000
"""Kafka's own default: a broker on a busy machine answers late. Whether there is one at all is
known sooner (REACH_WAIT_S)."""
REACH_WAIT_S = 8.0
"""Longest wait for a broker that is away: one that starts again on the same log takes 5 s."""
COORDINATOR_WAIT_S = 30.0
"""A cluster that is new, or just came back, first has to make or load its table of commits."""
COORDINATOR_PAUSE_S = 0.1
NOT_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)

Offsets = dict[Partition, int]
"""(topic, partition) to an offset or a number of records."""

STAMP = "topic-id="
"""What the metadata of our commits begins with; a commit without it is of a time before it, or of
somebody's tool, and counts for whatever topic bears the name."""


class _Partition(TypedDict):
    partition_index: int


class _Topic(TypedDict):
    """What Kafka tells of a topic, as much of it as we need."""

    error_code: int
    name: str
    topic_id: str | None
    partitions: list[_Partition]


def stamp_of(topic_id: str | None) -> str:
    """The metadata of a commit of the topic with this id; empty where the broker tells no ids."""
    return "" if topic_id is None else f"{STAMP}{topic_id}"


def is_stamped(metadata: str | None) -> bool:
    """Whether a commit says of which topic it is."""
    return metadata is not None and metadata.startswith(STAMP)


def is_of_another_topic(metadata: str | None, topic_id: str | None) -> bool:
    """Whether a commit with this metadata is of another topic than the one with this id."""
    return is_stamped(metadata) and metadata != stamp_of(topic_id)


def ensure_topics(config: StreamsConfig) -> list[str]:
    """Create our topics where they are missing; returns the names of those created.

    Existing topics are left as they are. Raises Unavailable.
    """
    with _admin(config) as admin:
        there = {topic["name"] for topic in _described(admin, config, config.topics)}
        missing = [name for name in config.topics if name not in there]
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
            if code in (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno):
                raise lacks(config, "Create", f"topic {topic['name']}, which does not exist")
            if code not in (0, TopicAlreadyExistsError.errno):
                raise Unavailable(f"cannot create topic {topic['name']}: {topic['error_message']}")
        admin.wait_for_topics(list(config.topics))
        return [t["name"] for t in answer["topics"] if t["error_code"] == 0]


def extents(config: StreamsConfig, topics: Sequence[str] | None = None) -> dict[Partition, Extent]:
    """What the log holds of each partition of `topics` (default: those of events) that exist.

    Raises Unavailable.
    """
    with _admin(config) as admin:
        names = config.event_topics if topics is None else topics
        return _extents(admin, _described(admin, config, names))


def topic_ids(config: StreamsConfig) -> dict[str, str]:
    """Kafka's id of each topic of events that exists; none from brokers older than Kafka 2.8.

    Raises Unavailable.
    """
    with _admin(config) as admin:
        return _ids(_described(admin, config, config.event_topics))


def standings(config: StreamsConfig) -> dict[Partition, GroupProgress]:
    """How far the workers are in each partition of the topics of events that exist.

    Nothing counts as committed where a topic was deleted and made again since. Raises Unavailable.
    """
    with _admin(config) as admin:
        topics = _described(admin, config, config.event_topics)
        committed = _committed(admin, config.group, _ids(topics))
        found = _extents(admin, topics)  # Later: no commit of before lies beyond its end.
    return {
        place: GroupProgress(committed=committed.get(place, 0), extent=extent)
        for place, extent in found.items()
    }


def lag(config: StreamsConfig) -> Offsets:
    """Records that can be read and are not yet durable, by partition of the event topics.

    Raises Unavailable.
    """
    return {place: standing.lag for place, standing in standings(config).items()}


def require_worker_rights(config: StreamsConfig) -> None:
    """Raises Refused for the first right that a worker lacks, and Unavailable."""
    with _admin(config) as admin:
        require_rights(
            admin,
            config,
            reads=config.event_topics,
            writes=(config.dead_letters_topic, config.verdicts_topic),
        )
        _once_coordinated(lambda: require_group(admin, config))


def require_sender_rights(config: StreamsConfig) -> None:
    """Raises Refused for the first right that whoever sends events lacks, and Unavailable."""
    with _admin(config) as admin:
        require_rights(admin, config, reads=(), writes=config.event_topics)


def _described(
    admin: KafkaAdminClient, config: StreamsConfig, names: Sequence[str]
) -> list[_Topic]:
    """What Kafka tells of those topics that exist. Raises Refused where it may not tell us."""
    found: list[_Topic] = admin.describe_topics(list(names)) if names else []
    for topic in found:
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            raise lacks(config, "Describe", f"topic {topic['name']}")
    return [each for each in found if each["error_code"] != UnknownTopicOrPartitionError.errno]


def _ids(topics: Iterable[_Topic]) -> dict[str, str]:
    return {topic["name"]: topic["topic_id"] for topic in topics if topic["topic_id"] is not None}


def _extents(admin: KafkaAdminClient, topics: Iterable[_Topic]) -> dict[Partition, Extent]:
    places = [
        TopicPartition(topic["name"], partition["partition_index"])
        for topic in topics
        for partition in topic["partitions"]
    ]
    if not places:
        return {}

    def ask(spec: OffsetSpec, isolation: IsolationLevel) -> dict[TopicPartition, int]:
        found = admin.list_partition_offsets(dict.fromkeys(places, spec), isolation)
        return {place: at.offset for place, at in found.items()}

    starts = ask(OffsetSpec.EARLIEST, IsolationLevel.READ_UNCOMMITTED)
    stable = ask(OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
    ends = ask(OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)
    return {
        (place.topic, place.partition): Extent(starts[place], stable[place], ends[place])
        for place in places
    }


def _committed(admin: KafkaAdminClient, group: str, ids: Mapping[str, str]) -> Offsets:
    """What is committed, but for what is of another topic than the one that bears the name now."""
    found = _once_coordinated(lambda: admin.list_group_offsets(group)[group])
    return {
        (place.topic, place.partition): at.offset
        for place, at in found.items()
        if at.offset >= 0
        and not (place.topic in ids and is_of_another_topic(at.metadata, ids[place.topic]))
    }


def _once_coordinated(ask: Callable[[], T]) -> T:
    """What `ask` gives, as soon as the cluster has somebody who knows of groups."""
    deadline = time.monotonic() + COORDINATOR_WAIT_S
    while True:
        try:
            return ask()
        except NOT_YET:
            if time.monotonic() > deadline:
                raise
            time.sleep(COORDINATOR_PAUSE_S)


@contextmanager
def _admin(config: StreamsConfig) -> Iterator[KafkaAdminClient]:
    """A client for one errand; Kafka's errors become Unavailable."""
    require_reachable(config, wait_s=REACH_WAIT_S)
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=config.brokers.split(","),
            **client_settings(config.security),
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            bootstrap_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            yield admin
        finally:
            admin.close()
    except KafkaError as error:
        refusal = refusal_of(error, config)
        raise refusal or Unavailable(f"Kafka at {config.brokers}: {error!r}") from error
