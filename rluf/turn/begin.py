"""Which turn goes on, and that there is never more than one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from models.live import in_use
from models.registry import Registry
from models.runs import Run
from models.versions import Version
from rluf.settings import Settings, settings_hash
from rluf.turn.steps import Say


@contextmanager
def only_turn(registry: Registry) -> Iterator[None]:
    """Hold the right to run a turn. Raises Conflict where somebody alive holds it."""
    left = registry.find_lease("refresh")
    if left is not None and left.is_held(registry.now()) and _died_here(left.holder):
        registry.break_lease(left)
    with registry.lease("refresh", holder=f"{socket.gethostname()}:{os.getpid()}"):
        yield


def _died_here(holder: str) -> bool:
    host, _, pid = holder.rpartition(":")
    return host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def begin_turn(settings: Settings, registry: Registry, why: str, say: Say) -> tuple[Run, datetime]:
    """Go on with the unfinished turn of the same settings, or start one that looks from now."""
    dials = settings_hash(
        settings.refresh,
        settings.training,
        replace(settings.features, root=Path()),
        settings.guard,
    )
    for run in registry.runs(kind="refresh", status="running"):
        if run.settings.get("dials") == dials:
            as_of = datetime.fromisoformat(str(run.settings["as_of"]))
            say(f"going on with turn {run.id}, as of {as_of:%Y-%m-%d %H:%M:%S} UTC")
            return run, as_of
        registry.finish_run(run.id, "abandoned", {"why": "the settings changed"})
    as_of = datetime.now(UTC)
    incumbent = in_use(registry, "love")
    run = registry.start_run(
        "refresh",
        key=f"{as_of.isoformat()} {dials[:12]}",
        settings={
            "as_of": as_of.isoformat(),
            "dials": dials,
            "why": why,
            "incumbent": None if incumbent is None else incumbent.number,
        },
    )
    return run, as_of


def incumbent_of(registry: Registry, run: Run) -> Version | None:
    """Give P[Love] in use when the run was started, also where it has moved since."""
    number = run.settings.get("incumbent")
    return registry.version("love", int(str(number))) if number is not None else None
