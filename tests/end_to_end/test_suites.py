"""Goal: the suites that need no network hold, each check of each.

Method: `make suites` for the clients that are installed here already, against one `rluf up`; a
client that is missing is skipped by name.
"""

from dataclasses import replace
from typing import Any

import pytest

from suites.__main__ import run
from suites.table import SUITES, Suite

pytestmark = pytest.mark.kafka

OPENAI = replace(SUITES["openai-python"], packages=(), distribution="openai")
"""The tests' own dependencies bring it along."""
QUICK: tuple[Suite, ...] = (
    OPENAI,
    *(SUITES[name] for name in ("kcat", "promtool", "open-webui", "librechat", "nginx")),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("suites")
    report = run(QUICK, say=lambda text: None, folder=folder)
    return {suite["name"]: suite for suite in report["suites"]}


@pytest.mark.parametrize("name", [suite.name for suite in QUICK])
def test_every_check_of_the_suite_holds(results: dict[str, dict[str, Any]], name: str) -> None:
    result = results[name]
    if result["outcome"] == "not run":
        pytest.skip(result["why"])
    failing = [row for row in result["checks"] if row["outcome"] == "failed"]
    assert (result["outcome"], failing) == ("ran", [])
