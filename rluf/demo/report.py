"""The demo's report: one JSON document with every number, and one page that shows them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rluf.demo.charts import Box, Whisker, bars, graph, reliability, strip, timeline, whiskers
from rluf.demo.wording import NO_BREAK, NONE, change, number, objection, share, tell

TEMPLATES = Path(__file__).resolve().parent
PHASES = {
    "setup": "set up",
    "round_0": "round 0: users meet the baseline",
    "refresh": "refresh: learn and judge",
    "round_1": "round 1: users meet all versions",
    "report": "report",
}
STEPS_SHOWN = 8
"""Steps of the refresh that get a bar of their own; the rest share one."""

TOO_LITTLE = '<p class="soft">There is too little love for an interval yet.</p>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where the report lies, and what it says."""

    page: Path
    document: Path
    facts: Mapping[str, Any]


def write_report(folder: Path, facts: Mapping[str, Any]) -> Report:
    """Write report.json and report.html into `folder`."""
    document, page = folder / "report.json", folder / "report.html"
    facts = _finite(facts)
    _write(document, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False, default=str))
    _write(page, render(facts))
    return Report(page=page, document=document, facts=facts)


def render(facts: Mapping[str, Any]) -> str:
    """Give the page of these facts; everything from outside is escaped."""
    facts = _finite(facts)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(
        share=share,
        change=change,
        number=number,
        count=_count,
        when=_when,
        short=_short,
        whole=_whole,
        between=_between,
    )
    return environment.get_template("report.html").render(
        facts=facts,
        decision=verdict_line(facts),
        headline=headline(facts),
        measures={
            policy["version"]: [
                _measure_row(row) for row in (*policy["checks"], *policy["informative"])
            ]
            for policy in facts["policies"]
        },
        reasons={policy["version"]: _objections(policy) for policy in facts["policies"]},
        reward_reasons=_objections(facts["reward"]),
        love_chart=_love_chart(facts["policies"]),
        lift_chart=_lift_chart(facts["policies"]),
        calibration_chart=_calibration_chart(facts["reward"]),
        funnel_chart=_funnel_chart(facts["events"]),
        timeline_chart=_timeline_chart(facts["phases"], facts["wall_seconds"]),
        steps_chart=_steps_chart(facts["turn"]["seconds"]),
        lineage_chart=_lineage_chart(lineage := _lineage(facts["lineage"])),
        lineage=list(lineage.values()),
        history=_history(facts["history"]),
    )


def verdict_line(facts: Mapping[str, Any]) -> str:
    """Say what was decided, in one sentence."""
    decision, (baseline, *candidates) = facts["decision"], facts["policies"]
    if decision["done"] and decision["version"] != baseline["version"]:
        recipe = next(c["recipe"] for c in candidates if c["version"] == decision["version"])
        return f"{decision['version']} ({recipe}) was promoted: {decision['action']}."
    if not decision["done"]:
        return f"Refused: {decision['action']}. {baseline['version']} stays live."
    return f"No candidate was promoted: {baseline['version']} stays live."


def headline(facts: Mapping[str, Any]) -> str:
    """Say in one sentence what came out."""
    baseline, *candidates = facts["policies"]
    told = []
    for policy in candidates:
        low, high = _interval(policy["love_lift_ci"]) or (None, None)
        told.append(
            f"{policy['recipe']} {change(policy['love_lift'])}"
            f" [{change(low)}, {change(high)}], {policy['ruling']} by its gates"
        )
    return (
        f"Love rate of the baseline {share(baseline['love_rate'])}; relative change:"
        f" {'; '.join(told)}."
    )


def summarise(facts: Mapping[str, Any]) -> str:
    """Give the lines for the terminal."""
    events, reward = facts["events"], facts["reward"]
    low, high = _interval(reward["auroc_ci"]) or (None, None)
    lines = [
        "",
        f"events   {events['produced']:,} acknowledged, {events['stored']:,} stored,"
        f" {events['duplicates']:,} re-sent, {events['rejected']:,} dead letters,"
        f" {events['lost']:,} lost",
        f"P[love]  AUROC {number(reward['auroc'])} [{number(low)}, {number(high)}],"
        f" predicted/observed {number(reward['predicted_over_observed'])},"
        f" {reward['n_labels']:,} labels",
        "",
        f"{'policy':<22}{'love rate':>10}{'lift':>9}  {'95 % interval':<19}{'helpful':>8}"
        f"{'unsafe':>8}{'closers':>9}{'KL':>7}  verdict",
    ]
    for policy in facts["policies"]:
        interval = _interval(policy["love_lift_ci"])
        between = f"[{change(interval[0])}, {change(interval[1])}]" if interval else ""
        lines.append(
            f"{policy['version'] + ' ' + policy['recipe']:<22.22}"
            f"{share(policy['love_rate']):>10}{change(policy['love_lift']):>9}  {between:<19}"
            f"{share(policy['helpfulness_win_rate']):>8}"
            f"{share(policy['safety_violation_rate']):>8}{share(policy['closer_rate']):>9}"
            f"{number(policy['kl_nats']):>7}  {policy['ruling']}"
        )
        lines.extend(f"{'':<22}  - {reason}" for reason in policy["reasons"])
    lines += [
        "",
        f"{facts['wall_seconds']:.0f} s, peak {facts['peak_rss_mb']:,} MB, seed {facts['seed']},"
        f" snapshot {facts['snapshot_hash'][:12]}. {facts['synthetic']}",
    ]
    return "\n".join(lines).replace(NO_BREAK, " ")


def _love_chart(policies: Sequence[Mapping[str, Any]]) -> str:
    return _whisker_chart(
        policies,
        "love_rate",
        title="Love rate per policy version",
        axis="loved share of shown replies; dashed: the baseline",
        reference=policies[0]["love_rate"],
    )


def _lift_chart(policies: Sequence[Mapping[str, Any]]) -> str:
    return _whisker_chart(
        policies,
        "love_lift",
        title="Change of the love rate against the baseline",
        axis="relative change of the love rate",
        reference=0.0,
        is_change=True,
    )


def _whisker_chart(
    policies: Sequence[Mapping[str, Any]],
    field: str,
    *,
    title: str,
    axis: str,
    reference: float,
    is_change: bool = False,
) -> str:
    """Draw one figure of each version that has it with its whole interval."""
    rows = [
        Whisker(
            label=policy["recipe"],
            note=policy["version"],
            value=policy[field],
            low=interval[0],
            high=interval[1],
            series=series,
        )
        for series, policy in enumerate(policies)
        if (interval := _interval(policy[f"{field}_ci"])) and policy[field] is not None
    ]
    if not rows:
        return TOO_LITTLE
    return whiskers(rows, title=title, axis=axis, reference=reference, is_change=is_change)


def _calibration_chart(reward: Mapping[str, Any]) -> str:
    bins = [
        (b["predicted"], b["observed"], b["low"], b["high"], b["num_rows"])
        for b in reward["reliability"]
    ]
    if not bins:
        return TOO_LITTLE
    return reliability(
        bins, title="Reliability of P[love]: predicted against observed love on later users"
    )


def _funnel_chart(events: Mapping[str, Any]) -> str:
    funnel = events["funnel"]
    rows = [
        ("acknowledged by the API", events["produced"], f"{events['duplicates']:,} sent again"),
        ("stored, each once", events["stored"], ""),
        ("replies shown", funnel["shown"], ""),
        ("reactions", funnel["reactions"], "given or taken back"),
        ("reactions that stand", funnel["labels_on"], f"{funnel['mistaps']:,} mis-taps set aside"),
        *([("loves that stand", funnel["loved"], "")] if "loved" in funnel else []),
        ("dead letters", events["rejected"], "kept with their reason"),
        ("lost", events["lost"], "acknowledged, not stored"),
    ]
    return bars(rows, title="What became of the events")


def _timeline_chart(phases: Mapping[str, float], total: float) -> str:
    starts = list(phases.items())
    ends = [at for _, at in starts[1:]] + [total]
    rows = [(PHASES.get(n, n), at, end) for (n, at), end in zip(starts, ends, strict=True)]
    return timeline(rows, title="Where the time went")


def _steps_chart(seconds: Mapping[str, float]) -> str:
    steps = sorted(seconds.items(), key=lambda item: -item[1])
    rows = [(name.replace("-", " "), took, "") for name, took in steps[:STEPS_SHOWN]]
    if rest := steps[STEPS_SHOWN:]:
        rows.append((f"{len(rest)} more steps", sum(took for _, took in rest), ""))
    return bars(rows, title="Steps of the refresh, longest first", unit="s")


def _measure_row(measure: Mapping[str, Any]) -> dict[str, Any]:
    told = tell(measure)
    if measure["value"] is None:
        return {"told": told, "strip": ""}
    picture = strip(measure["value"], measure["low"], measure["high"], told.limits)
    return {"told": told, "strip": picture}


def _lineage(trees: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each thing that the versions come from once, by name: older ones first."""
    found: dict[str, dict[str, Any]] = {}

    def walk(node: Mapping[str, Any]) -> None:
        for parent in node["parents"]:
            walk(parent)
        found.setdefault(
            node["ref"], {**node, "made_of": [parent["ref"] for parent in node["parents"]]}
        )

    for tree in trees.values():
        walk(tree)
    return found


def _lineage_chart(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the versions and the snapshots that taught them; a snapshot that already taught a parent
    gets no second line."""
    boxes: dict[str, Box] = {}
    used = {name for node in nodes.values() for name in node["made_of"]}
    for name, node in nodes.items():
        parents = tuple(node["made_of"])
        snapshot = node["snapshot"]
        if snapshot:
            source = f"snapshot {_short(snapshot['hash'])}"
            boxes.setdefault(
                source, Box(name="snapshot", note=_short(snapshot["hash"]), parents=())
            )
            if not any(source in boxes[parent].parents for parent in parents):
                parents = (*parents, source)
        boxes[name] = Box(
            name=name,
            note=node["recipe"] if name not in used else _short(node["artifact"]["hash"]),
            parents=parents,
            is_result=name not in used,
        )
    return graph(boxes, title="What each version was made of")


def _objections(judged: Mapping[str, Any]) -> list[str]:
    """Give why something did not pass, in the units of its table, the broken checks first."""
    left = [row for row in judged["checks"] if row["outcome"] != "kept"]
    return [objection(row) for row in sorted(left, key=lambda row: row["outcome"] != "broken")]


def _history(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the arms that were set together, newest first; a division that did not last is left
    out where the next one says the same."""
    told: list[dict[str, Any]] = []
    for row in rows:
        arm = {name: row[name] for name in ("arm", "version", "recipe", "share")}
        about = {name: row[name] for name in ("since", "until", "experiment", "who", "why")}
        if told and told[-1]["since"] == row["since"]:
            told[-1]["arms"].append(arm)
        elif told and told[-1]["arms"] == [arm] and told[-1]["why"] == row["why"]:
            told[-1]["until"] = row["until"]
        else:
            told.append({**about, "arms": [arm]})
    for row in told:
        row["why"], _, row["forced"] = row["why"].removesuffix(")").partition(" (forced: ")
    return told[::-1]


def _interval(ends: Sequence[float | None] | None) -> tuple[float, float] | None:
    """Give both ends, or nothing where one is missing."""
    low, high = ends or (None, None)
    return None if low is None or high is None else (low, high)


def _between(ends: Sequence[float | None] | None) -> str:
    interval = _interval(ends)
    if interval is None:
        return ""
    return f"95{NO_BREAK}% interval {number(interval[0])} to {number(interval[1])}; "


def _finite(value: Any) -> Any:
    """Give plain values with None for what is no number: JSON has no word for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _whole(value: float) -> str:
    """Give a share without a needless .0."""
    return share(value).replace(f".0{NO_BREAK}%", f"{NO_BREAK}%")


def _when(at: object) -> str:
    """Give a time to the second; everything is UTC."""
    return NONE if at is None else str(at)[:19].replace("T", " ")


def _short(full_hash: object) -> str:
    return NONE if full_hash is None else str(full_hash)[:10]


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
