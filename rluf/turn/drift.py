"""What the scheduler looks at: labels since the last turn, and how well P[Love] still fits.

Drift is read from a sample: responses since the last turn against those that the newest P[Love] was
fitted on, and the love that users gave over the love that was predicted
(training/evidence/drift.py).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from features.config import FeaturesConfig
from features.outcomes import is_mature_sql
from features.views import query, time_sql
from models.chat import Chat, chat_of
from models.live import in_use
from models.registry import Registry
from models.reward import RewardModel
from models.versions import Version
from rluf.settings import Settings
from rluf.turn.schedule import SHIFT_BINS, Drift, population_shift
from training.evidence.clustered import Floats, Users
from training.evidence.drift import observed_over_predicted, shift_noise

SAMPLE = 400
"""Responses scored per day: seconds of CPU."""
SAMPLE_MIN = 100
"""With fewer, nothing is said."""
DAYS_MAX = 28
"""So many of the latest days are looked at."""
READ_EVERY_S = 600.0
"""A reading is used again for this long: drift is a matter of days."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Outcomes that are mature, with the chats to score, the same for the same facts."""

    keys: list[tuple[str, str]]
    """Response and user."""
    chats: list[Chat]
    loved: Floats
    arrived: Floats
    """Share of such loves that has come by each one's age."""
    users: Users

    def __len__(self) -> int:
        return len(self.keys)

    def num_users(self) -> int:
        return len(np.unique(self.users))


class LoopState:
    """Meets rluf.turn.schedule.LoopReader from the store and the registry."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._read_at = -READ_EVERY_S
        self._drift = Drift()
        self._scored_by: int | None = None
        self._scored: dict[tuple[str, str], float] = {}

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
        since = self._last_turn()
        features, signal = self._settings.features, self._settings.refresh.signal
        fitted_on = sample(features, signal, f"shown_at <= {time_sql(since)}", by_day=False)
        current = sample(features, signal, f"shown_at > {time_sql(since)}", by_day=True)
        if len(current) < SAMPLE_MIN:
            return Drift()
        predicted = self._scores(version, current)
        ratio = observed_over_predicted(
            current.loved,
            predicted * current.arrived,
            current.users,
            alpha=self._settings.schedule.drift_alpha or 1.0,
        )
        if len(fitted_on) < SAMPLE_MIN:
            return Drift(ratio=ratio)
        reference = self._scores(version, fitted_on)
        noise = shift_noise(
            fitted_on.num_users(),
            current.num_users(),
            bins=SHIFT_BINS,
            alpha=self._settings.schedule.drift_alpha or 1.0,
        )
        shift = population_shift(reference.tolist(), predicted.tolist())
        return Drift(psi=max(0.0, shift - noise), ratio=ratio)

    def _scores(self, version: Version, sampled: Sampled) -> Floats:
        """P[Love] of each; what was scored before by this version is not scored again."""
        if self._scored_by != version.number:
            self._scored_by, self._scored = version.number, {}
        new = [n for n, key in enumerate(sampled.keys) if key not in self._scored]
        if new:
            model = RewardModel.from_pretrained(self._registry.open_artifact(version))
            scores = model.probabilities([sampled.chats[n] for n in new]).tolist()
            self._scored |= {sampled.keys[n]: p for n, p in zip(new, scores, strict=True)}
        return np.array([self._scored[key] for key in sampled.keys])

    def _last_turn(self) -> datetime:
        done = self._registry.runs(kind="refresh", status="done", limit=1)
        return datetime.fromisoformat(str(done[0].settings["as_of"])) if done else EPOCH


def sample(config: FeaturesConfig, signal: str, where: str, *, by_day: bool) -> Sampled:
    """Give mature outcomes that count: so many of each day, or of all, by hash."""
    mature = is_mature_sql(maturity_s=config.maturity_s, share=config.maturity_share)
    day = "date_trunc('day', shown_at)" if by_day else "1"
    rows = query(
        config.root,
        f"""
        WITH sampled AS (
            SELECT response_id, user_id, shown_at, stands, coalesce(arrived, 1) AS arrived
            FROM outcomes
            WHERE signal = {_quoted(signal)} AND counts AND {mature}
                AND {where} AND (age_s <= {DAYS_MAX * 86_400} OR {not by_day})
            QUALIFY row_number() OVER (
                PARTITION BY {day} ORDER BY md5(response_id), user_id) <= {SAMPLE})
        SELECT response_id, user_id, messages, response, stands, arrived
        FROM sampled JOIN shown USING (response_id, user_id)
        WHERE shown.occurred_at = shown_at
        QUALIFY row_number() OVER (PARTITION BY response_id, user_id ORDER BY source, id) = 1
        ORDER BY md5(response_id), user_id
        """,
    ).to_pylist()
    users = [row["user_id"] for row in rows]
    return Sampled(
        keys=[(row["response_id"], row["user_id"]) for row in rows],
        chats=[chat_of(json.loads(row["messages"]), row["response"]) for row in rows],
        loved=np.array([row["stands"] for row in rows], dtype=np.float64),
        arrived=np.array([row["arrived"] for row in rows], dtype=np.float64),
        users=np.unique(np.array(users, dtype=np.str_), return_inverse=True)[1],
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
