"""What more work costs: events, partitions and workers, one of them at a time.

    python -m benchmarks.scaling [--quick]

The events lie on the broker before the workers start; these start together, each in a process of
its own with the same store. The clock runs from the first fetch of any worker until all offsets
are committed, as seen by asking the broker every 50 ms; joining the group while the first already
works is in it. Memory is the largest resident size of any worker. Facts in the store are counted.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from benchmarks.stream_events import produce
from benchmarks.stream_worker import WorkerTask
from benchmarks.table import save_figures
from streams.config import StreamsConfig
from streams.kafka.broker import Broker
from streams.kafka.topics import ensure_topics
from tests.offsets import committed_offsets

ROOT = Path(__file__).parents[1]
PLOT = ROOT / "docs" / "images" / "scaling.svg"
NUM_SAME = 1_000_000
"""Events where partitions or workers vary."""
WAIT_S = 600.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run."""

    varied: str
    events: int
    partitions: int
    workers: int

    @property
    def x(self) -> int:
        """The value of what varied."""
        return {"events": self.events, "partitions": self.partitions, "workers": self.workers}[
            self.varied
        ]


def points(*, is_quick: bool) -> list[Point]:
    """The runs."""
    sizes = (100_000, 1_000_000) if is_quick else (100_000, 1_000_000, 10_000_000)
    return [
        *(Point(varied="events", events=n, partitions=4, workers=1) for n in sizes),
        *(
            Point(varied="partitions", events=NUM_SAME, partitions=n, workers=1)
            for n in (1, 4, 16, 64)
        ),
        *(Point(varied="workers", events=NUM_SAME, partitions=4, workers=n) for n in (1, 2, 4)),
    ]


def main() -> None:
    """Measure, save, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the 10 million events")
    parser.add_argument("--events", type=int, help="so many events in every run: a trial")
    parser.add_argument("--dry", action="store_true", help="do not save the figures")
    options = parser.parse_args()
    runs = points(is_quick=options.quick)
    if options.events:
        runs = [replace(point, events=options.events) for point in runs]
    measured: list[tuple[Point, float, float]] = []
    for number, point in enumerate(runs):
        with tempfile.TemporaryDirectory(prefix="rluf-bench-") as folder:
            rate, peak_mb = measure(point, Path(folder), number)
        print(f"{point} {rate:,.0f} events/s, {peak_mb:.0f} MB", flush=True)
        measured.append((point, rate, peak_mb))
    if options.dry:
        return
    columns = ("varied", "events", "partitions", "workers", "events/s", "largest worker, MB")
    rows: list[list[str | float]] = [
        [point.varied, point.events, point.partitions, point.workers, round(rate), round(peak_mb)]
        for point, rate, peak_mb in measured
    ]
    save_figures("scaling", columns, rows)
    draw(measured)


def measure(point: Point, home: Path, number: int) -> tuple[float, float]:
    """(events/s, MB of the largest worker). Raises RuntimeError where facts are missing."""
    with Broker.start(home / "kafka", cache=ROOT / "runs" / "cache", on_progress=print) as broker:
        config = StreamsConfig(
            brokers=broker.brokers, group=f"scaling-{number}", partitions=point.partitions
        )
        ensure_topics(config)
        mix = asyncio.run(produce(config, point.events))
        tasks = [
            WorkerTask(
                brokers=config.brokers,
                group=config.group,
                topic=config.reactions_topic,
                partitions=config.partitions,
                folder=str(home / "store"),
                report=str(home / f"report-{worker}.json"),
                ready=str(home / f"ready-{worker}"),
                is_timed=False,
            )
            for worker in range(point.workers)
        ]
        workers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.stream_worker",
                    msgspec.json.encode(task).decode(),
                ],
                cwd=ROOT,
            )
            for task in tasks
        ]
        try:
            ended = wait_committed(config, mix.events)
        finally:
            for process in workers:
                process.terminate()
            for process in workers:
                process.wait(WAIT_S)
    reports = [json.loads(Path(task.report).read_text()) for task in tasks]
    files = str(home / "store" / "store" / "reactions" / "*" / "*.parquet")
    found = duckdb.sql(f"SELECT count(DISTINCT id) FROM read_parquet('{files}')").fetchall()
    if found[0][0] != mix.unique:
        raise RuntimeError(f"the store has {found[0][0]} ids, expected {mix.unique}")
    began = min(report["began"] for report in reports if report["began"])
    return mix.events / (ended - began), max(report["peak_mb"] for report in reports)


def wait_committed(config: StreamsConfig, num: int) -> float:
    """When (s since 1970) all offsets of the reactions were committed. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        offsets = committed_offsets(config)
        done = sum(n for (topic, _), n in offsets.items() if topic == config.reactions_topic)
        if done >= num:
            return time.time()
        time.sleep(POLL_S)
    raise TimeoutError(f"{done} of {num} committed within {WAIT_S} s")


def draw(measured: list[tuple[Point, float, float]]) -> None:
    """Throughput and memory over what varied, one column each."""
    mpl.rcParams["svg.hashsalt"] = "scaling"
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    for column, varied in enumerate(("events", "partitions", "workers")):
        some = [each for each in measured if each[0].varied == varied]
        x = [point.x for point, _, _ in some]
        for row, values in enumerate(([each[1] / 1000 for each in some], [e[2] for e in some])):
            axes[row][column].plot(x, values, marker="o")
            axes[row][column].set_xscale("log")
            axes[row][column].set_xticks(x, [f"{value:,}" for value in x])
            axes[row][column].minorticks_off()
            axes[row][column].grid(alpha=0.3)
        axes[1][column].set_xlabel(varied)
    for row, most in enumerate((max(e[1] for e in measured) / 1000, max(e[2] for e in measured))):
        axes[row][0].set_ylim(0, 1.1 * most)  # Shared by its row.
    axes[0][0].set_ylabel("thousand events/s")
    axes[1][0].set_ylabel("largest worker, MB")
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
