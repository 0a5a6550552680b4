"""`rluf up`: broker, worker, API and scheduler under one supervisor.

A child that dies is never restarted in silence: its name, what ended it and the last lines of its
log are reported, then it is started again; a child that keeps dying ends the whole, loudly.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from files.durable import write_durably
from rluf.child import STOP_WAIT_S, BadHome, Child, exit_words, plan_children, usable
from rluf.settings import BadSettings, Settings
from streams.errors import CannotStart
from streams.kafka.broker import Broker

logger = logging.getLogger(__name__)

RESTARTS_MAX = 5
"""Restarts of one child within RESTART_WINDOW_S before the supervisor gives up."""
RESTART_WINDOW_S = 120.0
READY_WAIT_S = 90.0
POLL_S = 0.25
LOOPBACK = "127.0.0.1"
"""Where the worker shows its metrics to the API of the same machine."""
ALL = ("worker", "api", "scheduler")
"""The children beside the broker."""


class AlreadyUp(RuntimeError):
    """Another supervisor holds this home."""


class PortTaken(RuntimeError):
    """Another program listens where the API is to listen."""


class ChildFailed(RuntimeError):
    """A child did not come up or keeps dying; the text names it and shows its last lines."""


class Supervisor:
    """Starts, watches, restarts and stops the processes of one home."""

    def __init__(
        self,
        settings: Settings,
        *,
        say: Callable[[str], None],
        plan: Callable[[Settings, Sequence[str]], list[Child]] = plan_children,
    ) -> None:
        self.settings = settings
        self.say = say
        self._plan = plan
        self.broker: Broker | None = None
        self.children: list[Child] = []
        self.stopping = threading.Event()
        self.brokers = settings.streams.brokers
        self._environment: dict[str, str] = {}
        self._broker_died_at: list[float] = []
        self._lock: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the API."""
        serving = self.settings.serving
        return f"http://{serving.host}:{serving.port}"

    def start(self, *, recipes: Sequence[str] = (), only: Sequence[str] = ALL) -> None:
        """Bring everything up.

        Raises AlreadyUp, PortTaken, CannotStart, ChildFailed, BadHome, BadSettings.
        """
        home = self.settings.home
        if not self.brokers and self.settings.streams.security.protocol != "PLAINTEXT":
            raise BadSettings(
                f"streams.security.protocol is {self.settings.streams.security.protocol} and"
                " streams.brokers is empty; the broker that `rluf up` starts speaks plain text to"
                " this machine alone: name a cluster, or leave streams.security out"
            )
        self._take_lock(home)
        with usable(home / "up.json"):
            (home / "up.json").unlink(missing_ok=True)  # What a crash left is not about this one.
        if "api" in only:
            serving = self.settings.serving
            port = require_free_port(serving.host, serving.port)
            url = serving.worker_metrics_url
            if not url and "worker" in only:
                url = f"http://{LOOPBACK}:{require_free_port(LOOPBACK, 0)}/metrics"
            serving = replace(serving, port=port, worker_metrics_url=url)
            self.settings = replace(self.settings, serving=serving)
        if not self.brokers:
            self.broker = Broker.start(
                home / "kafka", cache=self.settings.cache, on_progress=self.say
            )
            self.brokers = self.broker.brokers
            self.say(f"broker: Apache Kafka on {self.brokers}, log under {home / 'kafka'}")
        else:
            self.say(f"broker: using {self.brokers}; none started")
        self._environment = {
            **os.environ,
            "RLUF_HOME": str(home),
            "RLUF_CACHE": str(self.settings.cache),
            "RLUF_STREAMS__BROKERS": self.brokers,
            "RLUF_SERVING__PORT": str(self.settings.serving.port),
            "RLUF_SERVING__WORKER_METRICS_URL": self.settings.serving.worker_metrics_url,
        }
        self.children = [
            child for child in self._plan(self.settings, recipes) if child.name in only
        ]
        for child in self.children:
            child.start(self._environment)
        self._write_state()
        for child in self.children:
            self._wait_ready(child)

    def watch(self) -> None:
        """Keep everything running until `stop` is asked for.

        Raises ChildFailed, CannotStart, BadHome.
        """
        while not self.stopping.wait(POLL_S):
            if self.broker is not None and self.broker.poll() is not None:
                self._restart_broker()
            for child in self.children:
                if child.has_died():
                    self._restart(child)
                elif child.is_awaited and child.is_ready():
                    child.is_awaited = False
                    self._say_ready(child)

    def stop(self) -> None:
        """Stop everything, the broker last so that the others can drain."""
        self.stopping.set()
        for child in reversed(self.children):
            if child.stop():
                self.say(f"{child.name}: killed, as it did not end within {STOP_WAIT_S:g} s")
        if self.broker is not None:
            self.broker.stop()
        if self._lock is not None:
            with contextlib.suppress(OSError):  # Without the lock it counts for nothing.
                (self.settings.home / "up.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _wait_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_WAIT_S
        while not child.is_ready():
            if self.stopping.is_set():
                return
            if child.has_died():
                raise ChildFailed(
                    f"{child.name} ended before it was ready ({child.exit_cause()});"
                    f" its log {child.log} ends with:\n{child.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ChildFailed(
                    f"{child.name} was not ready within {READY_WAIT_S:.0f} s;"
                    f" its log {child.log} ends with:\n{child.log_tail()}"
                )
            time.sleep(POLL_S / 2)
        self._say_ready(child)

    def _say_ready(self, child: Child) -> None:
        assert child.process is not None
        self.say(f"{child.name}: ready (pid {child.process.pid})")

    def _restart(self, child: Child) -> None:
        count = _count_death(child.died_at)
        self.say(f"{child.name} died: {child.exit_cause()}. Its log ends with:")
        self.say(child.log_tail())
        if count > RESTARTS_MAX:
            raise ChildFailed(
                f"{child.name} died {count} times in {RESTART_WINDOW_S:.0f} s"
                f" ({child.exit_cause()}); giving up. Its log: {child.log}"
            )
        self.say(f"{child.name}: restarting ({count} of {RESTARTS_MAX})")
        if self.stopping.wait(min(8.0, 0.5 * 2 ** (count - 1))):
            return
        child.start(self._environment)
        child.is_awaited = True
        self._write_state()

    def _restart_broker(self) -> None:
        assert self.broker is not None
        count, cause = _count_death(self._broker_died_at), exit_words(self.broker.poll())
        if count > RESTARTS_MAX:
            raise ChildFailed(
                f"the broker died {count} times in {RESTART_WINDOW_S:.0f} s ({cause});"
                f" giving up. Its log: {self.broker.log_path}"
            )
        self.say(f"broker died: {cause}; restarting on the same log ({count} of {RESTARTS_MAX})")
        port = int(self.brokers.rsplit(":", 1)[1])
        self.broker = Broker.start(
            self.settings.home / "kafka",
            port=port,
            cache=self.settings.cache,
            on_progress=self.say,
        )
        self.say(f"broker: back on {self.broker.brokers}")
        self._write_state()

    def _take_lock(self, home: Path) -> None:
        with usable(home / "up.lock"):
            home.mkdir(parents=True, exist_ok=True)
            self._lock = (home / "up.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise AlreadyUp(
                f"another `rluf up` runs on {home}; stop it, or set RLUF_HOME to another folder"
            ) from None

    def _write_state(self) -> None:
        """Say where everything runs; where the disk is full, the processes run on without it."""
        state = {
            "brokers": self.brokers,
            "url": self.url,
            "pids": {c.name: c.process.pid for c in self.children if c.process is not None},
            "supervisor": os.getpid(),
        }
        path = self.settings.home / "up.json"
        try:
            write_durably(path, json.dumps(state, indent=1).encode())
        except OSError as fault:
            self.say(
                f"cannot write {path} ({fault.strerror}): other commands do not find the broker"
                f" unless RLUF_STREAMS__BROKERS={self.brokers} is set"
            )


def require_free_port(host: str, port: int) -> int:
    """Give the port, or a free one for 0. Raises PortTaken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as fault:
        raise PortTaken(
            f"cannot listen on port {port} of {host} ({fault.strerror}); stop the program that"
            " does, or choose another port with RLUF_SERVING__PORT (0 takes a free one)"
        ) from None


def _count_death(died_at: list[float]) -> int:
    """Note that it died now; give how often it did within RESTART_WINDOW_S."""
    now = time.monotonic()
    died_at[:] = [at for at in died_at if now - at < RESTART_WINDOW_S] + [now]
    return len(died_at)


def is_up(home: Path) -> bool:
    """Say whether an `rluf up` holds this home, also where it is not ready yet."""
    try:
        with (home / "up.lock").open("ab") as lock:
            # Shared: two that ask at the same time do not take each other for an `rluf up`.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def read_state(home: Path) -> dict[str, object] | None:
    """Give what the running `rluf up` of this home wrote about itself, or None.

    None too where what lies there was left by a crash, or cannot be read: it is written anew at
    the next start. Whatever else a later version writes there, `brokers` it has.
    """
    path = home / "up.json"
    if not is_up(home):
        return None
    try:
        state = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        logger.warning("up.json unreadable", extra={"path": str(path), "cause": str(fault)})
        return None
    if not isinstance(state, dict) or not isinstance(state.get("brokers"), str):
        logger.warning("up.json unreadable", extra={"path": str(path), "cause": "no brokers"})
        return None
    return state


@contextlib.contextmanager
def supervised(
    settings: Settings,
    *,
    say: Callable[[str], None],
    recipes: Sequence[str] = (),
    only: Sequence[str] = ALL,
) -> Iterator[Supervisor]:
    """Everything up inside the block and watched by a thread; everything down after it.

    Call it in the main thread: SIGINT and SIGTERM end the block, and so does what `watch` raises.
    """
    supervisor = Supervisor(settings, say=say)
    faults: list[ChildFailed | CannotStart | BadHome | OSError] = []
    # A shell starts a background job with SIGINT ignored; then nothing could end the block.
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }

    def watch() -> None:
        try:
            supervisor.watch()
        except (ChildFailed, CannotStart, BadHome, OSError) as fault:
            # Whatever ends the watch ends the whole: nothing may run on unwatched.
            faults.append(fault)
            os.kill(os.getpid(), signal.SIGINT)

    try:
        supervisor.start(recipes=recipes, only=only)
        threading.Thread(target=watch, name="supervisor", daemon=True).start()
        yield supervisor
    except KeyboardInterrupt:
        if faults:
            raise faults[0] from None
        say("stopping")
        raise
    finally:
        supervisor.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
