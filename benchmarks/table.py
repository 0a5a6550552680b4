"""The results of all benchmarks: one JSON file each, and one table in README.md."""

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
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n{_table()}\n{END}{after}")


def _table() -> str:
    lines = [
        "| | what | ours | peer | peer's name | ratio | spread | runs |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        for row in json.loads(path.read_text()):
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
