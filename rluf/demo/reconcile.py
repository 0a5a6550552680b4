"""What clients were told was recorded, against what is stored: the proof that nothing was lost.

A client's ledger holds one line per call that the API acknowledged. An exposure is known by its
response id, a reaction by its event id, which the API returns as `feedback_id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.views import query


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """Counts of events, acknowledged against stored."""

    produced: int
    """Calls acknowledged as recorded, re-sends included."""
    stored: int
    """Different acknowledged events found in the store."""
    duplicates: int
    """Acknowledged re-sends of an event that had been acknowledged before."""
    rejected: int
    """Events that lie in the dead letters with a reason."""
    lost: int
    """Acknowledged events that are not in the store: must be 0."""
    unacknowledged: int
    """Calls that were refused or answered unrecorded; the caller was told so."""
    lost_ids: tuple[str, ...] = ()
    """The first few of them, to look for."""


def reconcile(home: Path, ledgers: Sequence[Path]) -> Reconciliation:
    """Compare the ledgers with the store of this home."""
    shown: list[str] = []
    feedback: list[str] = []
    unacknowledged = 0
    for line in _lines(ledgers):
        if not line["recorded"]:
            unacknowledged += 1
        elif line["kind"] == "shown":
            shown.append(str(line["response_id"]))
        else:
            feedback.append(str(line["feedback_id"]))
    stored_shown = _column(home, "SELECT response_id FROM shown")
    stored_feedback = _column(home, "SELECT id FROM reactions")
    wanted_shown, wanted_feedback = set(shown), set(feedback)
    lost = sorted((wanted_shown - stored_shown) | (wanted_feedback - stored_feedback))
    num_different = len(wanted_shown) + len(wanted_feedback)
    return Reconciliation(
        produced=len(shown) + len(feedback),
        stored=num_different - len(lost),
        duplicates=len(shown) + len(feedback) - num_different,
        rejected=len(
            _column(home, "SELECT topic || partition || ':' || \"offset\" FROM dead_letters")
        ),
        lost=len(lost),
        unacknowledged=unacknowledged,
        lost_ids=tuple(lost[:10]),
    )


def _lines(ledgers: Sequence[Path]) -> Iterable[dict[str, object]]:
    for ledger in ledgers:
        with ledger.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def _column(home: Path, sql: str) -> set[str]:
    return set(query(home, sql).column(0).to_pylist())
