"""What a log holds and what its workers committed, as tests ask for it."""

from collections.abc import Sequence

from kafka import KafkaAdminClient

from streams.config import StreamsConfig
from streams.kafka.topics import Offsets, extents, standings


def end_offsets(config: StreamsConfig, topics: Sequence[str] | None = None) -> Offsets:
    """Up to where each partition can be read; of `topics`, or else of those of events."""
    return {place: extent.stable for place, extent in extents(config, topics).items()}


def committed_offsets(config: StreamsConfig) -> Offsets:
    """What is committed of each partition; no entry where nothing is."""
    found = standings(config)
    return {place: each.committed for place, each in found.items() if each.committed}


def delete_topics(config: StreamsConfig, names: Sequence[str]) -> None:
    """Delete topics with all that is in them."""
    admin = KafkaAdminClient(bootstrap_servers=config.brokers.split(","))
    try:
        admin.delete_topics(list(names))
    finally:
        admin.close()
