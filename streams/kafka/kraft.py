"""How one Kafka node is set up: its settings, its Java, the formatting of its folder (KRaft)."""

import base64
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from streams.config import RECORD_BYTES_MAX
from streams.errors import CannotStart

HOST = "127.0.0.1"
FORMAT_TIMEOUT_S = 90.0
"""Longest that the formatting of an empty folder may take; 2 s on an idle machine."""
LOG_TAIL_CHARS = 600
"""How much of what Kafka said last an error repeats."""

SESSION_TIMEOUT_MS = 3_000
"""How long the broker counts as alive after its last heartbeat. After `kill -9` the next one must
wait this long (Kafka's default is 9 s); shorter, a busy laptop would fence a living broker."""
HEARTBEAT_MS = 500

JVM_FLAGS = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # It would write to the system's /tmp.
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)


def write_config(home: Path, port: int, controller_port: int) -> Path:
    """Write Kafka's settings and return where they are."""
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": home / "data",
        "log.retention.ms": -1,
        "message.max.bytes": RECORD_BYTES_MAX,
        "auto.create.topics.enable": "false",
        "broker.session.timeout.ms": SESSION_TIMEOUT_MS,
        "broker.heartbeat.interval.ms": HEARTBEAT_MS,
        "group.initial.rebalance.delay.ms": 0,
        # One node holds one copy of everything; few partitions start and recover faster.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        # Kafka's defaults are for large machines: 128 MB for the cleaner alone.
        "log.cleaner.dedupe.buffer.size": 4 << 20,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    path = home / "broker.properties"
    path.write_text("".join(f"{key}={_escaped(value)}\n" for key, value in settings.items()))
    return path


def _escaped(value: object) -> str:
    """As java.util.Properties reads it: a backslash escapes, and non-ASCII is \\uXXXX."""
    text = str(value).replace("\\", "\\\\")
    units = text.encode("utf-16-be")
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in pairs)


def java_arguments(home: Path, jars: Sequence[Path]) -> list[str]:
    logs = home / "logs"
    return [
        *JVM_FLAGS,
        f"-Djava.io.tmpdir={home / 'tmp'}",
        f"-XX:ErrorFile={logs / 'java_error_%p.log'}",
        "-cp",
        os.pathsep.join(str(jar) for jar in jars),
    ]


def new_cluster_id() -> str:
    """16 random bytes as Kafka writes them; never with a leading "-", which its tool misreads."""
    while True:
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def format_home(command: list[str], config_path: Path, home: Path) -> None:
    """Give an empty home its cluster id. Raises CannotStart."""
    tool = [*command, "kafka.tools.StorageTool", "format", "-t", new_cluster_id()]
    try:
        done = subprocess.run(
            [*tool, "-c", str(config_path)],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=home,
            timeout=FORMAT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise CannotStart(
            f"Kafka did not prepare its folder {home / 'data'} within {FORMAT_TIMEOUT_S:.0f} s; it"
            " is empty still. Try again when the machine is less busy."
        ) from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")[-LOG_TAIL_CHARS:].strip()
        raise CannotStart(f"Kafka could not prepare its folder {home / 'data'}: {said}")
