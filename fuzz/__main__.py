"""`python -m fuzz [--inputs N] [--seed S] [--engine mutate|atheris] [--report FILE]`.

Exits 1 where an input crashed us or a record came to nothing without a name.
"""

import argparse
import json
import sys
from pathlib import Path

from fuzz.run import Report, run_mutations

INPUTS = 10_000_000
SAY_EVERY = 100_000


def main() -> int:
    """Fuzz; writes the report as it goes."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("mutate", "atheris"), default="mutate")
    parser.add_argument("--report", type=Path, default=Path("runs/fuzz/report.json"))
    options = parser.parse_args()
    said = 0

    def say(report: Report) -> None:
        nonlocal said
        if report.inputs >= said + SAY_EVERY or report.inputs >= options.inputs:
            said = report.inputs
            write(report, options.report)
            told = f"{report.crashes} crashes, {report.unexplained} unexplained"
            print(f"{report.inputs} inputs, {told}", flush=True)

    if options.engine == "atheris":
        # A late import: atheris is not installed where nobody fuzzes with it.
        from fuzz.coverage_guided import corpus, run_atheris

        folder = options.report.parent / "corpus"
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(corpus()):
            (folder / f"seed-{number}").write_bytes(seed)
        run_atheris(options.inputs, options.seed, str(folder), say)
        return 0
    report = run_mutations(options.inputs, options.seed, say)
    return 1 if report.crashes or report.unexplained else 0


def write(report: Report, path: Path) -> None:
    """Write a report so that who sees it sees all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    # asdict would make a Counter of a Counter's pairs.
    fields = {name: getattr(report, name) for name in Report.__dataclass_fields__}
    part.write_text(json.dumps(fields, indent=1) + "\n")
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
