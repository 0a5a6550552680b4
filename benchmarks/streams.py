"""Events per second through the whole worker, beside Faust agents as its documentation has them.

    python -m benchmarks.streams [--events 200000] [--peer-events 50000] [--runs 3]

Every contestant reads the same bytes from the same Apache Kafka in a process of its own with a
consumer group of its own, in turns. Ours is the whole worker: decode, validate, drop duplicates,
write parquet durably, commit. The peers decode, validate, drop duplicates and count; they write
nothing, which favours them.

The clock runs from the moment at which Faust lets the first fetch go out (partitions are assigned,
positions known) to the moment at which the broker has acknowledged the commit of the last offset.
Starting the process is in no figure. The peers stop after `--peer-events`, as their rate does not
depend on the number, and commit at once when they are through.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.stream_events import Mix, produce
from benchmarks.table import Row, save
from streams.broker import Broker
from streams.config import StreamsConfig
from streams.topics import ensure_topics

PEERS = {
    "plain": "plain Faust agent, ids in a Python set, nothing written",
    "table": "plain Faust agent, ids in a Faust table, nothing written",
}
ROOT = Path(__file__).parents[1]
TIMEOUT_S = 900


def main() -> None:
    """Measure, save, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--peer-events", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--dry", action="store_true", help="do not save the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rluf-bench-") as folder:
        home = Path(folder)
        cache = ROOT / "runs" / "cache"
        with Broker.start(home / "kafka", cache=cache, on_progress=print) as broker:
            config = StreamsConfig(brokers=broker.brokers)
            ensure_topics(config)
            mix = asyncio.run(produce(config, options.events))
            print(f"{mix.events:,} events of {mix.bytes_mean:.0f} bytes on the broker")
            rates = [
                {
                    name: measure(name, config, mix, home / f"{name}-{number}", options)
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


def measure(
    name: str, config: StreamsConfig, mix: Mix, folder: Path, options: argparse.Namespace
) -> float:
    """Let one contestant run; gives its events/s, after checking what it counted."""
    folder.mkdir()
    limit = mix.events if name == "ours" else min(options.peer_events, mix.events)
    task = {
        "name": name,
        "brokers": config.brokers,
        "group": f"{folder.name}-{os.getpid()}",
        "folder": str(folder),
        "limit": limit,
    }
    command = [sys.executable, "-m", "benchmarks.stream_contestants", json.dumps(task)]
    done = subprocess.run(
        command, cwd=ROOT, timeout=TIMEOUT_S, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-4000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["received"] < limit:
        raise RuntimeError(f"{name} saw {result['received']} of {limit} events")
    if limit == mix.events and (result["unique"], result["rejected"]) != (
        mix.unique,
        mix.malformed,
    ):
        raise RuntimeError(f"{name} counted {result}, expected {mix}")
    rate = float(result["received"] / result["seconds"])
    print(f"{name:>6} {rate:>10,.0f} events/s  {result}")
    return rate


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
