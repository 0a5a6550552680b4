"""Goal: HTTP and command line leave equal users, arms, aliases and history, also where they refuse.

Method: two homes that are copies of one another. A story of promotions, experiments, rollbacks and
refusals is told to one over HTTP and to the other by the command; then both registries are read.
Times differ and are left out; the command is told the name that the operator's key has.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from starlette.testclient import TestClient
from typer.testing import CliRunner

from models.live_history import history
from models.registry import Registry
from rluf.cli import REFUSED, app
from serving.app import create_app
from serving.arms import ArmShare, choose
from tests.serving.conftest import FAST, empty_home, live_home, open_place
from tests.verdicts import said

__all__ = ["empty_home", "live_home"]  # Fixtures.

OPERATOR = {"authorization": "Bearer let-me-in"}
MODEL = "/v1/admin/models/chat"
UNITS = [f"user-{number}" for number in range(200)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, as each door is told it."""

    method: str
    path: str
    body: dict[str, object]
    command: Sequence[str]
    is_done: bool = True


def champion(
    version: int, expected: int | None, *, force: bool = False, is_done: bool = True
) -> Change:
    return Change(
        method="PUT",
        path="/aliases/champion",
        body={"version": version, "expected": expected, "why": "w", "override": force},
        command=["promote", f"chat@{version}", "--why", "w", *(["--force"] if force else [])],
        is_done=is_done,
    )


def experiment(*arms: tuple[str, int, float], force: bool = False, is_done: bool = True) -> Change:
    told = [{"name": name, "version": version, "share": share} for name, version, share in arms]
    options = [f"--arm={name}=chat@{version}:{share}" for name, version, share in arms]
    return Change(
        method="PUT",
        path="/arms",
        body={"experiment": "x", "arms": told, "why": "w", "override": force},
        command=["experiment", "start", "x", *options, "--why", "w"]
        + (["--force"] if force else []),
        is_done=is_done,
    )


def rollback(*, is_done: bool = True) -> Change:
    command = ["rollback", "--why", "w"]
    return Change(
        method="POST", path="/rollback", body={"why": "w"}, command=command, is_done=is_done
    )


def stop(*, is_done: bool = True) -> Change:
    return Change(
        method="POST",
        path="/experiment/stop",
        body={"why": "w"},
        command=["experiment", "stop", "--why", "w"],
        is_done=is_done,
    )


STORY = (
    stop(is_done=False),
    rollback(is_done=False),
    champion(1, None),
    champion(2, 1, is_done=False),
    experiment(("a", 1, 0.5), ("b", 2, 0.5), is_done=False),
    experiment(("a", 1, 0.5), ("b", 2, 0.5), force=True),
    champion(1, 1),
    experiment(("a", 1, 0.25), ("b", 2, 0.75), force=True),
    stop(),
    champion(2, 1, force=True),
    experiment(("only", 1, 1.0), is_done=False),
    rollback(),
    rollback(),
)


def left(registry: Registry) -> dict[str, object]:
    """Everything of what is live and was, without times, and what each user gets."""
    rows = history(registry, "chat")
    arms = registry.arms("chat")
    told = [ArmShare(name=arm.name, share=arm.share) for arm in arms.arms]
    return {
        "aliases": registry.aliases("chat"),
        "moves": [replace(move, moved_at=rows[0].since) for move in registry.history("chat")],
        "arms": [replace(a, set_at=None) for a in registry.arm_history("chat")],
        "history": [replace(row, since=rows[0].since, until=None) for row in rows],
        "users": [arms.arms[choose(arms.experiment, told, unit)].version for unit in UNITS],
    }


def command(home: Path, *arguments: str) -> int:
    """Run the verb in this process and give its exit code."""
    with patch.dict(os.environ, {"RLUF_HOME": str(home), "RLUF_CACHE": str(home / "cache")}):
        return CliRunner().invoke(app, list(arguments)).exit_code


def test_http_and_command_line_leave_equal_users_arms_aliases_and_history(
    live_home: Path, tmp_path: Path
) -> None:
    by_http = open_place(live_home, tmp_path / "http")
    by_command = open_place(live_home, tmp_path / "command")
    for place in (by_http, by_command):
        place.registry.record_verdict("chat", 1, said("policy"))
        place.registry.record_verdict("chat", 2, said("policy", "refused"))
    room = by_http.room(replace(FAST, admin_keys=("let-me-in",)))
    with TestClient(create_app(room), base_url="http://localhost:8000") as api:
        for number, change in enumerate(STORY):
            answer = api.request(
                change.method, MODEL + change.path, json=change.body, headers=OPERATOR
            )
            assert answer.status_code == (200 if change.is_done else 409), (number, answer.text)
            who = by_http.registry.arms("chat").who  # A refusal leaves none.
            code = command(by_command.root, *change.command, "--who", who)
            assert code == (0 if change.is_done else REFUSED), number
            assert left(by_command.registry) == left(by_http.registry), number
    assert {move.alias for move in by_http.registry.history("chat")} == {
        "champion",
        "previous",
        "challenger",
    }
    by_http.registry.close()
    by_command.registry.close()
