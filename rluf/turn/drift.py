"""What the scheduler looks at: labels since the last turn, and how well P[Love] still fits.

Drift is read from a sample: today's responses against those that the newest P[Love] was fitted on,
and, day by day, the love that users gave over the love that was predicted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from features.views import query
from models.chat import Chat, chat_of
from models.live import in_use
from models.registry import Registry
from models.reward import RewardModel
from rluf.settings import Settings
from rluf.turn.schedule import Drift, population_shift

SAMPLE = 400
"""Responses scored per day: enough to see a PSI of 0.25, seconds of CPU."""
SAMPLE_MIN = 100
"""With fewer, nothing is said."""
READ_EVERY_S = 600.0
"""A reading is used again for this long: drift is a matter of days."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LoopState:
    """Meets rluf.turn.schedule.LoopReader from the store and the registry."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._read_at = -READ_EVERY_S
        self._drift = Drift()

    def num_new_labels(self) -> int:
        """Labels that became known since the last finished turn looked."""
        table = query(
            self._settings.home,
            f"SELECT count(*) FROM labels WHERE signal = {_quoted(self._settings.refresh.signal)}"
            f" AND known_at > TIMESTAMPTZ '{self._last_turn().isoformat()}'",
        )
        return int(table.column(0)[0].as_py())

    def drift(self) -> Drift:
        """Read it anew where the last reading is old."""
        if time.monotonic() - self._read_at >= READ_EVERY_S:
            self._read_at = time.monotonic()
            self._drift = self._read()
        return self._drift

    def _read(self) -> Drift:
        version = in_use(self._registry, "love")
        if version is None:
            return Drift()
        model = RewardModel.from_pretrained(self._registry.open_artifact(version))
        since = self._last_turn()
        fitted_on = self._rows(f"shown_at <= TIMESTAMPTZ '{since.isoformat()}'")
        days = [
            self._rows(
                f"shown_at <= now() - INTERVAL {day} DAY - {self._maturity()}"
                f" AND shown_at > now() - INTERVAL {day + 1} DAY - {self._maturity()}"
                f" AND shown_at > TIMESTAMPTZ '{since.isoformat()}'"
            )
            for day in reversed(range(self._settings.schedule.ratio_days))
        ]
        ratios = []
        scores: list[float] = []
        for rows in days:
            if len(rows) < SAMPLE_MIN:
                continue
            scores = model.probabilities(_chats(rows)).tolist()
            ratios.append(sum(row["loved"] for row in rows) / sum(scores))
        if len(fitted_on) < SAMPLE_MIN or not scores:
            return Drift(ratios=tuple(ratios))
        reference = model.probabilities(_chats(fitted_on)).tolist()
        return Drift(psi=population_shift(reference, scores), ratios=tuple(ratios))

    def _rows(self, where: str) -> list[dict[str, Any]]:
        """Give a sample of mature exposures, the same for the same facts."""
        rows: list[dict[str, Any]] = query(
            self._settings.home,
            f"""
            WITH sampled AS (
                SELECT response_id, user_id, shown_at, stands::INT AS loved
                FROM folded_outcomes
                WHERE signal = {_quoted(self._settings.refresh.signal)} AND counts AND {where}
                ORDER BY md5(response_id), user_id
                LIMIT {SAMPLE})
            SELECT messages, response, loved
            FROM sampled JOIN shown USING (response_id, user_id)
            WHERE shown.occurred_at = shown_at
            QUALIFY row_number() OVER (PARTITION BY response_id, user_id ORDER BY source, id) = 1
            ORDER BY md5(response_id), user_id
            """,
        ).to_pylist()
        return rows

    def _maturity(self) -> str:
        return f"INTERVAL {int(self._settings.features.maturity_s)} SECOND"

    def _last_turn(self) -> datetime:
        done = self._registry.runs(kind="refresh", status="done", limit=1)
        return datetime.fromisoformat(str(done[0].settings["as_of"])) if done else EPOCH


def _chats(rows: Sequence[dict[str, Any]]) -> list[Chat]:
    return [chat_of(json.loads(row["messages"]), row["response"]) for row in rows]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
