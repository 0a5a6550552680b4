"""Goal: `make suites` counts what was checked, and nothing that was not run passes for passed.

Method: the runner over small suites of a test's own, and the table against the files. The suites
themselves are run by tests/end_to_end/test_suites.py, those that need no network.
"""

import json
from pathlib import Path

import pytest

from suites.__main__ import CLIENTS, PAGE, as_text, exit_code, main, run
from suites.document import BEGIN, END, write_table
from suites.table import SUITES, Suite

MAIN = "\nif __name__ == '__main__':\n    main()\n"


def outcome(tmp_path: Path, code: str, **changed: object) -> tuple[dict, int]:
    file = tmp_path / "client.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(CLIENTS)!r})\n{code}{MAIN}")
    suite = Suite(name="mine", file=str(file), covers="", needs_server=False, **changed)
    report = run([suite], say=lambda text: None, folder=tmp_path / "suites")
    assert json.loads((tmp_path / "suites" / "report.json").read_text()) == report
    assert "mine" in as_text(report)
    return report["suites"][0], exit_code(report)


def test_a_check_that_passes_counts_as_passed(tmp_path):
    code = "from checks import check, main\n@check\ndef it_holds():\n    pass\n"
    suite, ended = outcome(tmp_path, code)
    assert [(row["check"], row["outcome"]) for row in suite["checks"]] == [("it holds", "passed")]
    assert ended == 0


def test_a_check_that_fails_is_named_with_what_was_seen_and_the_next_one_runs(tmp_path):
    code = (
        "from checks import check, expect, main\n"
        "@check\ndef it_breaks():\n    expect(1 == 2, 'one')\n"
        "@check\ndef it_holds():\n    pass\n"
    )
    suite, ended = outcome(tmp_path, code)
    assert [row["outcome"] for row in suite["checks"]] == ["failed", "passed"]
    assert "seen: 'one'" in suite["checks"][0]["why"]
    assert ended == 1


def test_a_check_that_cannot_be_made_is_not_run_and_not_passed(tmp_path):
    code = (
        "from checks import Skipped, check, main\n"
        "@check\ndef it_cannot():\n    raise Skipped('no such thing here')\n"
    )
    suite, ended = outcome(tmp_path, code)
    assert suite["checks"][0]["outcome"] == "not run"
    assert ended == 3


def test_a_suite_that_cannot_be_installed_is_not_run_and_says_why(tmp_path):
    suite, ended = outcome(tmp_path, "", programs=("no-such-program",))
    assert (suite["outcome"], suite["checks"]) == ("not run", [])
    assert "no-such-program" in suite["why"]
    assert ended == 3


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit('no proxy')\n", "no proxy"),
        ("main = lambda: None\n", "it made no checks"),
        ("import time\ntime.sleep(60)\n", "it took more than"),
    ],
)
def test_a_suite_that_breaks_off_or_checks_nothing_has_failed(tmp_path, code, why):
    limit = {"limit_s": 1.0} if "sleep" in code else {}
    suite, ended = outcome(tmp_path, code, **limit)
    assert suite["outcome"] == "failed"
    assert why in suite["why"]
    assert ended == 1


def test_the_table_of_the_page_takes_the_rows_that_were_measured_and_keeps_the_others(tmp_path):
    page = tmp_path / "clients.md"
    page.write_text(
        f"Before.\n\n{BEGIN}\n| [kcat](x) | old |\n| [nginx](x) | old |\n{END}\nAfter.\n"
    )
    checks = [
        {"check": "it holds", "outcome": "passed", "why": ""},
        {"check": "it breaks", "outcome": "failed", "why": "a | b"},
    ]
    row = {"name": "kcat", "version": "1.7", "outcome": "ran", "why": "", "checks": checks}
    write_table({"suites": [row]}, page)
    text = page.read_text()
    assert "| 1.7 | 1 of 2 |" in text
    assert "fails: it breaks" in text
    assert "| [nginx](x) | old |" in text
    assert text.startswith("Before.")
    assert text.endswith("After.\n")


def test_the_page_of_clients_has_a_row_for_every_suite():
    text = PAGE.read_text("utf-8")
    assert [name for name in SUITES if f"[{name}]" not in text] == []


def test_an_unknown_suite_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--only", "openai-perl"])
    assert ended.value.code == 2
    assert "openai-python" in capsys.readouterr().err


def test_every_row_has_its_file_and_every_file_its_row():
    files = {path.name for path in CLIENTS.iterdir() if path.is_file()}
    assert {suite.file for suite in SUITES.values()} == files - {
        *("checks.py", "checks.mjs"),
        *("openai_shapes.py", "schemathesis.toml"),  # Parts of a suite.
    }
