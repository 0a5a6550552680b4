"""The demo over several seeds: `make demo-seeds SEEDS="1 2 3"`.

One run tells little, for its users are drawn by chance; this runs the demo for each seed, one after
the other, each in a folder of its own, and writes what came of all of them, misses included:
runs/demo-seeds/report.json, and a table for a README on the standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from files.durable import write_durably
from rluf.settings import load_settings

CHEAT = "overoptimised"
"""Recipe of the candidate that has to be refused."""
SENTINEL_GATES = ("closers", "style")
"""Gates that read words and ask no reward model."""
KEPT = ("report.json", "report.html")
"""What stays of a run; the rest is some 800 MB a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one run came to."""

    seed: int
    wall_seconds: float | None
    """None where the run failed."""
    peak_rss_mb: int | None
    lost: int | None
    """Events that were acknowledged and are not stored."""
    promoted: bool
    """Whether a candidate went live."""
    outcome: str
    """Which, or why none did."""
    lift: float | None
    """Of the candidate that went before users, adjusted for what was predicted of them."""
    lift_ci: tuple[float, float] | None
    users_per_arm: int
    """Users of the smaller arm; 0 where no candidate went before users."""
    cheat_refused: bool
    """Whether a sentinel refused the over-optimised candidate."""
    refused_by: str
    """The measures of sentinels that did."""
    utility_change: float | None
    """Sealed utility of the candidate's replies less that of the baseline's, in round 1."""


def row_of(facts: Mapping[str, Any]) -> Row:
    """Give the row of a finished run's report."""
    tried = next((p for p in facts["policies"] if p["love_lift"] is not None), None)
    decision, baseline = facts["decision"], facts["policies"][0]
    is_promoted = tried is not None and decision["version"] == tried["version"]
    missed = "no candidate passed" if tried is None else "no lift"
    return Row(
        seed=facts["seed"],
        wall_seconds=facts["wall_seconds"],
        peak_rss_mb=facts["peak_rss_mb"],
        lost=facts["events"]["lost"],
        promoted=is_promoted,
        outcome=decision["version"] if is_promoted else missed,
        lift=None if tried is None else tried["love_lift"],
        lift_ci=None if tried is None else tuple(tried["love_lift_ci"]),
        users_per_arm=0 if tried is None else min(baseline["num_users"], tried["num_users"]),
        cheat_refused=bool(refused_by := _sentinels_that_refused(facts)),
        refused_by=refused_by,
        utility_change=None if tried is None else _utility_change(facts, tried["version"]),
    )


def _sentinels_that_refused(facts: Mapping[str, Any]) -> str:
    cheats = [c for c in facts["turn"]["candidates"] if c["recipe"] == CHEAT]
    names = [
        check["name"]
        for cheat in cheats
        for verdict in cheat["verdicts"]
        if verdict["gate"] in SENTINEL_GATES
        for check in verdict["checks"]
        if check["outcome"] == "broken"
    ]
    return ", ".join(names)


def _utility_change(facts: Mapping[str, Any], version: str) -> float | None:
    """The oracle calls chat@2 what the API does: chat@v2."""
    models = facts["simulator"]["oracle"][-1]["models"]
    names = [ref.replace("@", "@v") for ref in (version, facts["policies"][0]["version"])]
    if not all(name in models for name in names):
        return None
    mine, theirs = (float(models[name]["utility"]) for name in names)
    return round(mine - theirs, 4)


def run_seed(seed: int, folder: Path, cache: Path) -> Row:
    """Run the demo once in a process of its own; a run that fails is a row too."""
    home = folder / str(seed)
    shutil.rmtree(home, ignore_errors=True)
    environment = {
        **os.environ,
        "RLUF_HOME": str(home),
        "RLUF_CACHE": str(cache),
        "RLUF_DEMO__SEED": str(seed),
    }
    done = subprocess.run([sys.executable, "-m", "rluf", "demo"], env=environment, check=False)
    report = home / "demo" / "report.json"
    if done.returncode != 0 or not report.is_file():
        return Row(
            seed=seed, wall_seconds=None, peak_rss_mb=None, lost=None, promoted=False,
            outcome=f"failed: exit code {done.returncode}", lift=None, lift_ci=None,
            users_per_arm=0, cheat_refused=False, refused_by="", utility_change=None,
        )  # fmt: skip
    row = row_of(json.loads(report.read_text("utf-8")))
    for name in KEPT:
        shutil.copy2(home / "demo" / name, home / name)
    shutil.rmtree(home / "demo")
    return row


def table(rows: Sequence[Row]) -> str:
    """Give the rows as a Markdown table."""
    lines = [
        "| seed | s | MB | lost | promoted | lift [95 %] | users an arm | cheat refused by"
        " | utility |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lift = "–"
        if row.lift is not None and row.lift_ci is not None:
            low, high = row.lift_ci
            lift = f"{row.lift:+.0%} [{low:+.0%}, {high:+.0%}]"
        cells = (
            row.seed,
            "–" if row.wall_seconds is None else f"{row.wall_seconds:.0f}",
            "–" if row.peak_rss_mb is None else f"{row.peak_rss_mb:,}",
            "–" if row.lost is None else row.lost,
            row.outcome,
            lift,
            f"{row.users_per_arm:,}",
            row.refused_by or "**not refused**",
            "–" if row.utility_change is None else f"{row.utility_change:+.3f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds; the exit code is 1 where a run failed."""
    parser = argparse.ArgumentParser(prog="python -m rluf.demo.seeds", description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int, help="one run for each, in this order")
    seeds = parser.parse_args(arguments).seeds
    settings = load_settings()
    folder = settings.home / "demo-seeds"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for number, seed in enumerate(seeds, 1):
        began = time.monotonic()
        rows.append(run_seed(seed, folder, settings.cache))
        document = json.dumps([asdict(row) for row in rows], indent=1)
        write_durably(folder / "report.json", document.encode())  # After each: hours may pass.
        took = time.monotonic() - began
        told = f"{number} of {len(seeds)}: seed {seed}, {took:.0f} s, {rows[-1].outcome}\n"
        sys.stderr.write(told)
    sys.stdout.write(table(rows) + "\n")
    return int(any(row.wall_seconds is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
