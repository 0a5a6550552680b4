"""Goal: a table over seeds says what came of each, misses included. Method: made-up reports."""

import pytest

from models.verdicts import Bound
from rluf.demo.seeds import row_of, table
from tests.rluf.demo.test_report import check, facts, policy

BROKEN = check("phrase_rise", 0.4, 0.3, 0.5, "ratio", Bound(high=0.1))
KEPT = check("closer_rise", 0.0, -0.01, 0.01, "ratio", Bound(high=0.03))


def verdict(gate: str, *checks: dict[str, object]) -> dict[str, object]:
    return {"gate": gate, "checks": list(checks)}


def report(*, live: str = "chat@2", lift: float | None = 0.3, cheat=(verdict("style", BROKEN),)):
    tried = policy("aggressive", version="chat@2", ruling="passed", num_users=1040)
    if lift is not None:
        tried |= {"love_lift": lift, "love_lift_ci": [lift - 0.2, lift + 0.2]}
    models = {"chat@v1": {"utility": 0.01}, "chat@v2": {"utility": 0.04}}
    return facts() | {
        "seed": 5,
        "policies": [policy("baseline", num_users=1060), tried, policy("overoptimised")],
        "turn": {"candidates": [{"recipe": "overoptimised", "verdicts": list(cheat)}]},
        "decision": facts()["decision"] | {"version": live},
        "simulator": {"oracle": [{"models": {}}, {"models": models}]},
    }


def test_a_promotion_and_a_refused_cheat_are_told_with_their_figures():
    row = row_of(report())
    assert (row.seed, row.promoted, row.outcome, row.users_per_arm) == (5, True, "chat@2", 1040)
    assert (row.cheat_refused, row.refused_by) == (True, "phrase_rise")
    assert row.lift_ci == pytest.approx((0.1, 0.5))
    assert row.utility_change == 0.03


def test_misses_are_rows_too():
    no_lift = row_of(report(live="chat@1", lift=0.1))
    assert (no_lift.promoted, no_lift.outcome, no_lift.lift) == (False, "no lift", 0.1)
    nobody = row_of(report(live="chat@1", lift=None))
    assert (nobody.promoted, nobody.outcome) == (False, "no candidate passed")
    assert (nobody.lift, nobody.lift_ci, nobody.utility_change) == (None, None, None)
    assert nobody.users_per_arm == 0


@pytest.mark.parametrize(
    "cheat",
    [(), (verdict("style", KEPT),), (verdict("reward_hacking", BROKEN),)],
    ids=["never made", "passed", "refused by no sentinel"],
)
def test_only_a_sentinel_refuses_a_cheat(cheat):
    row = row_of(report(cheat=cheat))
    assert (row.cheat_refused, row.refused_by) == (False, "")
    assert "**not refused**" in table([row])
