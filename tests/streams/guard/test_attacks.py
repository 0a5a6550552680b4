"""Goal: each rule that caps, or that reads texts and names, finds the attackers that it is for, and
the ordinary honest accounts around them are spared.
Method: three whole synthetic worlds with other seeds than those of the benchmark.
"""

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from simulator.attacks import BY_RULE, HOUSE, LOOKALIKES, AttackConfig
from streams.guard.rules import GuardConfig
from streams.guard.rulings import find_violations
from tests.streams.guard.test_rules import REACTIONS, SHOWN, tables

WORLDS = (201, 202, 203)
FOUND_MIN = 0.75
"""A shift of ten hours falls on two UTC days in 42 % of cases, and one of six or eight such shifts
stays below the cap on both: the benchmark misses 7 %, so six of 20 in some two of 1,000 worlds."""


@pytest.fixture(scope="module", params=WORLDS)
def world(request):
    """One world's findings, the praise that they were found in, and the truth about accounts."""
    config = AttackConfig(seed=request.param, honest=400, each_kind=20)
    taps, shown, truth = tables(config)
    found = find_violations(taps, shown, GuardConfig(house_accounts=(f"{HOUSE}*",)))
    return found, taps.to_pylist(), truth


def flagged(findings, truth, rule, kind):
    """How many accounts of a kind a rule names, and how many there are."""
    users = {user for user, each in truth.items() if each == kind}
    return len({f.user_id for f in findings if f.rule == rule} & users), len(users)


@pytest.mark.parametrize(
    ("rule", "kind"), [(r, kind) for r, kinds in BY_RULE.items() for kind in kinds]
)
def test_a_rule_finds_the_attackers_that_it_is_for(world, rule, kind):
    findings, _, truth = world
    num_found, num = flagged(findings, truth, rule, kind)
    assert num == 20
    assert num_found >= FOUND_MIN * num


@pytest.mark.parametrize("rule", BY_RULE)
def test_ordinary_honest_accounts_are_spared(world, rule):
    findings, _, truth = world
    assert flagged(findings, truth, rule, "honest") == (0, 400)


@pytest.mark.parametrize(("rule", "kind"), LOOKALIKES.items())
def test_of_honest_accounts_that_look_like_attackers_only_single_praise_is_left_out(
    world, rule, kind
):
    findings, _, truth = world
    users = {user for user, each in truth.items() if each == kind}
    mine = [f for f in findings if f.user_id in users]
    assert all(finding.response_id for finding in mine)
    assert {finding.rule for finding in mine} <= {rule}


def test_a_farm_is_found_by_its_network_and_by_no_account_of_it(world):
    findings, _, truth = world
    farm = {user for user, kind in truth.items() if kind == "farm"}
    assert {f.rule for f in findings if f.user_id in farm} == {"network_cap"}


def test_a_farm_without_networks_passes(world):
    _, taps, truth = world
    rows = [row | {"network": None} for row in taps]
    reactions = pa.Table.from_pylist(rows, REACTIONS)
    found = find_violations(reactions, SHOWN.empty_table(), GuardConfig())
    assert not {f.user_id for f in found} & {u for u, kind in truth.items() if kind == "farm"}


def test_work_across_midnight_halves_what_the_cap_sees():
    day = datetime.fromisoformat("2026-01-05T00:00:00+00:00")
    row = {"user_id": "u", "signal": "love", "action": "add", "network": None}
    rows = [
        row | {"response_id": f"r{i}", "occurred_at": day + timedelta(hours=24, minutes=2 * i)}
        for i in range(-75, 75)
    ]
    before = [each | {"occurred_at": each["occurred_at"] - timedelta(hours=6)} for each in rows]
    config = GuardConfig(rules=("user_cap",))

    def excess(these):
        return len(
            find_violations(pa.Table.from_pylist(these, REACTIONS), SHOWN.empty_table(), config)
        )

    assert (excess(rows), excess(before)) == (0, 150)
