"""One run: a story is sent while workers, brokers and the disk fail, and then everything is judged.

What is real: the brokers, the workers (`python -m rluf worker`), SIGKILL and SIGTERM, the full file
system where we may mount one. What is simulated: the jumps of the clock, by the timestamps that the
producer gives and the times in the events; the machine's clock is left alone. The guard judges by
one rule that these texts never meet, so that labels are those of the fold alone.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.kafka.topics import ensure_topics, lag
from tests.chaos.cluster import Cluster, SingleNode, ThreeNodes
from tests.chaos.crew import Crew
from tests.chaos.disk import StoreDisk
from tests.chaos.judge import Findings, judge
from tests.chaos.lines import write_lines
from tests.chaos.oracle import expect
from tests.chaos.sender import Sender
from tests.chaos.story import story

KILL_EVERY_S = 7.0
"""A worker needs some seconds to come back; more kills in less time would find nobody at work."""
RUN_S_MIN = 30.0
LOOK_S = 0.1
BROKER_DOWN_S = (2.0, 8.0)
DISK_FULL_S = 8.0
DRAIN_WAIT_S = 240.0
WORKERS_MAX = 3
CLOCK_JUMPS = 3
CALM_AFTER = 0.9
"""Share of the story after which no fault begins: those of a finished stream would hit nobody."""

OnProgress = Callable[[str, int, int], None]
"""Called with what is going on, done and total."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What happened and what was found."""

    cluster: str
    seed: int
    events: int
    acknowledged: int = 0
    kills: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    malformed: int = 0
    dead_letters: int = 0
    dead_letter_faults: int = 0
    label_mismatches: int = 0
    lag: int = 0
    wall_seconds: float = 0.0
    retries: int = 0
    unasked_ends: list[str] = field(default_factory=list)
    """Workers that ended though nobody killed them or asked them to."""
    examples: dict[str, list[str]] = field(default_factory=dict)

    def take(self, findings: Findings) -> None:
        """Note what was found."""
        for name in (
            "lost",
            "doubled",
            "malformed",
            "dead_letters",
            "dead_letter_faults",
            "label_mismatches",
            "lag",
            "examples",
        ):
            setattr(self, name, getattr(findings, name))

    @property
    def is_clean(self) -> bool:
        """Whether the promises held."""
        faults = (self.lost, self.doubled, self.dead_letter_faults, self.label_mismatches, self.lag)
        is_complete = self.acknowledged == self.events and self.dead_letters == self.malformed
        return is_complete and not any(faults)


class Chaos:
    """Does the faults of a schedule, one after the other, while the story is sent."""

    def __init__(
        self, cluster: Cluster, crew: Crew, disk: StoreDisk, schedule: list[tuple[float, str]]
    ) -> None:
        self._cluster = cluster
        self._crew = crew
        self._disk = disk
        self._left = deque(sorted(schedule))
        self._ends: list[tuple[float, Callable[[], None]]] = []
        self.faults: Counter[str] = Counter()

    def is_over(self) -> bool:
        """Whether every fault was done and undone."""
        return not self._left and not self._ends

    def step(self, share: float, random_: random.Random) -> None:
        """Do what is due when `share` of the story was acknowledged."""
        now = time.monotonic()
        for due in [end for end in self._ends if end[0] <= now]:
            self._ends.remove(due)
            due[1]()
        self._disk.refill(self._crew.pids)
        self._crew.watch()
        if self._left and self._left[0][0] <= share and self._do(self._left[0][1], random_):
            _, kind = self._left.popleft()
            self.faults[kind] += 1

    def _do(self, kind: str, random_: random.Random) -> bool:
        """Do one fault; False where it has to wait."""
        now = time.monotonic()
        match kind:
            case "worker_killed":
                return self._crew.kill_one(random_)
            case "worker_left":
                return self._crew.num_wanted > 1 and self._crew.dismiss_one(random_)
            case "worker_joined":
                self._crew.num_wanted = min(WORKERS_MAX, self._crew.num_wanted + 1)
                return True
            case "broker_killed" | "broker_restarted":
                self._cluster.take_down(random_, in_order=kind == "broker_restarted")
                self._ends.append((now + random_.uniform(*BROKER_DOWN_S), self._cluster.bring_back))
                return True
            case "disk_filled":
                self._disk.fill(self._crew.pids)
                self._ends.append((now + DISK_FULL_S, self._disk.free))
                return True
        raise AssertionError(kind)


def schedule_of(kills: int, random_: random.Random, *, brokers: int) -> list[tuple[float, str]]:
    """(share of the story, fault) of a run."""
    moments = [(random_.uniform(0.03, CALM_AFTER), "worker_killed") for _ in range(kills)]
    others = ["disk_filled"] + ["broker_killed", "broker_restarted"] * brokers
    moments += [(random_.uniform(0.05, CALM_AFTER), kind) for kind in others]
    # One worker becomes two or three and one again: nobody leaves who did not join before.
    moves = (["worker_joined", "worker_joined", "worker_left", "worker_left"] * kills)[: kills // 7]
    moves += ["worker_joined", "worker_left"]
    times = sorted(random_.uniform(0.05, CALM_AFTER) for _ in moves)
    return moments + list(zip(times, moves, strict=True))


def run(
    folder: Path,
    *,
    events: int,
    kills: int,
    seed: int,
    cluster_kind: str,
    cache: Path,
    brokers: int = 1,
    on_progress: OnProgress,
) -> Report:
    """Send a story through a platform that fails all the time; gives what became of it."""
    began = time.monotonic()
    report = Report(cluster=cluster_kind, seed=seed, events=events)
    random_ = random.Random(seed)
    path = folder / "input.jsonl"
    write_lines(path, story(events, seed, num_jumps=CLOCK_JUMPS))
    kinds: dict[str, Callable[[], Cluster]] = {
        "single": lambda: SingleNode(folder / "kafka", cache),
        "three": lambda: ThreeNodes(folder / "kafka", cache),
    }
    home = folder / "home"
    cluster = kinds[cluster_kind]()
    try:
        config = StreamsConfig(brokers=cluster.brokers, replication=cluster.replication)
        ensure_topics(config)
        environment = {
            "RLUF_CACHE": str(cache),
            "RLUF_STREAMS__BROKERS": cluster.brokers,
            "RLUF_STREAMS__REPLICATION": str(cluster.replication),
            "RLUF_GUARD__RULES": '["dictated"]',
        }
        crew = Crew(home, folder / "logs", environment)
        with StoreDisk(home / "store") as disk:
            chaos = Chaos(cluster, crew, disk, schedule_of(kills, random_, brokers=brokers))
            rate = events / max(RUN_S_MIN, kills * KILL_EVERY_S)
            sender = Sender(path, events, config, rate=rate)
            try:
                _send(sender, chaos, random_, on_progress)
                _drain(config, crew, on_progress)
                crew.stop()
            except BaseException:
                crew.abandon()
                sender.stop()
                raise
            report.acknowledged = sender.num_acknowledged
            report.retries = sender.num_retries
            report.faults = {**chaos.faults, "clock_jumped": CLOCK_JUMPS}
            if disk.kind == "rlimit":
                report.faults["disk_filled_by_a_limit"] = report.faults.pop("disk_filled", 0)
            report.kills = chaos.faults["worker_killed"]
            report.unasked_ends = crew.unasked
            report.take(judge(home, expect(sender.acknowledged()), config))
    finally:
        cluster.stop()
    report.wall_seconds = round(time.monotonic() - began, 1)
    return report


def _send(sender: Sender, chaos: Chaos, random_: random.Random, on_progress: OnProgress) -> None:
    """Until all is acknowledged and every fault was done."""
    sender.start()
    while not (sender.is_done() and chaos.is_over()):
        share = 1.0 if sender.is_done() else sender.num_acknowledged / sender.num_lines
        chaos.step(share, random_)
        on_progress("acknowledged", sender.num_acknowledged, sender.num_lines)
        time.sleep(LOOK_S)


def _drain(config: StreamsConfig, crew: Crew, on_progress: OnProgress) -> None:
    """Until the workers have committed everything, or that takes too long."""
    deadline = time.monotonic() + DRAIN_WAIT_S
    most = 1
    while time.monotonic() < deadline:
        crew.watch()
        try:
            behind = sum(lag(config).values())
        except Unavailable:
            behind = most
        most = max(most, behind)
        on_progress("stored", most - behind, most)
        if behind == 0:
            return
        time.sleep(1.0)
