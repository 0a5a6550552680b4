"""How long a reaction takes from acknowledged to durable fact, and to visible online feature.

    python -m benchmarks.latency [--rates 2000 10000] [--seconds 20]

One worker with its store runs in a process of its own; this one sends at a fixed rate through the
platform's producer and notes when each event was acknowledged. Durable: the store's `append` has
returned (the worker notes the time). Visible: ten times a second a user never seen before loves a
response that was shown, and the online store is read until it counts that. All clocks are the
machine's wall clock. Sender and reader share the cores with worker and broker.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.stream_events import reaction
from benchmarks.stream_worker import WorkerTask
from benchmarks.table import save_figures
from features.online import open_online
from streams.codec import encode
from streams.config import StreamsConfig
from streams.events import Message, Reaction, Shown
from streams.kafka.broker import Broker
from streams.kafka.producer import Producer, RecordPlace

ROOT = Path(__file__).parents[1]
START_S = 60.0
SETTLE_S = 30.0
"""Longest wait for the last probe to become visible."""
READ_PAUSE_S = 0.02
TICK_S = 0.01
"""The sender wakes so often and sends what is due."""
PROBES_PER_S = 10
WARM_S = 3.0
"""Events of the first seconds are not counted: connections are made and files opened then."""
AIM_S = 1.0


def main() -> None:
    """Measure, save, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dry", action="store_true", help="do not save the figures")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="rluf-bench-") as folder:
        home = Path(folder)
        cache = ROOT / "runs" / "cache"
        with Broker.start(home / "kafka", cache=cache, on_progress=print) as broker:
            for rate in options.rates:
                config = StreamsConfig(brokers=broker.brokers, group=f"latency-{rate}")
                config = replace(config, reactions_topic=f"rluf.reactions.r{rate}")
                rows += measure(rate, options.seconds, config, home / f"r{rate}")
    for row in rows:
        print(row)
    if not options.dry:
        columns = ("offered, events/s", "sent, events/s", "until", "p50, s", "p99, s", "events")
        save_figures("latency", columns, rows)


def measure(
    rate: int, seconds: float, config: StreamsConfig, home: Path
) -> list[list[str | float]]:
    """The rows of one offered rate. Raises RuntimeError where an event did not arrive."""
    home.mkdir()
    task = WorkerTask(
        brokers=config.brokers,
        group=config.group,
        topic=config.reactions_topic,
        partitions=config.partitions,
        folder=str(home / "store"),
        report=str(home / "report.json"),
        ready=str(home / "ready"),
        is_timed=True,
    )
    online = open_online(home / "store")
    sender = Sender(config)
    command = [sys.executable, "-m", "benchmarks.stream_worker", msgspec.json.encode(task).decode()]
    worker = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until(lambda: Path(task.ready).exists(), START_S)
        sending = threading.Thread(target=sender.run, args=(rate, seconds), daemon=True)
        sending.start()
        visible: dict[str, float] = {}
        deadline = time.monotonic() + seconds + SETTLE_S
        while time.monotonic() < deadline and (sending.is_alive() or len(visible) < sender.probes):
            waiting = [f"probe-{n}" for n in range(sender.probes) if f"probe-{n}" not in visible]
            found = online.read(users=waiting)["users"] if waiting else {}
            now = time.time()
            visible |= {user: now for user, row in found.items() if row["num_love"]}
            time.sleep(READ_PAUSE_S)
        sending.join()
        sender.close()
    finally:
        worker.terminate()
        worker.wait(START_S)
    report = json.loads(Path(task.report).read_text())
    durable = {id: at for at, ids in report["appended"] for id in ids}
    lost = sender.acked.keys() - durable.keys()
    if lost or len(visible) < sender.probes:
        raise RuntimeError(f"{len(lost)} not durable, {sender.probes - len(visible)} not visible")
    since = sender.began + WARM_S
    acked = {id: at for id, at in sender.acked.items() if at > since}
    delays = {
        "durable fact": [durable[id] - at for id, at in acked.items()],
        "visible online feature": [
            visible[user] - acked[id] for user, id in sender.probe_ids.items() if id in acked
        ],
    }
    sent_rate = len(sender.acked) / sender.took_s
    return [
        [f"{rate:,}", sent_rate, what, *quantiles(values), len(values)]
        for what, values in delays.items()
    ]


class Sender:
    """Sends reactions at a rate and notes when each was acknowledged."""

    def __init__(self, config: StreamsConfig) -> None:
        self._producer = Producer(config)
        self._topic = config.reactions_topic
        self.acked: dict[str, float] = {}
        self.probe_ids: dict[str, str] = {}
        self.probes = 0
        self.began = 0.0
        self.took_s = 0.0

    def run(self, rate: int, seconds: float) -> None:
        """Send for so long; what is late is sent as soon as possible."""
        self.began = time.time()
        total = int(rate * seconds)
        number = 0
        self._show(int(PROBES_PER_S * seconds) + 1)
        while number < total:
            due = min(total, int((time.time() - self.began) * rate) + 1)
            for number in range(number, due):  # noqa: B020
                self._send(number, is_probe=number % (rate // PROBES_PER_S) == 0)
            number = due
            time.sleep(TICK_S)
        self._producer.flush(SETTLE_S)
        self.took_s = time.time() - self.began

    def close(self) -> None:
        """Disconnect."""
        self._producer.close()

    def _show(self, num_probes: int) -> None:
        """Have each probe's response shown, before anybody reacts."""
        now = datetime.now(UTC)
        for probe in range(num_probes):
            shown = Shown(
                id=f"shown-{probe}",
                source="/s",
                response_id=f"probe-r{probe}",
                conversation_id=f"probe-c{probe}",
                user_id=f"probe-{probe}",
                messages=(Message(role="user", content="synthetic"),),
                response="synthetic",
                policy="chat@1",
                occurred_at=now,
                known_at=now,
            )
            self._producer.send(shown)

    def _send(self, number: int, *, is_probe: bool) -> None:
        key, value = reaction(number)
        id = f"e{number:015d}"
        if is_probe:
            user = f"probe-{self.probes}"
            key = b"probe-r%d" % self.probes
            now = datetime.now(UTC)
            probe = Reaction(
                id=id,
                source="/s",
                response_id=key.decode(),
                user_id=user,
                signal="love",
                action="add",
                occurred_at=now,
                known_at=now,
            )
            value = encode(probe)
            self.probe_ids[user] = id
            self.probes += 1

        def note(done: Future[RecordPlace]) -> None:
            done.result()
            self.acked[id] = time.time()

        self._producer.send_raw(self._topic, key, value).add_done_callback(note)


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    p50, p99 = np.quantile(np.array(values), [0.5, 0.99])
    return round(float(p50), 3), round(float(p99), 3)


def wait_until(is_so: Callable[[], bool], wait_s: float) -> None:
    """Return once it is so. Raises TimeoutError."""
    deadline = time.monotonic() + wait_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {wait_s} s")
        time.sleep(READ_PAUSE_S)


if __name__ == "__main__":
    main()
