"""What the API counts, under Prometheus' rules: base units, `_total` counters, no ids in labels.

The meters belong to one application, not to the process, so that two in one process (tests, a
canary beside its parent) do not add up.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from models.figures import Rollback

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH = (1, 2, 4, 8, 16, 32, 64)
ROLLBACK_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
NUM_SWAPS_MAX = 64
"""Changes of the live arms that are remembered, to time rollbacks by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """The arms that began to serve at a time, each as (name, version, arm)."""

    at_s: float
    """Unix time, in seconds."""
    policies: tuple[tuple[str, str, str], ...]


class Meters:
    """Every meter of the API."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix time in seconds; tests set it."""
        self.registry = CollectorRegistry()
        self._clock = clock
        self._first_swap_s: float | None = None
        self._swaps: deque[Swap] = deque(maxlen=NUM_SWAPS_MAX)
        self._timed: set[tuple[str, int]] = set()
        self.requests = Counter(
            "rluf_http_requests",
            "Requests answered",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_duration = Histogram(
            "rluf_http_request_duration_seconds",
            "From the request's first byte to the answer's last",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.replies = Counter(
            "rluf_replies",
            "Replies given to users",
            ["policy", "arm", "finish_reason"],
            registry=self.registry,
        )
        self.tokens = Counter(
            "rluf_tokens", "Tokens read and written", ["kind"], registry=self.registry
        )
        self.first_token = Histogram(
            "rluf_time_to_first_token_seconds",
            "From a streamed request to its first piece",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "rluf_engine_batch_replies",
            "Replies generated together in a turn",
            buckets=BATCH,
            registry=self.registry,
        )
        self.generation = Histogram(
            "rluf_engine_generation_seconds",
            "Time of one turn of a version's replies, some tokens each",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.queue = Gauge(
            "rluf_engine_queue_requests",
            "Requests waiting for the engine",
            registry=self.registry,
        )
        self.left = Counter(
            "rluf_engine_left",
            "Requests whose client went away, or waited too long, by where they were taken out",
            ["place"],
            registry=self.registry,
        )
        self.swaps = Counter(
            "rluf_engine_swaps", "Changes of the live arms", registry=self.registry
        )
        self.load_failures = Counter(
            "rluf_engine_load_failures",
            "Versions that could not be loaded",
            registry=self.registry,
        )
        self.model_info = Gauge(
            "rluf_model_info",
            "1 for each version that serves",
            ["name", "version", "alias"],
            registry=self.registry,
        )
        self.events_sent = Counter(
            "rluf_events_sent",
            "Events handed to the broker, by what came of it",
            ["type", "result"],
            registry=self.registry,
        )
        self.ack_duration = Histogram(
            "rluf_events_ack_seconds",
            "From sending an event to the broker's acknowledgement",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.feedback = Counter(
            "rluf_feedback",
            "Feedback calls, by what came of them",
            ["signal", "action", "result"],
            registry=self.registry,
        )
        self.learning = Counter(
            "rluf_feedback_learning",
            "Feedback taken, by whether it will teach anything (yes, no, unknown) and why not",
            ["learns", "why"],
            registry=self.registry,
        )
        self.unsafe_retries = Counter(
            "rluf_feedback_unsafe_retries",
            "Feedback taken with neither Idempotency-Key nor occurred_at: not safe to send again",
            registry=self.registry,
        )
        self.not_learned = Counter(
            "rluf_answers_not_learned",
            "Answers recorded as not to be learned from, by what said so",
            ["why"],
            registry=self.registry,
        )
        self.broker_up = Gauge(
            "rluf_broker_up",
            "1 while the broker acknowledges events",
            registry=self.registry,
        )
        self.rollback_duration = Histogram(
            "rluf_rollback_duration_seconds",
            "From a rollback in the registry until this process served the version of before",
            buckets=ROLLBACK_S,
            registry=self.registry,
        )

    def show(self, policies: list[tuple[str, str, str]]) -> None:
        """Set model_info to these (name, version, alias), and to nothing else."""
        swap = Swap(at_s=self._clock(), policies=tuple(policies))
        if self._first_swap_s is None:
            self._first_swap_s = swap.at_s
        self._swaps.append(swap)
        self.model_info.clear()
        for name, version, alias in policies:
            self.model_info.labels(name, version, alias).set(1)

    def time_rollbacks(self, rollbacks: Iterable[Rollback]) -> None:
        """Observe how long each took that this process has served since, once.

        Not those from before it first served: what it was started into was no rollback of its own.
        """
        for rollback in rollbacks:
            name, at_s = rollback.name, rollback.at.timestamp()
            is_mine = self._first_swap_s is not None and at_s >= self._first_swap_s
            if not is_mine or (name, rollback.revision) in self._timed:
                continue
            until_s = math.inf if rollback.next_at is None else rollback.next_at.timestamp()
            served_s = [
                swap.at_s
                for swap in tuple(self._swaps)
                if at_s <= swap.at_s < until_s
                and [policy[:2] for policy in swap.policies] == [(name, f"v{rollback.to_number}")]
            ]
            if served_s:
                self._timed.add((name, rollback.revision))
                self.rollback_duration.observe(served_s[0] - at_s)

    def text(self) -> bytes:
        """Render everything in Prometheus' text format."""
        return generate_latest(self.registry)
