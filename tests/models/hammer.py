"""What the processes of the race tests do. A module of its own: other processes import it."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

from models.artifacts import Artifact, store_artifact
from models.errors import Conflict
from models.migrate import migrate
from models.registry import Registry
from tests.models.crowd import wait_for_all


def race_for_alias(url: str, home: Path, worker: int, rounds: int) -> list[int]:
    """In each round move the same alias from where everybody saw it; give the rounds won."""
    registry = Registry(url, root=home)
    won = []
    for round_ in range(rounds):
        seen = registry.alias("chat", "champion")
        mine = worker if seen != worker else worker + 1  # A worker has two versions of its own.
        wait_for_all()  # Everybody has looked before anybody moves.
        try:
            registry.move_alias(
                "chat", "champion", mine, expected=seen, why=f"round {round_}", who=str(worker)
            )
            won.append(round_)
        except Conflict:
            pass
        wait_for_all()
    registry.close()
    return won


def register_the_same(url: str, home: Path, rounds: int) -> list[int]:
    """Register the same versions as everybody else; give the numbers."""
    registry = Registry(url, root=home)
    numbers = []
    for n in range(rounds):
        artifact = Artifact(hash=f"{n:064x}", path=home / "artifacts" / "love" / f"{n}")
        wait_for_all()
        version = registry.register(
            "love", artifact=artifact, kind="reward", config_hash="same", snapshot_hash=None
        )
        numbers.append(version.number)
    registry.close()
    return numbers


def enter_alone(url: str, home: Path, times: int) -> int:
    """Do what only one may do, so many times; give how often somebody else was there."""
    registry = Registry(url, root=home)
    marker = home / "somebody is here"
    met = done = 0
    wait_for_all()
    while done < times:
        try:
            with registry.lease("turn", holder=str(os.getpid())):
                try:
                    marker.touch(exist_ok=False)
                except FileExistsError:
                    met += 1
                else:
                    marker.unlink()
                done += 1
        except Conflict:
            continue
    registry.close()
    return met


def take_lease_and_die(url: str, home: Path) -> None:
    with Registry(url, root=home).lease("turn", holder="dead", ttl=timedelta(seconds=60)):
        os.kill(os.getpid(), signal.SIGKILL)


def migrate_at_once(url: str) -> str:
    wait_for_all()
    return migrate(url)


def store_at_once(home: Path, source: Path) -> str:
    wait_for_all()
    return store_artifact(home, "chat", source).hash
