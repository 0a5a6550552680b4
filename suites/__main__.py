"""`make suites`: other people's clients against a running rluf, each with its count of checks.

A suite that cannot be installed counts as not run and says why, never as passed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from suites.document import write_table
from suites.environments import Environment, NotInstalled, prepare
from suites.server import ADMIN_KEY, KEY, ROOT, NotUp, Server, running
from suites.table import SUITES, Suite

FOLDER = ROOT / "runs" / "suites"
PAGE = ROOT / "docs" / "clients.md"
CLIENTS = Path(__file__).resolve().parent / "clients"
Say: TypeAlias = Callable[[str], None]
OUTCOMES = ("passed", "failed", "not run")


def main(arguments: Sequence[str] | None = None) -> int:
    """Give the exit code, see exit_code."""
    parser = argparse.ArgumentParser(prog="python -m suites", description=__doc__)
    parser.add_argument("--only", default="", help="names of suites, with commas between them")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--document", action="store_true", help="write it into docs/clients.md")
    parser.add_argument("--list", action="store_true", help="print the suites' names and end")
    asked = parser.parse_args(arguments)
    if asked.list:
        print("\n".join(SUITES))
        return 0
    names = [name.strip() for name in asked.only.split(",") if name.strip()] or list(SUITES)
    unknown = sorted(set(names) - set(SUITES))
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    report = run([SUITES[name] for name in names], say=_say_nothing if asked.json else _say)
    if asked.document:
        write_table(report, PAGE)
    if asked.json:
        print(json.dumps(report, indent=1))
    else:
        print(as_text(report))
    return exit_code(report)


def exit_code(report: dict[str, Any]) -> int:
    """0 where every check of every suite passed, 1 where one failed, 3 where one was not run."""
    found = {suite["outcome"] for suite in report["suites"]}
    found |= {row["outcome"] for suite in report["suites"] for row in suite["checks"]}
    if "failed" in found:
        return 1
    return 3 if "not run" in found else 0


def run(suites: Sequence[Suite], *, say: Say, folder: Path = FOLDER) -> dict[str, Any]:
    """Run them one after another against one server; write and give the report."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    prepared: list[tuple[Suite, Environment]] = []
    for suite in suites:
        say(f"{suite.name}: installing where needed")
        try:
            prepared.append((suite, prepare(suite, folder / "environments")))
        except NotInstalled as reason:
            results.append(_not_run(suite, str(reason)))
            say(f"{suite.name}: not run: {reason}")
    is_needed = any(suite.needs_server for suite, _ in prepared)
    with _server(folder) if is_needed else nullcontext() as server:
        for suite, environment in prepared:
            result = _run_one(suite, environment, server, folder)
            results.append(result)
            say(f"{suite.name} {environment.version}: {_counted(result)}")
            for row in result["checks"]:
                if row["outcome"] != "passed":
                    say(f"  {row['outcome']}: {row['check']}: {row['why']}")
    order = {suite.name: place for place, suite in enumerate(suites)}
    results.sort(key=lambda result: order[result["name"]])
    report = {"suites": results}
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report


def as_text(report: dict[str, Any]) -> str:
    rows = [f"{'suite':<20} {'version':<12} {'passed':>6} {'failed':>6} {'not run':>7}"]
    for suite in report["suites"]:
        counts = Counter(row["outcome"] for row in suite["checks"])
        numbers = f"{counts['passed']:>6} {counts['failed']:>6} {counts['not run']:>7}"
        why = f"  {suite['outcome']}: {suite['why']}" if suite["why"] else ""
        rows.append(f"{suite['name']:<20} {suite['version']:<12} {numbers}{why}")
    return "\n".join([*rows, f"report: {FOLDER / 'report.json'}"])


@contextmanager
def _server(folder: Path) -> Iterator[Server]:
    try:
        with running(folder / "home") as server:
            yield server
    except NotUp as reason:
        sys.exit(str(reason))


def _run_one(
    suite: Suite, environment: Environment, server: Server | None, folder: Path
) -> dict[str, Any]:
    work = folder / "work" / suite.name
    work.mkdir(parents=True, exist_ok=True)
    given = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RLUF_")},
        "SUITES_ROOT": str(ROOT),
        "SUITES_WORK": str(work),
        "SUITES_KEY": KEY,
        "SUITES_ADMIN_KEY": ADMIN_KEY,
        "SUITES_PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
    }
    if server is not None:
        given |= {
            "SUITES_URL": server.url,
            "SUITES_BROKERS": server.brokers,
            "SUITES_HOME": str(server.home),
            "SUITES_SETTINGS": json.dumps(server.settings),
        }
    script = CLIENTS / suite.file
    if suite.kind == "node":  # Node looks for packages beside the script.
        script = _copied_beside_modules(suite, folder)
    began = time.monotonic()
    out, why, outcome = "", "", "ran"
    try:
        done = subprocess.run(
            [*environment.command, str(script)],
            cwd=work,
            env=given,
            capture_output=True,
            text=True,
            timeout=suite.limit_s,
        )
        out = done.stdout
        (work / "stderr.log").write_text(done.stderr, "utf-8")
        if done.returncode:
            outcome, why = "failed", f"it broke off with {done.returncode}: {done.stderr[-600:]}"
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b"").decode() if isinstance(late.stdout, bytes) else ""
        outcome, why = "failed", f"it took more than {suite.limit_s:.0f} s"
    checks = [json.loads(line) for line in out.splitlines() if line.startswith('{"check"')]
    if not checks and outcome == "ran":
        outcome, why = "failed", "it made no checks"
    return {
        "name": suite.name,
        "version": environment.version,
        "outcome": outcome,
        "why": why,
        "s": round(time.monotonic() - began, 1),
        "checks": checks,
    }


def _copied_beside_modules(suite: Suite, folder: Path) -> Path:
    beside = folder / "environments" / (suite.environment or suite.name)
    for file in (CLIENTS / "checks.mjs", CLIENTS / suite.file):
        (beside / file.name).write_bytes(file.read_bytes())
    return beside / suite.file


def _not_run(suite: Suite, why: str) -> dict[str, Any]:
    return {
        "name": suite.name,
        "version": "",
        "outcome": "not run",
        "why": why,
        "s": 0.0,
        "checks": [],
    }


def _counted(result: dict[str, Any]) -> str:
    counts = Counter(row["outcome"] for row in result["checks"])
    words = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
    return f"{words or 'no checks'}; {result['s']} s{'; ' + result['why'] if result['why'] else ''}"


def _say(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    pass


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):  # A shell's background commands ignore SIGINT.
        signal.signal(number, _end)
    sys.exit(main())
