"""The table of docs/clients.md, from what a run measured; rows of other suites stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from suites.table import SUITES

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = (
    "| Client | Version | Checks passed | What was checked | What does not work | Command |",
    "|---|---|---|---|---|---|",
)


def write_table(report: dict[str, Any], page: Path) -> None:
    """Put the rows of the report into the page. Raises ValueError where it has no such place."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place between {BEGIN} and {END}")
    rows = {_name(line): line for line in old.splitlines() if line.startswith("| [")}
    rows |= {suite["name"]: _row(suite) for suite in report["suites"]}
    lines = [*HEAD, *(rows[name] for name in SUITES if name in rows)]
    page.write_text(f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}", "utf-8")


def _row(suite: dict[str, Any]) -> str:
    row = SUITES[suite["name"]]
    counts = Counter(check["outcome"] for check in suite["checks"])
    num = sum(counts.values())
    measured = f"{counts['passed']} of {num}" if num else f"{suite['outcome']}: {suite['why']}"
    failing = [check["check"] for check in suite["checks"] if check["outcome"] != "passed"]
    faults = [row.not_served, *(f"fails: {name}" for name in failing)]
    cells = (
        f"[{row.name}](../suites/clients/{row.file})",
        suite["version"],
        measured,
        row.covers,
        "; ".join(fault for fault in faults if fault),
        f"`make suites ONLY={row.name}`",
    )
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def _name(line: str) -> str:
    return line.partition("[")[2].partition("]")[0]
