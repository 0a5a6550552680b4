"""What a worker counts, for Prometheus: base units, `_total` counters, no ids in labels.

They belong to the process, like the worker itself, and stand in prometheus_client's own registry.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram

from streams.events import Erasure, Event, GuardRuling, Reaction, Shown
from streams.pipeline import Facts

logger = logging.getLogger(__name__)

DELAYS_S = (0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0)
"""From a tap that reaches us at once to one that comes a week late."""
WRITES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
NUM_DELAYS_MAX = 64
"""Reactions of a batch whose delay is observed: a histogram costs more than decoding an event."""
TYPES: dict[type[Event], str] = {
    Shown: "shown",
    Reaction: "reaction",
    Erasure: "erasure",
    GuardRuling: "verdict",
}
"""What the label `type` calls each."""

RECORDS_RECEIVED = Counter("rluf_records_received", "Records read from the log")
EVENTS_RECEIVED = Counter("rluf_events_received", "Events taken in as new facts", ["type"])
EVENTS_DUPLICATE = Counter("rluf_events_duplicate", "Events dropped as sent twice")
EVENTS_OUT_OF_ORDER = Counter(
    "rluf_events_out_of_order",
    "New facts that happened before one taken earlier from the same partition",
    ["type"],
)
EVENTS_LATE = Counter(
    "rluf_events_late",
    "New facts that reached the log streams.late_s after they happened",
    ["type"],
)
EVENTS_REJECTED = Counter("rluf_events_rejected", "Records dead-lettered", ["reason"])
UNKNOWN_FIELDS = Counter("rluf_events_unknown_fields", "Fields that the contract does not know")
REACTION_DELAY = Histogram(
    "rluf_reaction_delay_seconds",
    "From a user's tap until the log had it; a sample of each batch",
    buckets=DELAYS_S,
)
WRITE_DURATION = Histogram(
    "rluf_batch_write_duration_seconds",
    "From decoding a batch until its facts were durable",
    buckets=WRITES_S,
)
REACTIONS_QUARANTINED = Counter(
    "rluf_reactions_quarantined", "Verdicts of quarantine that were sent to the log", ["rule"]
)
RECORDS_LOST = Counter(
    "rluf_records_lost",
    "Offsets that the log deleted before a worker had read them",
    ["topic"],
)
CONSUMER_LAG = Gauge(
    "rluf_consumer_lag_records",
    "Records in the log that can be read and are not yet durable",
    ["topic", "partition"],
)
SINK_UNAVAILABLE = Counter(
    "rluf_sink_unavailable", "Attempts to write that found the store or the broker unavailable"
)
PUSHED_ROWS = Counter("rluf_features_pushed_rows", "Rows pushed to the online store")
PUSH_FAILURES = Counter("rluf_features_push_failures", "Pushes of online features that failed")
GUARD_FAILURES = Counter("rluf_guard_failures", "Looks of the guard that failed")


def count(facts: Facts, write_s: float) -> None:
    """Count a batch that was made durable in `write_s` seconds."""
    RECORDS_RECEIVED.inc(facts.received)
    EVENTS_RECEIVED.labels("shown").inc(len(facts.shown))
    EVENTS_RECEIVED.labels("reaction").inc(len(facts.reactions))
    EVENTS_RECEIVED.labels("erasure").inc(len(facts.erasures))
    EVENTS_RECEIVED.labels("verdict").inc(len(facts.verdicts))
    EVENTS_DUPLICATE.inc(facts.duplicates)
    UNKNOWN_FIELDS.inc(facts.unknown_fields)
    for kind, name in TYPES.items():  # Also 0: a series that begins at 1 hides its first event.
        EVENTS_OUT_OF_ORDER.labels(name).inc(facts.out_of_order[kind])
        EVENTS_LATE.labels(name).inc(facts.late[kind])
    for letter in facts.dead_letters:
        EVENTS_REJECTED.labels(letter.reason).inc()
    for reaction in facts.reactions[:: len(facts.reactions) // NUM_DELAYS_MAX + 1]:
        REACTION_DELAY.observe((reaction.known_at - reaction.occurred_at).total_seconds())
    WRITE_DURATION.observe(write_s)


def begin(topics: Iterable[str]) -> None:
    """Show 0 of what should never happen: a series that begins above it hides its first event."""
    for topic in topics:
        RECORDS_LOST.labels(topic)


def count_lost(place: tuple[str, int], *, first: int, until: int) -> None:
    """Count and name what the log deleted before it was read: offsets [first, until)."""
    topic, partition = place
    RECORDS_LOST.labels(topic).inc(until - first)
    logger.error(
        "the log deleted records before they were read",
        extra={
            "topic": topic,
            "partition": partition,
            "from": first,
            "to": until,
            "count": until - first,
        },
    )


def count_rulings(verdicts: Sequence[GuardRuling]) -> None:
    """Count what the guard quarantined."""
    for verdict in verdicts:
        if verdict.action == "quarantine":
            REACTIONS_QUARANTINED.labels(verdict.rule).inc()


def show_lag(lag: Mapping[tuple[str, int], int]) -> None:
    """Show how many records of each partition are not yet durable."""
    CONSUMER_LAG.clear()  # A topic that was deleted has no lag, not its last one for ever.
    for (topic, partition), num_records in lag.items():
        CONSUMER_LAG.labels(topic, str(partition)).set(num_records)
