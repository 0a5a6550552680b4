"""`python -m tests.chaos`: let everything fail, and see that nothing is lost or counted twice.

Writes OUT/report.json. Exits 1 where a promise was broken; examples stand in the report.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from rich.progress import Progress

from tests.chaos.run import Report, run

ROOT = Path(__file__).parents[2]
SUMS = (
    "events",
    "acknowledged",
    "kills",
    "lost",
    "doubled",
    "malformed",
    "dead_letters",
    "dead_letter_faults",
    "label_mismatches",
    "lag",
)


def main() -> int:
    """Run, write, show; gives the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cluster", choices=("single", "three", "both"), default="both")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "chaos")
    options = parser.parse_args()
    out = options.out.absolute()
    kinds = ("single", "three") if options.cluster == "both" else (options.cluster,)
    reports = [run_shown(out / kind, kind, options) for kind in kinds]
    write(out / "report.json", reports)
    print((out / "report.json").read_text("utf-8"))
    return 0 if all(report.is_clean for report in reports) else 1


def run_shown(folder: Path, kind: str, options: argparse.Namespace) -> Report:
    """One run in a fresh folder, with its progress shown."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Progress() as progress:
        task = progress.add_task(kind)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=f"{kind}: {what}", completed=done, total=total)

        return run(
            folder,
            events=options.events,
            kills=options.kills,
            seed=options.seed,
            cluster_kind=kind,
            cache=ROOT / "runs" / "cache",
            on_progress=show,
        )


def write(path: Path, reports: list[Report]) -> None:
    """Sums on top, each run below."""
    sums: dict[str, object] = {
        name: sum(getattr(report, name) for report in reports) for name in SUMS
    }
    faults: dict[str, int] = {}
    for report in reports:
        for kind, count in report.faults.items():
            faults[kind] = faults.get(kind, 0) + count
    whole = {
        **sums,
        "faults": faults,
        "wall_seconds": round(sum(report.wall_seconds for report in reports), 1),
        "runs": [asdict(report) for report in reports],
    }
    path.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
