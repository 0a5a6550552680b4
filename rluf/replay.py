"""`rluf replay FILE`: a file of events through the broker, worker and store of live traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from features.views import query
from rluf.local import read_state, supervised
from rluf.settings import Settings
from rluf.steps import OnProgress
from streams.errors import Unavailable
from streams.producer import Producer
from streams.replay import replay_file
from streams.topics import ensure_topics, lag

DRAIN_STALL_S = 60.0
"""Without any progress for this long, waiting for the worker ends with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was sent, and what the store holds now (replays included, duplicates folded)."""

    file: str
    sent: int
    seconds: float
    behind: int
    """Events that the worker has not stored yet; 0 where we waited."""
    shown: int
    reactions: int
    dead_letters: int
    dangling: int
    """Labels whose response was never shown to us."""
    labels_on: dict[str, int]
    """Labels that hold now, by signal."""

    def summary(self) -> str:
        """Give the lines a person reads."""
        labels = ", ".join(f"{count:,} {signal}" for signal, count in self.labels_on.items())
        return (
            f"sent {self.sent:,} events of {self.file} in {self.seconds:.1f} s"
            f" ({self.behind} not stored yet)\n"
            f"the store holds {self.shown:,} exposures and {self.reactions:,} reactions,"
            f" folded into {labels or 'no'} labels; {self.dangling:,} labels are dangling,"
            f" {self.dead_letters:,} dead letters"
        )


def replay(
    settings: Settings,
    file: Path,
    *,
    wait: bool,
    say: Callable[[str], None],
    on_progress: OnProgress,
) -> Replayed:
    """Send `file`; start a broker and a worker for it where none runs. Raises Unavailable."""
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}; give CloudEvents, one a line (.jsonl, .jsonl.gz)")
    state = read_state(settings.home)
    brokers = settings.streams.brokers or (str(state["brokers"]) if state else "")
    began = time.monotonic()
    alone = not brokers
    with supervised(settings, say=say, only=("worker",)) if alone else nullcontext() as supervisor:
        if supervisor is not None:
            brokers = supervisor.brokers
        streams = replace(settings.streams, brokers=brokers)
        ensure_topics(streams)
        producer = Producer(streams)
        try:
            report = replay_file(
                file,
                producer,
                streams,
                on_progress=lambda done, total: on_progress("replay", "events", done, total),
            )
            producer.flush(60.0)
        finally:
            producer.close()
        behind = _wait_drained(replace(settings, streams=streams), on_progress) if wait else -1
    return _count(settings, file, report.sent, time.monotonic() - began, behind)


def _wait_drained(settings: Settings, on_progress: OnProgress) -> int:
    """Wait until the worker has committed everything; give what is left, which is 0."""
    start = behind = sum(lag(settings.streams).values())
    moved_at = time.monotonic()
    while behind > 0:
        on_progress("replay", "stored", start - behind, start)
        time.sleep(0.2)
        now = sum(lag(settings.streams).values())
        if now != behind:
            behind, moved_at = now, time.monotonic()
        elif time.monotonic() - moved_at > DRAIN_STALL_S:
            raise Unavailable(
                f"the worker is {behind} events behind and has not moved for"
                f" {DRAIN_STALL_S:.0f} s; is one running? see {settings.home / 'logs'}"
            )
    return behind


def _count(settings: Settings, file: Path, sent: int, seconds: float, behind: int) -> Replayed:
    (row,) = query(
        settings.home,
        """
        SELECT (SELECT count(*) FROM shown) AS shown,
               (SELECT count(*) FROM reactions) AS reactions,
               (SELECT count(*) FROM dead_letters) AS dead_letters,
               (SELECT count(*) FROM labels WHERE dangling) AS dangling
        """,
    ).to_pylist()
    labels = query(
        settings.home,
        "SELECT signal, count(*) AS n FROM labels WHERE value GROUP BY signal ORDER BY n DESC",
    ).to_pylist()
    return Replayed(
        file=file.name,
        sent=sent,
        seconds=round(seconds, 1),
        behind=behind,
        labels_on={row["signal"]: row["n"] for row in labels},
        **row,
    )
