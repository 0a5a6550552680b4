"""Raw aiokafka with msgspec: the floor of Python, for whoever writes the consumer by hand.

As aiokafka's documentation has it for batches: a group without auto-commit, `getmany`, and `commit`
after the work. Batches are gathered as our worker gathers them. It has no dead letters, no flow
control, no checks on revoked partitions and no online features; ids are a Python set and a file.
"""

import asyncio
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from benchmarks.stream_shared import BATCH_EVENTS, LINGER_S, Clock, Intake, read_task, report

FETCH_BYTES = 2**20
"""Per partition and request; that of our worker."""


async def run() -> None:
    """Take the whole topic in, then print what was done."""
    task = read_task()
    clock, intake = Clock(), Intake(Path(task.folder))
    consumer = AIOKafkaConsumer(
        task.topic,
        bootstrap_servers=task.brokers,
        group_id=task.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    while not consumer.assignment():
        await asyncio.sleep(0.001)
    clock.begin()
    while intake.received < task.limit:
        values: list[bytes | None] = []
        until = time.perf_counter() + LINGER_S
        while len(values) < BATCH_EVENTS and (rest_s := until - time.perf_counter()) > 0:
            room = BATCH_EVENTS - len(values)
            chunks = await consumer.getmany(timeout_ms=int(rest_s * 1000) + 1, max_records=room)
            values += [record.value for chunk in chunks.values() for record in chunk]
            if intake.received + len(values) >= task.limit:
                break
        intake.take(values)
        await consumer.commit()
        clock.end()
    await consumer.stop()
    report(clock, intake.counts())


if __name__ == "__main__":
    asyncio.run(run())
