"""A topic read whole: to the end that it has now, however long the broker takes."""

from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.waiting import wait_for


def read_whole(brokers: str, topic: str, **settings: Any) -> list[Any]:
    """The records of all partitions of a topic, as kafka-python gives them."""
    consumer = KafkaConsumer(
        bootstrap_servers=brokers.split(","),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **settings,
    )
    try:
        wait_for(lambda: bool(consumer.partitions_for_topic(topic)), f"there is a topic {topic}")
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        records: list[Any] = []

        def is_read() -> bool:
            for some in consumer.poll(timeout_ms=200).values():
                records.extend(some)
            return all(consumer.position(place) >= end for place, end in ends.items())

        wait_for(is_read, f"{topic} is read to {ends}")
        return records
    finally:
        consumer.close()
