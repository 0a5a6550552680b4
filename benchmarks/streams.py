"""Events per second through the whole worker, beside what a user would write instead.

    python -m benchmarks.streams [--events 200000] [--faust-events 50000] [--runs 3]

Every contestant reads the same bytes from the same Apache Kafka in a process of its own with a
consumer group of its own, in turns, and does the same work: decode, validate, drop duplicates by
ids that outlive a restart, write parquet durably, commit. Ours besides keeps dead letters, redacts,
counts and pushes online features. What each did is counted again from its files.

The clock runs from the moment at which the first fetch may go out (partitions are assigned) to the
moment at which the commit of the last offset is acknowledged. Starting the process is in no figure.
The Faust agents, which are slow, get a topic of the first `--faust-events`: their rate does not
depend on the number. Peers that conflict with our pins run in an environment made under runs/.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from benchmarks.stream_events import Mix, produce
from benchmarks.stream_shared import Task
from benchmarks.table import Row, save
from streams.config import StreamsConfig
from streams.kafka.broker import Broker
from streams.kafka.topics import ensure_topics

PEERS = {
    "table": "plain Faust agent, ids in a Faust table",
    "take": "Faust agent with take(1000), ids in a Faust table",
    "quix": "Quix Streams, ids in its RocksDB state",
    "bytewax": "Bytewax, ids in a stateful step with recovery",
    "aiokafka": "raw aiokafka + msgspec, ids in a set and a file",
    "confluent": "raw confluent-kafka + msgspec, ids in a set and a file",
}
FAUST = ("table", "take")
ELSEWHERE = ("quix", "bytewax", "confluent")
"""Peers that run in the environment of peers-requirements.txt."""
ROOT = Path(__file__).parents[1]
PEERS_VENV = ROOT / "runs" / "cache" / "peers-venv"
REQUIREMENTS = Path(__file__).parent / "peers-requirements.txt"
TIMEOUT_S = 300


def main() -> None:
    """Measure, save, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--faust-events", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--dry", action="store_true", help="do not save the figures")
    parser.add_argument("--profile", action="store_true", help="say where our time goes, and end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rluf-bench-") as folder:
        home = Path(folder)
        cache = ROOT / "runs" / "cache"
        with Broker.start(home / "kafka", cache=cache, on_progress=print) as broker:
            config = StreamsConfig(brokers=broker.brokers)
            few = replace(config, reactions_topic="rluf.reactions.few")
            ensure_topics(config)
            ensure_topics(few)
            courses = {
                "all": Course(config, asyncio.run(produce(config, options.events))),
                "few": Course(few, asyncio.run(produce(few, options.faust_events))),
            }
            mix = courses["all"].mix
            print(f"{mix.events:,} events of {mix.bytes_mean:.0f} bytes on the broker")
            if options.profile:
                profile(task_of("ours", courses["all"], home / "profile"), home / "stacks.txt")
                return
            if set(options.peers) & set(ELSEWHERE):
                make_peers_venv()
            rates = [
                {
                    name: measure(
                        name, courses["few" if name in FAUST else "all"], home / f"{name}-{number}"
                    )
                    for name in ("ours", *options.peers)
                }
                for number in range(options.runs)
            ]
    rows = [compare(rates, name) for name in options.peers]
    for row in rows:
        print(
            f"{row.ours:>10,.0f} {row.unit} | {row.peer:>8,.0f} {row.peer_name} | {row.ratio:.1f} x"
        )
    if not options.dry:
        save("streams", rows)


@dataclass(frozen=True, slots=True)
class Course:
    """A topic, and what was put on it."""

    config: StreamsConfig
    mix: Mix


def make_peers_venv() -> None:
    """Install the peers' pins into an environment of their own, where that is not done yet."""
    done = PEERS_VENV / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if done.is_file() and done.read_text() == wanted:
        return
    print(f"installing the peers into {PEERS_VENV}")
    subprocess.run([sys.executable, "-m", "venv", str(PEERS_VENV)], check=True)
    pip = [str(PEERS_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    done.write_text(wanted)


def task_of(name: str, course: Course, folder: Path) -> Task:
    """What a contestant is told; makes its folder."""
    folder.mkdir()
    return Task(
        name=name,
        brokers=course.config.brokers,
        topic=course.config.reactions_topic,
        group=f"{folder.name}-{os.getpid()}",
        folder=str(folder),
        limit=course.mix.events,
        partitions=course.config.partitions,
    )


def command_of(task: Task) -> list[str]:
    """How to run a contestant."""
    python = str(PEERS_VENV / "bin" / "python") if task.name in ELSEWHERE else sys.executable
    module = "contestants" if task.name in ("ours", *FAUST) else task.name
    return [python, "-m", f"benchmarks.stream_{module}", msgspec.json.encode(task).decode()]


def measure(name: str, course: Course, folder: Path) -> float:
    """Let one contestant run; gives its events/s. Raises RuntimeError where its counts are off."""
    done = subprocess.run(
        command_of(task_of(name, course, folder)),
        cwd=ROOT,
        timeout=TIMEOUT_S,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-4000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    mix = course.mix
    counted = (result["received"], result["unique"], result.get("rejected", 0))
    if counted != (mix.events, mix.unique, mix.malformed):
        raise RuntimeError(f"{name} counted {result}, expected {mix}")
    rate = float(result["received"] / result["seconds"])
    print(f"{name:>9} {rate:>10,.0f} events/s  {result}", flush=True)
    return rate


def profile(task: Task, stacks: Path) -> None:
    """Run ours once under py-spy and print the shares of its time, by room and by function."""
    spy = Path(sys.executable).parent / "py-spy"
    record = [str(spy), "record", "--format", "raw", "--output", str(stacks), "--"]
    subprocess.run([*record, *command_of(task)], cwd=ROOT, check=True, timeout=TIMEOUT_S)
    rooms, leaves = Counter[str](), Counter[str]()
    for line in stacks.read_text().splitlines():
        stack, _, number = line.rpartition(" ")
        if "<frozen importlib" in stack:
            continue  # Starting the process.
        frames = stack.split(";")
        ours = [frame for frame in frames if "(streams/" in frame or "(features/" in frame]
        rooms[ours[-1].partition("(")[2].partition(":")[0] if ours else "elsewhere"] += int(number)
        leaves[frames[-1]] += int(number)
    for title, shares in (("file of ours that is innermost", rooms), ("function", leaves)):
        print(f"\n| {title} | share |\n|---|---:|")
        for name, num_samples in shares.most_common(12):
            print(f"| {name} | {num_samples / shares.total():.0%} |")


def compare(rates: Sequence[dict[str, float]], peer: str) -> Row:
    """Ours beside one peer, over all runs."""
    ratios = [run["ours"] / run[peer] for run in rates]
    ratio = statistics.median(ratios)
    return Row(
        what="worker: bytes on the broker to durable facts, offsets committed",
        unit="events/s",
        ours=round(statistics.median(run["ours"] for run in rates)),
        peer=round(statistics.median(run[peer] for run in rates)),
        peer_name=PEERS[peer],
        ratio=round(ratio, 2),
        spread=round((max(ratios) - min(ratios)) / ratio, 3),
        runs=len(rates),
    )


if __name__ == "__main__":
    main()
