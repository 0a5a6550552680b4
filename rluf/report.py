"""The demo's report: one JSON document with every number, and one page that shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rluf.charts import Whisker, bars, reliability, timeline, whiskers

TEMPLATES = Path(__file__).resolve().parent / "templates"
PHASES = {
    "setup": "set up",
    "round_0": "round 0",
    "refresh": "refresh",
    "round_1": "round 1",
    "report": "report",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where the report lies, and what it says."""

    page: Path
    document: Path
    facts: Mapping[str, Any]


def write_report(folder: Path, facts: Mapping[str, Any]) -> Report:
    """Write report.json and report.html into `folder`."""
    document, page = folder / "report.json", folder / "report.html"
    _write(document, json.dumps(facts, indent=1, ensure_ascii=False, default=str))
    _write(page, render(facts))
    return Report(page=page, document=document, facts=facts)


def render(facts: Mapping[str, Any]) -> str:
    """Give the page of these facts; everything from outside is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["percent"] = percent
    environment.filters["signed"] = signed
    environment.filters["number"] = number
    return environment.get_template("report.html").render(
        facts=facts,
        headline=headline(facts),
        love_chart=_love_chart(facts["policies"]),
        lift_chart=_lift_chart(facts["policies"]),
        calibration_chart=_calibration_chart(facts["reward"]),
        funnel_chart=_funnel_chart(facts["events"]),
        timeline_chart=_timeline_chart(facts["phases"], facts["wall_seconds"]),
        lineage=_lineage(facts["lineage"]),
    )


def headline(facts: Mapping[str, Any]) -> str:
    """Say in one sentence what came out."""
    baseline, *candidates = facts["policies"]
    told = []
    for policy in candidates:
        low, high = policy["love_lift_ci"]
        told.append(
            f"{policy['recipe']} {signed(policy['love_lift'])}"
            f" [{signed(low)}, {signed(high)}], {policy['verdict']} by its gates"
        )
    return (
        f"Love rate of the baseline {percent(baseline['love_rate'])}; relative change:"
        f" {'; '.join(told)}."
    )


def summarise(facts: Mapping[str, Any]) -> str:
    """Give the lines for the terminal."""
    events, reward = facts["events"], facts["reward"]
    low, high = reward["auroc_ci"]
    lines = [
        "",
        f"events   {events['produced']:,} acknowledged, {events['stored']:,} stored,"
        f" {events['duplicates']:,} re-sent, {events['rejected']:,} dead letters,"
        f" {events['lost']:,} lost",
        f"P[love]  AUROC {reward['auroc']:.3f} [{low:.3f}, {high:.3f}],"
        f" predicted/observed {reward['predicted_over_observed']:.2f},"
        f" {reward['n_labels']:,} labels",
        "",
        f"{'policy':<22}{'love rate':>10}{'lift':>9}  {'95 % interval':<19}{'helpful':>8}"
        f"{'unsafe':>8}{'closers':>9}{'KL':>7}  verdict",
    ]
    for policy in facts["policies"]:
        interval = policy["love_lift_ci"]
        between = f"[{signed(interval[0])}, {signed(interval[1])}]" if interval else ""
        lines.append(
            f"{policy['version'] + ' ' + policy['recipe']:<22.22}"
            f"{percent(policy['love_rate']):>10}{signed(policy['love_lift']):>9}  {between:<19}"
            f"{percent(policy['helpfulness_win_rate']):>8}"
            f"{percent(policy['safety_violation_rate']):>8}{percent(policy['closer_rate']):>9}"
            f"{number(policy['kl_nats']):>7}  {policy['verdict']}"
        )
        lines.extend(f"{'':<22}  - {reason}" for reason in policy["reasons"])
    lines += [
        "",
        f"{facts['wall_seconds']:.0f} s, peak {facts['peak_rss_mb']:,} MB, seed {facts['seed']},"
        f" snapshot {facts['snapshot_hash'][:12]}. {facts['synthetic']}",
    ]
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """Give 0.1234 as 12.3 %."""
    return "–" if value is None else f"{value * 100:.1f} %"


def signed(value: float | None) -> str:
    """Give 0.1234 as +12.3 %."""
    return "–" if value is None else f"{value * 100:+.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Give a number with few digits."""
    return "–" if value is None else f"{value:.{digits}g}"


def _love_chart(policies: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        Whisker(
            label=policy["recipe"],
            note=f"{policy['version']}, n {policy['num_shown']:,}",
            value=policy["love_rate"],
            low=policy["love_rate_ci"][0],
            high=policy["love_rate_ci"][1],
            series=number,
        )
        for number, policy in enumerate(policies)
    ]
    return whiskers(
        rows,
        title="Love rate per policy version",
        axis="share of responses that got a love",
        reference=policies[0]["love_rate"],
    )


def _lift_chart(policies: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        Whisker(
            label=policy["recipe"],
            value=policy["love_lift"],
            low=policy["love_lift_ci"][0],
            high=policy["love_lift_ci"][1],
            series=number,
        )
        for number, policy in enumerate(policies)
        if policy["love_lift_ci"]
    ]
    return whiskers(
        rows,
        title="Change of the love rate against the baseline",
        axis="relative change of the love rate",
        reference=0.0,
        is_change=True,
    )


def _calibration_chart(reward: Mapping[str, Any]) -> str:
    bins = [
        (b["predicted"], b["observed"], b["low"], b["high"], b["num_rows"])
        for b in reward["reliability"]
    ]
    return reliability(bins, title="P[love]: predicted against observed on later users")


def _funnel_chart(events: Mapping[str, Any]) -> str:
    funnel = events["funnel"]
    rows = [
        ("acknowledged", events["produced"], "by the API"),
        ("stored", events["stored"], f"{events['duplicates']:,} re-sends folded"),
        ("shown", funnel["shown"], ""),
        ("reactions", funnel["reactions"], "add and remove"),
        ("loved, now", funnel["labels_on"], f"{funnel['mistaps']:,} mis-taps set aside"),
        ("dead letters", events["rejected"], "kept with their reason"),
        ("lost", events["lost"], ""),
    ]
    return bars(rows, title="What became of the events")


def _timeline_chart(phases: Mapping[str, float], total: float) -> str:
    starts = list(phases.items())
    ends = [at for _, at in starts[1:]] + [total]
    rows = [(PHASES.get(n, n), at, end) for (n, at), end in zip(starts, ends, strict=True)]
    return timeline(rows, title="Where the time went")


def _lineage(trees: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Flatten each version's tree into indented rows."""
    rows: list[dict[str, Any]] = []

    def walk(node: Mapping[str, Any], depth: int) -> None:
        rows.append({**node, "depth": depth})
        for parent in node.get("parents", []):
            walk(parent, depth + 1)

    for tree in trees.values():
        walk(tree, 0)
    return rows


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
