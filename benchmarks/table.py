"""The results of all benchmarks: one JSON file each, and tables in README.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"
BEGIN = "<!-- results: written by the benchmarks, do not edit -->"
END = "<!-- end of results -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison, measured in one run on one machine."""

    what: str
    unit: str
    ours: float
    """Median over the runs."""
    peer: float
    """Median over the runs."""
    peer_name: str
    ratio: float
    """How many times better ours is: median of the ratios within each run."""
    spread: float
    """Largest minus smallest of these ratios, divided by their median."""
    runs: int


def save(name: str, rows: Sequence[Row]) -> None:
    """Write the rows of one benchmark and bring the table up to date."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    _replace(BEGIN, END, _table())


def save_figures(name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
    """Write figures that have no peer, and bring their own table in README.md up to date."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"columns": columns, "rows": rows}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = (cell if isinstance(cell, str) else _short(cell) for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    _replace(f"<!-- {name} -->", f"<!-- end of {name} -->", "\n".join(lines) + "\n")


def _replace(begin: str, end: str, table: str) -> None:
    """Put a table between its marks; at the end of README.md where it has none yet."""
    before, mark, rest = README.read_text().partition(begin)
    if not mark:
        before = f"{before.rstrip()}\n\n"
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{begin}\n\n{table}\n{end}{after or chr(10)}")


def _table() -> str:
    lines = [
        "| | what | ours | peer | peer's name | ratio | spread | runs |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        rows = json.loads(path.read_text())
        if not isinstance(rows, list):
            continue  # Figures without a peer have a table of their own.
        for row in rows:
            lines.append(
                f"| {path.stem} | {row['what']}, {row['unit']} | {_short(row['ours'])} "
                f"| {_short(row['peer'])} | {row['peer_name']} | **{row['ratio']:.1f}** "
                f"| {row['spread']:.0%} | {row['runs']} |"
            )
    return "\n".join(lines) + "\n"


def _short(value: float) -> str:
    """Three significant digits, with thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
