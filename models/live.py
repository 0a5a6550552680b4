"""The one way to change what is live: promote, roll back, start and end experiments.

Aliases name the versions (champion, previous, challenger); arms say what live users get. Every
function here changes both in one transaction, so that a crash leaves neither half, and none of
the three aliases moves otherwise. The command line and the HTTP routes of operators call nothing
else. A refusal is a returned Decision; only faults raise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, TypeAlias

from models.aliases import check_reason
from models.arms import Arm
from models.errors import Conflict, NotFound
from models.registry import Registry
from models.verdicts import Ruling
from models.versions import Version

CHAMPION = "champion"
PREVIOUS = "previous"
CHALLENGER = "challenger"

FOLLOWING = (PREVIOUS, CHALLENGER)
"""Aliases that say what promotions, rollbacks and experiments did; nobody moves them by hand."""

EVERYBODY = 1.0

Refusal: TypeAlias = Literal[
    "refused_by_gate", "moved_meanwhile", "no_champion", "no_previous", "no_control", "no_move"
]


class Anywhere(Enum):
    """Passed by callers that move an alias wherever it points now."""

    ANYWHERE = "anywhere"


ANYWHERE = Anywhere.ANYWHERE


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
    refusal: Refusal | None = None
    """What kind of reason it was; None where it was done."""
    found: int | None = None
    """Where the alias stood, of a move refused because it stood elsewhere than expected."""

    def summary(self) -> str:
        """One line for a reader, and one for each reason."""
        head = f"{self.action}: {'done' if self.done else 'refused'}"
        if self.done and self.replaced is not None:
            head += f", in place of {self.replaced}"
        overridden = "overridden: " if self.done else ""
        return "\n".join([head, *(f"    {overridden}{reason}" for reason in self.reasons)])


def promote(
    registry: Registry,
    name: str,
    number: int,
    *,
    expected: int | Anywhere | None = ANYWHERE,
    who: str,
    why: str,
    force: bool = False,
) -> Decision:
    """Make the version champion; a policy then gets every user, and the last champion is kept.

    Refused where the last verdict of any gate did not pass or no gate has judged it, unless forced
    (the reasons overridden are then kept with `why`); where the champion is not the `expected` one;
    and where another promotion came first. Promoting the champion again ends a running experiment.
    A reward model has no users to be divided: only aliases move. Raises NotFound.
    """
    check_reason(why=why, who=who)
    version = registry.version(name, number)
    stood = registry.alias(name, CHAMPION)
    action = f"promote {version.ref} to {CHAMPION}"
    if expected is not ANYWHERE and stood != expected:
        return _moved(registry, name, action, version.ref, expected, stood)
    reasons = _objections(registry, version)
    if reasons and not force:
        return _refusal(registry, name, action, version.ref, "refused_by_gate", reasons)
    noted = _noted(why, reasons)
    try:
        with registry.atomic():
            if stood != number:
                registry.move_alias(name, CHAMPION, number, expected=stood, why=noted, who=who)
                if stood is not None:
                    _move(registry, name, PREVIOUS, stood, why=f"before {version.ref}", who=who)
            if version.kind == "policy":
                _serve_alone(registry, name, number, why=noted, who=who)
    except Conflict as fault:
        return _lost(registry, name, action, version.ref, fault)
    return _done(
        registry,
        name,
        action,
        version=version.ref,
        replaced=None if stood in (None, number) else f"{name}@{stood}",
        reasons=reasons,
    )


def in_use(registry: Registry, name: str) -> Version | None:
    """The reward model in use; None where none has passed its gates yet."""
    number = registry.alias(name, CHAMPION)
    return None if number is None else registry.version(name, number)


def rollback(registry: Registry, name: str, *, who: str, why: str) -> Decision:
    """Put the champion of before back before every user; a second call puts the later one back.

    Refused where there was none before, or where another move came first. A running experiment
    ends; to end only that, see stop_experiment. Raises NotFound.
    """
    check_reason(why=why, who=who)
    places = registry.aliases(name)
    champion, previous = places.get(CHAMPION), places.get(PREVIOUS)
    if champion is None or previous is None:
        known_versions(registry, name)
        reason = f"{name!r} has no {PREVIOUS} champion to go back to"
        return _refusal(registry, name, f"roll {name} back", None, "no_previous", [reason])
    version = registry.version(name, previous)
    action = f"roll back to {version.ref}"
    try:
        with registry.atomic():
            registry.move_alias(name, CHAMPION, previous, expected=champion, why=why, who=who)
            registry.move_alias(name, PREVIOUS, champion, expected=previous, why=why, who=who)
            if version.kind == "policy":
                _serve_alone(registry, name, previous, why=why, who=who)
    except Conflict as fault:
        return _lost(registry, name, action, version.ref, fault)
    return _done(registry, name, action, version=version.ref, replaced=f"{name}@{champion}")


def start_experiment(
    registry: Registry,
    name: str,
    arms: Sequence[Arm],
    *,
    experiment: str,
    who: str,
    why: str,
    force: bool = False,
) -> Decision:
    """Divide the users over versions, by arms whose shares sum to 1.

    Refused, unless forced, where the champion is in no arm, or a version that was never champion
    has not passed its gates. The alias challenger goes to the one version that is not the champion,
    or away where there are several. Raises NotFound, and ValueError for bad shares.
    """
    check_reason(why=why, who=who)
    _require_users(registry, name)
    if not experiment:
        raise ValueError(
            "an experiment needs a name: arms are assigned by it. To give every user one version,"
            " promote it; to give every user the champion again, stop the experiment"
        )
    action = f"start experiment {experiment!r} on {name}"
    numbers = list(dict.fromkeys(arm.version for arm in arms))
    with registry.atomic(name):
        places = registry.aliases(name)
        champion = places.get(CHAMPION)
        known = {champion, places.get(PREVIOUS)}
        reasons = [
            reason
            for number in numbers
            if number not in known
            for reason in _objections(registry, registry.version(name, number))
        ]
        refusal: Refusal = "refused_by_gate" if reasons else "no_control"
        if champion is not None and champion not in numbers:
            reasons.append(f"the champion {name}@{champion} is in no arm: nothing to compare with")
        if reasons and not force:
            return _refusal(registry, name, action, None, refusal, reasons)
        noted = _noted(why, reasons)
        divided = registry.set_arms(name, arms, experiment=experiment, why=noted, who=who)
        newcomers = [number for number in numbers if number != champion]
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
    """Give every user the champion again. Refused where there is no champion. Raises NotFound."""
    check_reason(why=why, who=who)
    _require_users(registry, name)
    action = f"stop the experiment on {name}"
    with registry.atomic(name):
        champion = registry.alias(name, CHAMPION)
        if champion is None:
            reason = f"{name!r} has no champion"
            return _refusal(registry, name, action, None, "no_champion", [reason])
        _serve_alone(registry, name, champion, why=why, who=who)
    return _done(registry, name, action, version=f"{name}@{champion}", replaced=None)


def move_alias(
    registry: Registry,
    name: str,
    alias: str,
    number: int | None,
    *,
    expected: int | Anywhere | None = ANYWHERE,
    who: str,
    why: str,
    force: bool = False,
) -> Decision:
    """Point an alias to a version, or with None take it away; champion means promote.

    Any other alias is a bookmark: it gives users nothing and asks no gate. Refused where it is not
    where `expected` says, or there already. Raises NotFound, and ValueError where the aliases that
    follow promotions and experiments are moved by hand, or the champion is taken away.
    """
    if alias == CHAMPION and number is not None:
        return promote(registry, name, number, expected=expected, who=who, why=why, force=force)
    check_reason(why=why, who=who)
    known_versions(registry, name)
    if alias == CHAMPION:
        raise ValueError(
            f"the {CHAMPION} of {name!r} is replaced and never taken away: its users would get"
            " nothing. Promote another version, or roll back"
        )
    if alias in FOLLOWING:
        raise ValueError(
            f"{alias!r} follows what promotions, rollbacks and experiments do and is not moved by"
            " hand: promote a version, roll back, or start an experiment with it"
        )
    action = (
        f"take {alias} of {name} away" if number is None else f"point {alias} to {name}@{number}"
    )
    with registry.atomic(name):
        stood = registry.alias(name, alias)
        if expected is not ANYWHERE and stood != expected:
            return _moved(registry, name, action, None, expected, stood)
        if stood == number:
            reason = f"alias {alias!r} is there already"
            return _refusal(registry, name, action, None, "no_move", [reason])
        _move(registry, name, alias, number, why=why, who=who)
    return _done(
        registry,
        name,
        action,
        version=None if number is None else f"{name}@{number}",
        replaced=None if stood is None else f"{name}@{stood}",
    )


def known_versions(registry: Registry, name: str) -> list[Version]:
    """All versions of the model. Raises NotFound where it has none, naming what exists."""
    versions = registry.versions(name)
    if not versions:
        raise NotFound("model", name, sorted({version.name for version in registry.versions()}))
    return versions


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


def _noted(why: str, overridden: Sequence[str]) -> str:
    """The reason as the history keeps it."""
    return f"{why} (forced: {'; '.join(overridden)})" if overridden else why


def _require_users(registry: Registry, name: str) -> None:
    """Raise NotFound for a model never registered, ValueError for one that answers no users."""
    if known_versions(registry, name)[0].kind != "policy":
        raise ValueError(f"{name!r} is a reward model: it has no users to be divided")


def _lost(registry: Registry, name: str, action: str, version: str, fault: Conflict) -> Decision:
    refused = _refusal(registry, name, action, version, "moved_meanwhile", [str(fault)])
    return replace(refused, found=registry.alias(name, CHAMPION))


def _moved(
    registry: Registry,
    name: str,
    action: str,
    version: str | None,
    expected: int | Anywhere | None,
    found: int | None,
) -> Decision:
    assert not isinstance(expected, Anywhere)
    reason = f"it was expected at {_place(name, expected)} and is at {_place(name, found)}"
    refused = _refusal(registry, name, action, version, "moved_meanwhile", [reason])
    return replace(refused, found=found)


def _place(name: str, number: int | None) -> str:
    return "no version" if number is None else f"{name}@{number}"


def _done(
    registry: Registry,
    name: str,
    action: str,
    *,
    version: str | None,
    replaced: str | None,
    reasons: Sequence[str] = (),
) -> Decision:
    return Decision(
        done=True,
        action=action,
        version=version,
        replaced=replaced,
        reasons=tuple(reasons),
        arms=registry.arms(name).arms,
    )


def _refusal(
    registry: Registry,
    name: str,
    action: str,
    version: str | None,
    refusal: Refusal,
    reasons: Sequence[str],
) -> Decision:
    return Decision(
        done=False,
        action=action,
        version=version,
        replaced=None,
        reasons=tuple(reasons),
        arms=registry.arms(name).arms,
        refusal=refusal,
    )
