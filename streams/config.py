"""The dials of streams."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from streams.kafka.security import SecurityConfig
from streams.signals import check_aliases

RECORD_BYTES_MAX = 10_485_760
"""The largest record that our topics take, in bytes: above `event_bytes_max`, so that an event
that is too large still reaches the worker, which keeps it as a dead letter and says why."""

TOPIC = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
"""What Kafka takes as the name of a topic."""
NAMES = (
    *("group", "shown_topic", "reactions_topic", "erasures_topic"),
    *("verdicts_topic", "dead_letters_topic", "decisions_topic"),
)
"""The names that `prefix` goes before."""

RECORD_OVERHEAD_BYTES = 65_536
"""Room for a record's key, headers and framing beside its value: an id has at most 512 characters,
of at most 4 bytes each, and headers of traces are small."""

CLOCK_MARGIN_S = 5
"""How far the log's clock may be behind a door's, in seconds: where a broker stamps records itself,
an event at the very edge of `clock_skew_s_max` would be acknowledged and then refused."""

LATE_S_MAX = 1e9
"""The most that `late_s` may be: 30 years; a time so long before any other is still a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsConfig:
    """Where events travel, and what is taken for an event."""

    brokers: str = ""
    """host:port of one or more Kafka brokers, with commas. Empty: `rluf up` starts its own."""
    security: SecurityConfig = field(default_factory=SecurityConfig)
    """TLS, and who we are; the same for every client of ours."""
    prefix: str = ""
    """What the names of the group and of the topics begin with, as where many teams share a
    cluster and have rights by prefix: `acme.` makes `acme.rluf.shown.v1` of the names below. A name
    that begins with it already stays as it is."""
    group: str = "rluf-worker"
    """Consumer group of the workers; partitions are shared out among its members."""

    shown_topic: str = "rluf.shown.v1"
    """Exposures: which response was shown to whom."""
    reactions_topic: str = "rluf.reactions.v1"
    """Reactions of users to responses."""
    erasures_topic: str = "rluf.erasures.v1"
    """Users who asked to be forgotten."""
    dead_letters_topic: str = "rluf.dead-letters.v1"
    """What could not be taken in: the original bytes, with the reason in the headers."""
    verdicts_topic: str = "rluf.verdicts.v1"
    """What the guard, or a person, quarantined and released."""
    decisions_topic: str = "rluf.decisions.v1"
    """Moves of registry aliases, and verdicts of gates."""

    partitions: int = 4
    """Partitions of each topic that we create: the most workers that can share the load. Shown and
    reactions must have equally many, so that a response's events meet in one partition."""
    replication: int = 1
    """Copies of each partition in the cluster. 1 suits one broker; use 3 on a real cluster."""

    linger_ms: int = 200
    """How long the worker gathers events before it writes them, in ms. Longer means fewer, larger
    files and later features."""
    batch_events_max: int = 50_000
    """The most events that the worker gathers before it writes them."""
    dedup_ids_max: int = 10_000_000
    """The most event ids remembered to drop duplicates early, over all partitions of one worker: 8
    bytes each, and as much again while they are merged. Forgetting one costs space in the store,
    never a wrong label."""
    dedup_window_s: float = 86_400.0
    """How long event ids are remembered, in seconds: longer than clients go on to send again."""
    dedup_dir: Path | None = None
    """Folder where event ids outlive the worker. It must live and die with the store, which
    `rluf` sees to: ids that are remembered longer than their facts would be refused for ever."""
    event_bytes_max: int = 1_000_000
    """The largest event taken in, in bytes. Kafka's own default limit of a batch is close to it;
    ours, of topics that we create, is 10,485,760 with key, headers and framing."""
    clock_skew_s_max: int = 300
    """How far after we heard of it an event may claim to have happened, in seconds; at least 1,
    since the log keeps milliseconds. The API allows 5 s less, for brokers whose clock is behind."""
    signal_aliases: Mapping[str, str] = field(default_factory=dict)
    """Spellings of your own for signals, such as {"party_parrot" = "love"}: words, shortcodes or
    emoji, written as in streams/signals.py. Worker and API must have the same. None by default."""
    oldest: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    """Events that claim to have happened before this are refused: such clocks are broken."""
    late_s: float = 3_600.0
    """An event that the log received more than this after it happened is counted as late, in
    seconds; it is stored like any other. An hour is far above what a client's queue holds back."""

    send_timeout_s: float = 30.0
    """How long the producer tries to have one event acknowledged, in seconds."""
    pending_bytes_max: int = 64 * 2**20
    """How much the producer keeps of what is not yet acknowledged, in bytes; more is refused, so
    that a broker that is down cannot fill the memory."""
    data_dir: Path = Path("runs/worker")
    """Folder for Faust's own bookkeeping; nothing in it is needed to recover."""

    def __post_init__(self) -> None:
        for name in NAMES:
            value = getattr(self, name)
            if not value.startswith(self.prefix):
                value = self.prefix + value
                object.__setattr__(self, name, value)
            if name != "group" and not TOPIC.fullmatch(value):
                raise ValueError(
                    f"{name} is {value!r}, must be 1 to 249 of the characters a-z A-Z 0-9 . _ -"
                )
        if not self.group:
            raise ValueError("group is empty, must be a name")
        counts = ("partitions", "replication", "batch_events_max", "event_bytes_max")
        for name in (*counts, "clock_skew_s_max"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")
        for name in ("linger_ms", "dedup_ids_max", "dedup_window_s"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"{name} is {value}, must not be negative")
        if not 0 <= self.late_s <= LATE_S_MAX:
            raise ValueError(f"late_s is {self.late_s}, must lie between 0 and {LATE_S_MAX:g}")
        check_aliases(self.signal_aliases)
        if self.oldest.tzinfo is None:
            raise ValueError(f"oldest is {self.oldest.isoformat()}, must have a timezone")
        if self.event_bytes_max > RECORD_BYTES_MAX - RECORD_OVERHEAD_BYTES:
            raise ValueError(
                f"event_bytes_max is {self.event_bytes_max}, must be at most"
                f" {RECORD_BYTES_MAX - RECORD_OVERHEAD_BYTES}: our topics take no larger records"
            )
        if len(set(self.topics)) != len(self.topics):
            raise ValueError(f"topics need names that differ, got {', '.join(self.topics)}")

    @property
    def door_skew_s_max(self) -> int:
        """How far ahead of its own clock a door lets an event be, in seconds."""
        return max(0, self.clock_skew_s_max - CLOCK_MARGIN_S)

    @property
    def event_topics(self) -> tuple[str, str, str, str]:
        """The topics that the worker reads."""
        return (self.shown_topic, self.reactions_topic, self.erasures_topic, self.verdicts_topic)

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of the platform."""
        return (*self.event_topics, self.dead_letters_topic, self.decisions_topic)
