"""What remembering event ids costs: memory per id, time to ask and to add, bounded by the window.

    python -m benchmarks.dedup [--ids 10000000]

The ids are random 64-bit hashes, added by 50,000 over four partitions as the worker adds them, with
files beside memory. Memory is that of the whole process (resident, less what it was before the
first id); the peak includes what merging needs for a moment.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.table import save_figures
from streams.dedup import SeenIds

BATCH = 50_000
PARTITIONS = 4
WINDOW_S = 86_400.0
SEED = 7
BYTES_PER_ID_MAX = 24.0
"""The aim."""
TOPIC = "rluf.reactions.v1"


def main() -> None:
    """Measure, save, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--dry", action="store_true", help="do not save the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rluf-bench-") as folder:
        figures = measure(options.ids, Path(folder))
    for name, value in figures.items():
        print(f"{name:>40} {value:>16,.1f}")
    if not options.dry:
        save_figures("dedup", ("figure", "value"), [list(item) for item in figures.items()])


def measure(num: int, folder: Path) -> dict[str, float]:
    """The figures, with their units in their names."""
    now_s = [1_700_000_000.0]
    seen = SeenIds(num_max=2 * num, window_s=WINDOW_S, folder=folder, clock=lambda: now_s[0])
    random = np.random.default_rng(SEED)
    process = psutil.Process()
    before = process.memory_info().rss
    add_s = ask_s = 0.0
    num_batches = num // BATCH
    for number in range(num_batches):
        place = (TOPIC, number % PARTITIONS)
        hashes = random.integers(0, 2**64, BATCH, dtype=np.uint64)
        started = time.perf_counter()
        seen.known(place, hashes)
        asked = time.perf_counter()
        seen.add(place, set(hashes.tolist()))
        add_s += time.perf_counter() - asked
        ask_s += asked - started
        now_s[0] += WINDOW_S / 2 / num_batches  # All of them fall into half a window.
    settled = process.memory_info().rss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    count = len(seen)
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    again = SeenIds(num_max=2 * num, window_s=WINDOW_S, folder=folder, clock=lambda: now_s[0])
    started = time.perf_counter()
    nothing = np.empty(0, dtype=np.uint64)
    for partition in range(PARTITIONS):
        again.known((TOPIC, partition), nothing)
    load_s = time.perf_counter() - started
    assert len(again) == count, f"{len(again)} of {count} ids came back"
    now_s[0] += 2 * WINDOW_S
    for partition in range(PARTITIONS):
        seen.add((TOPIC, partition), {partition})
    return {
        "ids remembered": count,
        f"bytes per id, resident (aim: {BYTES_PER_ID_MAX:.0f})": (settled - before) / count,
        "bytes per id, peak of the process": (max(peak, settled) - before) / count,
        "bytes per id, on disk": disk / count,
        "ids asked per s": count / ask_s,
        "ids added per s": count / add_s,
        "s to read all back after a restart": load_s,
        "ids remembered two windows later": len(seen),
    }


if __name__ == "__main__":
    main()
