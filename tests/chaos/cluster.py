"""Clusters of Apache Kafka that chaos can be let loose on: the single node, and three of them.

A cluster is asked to kill or end one of its nodes, and later to bring it back on its folder and
port.
"""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from streams.config import RECORD_BYTES_MAX
from streams.errors import CannotStart
from streams.kafka.broker import LAUNCH, Broker
from streams.kafka.jars import ensure_jars, read_lock
from streams.kafka.java import find_java
from streams.kafka.kraft import (
    FORMAT_TIMEOUT_S,
    HEARTBEAT_MS,
    HOST,
    LOG_TAIL_CHARS,
    SESSION_TIMEOUT_MS,
    java_arguments,
    new_cluster_id,
)

NODES = 3
HEAP = "-Xmx384m"
"""Comes after the house's own flags, so it counts instead of theirs."""
START_WAIT_S = 120.0
STOP_WAIT_S = 30.0
POLL_S = 0.2


class Cluster(Protocol):
    """What chaos needs of brokers."""

    @property
    def brokers(self) -> str:
        """host:port of every node, with commas."""

    @property
    def replication(self) -> int:
        """Copies that topics shall have."""

    def take_down(self, random_: random.Random, *, in_order: bool) -> None:
        """End one node by SIGTERM, or by SIGKILL; does nothing while one is down."""

    def bring_back(self) -> None:
        """Start the node that is down, and wait until the cluster is whole. Raises CannotStart."""

    def stop(self) -> None:
        """End all nodes."""


class SingleNode:
    """The broker that `rluf up` starts."""

    def __init__(self, home: Path, cache: Path) -> None:
        self._home = home
        self._cache = cache
        self._broker = Broker.start(home, cache=cache, on_progress=_ignore)
        self._port = int(self._broker.brokers.rsplit(":", 1)[1])

    @property
    def brokers(self) -> str:
        """host:port."""
        return self._broker.brokers

    @property
    def replication(self) -> int:
        """One node holds one copy."""
        return 1

    def take_down(self, random_: random.Random, *, in_order: bool) -> None:
        """End the node."""
        if self._broker.poll() is not None:
            return
        if in_order:
            self._broker.stop()
            return
        os.kill(self._broker.pid, 9)
        while self._broker.poll() is None:
            time.sleep(POLL_S)

    def bring_back(self) -> None:
        """Start it on the same folder and port."""
        if self._broker.poll() is not None:
            self._broker = Broker.start(
                self._home, cache=self._cache, on_progress=_ignore, port=self._port
            )

    def stop(self) -> None:
        """End it."""
        self._broker.stop()


class Node:
    """One of several nodes, broker and controller at once."""

    def __init__(self, number: int, home: Path, port: int, command: Sequence[str]) -> None:
        self.number = number
        self.home = home
        self.port = port
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Java; the kernel ends it when the thread that called us ends."""
        with (self.home / "logs" / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", LAUNCH, str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def end(self, *, in_order: bool) -> None:
        """By SIGTERM, insisting after a while; or by SIGKILL."""
        if self._process is None:
            return
        if in_order:
            self._process.terminate()
            try:
                self._process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        else:
            self._process.kill()
        self._process.wait()

    def log_tail(self) -> str:
        """The end of its log."""
        text = (self.home / "logs" / "broker.log").read_text(errors="replace")
        return text[-LOG_TAIL_CHARS:].strip()


class ThreeNodes:
    """A KRaft cluster of three, each topic in three copies of which two must acknowledge."""

    def __init__(self, home: Path, cache: Path) -> None:
        """Start them and wait until each knows all. Raises CannotStart. Call in the main thread."""
        java = str(find_java())
        jars = ensure_jars(cache.absolute(), read_lock(), _ignore)
        cluster_id = new_cluster_id()
        ports = _free_ports(2 * NODES)
        voters = ",".join(f"{n + 1}@{HOST}:{ports[NODES + n]}" for n in range(NODES))
        self._nodes: list[Node] = []
        for index in range(NODES):
            folder = (home / f"node-{index + 1}").absolute()
            for part in ("data", "logs", "tmp"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            config = _write_config(
                folder, index + 1, ports[index], ports[NODES + index], voters=voters
            )
            base = [java, *java_arguments(folder, jars), HEAP]
            _format(base, config, cluster_id)
            command = [*base, "kafka.Kafka", str(config)]
            self._nodes.append(Node(index + 1, folder, ports[index], command))
        for node in self._nodes:
            node.start()
        try:
            self._wait_whole()
        except CannotStart:
            self.stop()
            raise

    @property
    def brokers(self) -> str:
        """All three."""
        return ",".join(f"{HOST}:{node.port}" for node in self._nodes)

    @property
    def replication(self) -> int:
        """A copy on each."""
        return NODES

    def take_down(self, random_: random.Random, *, in_order: bool) -> None:
        """End one of the three; only ever one, as two cannot acknowledge without a third."""
        if all(node.is_running() for node in self._nodes):
            random_.choice(self._nodes).end(in_order=in_order)

    def bring_back(self) -> None:
        """Start what is down."""
        for node in self._nodes:
            if not node.is_running():
                node.start()
        self._wait_whole()

    def stop(self) -> None:
        """End all."""
        for node in self._nodes:
            node.end(in_order=False)  # Nothing is needed of their folders any more.

    def _wait_whole(self) -> None:
        """Return once the cluster says that it has all nodes. Raises CannotStart."""
        deadline = time.monotonic() + START_WAIT_S
        while _num_nodes(self.brokers) < NODES:
            for node in self._nodes:
                if not node.is_running():
                    raise CannotStart(f"node {node.number} ended: {node.log_tail()}")
            if time.monotonic() > deadline:
                words = "\n".join(node.log_tail() for node in self._nodes)
                raise CannotStart(f"no cluster of {NODES} within {START_WAIT_S:.0f} s: {words}")
            time.sleep(POLL_S)


def _ignore(_text: str) -> None:
    """Take progress that nobody reads."""


def _num_nodes(brokers: str) -> int:
    """How many nodes the cluster counts as alive; 0 where nobody answers."""
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=brokers.split(","),
            request_timeout_ms=5_000,
            bootstrap_timeout_ms=5_000,
        )
    except KafkaError:
        return 0
    try:
        return len(admin.describe_cluster()["brokers"])
    except KafkaError:
        return 0
    finally:
        admin.close()


def _free_ports(num: int) -> list[int]:
    """Different ports that nobody listens on."""
    probes = [socket.socket() for _ in range(num)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _write_config(home: Path, number: int, port: int, controller_port: int, *, voters: str) -> Path:
    """Write the settings of one node and return where they are."""
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": number,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": home / "data",
        "log.retention.ms": -1,
        "message.max.bytes": RECORD_BYTES_MAX,
        "replica.fetch.max.bytes": RECORD_BYTES_MAX,
        "auto.create.topics.enable": "false",
        "broker.session.timeout.ms": SESSION_TIMEOUT_MS,
        "broker.heartbeat.interval.ms": HEARTBEAT_MS,
        "group.initial.rebalance.delay.ms": 0,
        "default.replication.factor": NODES,
        "min.insync.replicas": NODES - 1,
        "offsets.topic.replication.factor": NODES,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": NODES,
        "transaction.state.log.min.isr": NODES - 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": NODES,
        "share.coordinator.state.topic.min.isr": NODES - 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "log.cleaner.dedupe.buffer.size": 4 << 20,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    path = home / "broker.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), "ascii")
    return path


def _format(java: Sequence[str], config: Path, cluster_id: str) -> None:
    """Give an empty node the cluster's id. Raises CannotStart."""
    done = subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=config.parent,
        timeout=FORMAT_TIMEOUT_S,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")[-LOG_TAIL_CHARS:].strip()
        raise CannotStart(f"Kafka could not prepare {config.parent}: {said}")
