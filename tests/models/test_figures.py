"""Goal: the registry's numbers for meters are those of its rows, and nothing is made up.

Method: registries of a few rows on SQLite and on PostgreSQL; moves of aliases by hand for what is a
rollback and what is not.
"""

import math
from pathlib import Path

import pytest

from models.errors import SchemaMismatch
from models.figures import AliasedVersion, read_standing
from models.registry import Registry
from tests.models.conftest import Clock, Opened, register
from tests.verdicts import said


def verdict(registry: Registry, number: int, gate: str, *, passed: bool, kl: float | None) -> None:
    """A verdict on a version of chat that measured its divergence, or (None) could not."""
    ruling = "passed" if passed else "refused"
    told = said(gate, ruling, kl_nats=math.nan if kl is None else kl)
    registry.record_verdict("chat", number, told)


def point(registry: Registry, alias: str, number: int | None, name: str = "chat") -> None:
    found = registry.alias(name, alias)
    registry.move_alias(name, alias, number, expected=found, why="a test", who="tester")


def test_an_empty_registry_has_no_numbers(registry: Registry) -> None:
    found = read_standing(registry)
    assert (found.places, found.rollbacks) == ((), ())
    assert (found.ece, found.kl_nats, found.decisions) == ({}, {}, {})


def test_every_alias_is_told_and_none_that_was_taken_away(registry: Registry) -> None:
    register(registry, "chat", 2)
    register(registry, "love", 1, kind="reward")
    point(registry, "champion", 2)
    point(registry, "challenger", 1)
    point(registry, "challenger", None)
    point(registry, "champion", 1, "love")
    assert read_standing(registry).places == (
        AliasedVersion(name="chat", number=2, alias="champion"),
        AliasedVersion(name="love", number=1, alias="champion"),
    )


def test_the_calibration_error_is_that_of_the_reward_model_in_use(registry: Registry) -> None:
    for number, ece in [(1, 0.01), (2, 0.02), (3, 0.03)]:
        register(registry, "love", number, kind="reward", measures={"ece": ece, "auroc": 0.7})
    register(registry, "chat", 1, measures={"ece": 0.5})
    point(registry, "champion", 1)
    point(registry, "champion", 2, "love")
    point(registry, "candidate", 3, "love")
    assert read_standing(registry).ece == {
        AliasedVersion(name="love", number=2, alias="champion"): 0.02
    }


@pytest.mark.parametrize("measures", [{}, {"ece": None}, {"ece": "good"}])
def test_without_a_calibration_error_on_record_none_is_told(
    registry: Registry, measures: dict[str, object]
) -> None:
    register(registry, "safety", 1, kind="reward", measures=measures)
    point(registry, "champion", 1, "safety")
    assert read_standing(registry).ece == {}


def test_the_divergence_is_by_the_last_verdict_on_the_champion_that_measured_it(
    registry: Registry,
) -> None:
    register(registry, "chat", 2)
    verdict(registry, 2, "reward_hacking", passed=False, kl=9.0)
    verdict(registry, 2, "reward_hacking", passed=True, kl=4.5)
    verdict(registry, 2, "style", passed=True, kl=None)
    verdict(registry, 1, "reward_hacking", passed=True, kl=1.0)
    assert read_standing(registry).kl_nats == {}
    point(registry, "champion", 2)
    assert read_standing(registry).kl_nats == {
        AliasedVersion(name="chat", number=2, alias="champion"): 4.5
    }


def test_verdicts_are_counted_by_gate_and_result(registry: Registry) -> None:
    register(registry, "chat", 2)
    for number, gate, passed in [(1, "style", True), (2, "style", True), (2, "safety", False)]:
        verdict(registry, number, gate, passed=passed, kl=None)
    assert read_standing(registry).decisions == {
        ("style", "passed"): 2,
        ("safety", "refused"): 1,
    }


def test_going_back_to_the_champion_of_before_is_a_rollback_and_a_promotion_is_not(
    registry: Registry, clock: Clock
) -> None:
    register(registry, "chat", 3)
    point(registry, "champion", 1)
    for number in (2, 3):
        point(registry, "champion", number)
        point(registry, "previous", number - 1)
    assert read_standing(registry).rollbacks == ()
    at = clock.advance(hours=1)
    point(registry, "champion", 2)
    point(registry, "previous", 3)
    (found,) = read_standing(registry).rollbacks
    assert (found.name, found.to_number, found.at, found.next_at) == ("chat", 2, at, None)
    again_at = clock.advance(hours=1)
    point(registry, "champion", 3)
    point(registry, "previous", 2)
    first, undone = read_standing(registry).rollbacks
    assert (first.next_at, undone.at, undone.to_number) == (again_at, again_at, 3)


def test_the_champion_of_another_model_is_no_champion_of_before(registry: Registry) -> None:
    for name in ("chat", "talk"):
        register(registry, name, 2)
    point(registry, "previous", 1, "talk")
    point(registry, "champion", 2)
    point(registry, "champion", 1)
    assert read_standing(registry).rollbacks == ()


def test_a_registry_whose_file_is_gone_is_a_fault_and_is_not_made_anew(
    sqlite: str, opened: Opened, home: Path
) -> None:
    registry = opened(sqlite)
    read_standing(registry)
    registry.close()
    (home / "registry.db").unlink()
    with pytest.raises(SchemaMismatch):
        read_standing(registry)
    assert not (home / "registry.db").exists()
