"""Placeholder until the guard's rules are written into this file: it finds nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from streams.events import GuardVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """The dials of the guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found."""

    rule: str
    version: int
    user_id: str
    response_id: str
    since: datetime
    evidence: Mapping[str, str | int | float]


def judge(reactions: pa.Table, shown: pa.Table, config: GuardConfig) -> list[Finding]:
    """Nothing yet."""
    return []


def changes(
    findings: Sequence[Finding],
    standing: Mapping[tuple[str, str, str], datetime],
    *,
    decided_at: datetime,
    window_start: datetime,
) -> list[GuardVerdict]:
    """Nothing yet."""
    return []
