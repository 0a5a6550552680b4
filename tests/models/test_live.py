"""Goal: what is live changes only for a reason, whole, and can always be undone and explained.

Method: a registry in SQLite with a set clock; versions with and without passing verdicts.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.arms import Arm
from models.artifacts import Artifact
from models.database import sqlite_url
from models.errors import Conflict, NotFound
from models.live import move_alias, promote, rollback, start_experiment, stop_experiment
from models.live_history import history
from models.registry import Registry
from tests.verdicts import said

BY = {"who": "ada", "why": "it is loved"}


@dataclass
class Clock:
    time: datetime = field(default_factory=lambda: datetime(2026, 11, 24, 12, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.time

    def advance(self, hours: float) -> datetime:
        self.time += timedelta(hours=hours)
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, migrated_file: Path, clock: Clock) -> Iterator[Registry]:
    """Versions chat@1 to chat@4; the first three passed their gate, the fourth did not."""
    shutil.copy(migrated_file, tmp_path / "registry.db")
    opened = Registry(sqlite_url(tmp_path / "registry.db"), clock=clock)
    with opened.atomic():
        for number in range(1, 5):
            opened.register(
                "chat",
                artifact=Artifact(hash=f"{number:064x}", path=tmp_path / f"{number}"),
                kind="policy",
                config_hash=f"config-{number}",
                snapshot_hash=f"snapshot-{number}",
                parents=[("chat", number - 1)] if number > 1 else [],
            )
            _judge(opened, number, "passed" if number < 4 else "refused")
    yield opened
    opened.close()


WHY = "closer_rise is 0.03 [0.01, 0.05], allowed is at most"
REFUSED = f"{WHY} 0.005"
UNDECIDED = f"{WHY} 0.04: not enough evidence, about 320 users would decide"


def _judge(registry: Registry, number: int, ruling: str, gate: str = "policy") -> None:
    registry.record_verdict("chat", number, said(gate, ruling))


def arms(**shares: tuple[int, float]) -> list[Arm]:
    """Arms by name, each with its version and its share."""
    return [Arm(name=name, version=v, share=share) for name, (v, share) in shares.items()]


def _live(registry: Registry) -> dict[str, tuple[int, float]]:
    return {arm.name: (arm.version, arm.share) for arm in registry.arms("chat").arms}


def test_a_promoted_version_gets_every_user(registry: Registry) -> None:
    decision = promote(registry, "chat", 1, **BY)
    assert decision.done
    assert decision.replaced is None
    assert registry.aliases("chat") == {"champion": 1}
    assert _live(registry) == {"champion": (1, 1.0)}
    assert decision.arms == registry.arms("chat").arms


def test_the_champion_before_is_kept(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    decision = promote(registry, "chat", 2, **BY)
    assert decision.replaced == "chat@1"
    assert registry.aliases("chat") == {"champion": 2, "previous": 1}
    assert decision.summary() == "promote chat@2 to champion: done, in place of chat@1"


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        ([], "no gate has judged chat@5"),
        ([("policy", "refused")], f"gate policy refused chat@5: {REFUSED}"),
        (
            [("policy", "passed"), ("policy", "refused")],
            f"gate policy refused chat@5: {REFUSED}",
        ),
        (
            [("safety", "refused"), ("policy", "passed")],
            f"gate safety refused chat@5: {REFUSED}",
        ),
        (
            [("safety", "undecided"), ("policy", "passed")],
            f"gate safety could not decide on chat@5: {UNDECIDED}",
        ),
        ([("policy", "refused"), ("policy", "passed")], None),
    ],
)
def test_the_last_verdict_of_every_gate_counts(
    registry: Registry, tmp_path: Path, verdicts: list[tuple[str, str]], reason: str | None
) -> None:
    registry.register(
        "chat",
        artifact=Artifact(hash="f" * 64, path=tmp_path / "5"),
        kind="policy",
        config_hash="c",
        snapshot_hash=None,
    )
    for gate, ruling in verdicts:
        _judge(registry, 5, ruling, gate)
    decision = promote(registry, "chat", 5, **BY)
    assert decision.done is (reason is None)
    assert decision.reasons == (() if reason is None else (reason,))


def test_a_refusal_changes_nothing(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    before = (registry.history(), registry.arms("chat"))
    decision = promote(registry, "chat", 4, **BY)
    assert not decision.done
    assert (registry.history(), registry.arms("chat")) == before
    assert "refused\n    gate policy refused chat@4" in decision.summary()


def test_force_overrides_and_what_was_overridden_is_kept(registry: Registry) -> None:
    decision = promote(registry, "chat", 4, **BY, force=True)
    assert decision.done
    assert registry.alias("chat", "champion") == 4
    assert registry.history()[-1].why == (
        f"it is loved (forced: gate policy refused chat@4: {REFUSED})"
    )
    assert registry.arms("chat").why == registry.history()[-1].why
    assert "overridden: gate policy" in decision.summary()


def test_an_unknown_version_or_an_empty_reason_is_a_fault(registry: Registry) -> None:
    with pytest.raises(NotFound, match="'9'"):
        promote(registry, "chat", 9, **BY)
    with pytest.raises(ValueError, match="`why` is empty"):
        promote(registry, "chat", 1, who="ada", why="", force=True)
    with pytest.raises(NotFound, match="did you mean 'chat'"):
        rollback(registry, "chta", **BY)


def test_another_alias_moves_without_touching_users(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    assert move_alias(registry, "chat", "candidate", 2, **BY).done
    assert registry.aliases("chat") == {"champion": 1, "candidate": 2}
    assert _live(registry) == {"champion": (1, 1.0)}


def test_promoting_the_champion_again_changes_nothing(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    promote(registry, "chat", 2, **BY)
    before = (registry.history(), registry.arms("chat"))
    assert promote(registry, "chat", 2, **BY).done
    assert (registry.history(), registry.arms("chat")) == before


def test_who_promotes_second_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two read the same champion; the other one's promotion falls in between."""
    promote(registry, "chat", 1, **BY)
    read = registry.verdicts

    def verdicts_then_rival(name: str, number: int) -> object:
        monkeypatch.setattr(registry, "verdicts", read)
        promote(registry, "chat", 3, who="bo", why="mine is better")
        return read(name, number)

    monkeypatch.setattr(registry, "verdicts", verdicts_then_rival)
    decision = promote(registry, "chat", 2, **BY)
    assert not decision.done
    assert "moved by bo" in decision.reasons[0]
    assert registry.aliases("chat") == {"champion": 3, "previous": 1}
    assert _live(registry) == {"champion": (3, 1.0)}


def test_a_crash_between_alias_and_arms_leaves_neither(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(registry, "chat", 1, **BY)
    before = (registry.aliases("chat"), registry.history(), registry.arms("chat"))

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registry, "set_arms", crash)
    with pytest.raises(ZeroDivisionError):
        promote(registry, "chat", 2, **BY)
    assert (registry.aliases("chat"), registry.history(), registry.arms("chat")) == before


def test_rollback_gives_users_the_champion_before_and_twice_undoes_it(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    promote(registry, "chat", 2, **BY)
    decision = rollback(registry, "chat", who="bo", why="closers")
    assert (decision.done, decision.version, decision.replaced) == (True, "chat@1", "chat@2")
    assert registry.aliases("chat") == {"champion": 1, "previous": 2}
    assert _live(registry) == {"champion": (1, 1.0)}
    rollback(registry, "chat", who="bo", why="it was not the closers")
    assert registry.aliases("chat") == {"champion": 2, "previous": 1}
    assert _live(registry) == {"champion": (2, 1.0)}
    assert len([m for m in registry.history("chat") if m.alias == "champion"]) == 4


def test_rollback_without_a_champion_before_is_refused(registry: Registry) -> None:
    assert not rollback(registry, "chat", **BY).done
    promote(registry, "chat", 1, **BY)
    decision = rollback(registry, "chat", **BY)
    assert not decision.done
    assert "no previous" in decision.reasons[0]
    assert registry.alias("chat", "champion") == 1


def test_an_experiment_divides_users_and_names_the_challenger(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    decision = start_experiment(
        registry, "chat", arms(control=(1, 0.9), new=(2, 0.1)), experiment="x", **BY
    )
    assert (decision.done, decision.version) == (True, "chat@2")
    assert _live(registry) == {"control": (1, 0.9), "new": (2, 0.1)}
    assert registry.arms("chat").experiment == "x"
    assert registry.aliases("chat") == {"champion": 1, "challenger": 2}


def test_with_several_newcomers_none_is_the_challenger(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    start_experiment(registry, "chat", arms(a=(1, 0.5), b=(2, 0.5)), experiment="x", **BY)
    divided = arms(a=(1, 0.34), b=(2, 0.33), c=(3, 0.33))
    assert start_experiment(registry, "chat", divided, experiment="y", **BY).done
    assert registry.aliases("chat") == {"champion": 1}


@pytest.mark.parametrize("end", ["promote", "rollback", "stop"])
def test_an_experiment_ends_with_one_version_for_all(registry: Registry, end: str) -> None:
    promote(registry, "chat", 3, **BY)
    promote(registry, "chat", 1, **BY)
    start_experiment(registry, "chat", arms(a=(1, 0.5), b=(2, 0.5)), experiment="x", **BY)
    if end == "promote":
        promote(registry, "chat", 2, **BY)
        expected = 2
    elif end == "rollback":
        rollback(registry, "chat", **BY)
        expected = 3
    else:
        stop_experiment(registry, "chat", **BY)
        expected = 1
    assert _live(registry) == {"champion": (expected, 1.0)}
    assert registry.arms("chat").experiment == ""
    assert registry.alias("chat", "champion") == expected
    assert registry.alias("chat", "challenger") is None


def test_users_get_no_version_that_its_gates_refused_unless_forced(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    divided = arms(control=(1, 0.5), aggressive=(4, 0.5))
    refused = start_experiment(registry, "chat", divided, experiment="x", **BY)
    assert not refused.done
    assert "gate policy refused chat@4" in refused.reasons[0]
    assert _live(registry) == {"champion": (1, 1.0)}
    assert start_experiment(registry, "chat", divided, experiment="x", **BY, force=True).done
    assert "forced: gate policy refused chat@4" in registry.arms("chat").why


def test_an_experiment_without_the_champion_is_refused(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    divided = arms(a=(2, 0.5), b=(3, 0.5))
    assert (
        "in no arm" in start_experiment(registry, "chat", divided, experiment="x", **BY).reasons[0]
    )


def test_bad_shares_and_a_nameless_experiment_are_faults(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    with pytest.raises(ValueError, match="sum to 1"):
        start_experiment(registry, "chat", arms(a=(1, 0.5), b=(2, 0.4)), experiment="x", **BY)
    with pytest.raises(ValueError, match="needs a name"):
        start_experiment(registry, "chat", arms(a=(1, 1.0)), experiment="", **BY)
    assert registry.alias("chat", "challenger") is None


def test_an_experiment_without_anything_live_cannot_be_stopped(registry: Registry) -> None:
    assert not stop_experiment(registry, "chat", **BY).done


def test_the_history_tells_what_was_live_when_why_and_from_which_data(
    registry: Registry, clock: Clock
) -> None:
    began = clock.time
    promote(registry, "chat", 1, who="ada", why="first")
    compared = clock.advance(1)
    start_experiment(
        registry, "chat", arms(a=(1, 0.9), b=(2, 0.1)), experiment="x", who="bo", why="try"
    )
    undone = clock.advance(1)
    stop_experiment(registry, "chat", who="ada", why="enough")
    rows = history(registry, "chat")
    told = [(r.version, r.share, r.arm, r.experiment, r.since, r.until) for r in rows]
    assert told == [
        ("chat@1", 1.0, "champion", "", began, compared),
        ("chat@1", 0.9, "a", "x", compared, undone),
        ("chat@2", 0.1, "b", "x", compared, undone),
        ("chat@1", 1.0, "champion", "", undone, None),
    ]
    tried = rows[2]
    assert (tried.why, tried.who) == ("try", "bo")
    assert (tried.snapshot_hash, tried.config_hash) == ("snapshot-2", "config-2")
    assert tried.parents == ("chat@1",)
    half_past = compared + timedelta(minutes=30)
    assert [row.version for row in history(registry, at=half_past)] == ["chat@1", "chat@2"]
    assert history(registry, "chat", at=began - timedelta(seconds=1)) == []


def test_a_champion_without_arms_was_live_too(registry: Registry, clock: Clock) -> None:
    registry.move_alias("chat", "champion", 1, expected=None, **BY)
    began = clock.time
    clock.advance(1)
    promote(registry, "chat", 2, **BY)
    told = [(row.version, row.since, row.until) for row in history(registry)]
    assert told == [("chat@1", began, clock.time), ("chat@2", clock.time, None)]


def test_the_history_of_an_unknown_model_names_what_exists(registry: Registry) -> None:
    with pytest.raises(NotFound, match="did you mean 'chat'"):
        history(registry, "chta")
    assert history(registry) == []


@pytest.mark.parametrize("expected", [None, 2])
def test_a_champion_that_is_not_the_expected_one_stays(
    registry: Registry, expected: int | None
) -> None:
    promote(registry, "chat", 1, **BY)
    decision = promote(registry, "chat", 3, expected=expected, **BY)
    assert (decision.refusal, decision.found) == ("moved_meanwhile", 1)
    assert registry.aliases("chat") == {"champion": 1}
    assert promote(registry, "chat", 3, expected=1, **BY).done


@pytest.mark.parametrize("alias", ["previous", "challenger"])
def test_what_follows_promotions_is_not_moved_by_hand(registry: Registry, alias: str) -> None:
    with pytest.raises(ValueError, match="not moved by hand"):
        move_alias(registry, "chat", alias, 4, force=True, **BY)
    with pytest.raises(ValueError, match="never taken away"):
        move_alias(registry, "chat", "champion", None, **BY)
    assert registry.history() == []


def test_an_experiment_ends_with_the_champion_of_that_moment(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion just before the end of an experiment must not be undone by it: the champion is
    read where nobody else can move it."""
    promote(registry, "chat", 1, **BY)
    locked: list[str | None] = []
    atomic = registry.atomic

    def seen_atomic(name: str | None = None) -> AbstractContextManager[None]:
        if name is not None and not locked:
            locked.append(name)
            promote(registry, "chat", 2, who="bo", why="better")
        return atomic(name)

    monkeypatch.setattr(registry, "atomic", seen_atomic)
    assert stop_experiment(registry, "chat", **BY).version == "chat@2"
    assert (locked, _live(registry)) == (["chat"], {"champion": (2, 1.0)})


def test_a_reward_model_is_promoted_and_rolled_back_without_users(
    registry: Registry, tmp_path: Path
) -> None:
    for number in (1, 2):
        registry.register(
            "love",
            artifact=Artifact(hash=f"{number:064x}", path=tmp_path / f"love-{number}"),
            kind="reward",
            config_hash=f"config-{number}",
            snapshot_hash=None,
        )
        registry.record_verdict("love", number, said("reward", "passed"))
        assert promote(registry, "love", number, **BY).done
    assert rollback(registry, "love", **BY).done
    assert registry.aliases("love") == {"champion": 1, "previous": 2}
    assert registry.arm_history("love") == []
    with pytest.raises(ValueError, match="no users to be divided"):
        start_experiment(registry, "love", arms(a=(1, 0.5), b=(2, 0.5)), experiment="x", **BY)


def test_a_conflict_is_not_hidden_where_nobody_asked_for_a_decision(registry: Registry) -> None:
    promote(registry, "chat", 1, **BY)
    with pytest.raises(Conflict, match="expected 2, found 1"):
        registry.move_alias("chat", "champion", 3, expected=2, **BY)
