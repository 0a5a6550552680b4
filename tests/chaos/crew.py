"""Real workers as processes, `python -m rluf worker`, watched as `rluf up` watches them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOP_WAIT_S = 60.0


@dataclass(slots=True, kw_only=True)
class Member:
    """One worker."""

    name: str
    process: subprocess.Popen[bytes]
    ready: Path
    is_leaving: bool = False
    """Asked to end."""

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def is_busy(self) -> bool:
        """Whether it has its partitions and is to keep them."""
        return self.is_alive() and not self.is_leaving and self.ready.exists()


class Crew:
    """As many workers as wanted; who dies is replaced."""

    def __init__(self, home: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = {**os.environ, "RLUF_HOME": str(home), **environment}
        self._members: list[Member] = []
        self._num_started = 0
        self.num_wanted = 1
        self.unasked: list[str] = []
        """Workers that ended though nobody asked them to: name and exit status."""
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def pids(self) -> list[int]:
        """Those that live."""
        return [member.process.pid for member in self._members if member.is_alive()]

    def num_busy(self) -> int:
        """Workers at work."""
        return sum(member.is_busy() for member in self._members)

    def watch(self) -> None:
        """Bury the dead and start who is missing."""
        for member in list(self._members):
            if not member.is_alive():
                self._members.remove(member)
                code = member.process.returncode
                if not member.is_leaving or code != 0:
                    self.unasked.append(f"{member.name}: status {code}")
        while sum(not member.is_leaving for member in self._members) < self.num_wanted:
            self._start()

    def kill_one(self, random_: random.Random) -> bool:
        """End a busy worker like a power cut; False where none is busy."""
        busy = [member for member in self._members if member.is_busy()]
        if not busy:
            return False
        member = random_.choice(busy)
        member.process.kill()
        member.process.wait()
        self._members.remove(member)
        return True

    def dismiss_one(self, random_: random.Random) -> bool:
        """Ask a busy worker to end, and want one less; False where none is busy."""
        busy = [member for member in self._members if member.is_busy()]
        if not busy:
            return False
        member = random_.choice(busy)
        member.is_leaving = True
        member.process.send_signal(signal.SIGTERM)
        self.num_wanted -= 1
        return True

    def stop(self) -> None:
        """Ask all to end and wait for them; insist where one does not."""
        self.num_wanted = 0
        for member in self._members:
            if member.is_alive():
                member.is_leaving = True
                member.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WAIT_S
        for member in self._members:
            try:
                member.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
        self.watch()

    def abandon(self) -> None:
        """Kill all: the run has failed."""
        for member in self._members:
            member.process.kill()
            member.process.wait()

    def _start(self) -> None:
        self._num_started += 1
        name = f"worker-{self._num_started:03}"
        ready = self._logs / f"{name}.ready"
        ready.unlink(missing_ok=True)
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "rluf", "worker", "--ready-file", str(ready)),
                    *("--supervisor", str(os.getpid())),
                ],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._members.append(Member(name=name, process=process, ready=ready))
