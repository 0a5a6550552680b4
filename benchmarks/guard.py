"""What the guard finds and what it costs honest users: `python -m benchmarks.guard`.

Worlds come from the simulator as files (rooms do not import it); real streams from the public data
beside the checkout, where there is any.
"""

import gzip
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.table import RESULTS
from streams.guard import Finding, GuardConfig, judge

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT.parent / "shared" / "data" / "events"
SEEDS = range(10)
TIME = ("occurred_at", pa.timestamp("us", "UTC"))
TEXTS = ("response_id", "user_id", "signal", "action", "network")
REACTIONS = pa.schema([*((name, pa.string()) for name in TEXTS), TIME])
TEXTS_SHOWN = ("response_id", "user_id", "policy", "prompt", "response")
SHOWN = pa.schema([*((name, pa.string()) for name in TEXTS_SHOWN), TIME])
Z_95 = 1.96


def main() -> None:
    """Measure, print and write results/guard.json."""
    worlds = [_world(seed) for seed in SEEDS]
    result: dict[str, object] = {"synthetic": _suite(worlds)}
    _save(result)
    result["real"] = dict(_real())
    _save(result)
    result["speed"] = _speed(worlds[0])
    _save(result)
    print(json.dumps(result, indent=2))


def _save(result: dict[str, object]) -> None:
    # The common table reads lists in results/*.json: this file is no row of it, so it lies below.
    (RESULTS / "guard").mkdir(parents=True, exist_ok=True)
    (RESULTS / "guard" / "guard.json").write_text(json.dumps(result, indent=2) + "\n")


World = tuple[pa.Table, pa.Table, dict[str, str]]


def _world(seed: int) -> World:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "simulator.attacks", "--seed", str(seed), "--out", folder]
        subprocess.run(command, check=True, cwd=ROOT)
        with (Path(folder) / "events.jsonl").open(encoding="utf-8") as file:
            reactions, shown = tables(file)
        truth: dict[str, str] = json.loads((Path(folder) / "sealed.json").read_text())
    return reactions, shown, truth


def tables(lines: Iterable[str]) -> tuple[pa.Table, pa.Table]:
    """The tables that judge takes, of CloudEvents one a line."""
    reactions, shown = [], []
    for line in lines:
        event = json.loads(line)
        row = event["data"] | {"occurred_at": datetime.fromisoformat(event["time"])}
        if event["type"] == "rluf.reaction.v1":
            reactions.append(row)
        else:
            said = [each["content"] for each in row["messages"] if each["role"] == "user"]
            shown.append(row | {"prompt": said[-1] if said else ""})
    return pa.Table.from_pylist(reactions, REACTIONS), pa.Table.from_pylist(shown, SHOWN)


def _suite(worlds: list[World]) -> dict[str, object]:
    caught: Counter[str] = Counter()
    total: Counter[str] = Counter()
    before, after, clean = [], [], []
    for reactions, shown, truth in worlds:
        findings = judge(reactions, shown, GuardConfig())
        flagged = {finding.user_id for finding in findings}
        for user, kind in truth.items():
            total[kind] += 1
            caught[kind] += user in flagged
        attackers = {user for user, kind in truth.items() if kind != "honest"}
        before.append(_love_rate(reactions, shown, set()))
        after.append(
            _love_rate(reactions, shown, {f.user_id for f in findings if not f.response_id})
        )
        clean.append(_love_rate(reactions, shown, attackers))
    shares = {kind: _share(caught[kind], total[kind]) for kind in sorted(total)}
    rates = {"honest": clean, "attacked": before, "guarded": after}
    return {
        "seeds": len(worlds),
        "flagged": shares,
        "love_rate_of_attacked_policy": {
            name: float(np.mean(values)) for name, values in rates.items()
        },
    }


def _love_rate(reactions: pa.Table, shown: pa.Table, without: set[str]) -> float:
    ours = [
        row
        for row in shown.select(["response_id", "user_id", "policy"]).to_pylist()
        if row["policy"] == "attacked@1" and row["user_id"] not in without
    ]
    loved = set(
        zip(reactions["response_id"].to_pylist(), reactions["user_id"].to_pylist(), strict=True)
    )
    return sum((row["response_id"], row["user_id"]) in loved for row in ours) / len(ours)


def _share(k: int, n: int) -> dict[str, float]:
    """A share with its 95 % interval (Wilson 1927)."""
    p, z2 = k / n, Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return {"share": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "n": n}


def _speed(world: World) -> dict[str, float]:
    """One world beside itself, under other ids, until there are 1,000,000 reactions."""
    copies = -(-1_000_000 // world[0].num_rows)
    reactions, shown = (
        pa.concat_tables([_renamed(t, str(i)) for i in range(copies)]) for t in world[:2]
    )
    start = time.perf_counter()
    judge(reactions, shown, GuardConfig())
    return {"reactions": reactions.num_rows, "seconds": time.perf_counter() - start}


def _renamed(table: pa.Table, suffix: str) -> pa.Table:
    for name in ("response_id", "user_id"):
        names = [each + "-" + suffix for each in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(names))
    return table


def _real() -> Iterable[tuple[str, dict[str, object]]]:
    if not EVENTS.is_dir():
        return
    for name in ("convai2", "cofacts"):
        with gzip.open(EVENTS / f"{name}.cloudevents.jsonl.gz", "rt", encoding="utf-8") as file:
            yield name, _flagged(*tables(file))
    with gzip.open(EVENTS / "votes_stackexchange.dev.jsonl.gz", "rt", encoding="utf-8") as file:
        votes = [json.loads(line) for line in file]
    rows = [
        row
        | {"signal": row["kind"], "action": "add", "occurred_at": datetime.fromisoformat(row["ts"])}
        for row in votes
    ]
    yield "votes_stackexchange", _flagged(_table(rows), SHOWN.empty_table())
    shared = pq.read_table(EVENTS / "coord_german_elections.dev.parquet").to_pylist()
    rows = [
        row
        | {"signal": "like", "action": "add", "occurred_at": datetime.fromtimestamp(row["ts"], UTC)}
        for row in shared
    ]
    yield "coord_german_elections", _flagged(_table(rows), SHOWN.empty_table())


def _table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, REACTIONS)


def _flagged(reactions: pa.Table, shown: pa.Table) -> dict[str, object]:
    """Shares of users with a reaction, and of reactions, that each rule covers."""
    findings = judge(reactions, shown, GuardConfig())
    rows = reactions.select(["user_id", "response_id", "occurred_at"]).to_pylist()
    users = {row["user_id"] for row in rows if row["user_id"]}
    by_rule: dict[str, object] = {}
    for rule in sorted({finding.rule for finding in findings}):
        mine = {(f.user_id, f.response_id): f for f in findings if f.rule == rule}
        covered = sum(_covers(mine, row) for row in rows)
        flagged = {user for user, _ in mine}
        by_rule[rule] = {"users": len(flagged) / len(users), "reactions": covered / len(rows)}
    return {"users": len(users), "reactions": len(rows), "by_rule": by_rule}


def _covers(mine: dict[tuple[str, str], Finding], row: dict[str, object]) -> bool:
    for response in (str(row["response_id"]), ""):
        finding = mine.get((str(row["user_id"]), response))
        if finding is not None and row["occurred_at"] >= finding.since:  # type: ignore[operator]
            return True
    return False


if __name__ == "__main__":
    main()
