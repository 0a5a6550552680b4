"""confluent-kafka (librdkafka, C) with msgspec: the same by-hand consumer on a faster client.

As its documentation has it: `consume` in batches, `enable.auto.commit` off, and a synchronous
`commit` after the work. Ids are a Python set and a file, as for aiokafka.
"""

import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException  # type: ignore[import-not-found]

from benchmarks.stream_shared import BATCH_EVENTS, LINGER_S, Clock, Intake, read_task, report

CONSUME_MAX = 10_000


def main() -> None:
    """Take the whole topic in, then print what was done."""
    task = read_task()
    clock, intake = Clock(), Intake(Path(task.folder))
    consumer = Consumer(
        {
            "bootstrap.servers": task.brokers,
            "group.id": task.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([task.topic], on_assign=lambda *_: clock.begin())
    while intake.received < task.limit:
        values: list[bytes | None] = []
        until = time.perf_counter() + LINGER_S
        while len(values) < BATCH_EVENTS and (rest_s := until - time.perf_counter()) > 0:
            for record in consumer.consume(min(CONSUME_MAX, BATCH_EVENTS - len(values)), rest_s):
                if (fault := record.error()) is not None:
                    raise KafkaException(fault)
                values.append(record.value())
            if intake.received + len(values) >= task.limit:
                break
        if not values:
            continue
        intake.take(values)
        consumer.commit(asynchronous=False)
        clock.end()
    consumer.close()
    report(clock, intake.counts())


if __name__ == "__main__":
    main()
