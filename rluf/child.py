"""One process that `rluf up` supervises, and which there are."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from rluf.settings import Settings

STOP_WAIT_S = 20.0
"""How long a child may drain after SIGTERM before it is killed."""


class BadHome(RuntimeError):
    """A file that `rluf up` keeps in the home cannot be used; the text says which and why."""


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    command: list[str]
    log: Path
    ready_url: str = ""
    ready_file: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    died_at: list[float] = field(default_factory=list)
    is_awaited: bool = False
    """Whether it was started again and has not been seen ready since."""

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it with its output appended to its log. Raises BadHome."""
        if self.ready_file is not None:
            with usable(self.ready_file):
                self.ready_file.unlink(missing_ok=True)
        with usable(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            out = self.log.open("ab")
        with out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=out, env=dict(environment), start_new_session=True
            )

    def has_died(self) -> bool:
        """Say whether it was started and has ended."""
        return self.process is not None and self.process.poll() is not None

    def is_ready(self) -> bool:
        """Say whether it does its work already."""
        if self.ready_file is not None and not self.ready_file.exists():
            return False
        if not self.ready_url:
            return True
        try:
            with urllib.request.urlopen(self.ready_url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def log_tail(self, lines: int = 8) -> str:
        """Give the end of its log, or say why there is none."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 16_384))
                return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""
        except OSError as fault:
            return f"({self.log} cannot be read: {fault.strerror})"

    def exit_cause(self) -> str:
        """Say what ended it, in words."""
        return exit_words(self.process.returncode if self.process is not None else None)

    def stop(self) -> bool:
        """Ask it to drain, then insist; gives whether it had to be killed."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.terminate()
        try:
            self.process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return True
        return False


def plan_children(settings: Settings, recipes: Sequence[str]) -> list[Child]:
    """Give the processes of the house beside the broker, in the order they start."""
    logs, ready = settings.home / "logs", settings.home / "worker.ready"
    metrics_port = str(urlsplit(settings.serving.worker_metrics_url).port or 0)
    base = [sys.executable, "-m", "rluf"]
    options = [part for recipe in recipes for part in ("--recipe", recipe)]
    options += ["--supervisor", str(os.getpid())]
    return [
        Child(
            name="worker",
            command=[
                *(*base, "worker", *options, "--ready-file", str(ready)),
                *(("--metrics-port", metrics_port) if metrics_port != "0" else ()),
            ],
            log=logs / "worker.log",
            ready_file=ready,
        ),
        Child(
            name="api",
            command=[*base, "api", *options],
            log=logs / "api.log",
            ready_url=f"http://{settings.serving.host}:{settings.serving.port}/healthz",
        ),
        Child(
            name="scheduler",
            command=[*base, "schedule", *options],
            log=logs / "scheduler.log",
        ),
    ]


def exit_words(code: int | None) -> str:
    """Say what an exit status means."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turn what the system says of a file of the home into words. Raises BadHome."""
    try:
        yield
    except OSError as fault:
        raise BadHome(
            f"cannot use {path} ({fault.strerror}); it holds nothing that is needed: mend its"
            " permission or free the disk, or move it away, and start again"
        ) from fault
