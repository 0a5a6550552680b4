"""The demo's report: one JSON document with every number, and one page that shows them.

The page holds the document and draws itself with the code of the API's page (serving/dashboard), so
a number, a chart and a check look the same in both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from files.durable import write_durably
from rluf.turn.report import reward_lines
from serving.dashboard import page

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("charts.js", "report.js")
NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where the report lies, and what it says."""

    page: Path
    document: Path
    facts: Mapping[str, Any]


def write_report(folder: Path, facts: Mapping[str, Any]) -> Report:
    """Write report.json and report.html into `folder`."""
    document, shown = folder / "report.json", folder / "report.html"
    facts = _finite(facts)
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    write_durably(document, text.encode())
    write_durably(shown, render(facts).encode())
    return Report(page=shown, document=document, facts=facts)


def render(facts: Mapping[str, Any]) -> str:
    """Give the page of these facts, which loads nothing from elsewhere."""
    facts = _finite(facts)
    shown = {"facts": facts, "decision": verdict_line(facts), "headline": headline(facts)}
    document = json.dumps(shown, ensure_ascii=False, allow_nan=False, default=str)
    style = "\n".join((page.read_files(page.FOLDER, page.STYLES), _read("report.css")))
    script = "\n".join((page.read_files(page.FOLDER, page.SHARED), _read(*SCRIPTS)))
    return page.put_together(
        _read("report.html"),
        policy=f"default-src 'none'; style-src '{page.hash_source(style)}';"
        f" script-src '{page.hash_source(script)}'; base-uri 'none'; form-action 'none'",
        style=style,
        facts=document.replace("<", "\\u003c"),  # No text from outside can end the element.
        script=script,
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
        if low is None and not policy["num_users"]:
            told.append(f"{policy['recipe']} met no user, {policy['ruling']} by its gates")
            continue
        told.append(
            f"{policy['recipe']} {_change(policy['love_lift'])}"
            f" [{_change(low)}, {_change(high)}], {policy['ruling']} by its gates"
        )
    return (
        f"Love rate of the baseline {_share(baseline['love_rate'])}; relative change:"
        f" {'; '.join(told)}."
    )


def summarise(facts: Mapping[str, Any]) -> str:
    """Give the lines for the terminal."""
    events, reward = facts["events"], facts["reward"]
    first, *others = reward_lines(reward)
    lines = [
        "",
        f"events   {events['produced']:,} acknowledged, {events['stored']:,} stored,"
        f" {events['duplicates']:,} re-sent, {events['rejected']:,} dead letters,"
        f" {events['lost']:,} lost",
        f"P[love]  {first}, {reward['n_labels']:,} labels",
        *(f"         {line}" for line in others),
        "",
        f"{'policy':<22}{'love rate':>10}{'lift':>9}  {'95 % interval':<19}{'helpful':>8}"
        f"{'unsafe':>8}{'closers':>9}{'KL':>7}  verdict",
    ]
    for policy in facts["policies"]:
        interval = _interval(policy["love_lift_ci"])
        between = f"[{_change(interval[0])}, {_change(interval[1])}]" if interval else ""
        lines.append(
            f"{policy['version'] + ' ' + policy['recipe']:<22.22}"
            f"{_share(policy['love_rate']):>10}{_change(policy['love_lift']):>9}  {between:<19}"
            f"{_share(policy['helpfulness_win_rate']):>8}"
            f"{_share(policy['safety_violation_rate']):>8}{_share(policy['closer_rate']):>9}"
            f"{_number(policy['kl_nats']):>7}  {policy['ruling']}"
        )
        lines.extend(f"{'':<22}  - {reason}" for reason in policy["reasons"])
    lines += [
        "",
        f"{facts['wall_seconds']:.0f} s, peak {facts['peak_rss_mb']:,} MB, seed {facts['seed']},"
        f" snapshot {facts['snapshot_hash'][:12]}. {facts['synthetic']}",
    ]
    return "\n".join(lines)


def _interval(ends: Sequence[float | None] | None) -> tuple[float, float] | None:
    """Give both ends, or nothing where one is missing."""
    low, high = ends or (None, None)
    return None if low is None or high is None else (low, high)


def _finite(value: Any) -> Any:
    """Give plain values with None for what is no number: JSON has no word for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _read(*names: str) -> str:
    return page.read_files(FOLDER, names)


def _share(value: float | None) -> str:
    """Give 0.1234 as 12.3 %."""
    return NONE if value is None else _minus(f"{value * 100:.1f} %")


def _change(value: float | None) -> str:
    """Give 0.1234 as +12.3 %."""
    return NONE if value is None else _minus(f"{value * 100:+.1f} %")


def _number(value: float | None) -> str:
    return NONE if value is None else _minus(f"{value:.3g}")


def _minus(text: str) -> str:
    return text.replace("-", "−")
