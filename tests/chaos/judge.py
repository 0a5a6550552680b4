"""Hold what a run left behind against what its input file says must be there."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from features.views import connect
from streams.config import StreamsConfig
from streams.kafka.topics import lag
from tests.chaos.oracle import Expected, Label, content
from tests.reading import read_whole

KEPT_MAX = 10
"""The most examples of each fault in a verdict."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What differs."""

    lost: int = 0
    """Acknowledged events that are not in the store, or say something else there."""
    doubled: int = 0
    """Events or labels that the views show more than once, and ones that nobody sent."""
    malformed: int = 0
    dead_letters: int = 0
    """Different records among the store's dead letters."""
    dead_letter_faults: int = 0
    """Missing, unexpected, changed or with a wrong reason; in the store or on their topic."""
    label_mismatches: int = 0
    lag: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether everything is as it must be."""
        faults = (self.lost, self.doubled, self.dead_letter_faults, self.label_mismatches, self.lag)
        return not any(faults) and self.dead_letters == self.malformed

    def note(self, kind: str, what: object) -> None:
        """Keep a few examples."""
        kept = self.examples.setdefault(kind, [])
        if len(kept) < KEPT_MAX:
            kept.append(str(what)[:300])


def judge(home: Path, expected: Expected, config: StreamsConfig | None) -> Findings:
    """Compare the store of a home with what is expected; with a config, the log's side too."""
    findings = Findings(malformed=len(expected.dead_letters))
    with connect(home) as connection:
        shown = connection.sql(
            "SELECT source, id, response_id, user_id, response, policy, learnable, occurred_at"
            " FROM shown"
        ).fetchall()
        reactions = connection.sql(
            "SELECT source, id, response_id, user_id, signal, action, occurred_at FROM reactions"
        ).fetchall()
        labels = connection.sql(
            "SELECT response_id, user_id, signal, value, added_at, removed_at, mistap, dangling"
            " FROM labels"
        ).fetchall()
        letters = connection.sql("SELECT key, reason, value FROM dead_letters").fetchall()
    _judge_events(findings, shown, expected.shown)
    _judge_events(findings, reactions, expected.reactions)
    _judge_labels(findings, labels, expected.labels)
    found = {(bytes(key).decode(), reason, bytes(value)) for key, reason, value in letters}
    findings.dead_letters = len({key for key, _, _ in found})
    _judge_letters(findings, "store", found, expected)
    if config is not None:
        _judge_letters(findings, "topic", _letters_on_topic(config), expected)
        findings.lag = sum(lag(config).values())
    return findings


def _judge_events(
    findings: Findings, rows: list[tuple[object, ...]], expected: dict[tuple[str, str], int]
) -> None:
    counts = Counter((str(row[0]), str(row[1])) for row in rows)
    says = {(str(row[0]), str(row[1])): content(*row[2:]) for row in rows}
    for name, count in counts.items():
        if count > 1 or name not in expected:
            findings.doubled += 1
            findings.note("doubled", name)
    for name, meaning in expected.items():
        if says.get(name) != meaning:
            findings.lost += 1
            findings.note("lost", name)


def _judge_labels(
    findings: Findings, rows: list[tuple[object, ...]], expected: dict[tuple[str, str, str], Label]
) -> None:
    found = {(str(row[0]), str(row[1]), str(row[2])): row[3:] for row in rows}
    findings.doubled += len(rows) - len(found)
    for key in found.keys() | expected.keys():
        if found.get(key) != expected.get(key):
            findings.label_mismatches += 1
            findings.note("label", f"{key}: found {found.get(key)}, expected {expected.get(key)}")


def _judge_letters(
    findings: Findings, where: str, found: set[tuple[str, str, bytes]], expected: Expected
) -> None:
    wanted = {(key, reason, value) for key, (reason, value) in expected.dead_letters.items()}
    for key, reason, _ in found ^ wanted:
        findings.dead_letter_faults += 1
        findings.note("dead letter", f"{where}: {key} {reason}")


def _letters_on_topic(config: StreamsConfig) -> set[tuple[str, str, bytes]]:
    """(key, reason, value) of what lies on the topic of dead letters."""
    records = read_whole(
        config.brokers,
        config.dead_letters_topic,
        isolation_level="read_committed",
        max_partition_fetch_bytes=16 << 20,
    )
    return {
        (record.key.decode(), dict(record.headers)["reason"].decode(), record.value or b"")
        for record in records
    }


def as_json(findings: Findings) -> str:
    """For a person who looks for the fault."""
    return json.dumps(findings.examples, indent=1)
