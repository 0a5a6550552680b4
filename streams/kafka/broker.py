"""Apache Kafka itself on one machine: a single KRaft node as our child process.

Everything lies under `home`: `data/` is Kafka's log (kept for ever: it is the truth), `logs/` what
the broker said, `broker.properties` how it was started, `broker.json` who runs it and where (made
anew where it is damaged), `meta.properties` a copy of the log's identity (identity.py). One
process at a time owns a home, by a lock on `broker.lock` that the system drops when the owner dies;
the broker itself is then told by the kernel to stop (Linux), so no stray Java stays. A broker that
outlived its owner is stopped before a new one starts; where the owner lives, the start is refused.
"""

import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import IO, Annotated, Self

import msgspec
import psutil
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from files.durable import write_durably
from streams.errors import CannotStart
from streams.kafka.identity import is_formatted, keep_identity
from streams.kafka.jars import ensure_jars, read_lock
from streams.kafka.java import find_java
from streams.kafka.kraft import HOST, LOG_TAIL_CHARS, format_home, java_arguments, write_config

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 90.0
"""Longest wait for the first answer: 2 s on an idle machine, after `kill -9` some 5 s."""
STOP_TIMEOUT_S = 20.0
"""Longest wait for an orderly end, before the broker is killed (which loses nothing)."""
POLL_PAUSE_S = 0.1
NUM_PORT_TRIES = 4
"""A free port may be taken between our look and Kafka's start 2 s later; then others are tried."""

LAUNCH = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the given command after asking the kernel (PR_SET_PDEATHSIG = 1, prctl(2)) for SIGTERM
when the thread that started us ends. A program of its own, because code run between fork and exec
of a process with threads (preexec_fn) can deadlock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerState:
    """Where a broker listens, and which process it is: the content of broker.json."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    controller_port: int
    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    started_at: float
    """When that process started, in s since 1970: tells it from a later one with the same pid."""


class Broker:
    """A running broker that we own. Make one with `Broker.start`."""

    def __init__(
        self, home: Path, place: BrokerState, process: subprocess.Popen[bytes], lock: IO[str]
    ) -> None:
        self._home = home
        self._place = place
        self._process = process
        self._lock = lock

    @classmethod
    def start(
        cls,
        home: Path,
        *,
        cache: Path,
        on_progress: Callable[[str], None],
        port: int | None = None,
        java_home: Path | None = None,
    ) -> Self:
        """Start Kafka on `home` and wait until it answers.

        `port` None takes the port of the last start where it is free, else any free one. Raises
        CannotStart.
        """
        home = home.absolute()
        try:
            for folder in (home, home / "logs", home / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
            lock = _own(home)
        except OSError as error:
            raise CannotStart(f"Cannot write the broker's folder {home}: {error}.") from error
        with ExitStack() as undo:
            undo.callback(lock.close)
            _end_orphan(home, on_progress)
            java = find_java(java_home)
            jars = ensure_jars(cache.absolute(), read_lock(), on_progress)
            command = [str(java), *java_arguments(home, jars)]
            try:
                needs_format = not is_formatted(home, on_progress)
                broker = cls._launch(home, lock, command, port, needs_format=needs_format)
            except OSError as error:
                raise CannotStart(f"Cannot write the broker's folder {home}: {error}.") from error
            undo.pop_all()
        return broker

    @property
    def brokers(self) -> str:
        """host:port for clients."""
        return f"{HOST}:{self._place.port}"

    @property
    def pid(self) -> int:
        """The process id of Java."""
        return self._place.pid

    @property
    def log_path(self) -> Path:
        """What the broker has said since it started."""
        return _log_path(self._home)

    def poll(self) -> int | None:
        """None while the broker runs, else its exit status (negative: the signal that ended it)."""
        status = self._process.poll()
        if status is not None:
            self._lock.close()  # An ended broker frees its home for the next.
        return status

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once the broker takes requests. Raises CannotStart with what it said last."""
        deadline = time.monotonic() + timeout_s
        while not _answers(self._place.port):
            if self.poll() is not None:
                raise CannotStart(
                    f"Kafka ended with status {self.poll()} before it was ready; its log "
                    f"{self.log_path} ends with: {self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise CannotStart(
                    f"Kafka did not answer on {self.brokers} within {timeout_s:.0f} s; its log "
                    f"{self.log_path} ends with: {self.log_tail()}"
                )
            time.sleep(POLL_PAUSE_S)

    def log_tail(self) -> str:
        """The end of the broker's log, without the places in Java's code, which say little."""
        said = self.log_path.read_text(errors="replace").splitlines()
        told = "\n".join(line for line in said if not line.startswith("\tat "))
        return told[-LOG_TAIL_CHARS:].strip() or "(nothing)"

    def stop(self) -> None:
        """End the broker in order, or kill it where it does not end. Harmless when it has ended."""
        if self.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                logger.warning("kafka killed", extra={"after_s": STOP_TIMEOUT_S})
                self._process.kill()
                self._process.wait()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @classmethod
    def _launch(
        cls,
        home: Path,
        lock: IO[str],
        command: list[str],
        port: int | None,
        *,
        needs_format: bool,
    ) -> Self:
        """Start Java, with other ports where somebody took ours meanwhile, and wait for it."""
        for num_tries in range(1, NUM_PORT_TRIES + 1):
            ports = _choose_ports(home, port)
            config_path = write_config(home, *ports)
            if needs_format:
                format_home(command, config_path, home)
                needs_format = False
            keep_identity(home)
            process = _spawn([*command, "kafka.Kafka", str(config_path)], home)
            with ExitStack() as undo:
                undo.callback(process.wait)
                undo.callback(process.kill)
                broker = cls(home, _remember(home, *ports, process), process, lock)
                try:
                    broker.wait_ready()
                except CannotStart:
                    lost_port = broker.poll() is not None and _is_taken(ports)
                    if lost_port and num_tries < NUM_PORT_TRIES:
                        continue
                    raise
                undo.pop_all()
            logger.info("kafka started", extra={"brokers": broker.brokers, "pid": broker.pid})
            return broker
        raise AssertionError("unreachable: the last try returns or raises")


def _spawn(command: Sequence[str], home: Path) -> subprocess.Popen[bytes]:
    """Start `command` so that it ends when this process does, whatever ends it.

    The kernel watches the thread that started a child, not the process; so a thread of its own does
    it, and stays until the child has ended.
    """
    started: Queue[subprocess.Popen[bytes] | OSError] = Queue()

    def keep() -> None:
        try:
            with _log_path(home).open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-c", LAUNCH, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=home,
                    start_new_session=True,  # Ctrl-C is for us: others drain through it first.
                )
        except OSError as error:
            started.put(error)
            return
        started.put(process)
        process.wait()

    threading.Thread(target=keep, name="kafka-keeper", daemon=True).start()
    outcome = started.get()
    if isinstance(outcome, OSError):
        raise CannotStart(f"Cannot start Java: {outcome}") from outcome
    return outcome


def running(home: Path) -> BrokerState | None:
    """The broker that runs on this home, whoever started it; None where none does."""
    place = _recall(home)
    if place is None:
        return None
    try:
        process = psutil.Process(place.pid)
        same = abs(process.create_time() - place.started_at) < 1.0
        return place if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _recall(home: Path) -> BrokerState | None:
    """What broker.json says; None where there is none, or it is damaged: it is made anew then."""
    path = home / "broker.json"
    try:
        # Fields of a later version are left out: the process that it names is to be found.
        place = msgspec.json.decode(path.read_bytes(), type=BrokerState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as fault:
        logger.warning("broker.json unreadable", extra={"path": str(path), "cause": str(fault)})
        return None
    return place


def _own(home: Path) -> IO[str]:
    """Take the lock of this home, for as long as the returned file stays open."""
    lock = (home / "broker.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        place = running(home)
        where = f" at {HOST}:{place.port} (pid {place.pid})" if place else ""
        raise CannotStart(
            f"Another rluf already runs the broker of {home}{where}. Stop that one, use it with "
            "RLUF_STREAMS__BROKERS, or choose another folder with RLUF_HOME."
        ) from None
    return lock


def _end_orphan(home: Path, on_progress: Callable[[str], None]) -> None:
    """Stop a broker of this home whose owner has died; we hold the lock, so nobody needs it."""
    place = running(home)
    if place is None:
        return
    on_progress(f"stopping the broker that an earlier run left behind (pid {place.pid})")
    try:
        process = psutil.Process(place.pid)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        return


def _choose_ports(home: Path, port: int | None) -> tuple[int, int]:
    """(port of the broker, port of its controller). Raises CannotStart when `port` is taken."""
    if port is not None:
        if _is_taken((port,)):
            raise CannotStart(
                f"Port {port} on {HOST} is taken by another program. Stop it, or choose another "
                "port."
            )
        return port, _free_port()
    last = _recall(home)
    if last is None or _is_taken((last.port,)):
        return _free_port(), _free_port()
    return last.port, _free_port()


def _is_taken(ports: Sequence[int]) -> bool:
    """Whether somebody listens on one of the ports."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _remember(
    home: Path, port: int, controller_port: int, process: subprocess.Popen[bytes]
) -> BrokerState:
    """Write broker.json, whole or not at all."""
    started_at = psutil.Process(process.pid).create_time()
    place = BrokerState(
        port=port, controller_port=controller_port, pid=process.pid, started_at=started_at
    )
    write_durably(home / "broker.json", msgspec.json.encode(place))
    return place


def _log_path(home: Path) -> Path:
    return home / "logs" / "broker.log"


def _answers(port: int) -> bool:
    """Whether the broker on this port takes requests and has joined its own cluster."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex((HOST, port)) != 0:
            return False
    try:
        admin = KafkaAdminClient(bootstrap_servers=f"{HOST}:{port}", request_timeout_ms=5_000)
    except KafkaError:
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()
