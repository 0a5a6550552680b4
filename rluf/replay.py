"""`rluf replay FILE`: a file of events through the broker, worker and store of live traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from features.views import query
from rluf.local import read_state, supervised
from rluf.settings import Settings
from rluf.turn.steps import OnProgress
from streams.errors import Unavailable
from streams.kafka.producer import Producer
from streams.kafka.topics import ensure_topics, lag
from streams.replay import EXAMPLES_MAX, ReplayReport, read_events, replay_file

DRAIN_WARN_S = 10.0
"""Without any progress for this long, we say that we wait: a worker that was killed takes as long
to be missed by the group and replaced."""
DRAIN_STALL_S = 60.0
"""Without any progress for this long, waiting for the worker ends with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Lines of a file that are no facts, for one reason."""

    reason: str
    count: int
    lines: tuple[int, ...]
    """The first of their numbers."""
    detail: str
    """What was said of the first."""

    def told(self) -> str:
        """Give the line a person reads."""
        which = ", ".join(map(str, self.lines)) + (", ..." if self.count > len(self.lines) else "")
        return f"{self.count:,} lines {self.reason} (line {which}): {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was sent, and what the store holds now (replays included, duplicates folded)."""

    file: str
    sent: int
    refused: int
    """Lines larger than Kafka takes; they are not in the log."""
    seconds: float
    """From the first event sent until all were stored, or only sent where we did not wait."""
    seconds_starting: float
    """Before that, until broker and worker were up; about 0 where they ran already."""
    behind: int
    """Events that the worker has not stored yet; 0 where we waited."""
    shown: int
    reactions: int
    dead_letters: int
    """Of the whole store, whoever sent them."""
    faults: tuple[Fault, ...] | None
    """What of this file the worker put aside, by reason; None where we did not wait."""
    dangling: int
    """Labels whose response was never shown to us."""
    labels_on: dict[str, int]
    """Labels that hold now, by signal."""

    @property
    def taken(self) -> int:
        """Lines that are facts now, or were before; all that were sent, where we did not wait."""
        aside = sum(fault.count for fault in self.faults or ())
        return self.sent + self.refused - aside if self.faults is not None else self.sent

    def summary(self) -> str:
        """Give the lines a person reads."""
        labels = ", ".join(f"{count:,} {signal}" for signal, count in self.labels_on.items())
        return (
            f"sent {self.sent:,} events of {self.file} in {self.seconds:.1f} s"
            f" ({self.behind:,} not stored yet)"
            + (f"; {self.refused:,} lines were too large to send" if self.refused else "")
            + "\n"
            f"the store holds {self.shown:,} exposures and {self.reactions:,} reactions,"
            f" folded into {labels or 'no'} labels; {self.dangling:,} labels are dangling,"
            f" {self.dead_letters:,} dead letters"
            + "".join(f"\n{self.file}: {fault.told()}" for fault in self.faults or ())
            + ("" if self.taken else f"\nnothing of {self.file} was taken")
        )


def replay(
    settings: Settings,
    file: Path,
    *,
    recipes: Sequence[str],
    wait: bool,
    say: Callable[[str], None],
    on_progress: OnProgress,
) -> Replayed:
    """Send `file`; start a broker and a worker for it where none runs.

    `recipes` are those that `settings` were read with, for the worker. Raises ValueError or
    FileNotFoundError for a file that holds no events, before anything is started, and Unavailable.
    """
    _check(file)
    state = read_state(settings.home)
    brokers = settings.streams.brokers or (str(state["brokers"]) if state else "")
    starting_at = time.monotonic()
    alone = (
        nullcontext()
        if brokers
        else supervised(settings, say=say, recipes=recipes, only=("worker",))
    )
    with alone as supervisor:
        if supervisor is not None:
            brokers = supervisor.brokers
        streams = replace(settings.streams, brokers=brokers)
        ensure_topics(streams)
        began = time.monotonic()
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
        if wait:
            _wait_drained(replace(settings, streams=streams), say, on_progress)
        behind = sum(lag(streams).values())
        seconds = time.monotonic() - began
    return Replayed(
        file=file.name,
        sent=report.sent,
        refused=report.refused,
        seconds=round(seconds, 1),
        seconds_starting=round(began - starting_at, 1),
        behind=behind,
        faults=_faults(settings.home, report) if wait else None,
        **_count(settings.home),
    )


def _check(file: Path) -> None:
    if str(file) == "-":
        raise ValueError("standard input cannot be replayed, for it is read twice: save it first")
    if next(read_events(file), None) is None:
        raise ValueError(f"{file} holds no events")


def _faults(home: Path, report: ReplayReport) -> tuple[Fault, ...]:
    """Find the dead letters whose places in the log are those of this file's lines."""
    found: dict[str, list[tuple[int, str]]] = {}
    for (topic, partition), places in report.places.items():
        line_of = places.line_of()
        name = topic.replace("'", "''")
        rows = query(
            home,
            f"""
            SELECT "offset", reason, detail FROM dead_letters
            WHERE topic = '{name}' AND partition = {partition}
              AND "offset" BETWEEN {min(line_of)} AND {max(line_of)}
            """,
        ).to_pylist()
        for row in rows:
            if row["offset"] in line_of:
                line = line_of[row["offset"]]
                found.setdefault(row["reason"], []).append((line, row["detail"] or ""))
    faults = [
        Fault(
            reason=reason,
            count=len(lines),
            lines=tuple(line for line, _ in sorted(lines)[:EXAMPLES_MAX]),
            detail=min(lines)[1],
        )
        for reason, lines in sorted(found.items())
    ]
    if report.refused:
        faults.append(
            Fault(
                reason="too_large",
                count=report.refused,
                lines=tuple(report.refused_lines),
                detail="more than Kafka takes; they are not in the log",
            )
        )
    return tuple(faults)


def _wait_drained(settings: Settings, say: Callable[[str], None], on_progress: OnProgress) -> None:
    """Wait until the worker has committed everything. Raises Unavailable where it stands still."""
    start = behind = sum(lag(settings.streams).values())
    moved_at = time.monotonic()
    is_warned = False
    while behind > 0:
        on_progress("replay", "stored", start - behind, start)
        time.sleep(0.2)
        now = sum(lag(settings.streams).values())
        if now != behind:
            behind, moved_at, is_warned = now, time.monotonic(), False
            continue
        stalled_s = time.monotonic() - moved_at
        if stalled_s > DRAIN_WARN_S and not is_warned:
            is_warned = True
            say(
                f"no event was stored for {DRAIN_WARN_S:.0f} s, {behind:,} are left; is a worker"
                f" running (`rluf worker`)? Waiting up to {DRAIN_STALL_S:.0f} s"
            )
        if stalled_s > DRAIN_STALL_S:
            raise Unavailable(
                f"the worker is {behind} events behind and has not moved for"
                f" {DRAIN_STALL_S:.0f} s; is one running? see {settings.home / 'logs'}"
            )
    on_progress("replay", "stored", start, start)


def _count(home: Path) -> dict[str, Any]:
    """Count what the store holds, by the names of Replayed."""
    (row,) = query(
        home,
        """
        SELECT (SELECT count(*) FROM shown) AS shown,
               (SELECT count(*) FROM reactions) AS reactions,
               (SELECT count(*) FROM dead_letters) AS dead_letters,
               (SELECT count(*) FROM labels WHERE dangling) AS dangling
        """,
    ).to_pylist()
    labels = query(
        home,
        "SELECT signal, count(*) AS n FROM labels WHERE value GROUP BY signal ORDER BY n DESC",
    ).to_pylist()
    return {**row, "labels_on": {label["signal"]: label["n"] for label in labels}}
