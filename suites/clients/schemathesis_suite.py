"""schemathesis with all its checks on the OpenAPI document as served: one row an operation."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from checks import KEY, URL, report, send

WORK = Path(os.environ["SUITES_WORK"])
EXAMPLES = os.environ.get("SUITES_EXAMPLES", "25")
JUNIT = WORK / "junit.xml"
CONFIG = Path(os.environ["SUITES_ROOT"]) / "suites" / "clients" / "schemathesis.toml"
"""Reads SUITES_ADMIN_KEY."""


def main():
    document = send("/openapi.json")
    report("the document is served", document.status == 200, document.status)
    operations = {
        f"{method.upper()} {path}"
        for path, item in json.loads(document.body)["paths"].items()
        for method in item
        if method in ("get", "put", "post", "delete", "head", "patch")
    }
    JUNIT.unlink(missing_ok=True)
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", str(CONFIG),
            "run", f"{URL}/openapi.json", "--checks", "all",
            "-H", f"Authorization: Bearer {KEY}", "--max-examples", EXAMPLES,
            "--seed", "1", "--continue-on-failure", "--no-shrink", "--request-timeout", "60",
            "--report", "junit", "--report-junit-path", str(JUNIT),
        ],
        cwd=WORK,
        capture_output=True,
        text=True,
    )  # fmt: skip
    (WORK / "schemathesis.log").write_text(done.stdout + done.stderr, "utf-8")
    report("it ran to its end", done.returncode in (0, 1), done.stdout[-600:] + done.stderr[-600:])
    if not JUNIT.exists():
        return
    seen = set()
    for case in ElementTree.parse(JUNIT).getroot().iter("testcase"):
        name = case.get("name", "")
        faults = [node.text or node.get("message") or "" for node in case if node.tag != "skipped"]
        seen.add(name)
        report(f"all checks hold for {name}", not faults, " | ".join(faults)[:1500])
    missed = {one for one in operations if not any(one in name for name in seen)}
    report("every operation was tried", not missed, sorted(missed))


main()
