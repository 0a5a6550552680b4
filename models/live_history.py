"""What live users got when, why, and from which data: divisions of users joined with versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from models.aliases import AliasMove
from models.arms import Arm, ArmSet
from models.live import CHAMPION, EVERYBODY, known_versions
from models.registry import Registry
from models.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """One version before live users for a while: why, and from which data it was made."""

    name: str
    version: str
    share: float
    """Of the users, in [0, 1]."""
    arm: str
    experiment: str
    since: datetime
    until: datetime | None
    """None while it lasts."""
    why: str
    who: str
    recipe: str
    snapshot_hash: str | None
    config_hash: str
    parents: tuple[str, ...]


def history(
    registry: Registry, name: str | None = None, *, at: datetime | None = None
) -> list[LiveRow]:
    """What live users got, oldest first, one row an arm; with `at`, only what they got then.

    Raises NotFound for a model that was never registered.
    """
    versions = registry.versions() if name is None else known_versions(registry, name)
    by_name: dict[str, dict[int, Version]] = {}
    for version in versions:
        by_name.setdefault(version.name, {})[version.number] = version
    rows = [
        row
        for model, numbered in by_name.items()
        for row in _live_rows(numbered, registry.arm_history(model), registry.history(model))
    ]
    if at is not None:
        rows = [r for r in rows if r.since <= at and (r.until is None or at < r.until)]
    return sorted(rows, key=lambda row: row.since)


def _live_rows(
    versions: Mapping[int, Version], divisions: Sequence[ArmSet], moves: Sequence[AliasMove]
) -> list[LiveRow]:
    """Join the divisions of users with what is known of each version.

    Until arms are first set the champion alone is served (serving/lineup.py), so its moves count.
    """
    first_set = min((d.set_at for d in divisions if d.set_at is not None), default=None)
    spans: list[tuple[datetime, ArmSet]] = [
        (move.moved_at, _alone(move))
        for move in moves
        if move.alias == CHAMPION and (first_set is None or move.moved_at < first_set)
    ]
    spans += [(division.set_at, division) for division in divisions if division.set_at is not None]
    rows = []
    for index, (since, division) in enumerate(spans):
        until = spans[index + 1][0] if index + 1 < len(spans) else None
        rows += [
            _live_row(versions[arm.version], arm, division, since, until) for arm in division.arms
        ]
    return rows


def _live_row(
    version: Version, arm: Arm, division: ArmSet, since: datetime, until: datetime | None
) -> LiveRow:
    return LiveRow(
        name=version.name,
        version=version.ref,
        share=arm.share,
        arm=arm.name,
        experiment=division.experiment,
        since=since,
        until=until,
        why=division.why,
        who=division.who,
        recipe=version.recipe,
        snapshot_hash=version.snapshot_hash,
        config_hash=version.config_hash,
        parents=tuple(f"{name}@{number}" for name, number in version.parents),
    )


def _alone(move: AliasMove) -> ArmSet:
    arms: tuple[Arm, ...] = ()
    if move.to_number is not None:
        arms = (Arm(name=CHAMPION, version=move.to_number, share=EVERYBODY),)
    return ArmSet(experiment="", revision=0, arms=arms, why=move.why, who=move.who)
