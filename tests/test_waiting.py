"""Goal: no test fails for want of speed. Method: every file of the tests is read: what waits takes
its limit from tests/waiting.py, and what has a short limit by itself (httpx: 5 s) is given one.

A limit under a second is none of these: a test gives it to see it run out.
"""

import ast

import pytest

from tests.conftest import LONGEST_FIRST, TESTS

LIMITS = ("timeout", "timeout_s", "wait_s")
"""Keywords that say how long a call may wait."""
WAITS = ("join", "wait", "result", "flush", "communicate", "timeout")
"""Methods whose first argument says it."""
CALLS = ("get", "post", "put", "patch", "delete", "request", "stream", "Client", "AsyncClient")
"""Of httpx, which give up after 5 s where no limit is given."""


def is_own_limit(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, int | float)
        and value.value >= 1
    )


def faults(code: str) -> list[str]:
    """What waits in this code by a limit of its own, as "line: call"."""
    found: list[ast.Call | ast.Assign] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign):
            if any(isinstance(name, ast.Name) and name.id == "WAIT_S" for name in node.targets):
                found.append(node)
        elif isinstance(node, ast.Call) and not ast.unparse(node).startswith("pytest.mark."):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            is_httpx = ast.unparse(node.func) == f"httpx.{method}" and method in CALLS
            if (
                any(is_own_limit(keywords[name]) for name in LIMITS if name in keywords)
                or (method in WAITS and any(map(is_own_limit, node.args[:1])))
                or (is_httpx and "timeout" not in keywords)
            ):
                found.append(node)
    return [f"{node.lineno}: {ast.unparse(node)}" for node in found]


@pytest.mark.parametrize(
    "code",
    [
        "thread.join(5)",
        "future.result(30)",
        "asyncio.timeout(20)",
        "process.communicate(timeout=10.0)",
        "require_reachable(config, wait_s=60)",
        "httpx.get(url)",
        "httpx.Client(base_url=url)",
        "WAIT_S = 60.0",
    ],
)
def test_a_wait_with_a_limit_of_its_own_is_found(code: str) -> None:
    assert len(faults(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "thread.join(WAIT_S)",
        "','.join(names)",
        "future.result(0)",
        "httpx.get(url, timeout=0.05)",
        "client.get(url)",
        "subprocess.run(command, timeout=WAIT_S)",
    ],
)
def test_other_code_is_left_alone(code: str) -> None:
    assert faults(code) == []


def test_whatever_a_test_waits_for_it_waits_for_by_the_one_rule() -> None:
    found = {
        f"{path.relative_to(TESTS)}:{fault}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != TESTS / "waiting.py"
        for fault in faults(path.read_text("utf-8"))
    }
    assert found == set()


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONGEST_FIRST if not (TESTS / name).is_file()] == []
