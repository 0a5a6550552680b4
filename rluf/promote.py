"""What is live: promoting, undoing, comparing, and looking back.

Aliases name the versions (champion, previous, challenger); arms say what live users get. Every
function here changes both in one transaction, so that a crash leaves neither half. A refusal is a
returned Decision; only faults raise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from models.aliases import AliasMove, check_reason
from models.arms import Arm, ArmSet
from models.errors import Conflict, NotFound
from models.registry import Registry
from models.verdicts import Ruling
from models.versions import Version

CHAMPION = "champion"
PREVIOUS = "previous"
CHALLENGER = "challenger"

EVERYBODY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was done, or why it was not."""

    done: bool
    action: str
    """In words: "promote chat@3 to champion"."""
    version: str | None
    """The version that it puts forward, as chat@3."""
    replaced: str | None
    """The version that stood there before."""
    reasons: tuple[str, ...]
    """Why it was refused; or, where it was done all the same, what was overridden by force."""
    arms: tuple[Arm, ...]
    """What live users get now."""

    def summary(self) -> str:
        """One line for a reader, and one for each reason."""
        head = f"{self.action}: {'done' if self.done else 'refused'}"
        if self.done and self.replaced is not None:
            head += f", in place of {self.replaced}"
        overridden = "overridden: " if self.done else ""
        return "\n".join([head, *(f"    {overridden}{reason}" for reason in self.reasons)])


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


def promote(
    registry: Registry,
    name: str,
    number: int,
    *,
    alias: str = CHAMPION,
    who: str,
    why: str,
    force: bool = False,
) -> Decision:
    """Point the alias to the version; as champion it gets every user, and the last one is kept.

    Refused where the last verdict of any gate did not pass or no gate has judged it, unless forced
    (the reasons overridden are then kept with `why`), and where another promotion came first.
    Promoting the champion again ends a running experiment. Raises NotFound.
    """
    check_reason(why=why, who=who)
    version = registry.version(name, number)
    stood = registry.alias(name, alias)
    action = f"promote {version.ref} to {alias}"
    reasons = _objections(registry, version)
    if reasons and not force:
        return _refusal(registry, name, action, version.ref, reasons)
    noted = why if not reasons else f"{why} (forced: {'; '.join(reasons)})"
    try:
        with registry.atomic():
            if stood != number:
                registry.move_alias(name, alias, number, expected=stood, why=noted, who=who)
            if alias == CHAMPION:
                if stood is not None and stood != number:
                    _move(registry, name, PREVIOUS, stood, why=f"before {version.ref}", who=who)
                _serve_alone(registry, name, number, why=noted, who=who)
    except Conflict as fault:
        return _refusal(registry, name, action, version.ref, [str(fault)])
    return Decision(
        done=True,
        action=action,
        version=version.ref,
        replaced=None if stood in (None, number) else f"{name}@{stood}",
        reasons=tuple(reasons),
        arms=registry.arms(name).arms,
    )


def put_in_use(registry: Registry, version: Version, *, why: str, who: str) -> bool:
    """Let a reward model that its gates passed be the one in use; says whether it is.

    Reward models have no users to be divided, so only the alias moves. A version that was refused
    leaves the one in use where it is.
    """
    if _objections(registry, version):
        return False
    _move(registry, version.name, CHAMPION, version.number, why=why, who=who)
    return True


def in_use(registry: Registry, name: str) -> Version | None:
    """The reward model in use; None where none has passed its gates yet."""
    number = registry.alias(name, CHAMPION)
    return None if number is None else registry.version(name, number)


def rollback(registry: Registry, name: str, *, who: str, why: str) -> Decision:
    """Put the champion of before back before every user; done twice, the undoing is undone.

    Refused where there was none before, or where somebody else was first. A running experiment
    ends; to end only that, see stop_experiment.
    """
    check_reason(why=why, who=who)
    places = registry.aliases(name)
    champion, previous = places.get(CHAMPION), places.get(PREVIOUS)
    if champion is None or previous is None:
        _known(registry, name)
        reason = f"{name!r} has no {PREVIOUS} champion to go back to"
        return _refusal(registry, name, f"roll {name} back", None, [reason])
    action = f"roll back to {name}@{previous}"
    try:
        with registry.atomic():
            registry.move_alias(name, CHAMPION, previous, expected=champion, why=why, who=who)
            registry.move_alias(name, PREVIOUS, champion, expected=previous, why=why, who=who)
            _serve_alone(registry, name, previous, why=why, who=who)
    except Conflict as fault:
        return _refusal(registry, name, action, f"{name}@{previous}", [str(fault)])
    return Decision(
        done=True,
        action=action,
        version=f"{name}@{previous}",
        replaced=f"{name}@{champion}",
        reasons=(),
        arms=registry.arms(name).arms,
    )


def start_experiment(
    registry: Registry,
    name: str,
    arms: Mapping[str, tuple[int, float]],
    *,
    experiment: str,
    who: str,
    why: str,
    force: bool = False,
) -> Decision:
    """Divide the users over versions: arm name to (number, share), shares summing to 1.

    Refused, unless forced, where the champion is in no arm, or a version that was never champion
    has not passed its gates. The alias challenger goes to the one version that is not the champion,
    or away where there are several. Raises NotFound, and ValueError for bad shares.
    """
    check_reason(why=why, who=who)
    if not experiment:
        raise ValueError("an experiment needs a name: arms are assigned by it")
    places = registry.aliases(name)
    champion = places.get(CHAMPION)
    known = {champion, places.get(PREVIOUS)}
    numbers = dict.fromkeys(number for number, _ in arms.values())
    reasons = [
        reason
        for number in numbers
        if number not in known
        for reason in _objections(registry, registry.version(name, number))
    ]
    if champion is not None and champion not in numbers:
        reasons.append(f"the champion {name}@{champion} is in no arm: nothing to compare with")
    action = f"start experiment {experiment!r} on {name}"
    if reasons and not force:
        return _refusal(registry, name, action, None, reasons)
    noted = why if not reasons else f"{why} (forced: {'; '.join(reasons)})"
    newcomers = [number for number in numbers if number != champion]
    with registry.atomic():
        divided = registry.set_arms(
            name,
            [Arm(name=arm, version=number, share=share) for arm, (number, share) in arms.items()],
            experiment=experiment,
            why=noted,
            who=who,
        )
        challenger = newcomers[0] if len(newcomers) == 1 else None
        _move(registry, name, CHALLENGER, challenger, why=f"{experiment}: {noted}", who=who)
    return Decision(
        done=True,
        action=action,
        version=None if challenger is None else f"{name}@{challenger}",
        replaced=None,
        reasons=tuple(reasons),
        arms=divided.arms,
    )


def stop_experiment(registry: Registry, name: str, *, who: str, why: str) -> Decision:
    """Give every user the champion again. Refused where there is no champion."""
    check_reason(why=why, who=who)
    action = f"stop the experiment on {name}"
    champion = registry.alias(name, CHAMPION)
    if champion is None:
        _known(registry, name)
        return _refusal(registry, name, action, None, [f"{name!r} has no champion"])
    with registry.atomic():
        _serve_alone(registry, name, champion, why=why, who=who)
    return Decision(
        done=True,
        action=action,
        version=f"{name}@{champion}",
        replaced=None,
        reasons=(),
        arms=registry.arms(name).arms,
    )


def history(
    registry: Registry, name: str | None = None, *, at: datetime | None = None
) -> list[LiveRow]:
    """What live users got, oldest first, one row an arm; with `at`, only what they got then.

    Raises NotFound for a model that was never registered.
    """
    versions = registry.versions() if name is None else _known(registry, name)
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


def _objections(registry: Registry, version: Version) -> list[str]:
    """What the last verdict of each gate holds against the version."""
    last = {v.gate: v for v in registry.verdicts(version.name, version.number)}
    if not last:
        return [f"no gate has judged {version.ref}"]
    return [
        f"gate {verdict.gate} {OBJECTIONS[verdict.ruling]} {version.ref}:"
        f" {', '.join(verdict.reasons) or 'no reason'}"
        for verdict in last.values()
        if not verdict.passed
    ]


OBJECTIONS: Mapping[Ruling, str] = {"refused": "refused", "undecided": "could not decide on"}
"""What a gate did that keeps a version from users."""


def _serve_alone(registry: Registry, name: str, number: int, *, why: str, who: str) -> None:
    """Give every user this version; nothing is being compared any more."""
    alone = (Arm(name=CHAMPION, version=number, share=EVERYBODY),)
    live = registry.arms(name)
    if live.arms != alone or live.experiment:
        registry.set_arms(name, alone, experiment="", why=why, who=who)
    _move(registry, name, CHALLENGER, None, why=f"{name}@{number} is live alone: {why}", who=who)


def _move(
    registry: Registry, name: str, alias: str, number: int | None, *, why: str, who: str
) -> None:
    """Move an alias from wherever it is, inside a transaction that was won by compare-and-set."""
    found = registry.alias(name, alias)
    if found != number:
        registry.move_alias(name, alias, number, expected=found, why=why, who=who)


def _known(registry: Registry, name: str) -> list[Version]:
    versions = registry.versions(name)
    if not versions:
        raise NotFound("model", name, sorted({version.name for version in registry.versions()}))
    return versions


def _refusal(
    registry: Registry, name: str, action: str, version: str | None, reasons: Sequence[str]
) -> Decision:
    return Decision(
        done=False,
        action=action,
        version=version,
        replaced=None,
        reasons=tuple(reasons),
        arms=registry.arms(name).arms,
    )
