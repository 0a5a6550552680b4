"""What the guard finds and what it costs honest users: `python -m benchmarks.guard`.

Worlds come from the simulator as files (rooms do not import it); real streams from the public data
beside the checkout, where there is any. Takes some minutes and writes results/guard/guard.json.
"""

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import t

from benchmarks.table import RESULTS
from features.config import FeaturesConfig
from features.outcomes import WINDOW_MAX
from streams.guard.rules import PRAISE, GuardConfig
from streams.guard.rulings import Finding, find_violations

ROOT = Path(__file__).resolve().parent.parent
EVENTS = ROOT.parent / "shared" / "data" / "events"
SEEDS = range(40)
"""Not 101 and 102, on which the thresholds were set. A world has one brigade, which is found whole
or not at all: with 35 or more of them, all found, the interval of their share lies above 0.9."""
TARGET = "attacked@1"
USER_CAP = FeaturesConfig().user_cap
"""Examples beyond which a user weighs no more in a snapshot."""
RECALL_AIM = 0.9
SUBTLE = ("sleeper", "drip", "copycat")
SIX = ("always", "brigade", "burst", *SUBTLE)
"""The kinds that no single rule was the pattern for."""
KINDS_OF: dict[str, tuple[tuple[str, ...], str]] = {
    "user_cap": (("hammerer",), "marathon"),
    "network_cap": (("farm",), "class"),
    "always": (("always",), ""),
    "burst": (("burst",), ""),
    "together": (("brigade",), ""),
    "fresh": (("brigade",), ""),
    "dictated": (("dictator",), "proofreader"),
    "self_praise": (("begged", "insider"), "howto"),
}
"""For each rule, the attackers that it is for and the honest accounts that look like them."""
BY_RULE = tuple(kind for kinds, alike in KINDS_OF.values() if alike for kind in kinds)
GUARD = GuardConfig(house_accounts=("staff-*",))
"""The defaults, and how ids of the house's own accounts begin in the simulator's worlds."""
TIME = ("occurred_at", pa.timestamp("us", "UTC"))
TEXTS = ("response_id", "user_id", "signal", "action", "network")
REACTIONS = pa.schema([*((name, pa.string()) for name in TEXTS), TIME])
TEXTS_SHOWN = ("response_id", "user_id", "policy", "prompt", "response")
SHOWN = pa.schema([*((name, pa.string()) for name in TEXTS_SHOWN), TIME])
Z_95 = 1.96


def main() -> None:
    """Measure, print and write results/guard/guard.json."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    result: dict[str, object] = {"synthetic": _suite(_world(seed) for seed in SEEDS)}
    _save(result)
    result["real"] = dict(_real())
    _save(result)
    result["speed"] = _speed(_world(SEEDS[0]))
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


def _suite(worlds: Iterable[World]) -> dict[str, object]:
    """Who is flagged, by which rule, and how far each kind moves the love rate of its target."""
    caught: Counter[str] = Counter()
    total: Counter[str] = Counter()
    worst: dict[str, float] = {}
    num_reached: Counter[str] = Counter()
    by_rule: dict[str, Counter[str]] = {}
    praise: Counter[str] = Counter()
    out: Counter[tuple[str, str]] = Counter()
    moved: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    rates: dict[str, list[float]] = {}
    for reactions, shown, truth in worlds:
        findings = find_violations(reactions, shown, GUARD)
        flagged = {finding.user_id for finding in findings}
        for kind in set(truth.values()):
            users = {user for user, each in truth.items() if each == kind}
            total[kind] += len(users)
            caught[kind] += len(users & flagged)
            share = len(users & flagged) / len(users)
            num_reached[kind] += share >= RECALL_AIM
            worst[kind] = (max if kind == "honest" else min)(worst.get(kind, share), share)
        for rule, user in {(finding.rule, finding.user_id) for finding in findings}:
            by_rule.setdefault(truth[user], Counter())[rule] += 1
        _count_praise(reactions, findings, truth, praise, out)
        rows = _rows(reactions, shown, findings, truth)
        for (name, kinds), is_weighed in product(groups_of(total), (False, True)):
            base, without, with_guard = (
                _love_rate(rows, each, is_guarded=is_guarded, is_weighed=is_weighed)
                for each, is_guarded in (
                    ({"honest"}, False),
                    (kinds | {"honest"}, False),
                    (kinds | {"honest"}, True),
                )
            )
            moved.setdefault((name, is_weighed), []).append((without - base, with_guard - base))
            if not is_weighed:
                rates.setdefault(f"{name}, unguarded", []).append(without)
                rates.setdefault(f"{name}, guarded", []).append(with_guard)
    wanted = [name for name in rates if name.startswith(("honest", "all "))]
    num_worlds = len(rates["honest, guarded"])
    return {
        "seeds": num_worlds,
        "flagged": {kind: _share(caught[kind], total[kind]) for kind in sorted(total)},
        "flagged_in_worst_world": {kind: worst[kind] for kind in sorted(total)},
        "worlds_where_recall_reached_aim": {
            kind: _share(num_reached[kind], num_worlds)
            for kind in sorted(total)
            if kind in (*SIX, *BY_RULE)
        },
        "flagged_by_rule": {kind: dict(sorted(by_rule[kind].items())) for kind in sorted(by_rule)},
        "praise_left_out": {kind: _share(out[kind, ""], praise[kind]) for kind in sorted(praise)},
        "by_rule": {
            rule: {
                kind: {
                    "accounts": _share(by_rule.get(kind, Counter())[rule], total[kind]),
                    "praise": _share(out[kind, rule], praise[kind]),
                }
                for kind in (*kinds, *([alike] if alike else ()), "honest")
            }
            for rule, (kinds, alike) in KINDS_OF.items()
        },
        "love_rate_of_attacked_policy": {name: float(np.mean(rates[name])) for name in wanted},
        "shift_of_love_rate": {
            name: {
                f"{kind}{', weighed' if is_weighed else ''}": _mean(
                    [pair[place] for pair in moved[name, is_weighed]]
                )
                for is_weighed in (False, True)
                for place, kind in enumerate(("unguarded", "guarded"))
            }
            for name, _ in groups_of(total)
        },
    }


def groups_of(total: Iterable[str]) -> list[tuple[str, set[str]]]:
    """Each kind alone, and kinds that attack together."""
    return [
        *((kind, {kind}) for kind in sorted(total)),
        ("all subtle", set(SUBTLE)),
        ("all six", set(SIX)),
        ("all by rule", set(BY_RULE)),
        ("all attackers", {*SIX, *BY_RULE}),
    ]


def _count_praise(
    reactions: pa.Table,
    findings: Sequence[Finding],
    truth: dict[str, str],
    praise: Counter[str],
    out: Counter[tuple[str, str]],
) -> None:
    """Count praise by kind, and what is left out of it by (kind, rule); rule "": by any."""
    by_rule: dict[str, dict[tuple[str, str], Finding]] = {}
    for finding in findings:
        key = (finding.user_id, finding.response_id)
        by_rule.setdefault(finding.rule, {})[key] = finding
    for row in reactions.select(["user_id", "response_id", "occurred_at"]).to_pylist():
        kind = truth[row["user_id"]]
        rules = [rule for rule, mine in by_rule.items() if _covers(mine, row)]
        praise[kind] += 1
        out[kind, ""] += bool(rules)
        for rule in rules:
            out[kind, rule] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One exposure, as a snapshot sees it."""

    kind: str
    user: str
    is_of_target: bool
    is_loved: bool
    is_out: bool
    """It is quarantined, loved or not: it is in no snapshot."""


def _rows(
    reactions: pa.Table, shown: pa.Table, findings: Sequence[Finding], truth: dict[str, str]
) -> list[Row]:
    since: dict[tuple[str, str], datetime] = {}
    for finding in findings:
        key = (finding.user_id, finding.response_id)
        since[key] = min(finding.since, since.get(key, finding.since))
    loved = {(row["response_id"], row["user_id"]) for row in _dicts(reactions)}

    def is_out(user: str, response: str, at: datetime) -> bool:
        """As features/outcomes.py has it: what could still be answered when a ruling began."""
        is_barred = since.get((user, ""), at + 2 * WINDOW_MAX) <= at + WINDOW_MAX
        return is_barred or (user, response) in since

    rows = []
    for row in _dicts(shown):
        user, response, at = row["user_id"], row["response_id"], row["occurred_at"]
        rows.append(
            Row(
                kind=truth[user],
                user=user,
                is_of_target=row["policy"] == TARGET,
                is_loved=(response, user) in loved,
                is_out=is_out(user, response, at),
            )
        )
    return rows


def _dicts(table: pa.Table) -> list[dict[str, Any]]:
    names = ["response_id", "user_id", "policy", "occurred_at"]
    rows: list[dict[str, Any]] = table.select(
        [name for name in names if name in table.column_names]
    ).to_pylist()
    return rows


def _love_rate(
    rows: Sequence[Row], kinds: set[str], *, is_guarded: bool, is_weighed: bool
) -> float:
    """Share loved of the exposures of the attacked policy; weighed as a snapshot weighs users."""
    ours = [row for row in rows if row.kind in kinds and not (is_guarded and row.is_out)]
    num = Counter(row.user for row in ours)
    weighed = [
        (min(1.0, USER_CAP / num[row.user]) if is_weighed else 1.0, row.is_loved)
        for row in ours
        if row.is_of_target
    ]
    return sum(weight * loved for weight, loved in weighed) / sum(weight for weight, _ in weighed)


def _mean(values: Sequence[float]) -> dict[str, float]:
    """A mean over worlds with its 95 % interval (Student's t)."""
    mean, num = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, num - 1)) * float(np.std(values, ddof=1)) / math.sqrt(num)
    return {"mean": mean, "low": mean - half, "high": mean + half}


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
    find_violations(reactions, shown, GuardConfig())
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
    findings = find_violations(reactions, shown, GuardConfig())
    rows = reactions.select(["user_id", "response_id", "occurred_at"]).to_pylist()
    users = {row["user_id"] for row in rows if row["user_id"]}
    by_rule: dict[str, object] = {}
    for rule in sorted({finding.rule for finding in findings}):
        mine = {(f.user_id, f.response_id): f for f in findings if f.rule == rule}
        covered = sum(_covers(mine, row) for row in rows)
        flagged = {user for user, _ in mine}
        by_rule[rule] = {"users": len(flagged) / len(users), "reactions": covered / len(rows)}
    # Only praise by a known user is judged; most rules need exposures, one needs networks.
    is_judged = [
        bool(user) and signal in PRAISE and action == "add"
        for user, signal, action in zip(
            *(reactions[name].to_pylist() for name in ("user_id", "signal", "action")), strict=True
        )
    ]
    return {
        "users": len(users),
        "reactions": len(rows),
        "judged": sum(is_judged),
        "exposures": shown.num_rows,
        "with_network": reactions.num_rows - reactions["network"].null_count,
        "flagged": _share(len({f.user_id for f in findings}), len(users)),
        "by_rule": by_rule,
    }


def _covers(mine: dict[tuple[str, str], Finding], row: dict[str, object]) -> bool:
    for response in (str(row["response_id"]), ""):
        finding = mine.get((str(row["user_id"]), response))
        if finding is not None and row["occurred_at"] >= finding.since:  # type: ignore[operator]
            return True
    return False


if __name__ == "__main__":
    main()
