"""Goal: a check is kept, broken or undecided by its interval, and says what would decide it.

Method: intervals on either side of a bound and across it; documents written and read back.
"""

import json
import math

import pytest

from models.verdicts import (
    Bound,
    Check,
    Measure,
    Verdict,
    hold,
    ruling_together,
    verdict_from_json,
)


def measure(low: float, value: float, high: float, num_users: int = 100) -> Measure:
    return Measure(name="rise", value=value, low=low, high=high, unit="ratio", num_users=num_users)


@pytest.mark.parametrize(
    ("bound", "ends", "outcome"),
    [
        (Bound(high=0.1), (-0.1, 0.1), "kept"),
        (Bound(high=0.1), (-0.1, 0.11), "undecided"),
        (Bound(high=0.1), (0.1, 0.3), "undecided"),
        (Bound(high=0.1), (0.11, 0.3), "broken"),
        (Bound(low=-0.1), (-0.1, 0.3), "kept"),
        (Bound(low=-0.1), (-0.3, -0.11), "broken"),
        (Bound(low=-0.1, high=0.1), (-0.1, 0.1), "kept"),
        (Bound(low=-0.1, high=0.1), (-0.3, 0.3), "undecided"),
        (Bound(low=-0.1, high=0.1), (0.2, 0.3), "broken"),
        (Bound(low=-0.1, high=0.1), (-0.3, -0.2), "broken"),
    ],
)
def test_an_interval_decides_only_where_all_of_it_lies_on_one_side(bound, ends, outcome):
    low, high = ends
    assert hold(measure(low, (low + high) / 2, high), bound).outcome == outcome


@pytest.mark.parametrize("missing", ["value", "low", "high"])
def test_without_a_value_or_an_interval_nothing_is_decided(missing):
    ends = {"value": 0.0, "low": -0.1, "high": 0.1} | {missing: math.nan}
    check = hold(Measure(name="rise", **ends), Bound(high=1.0))
    assert (check.outcome, check.users_needed) == ("undecided", None)


def test_an_undecided_check_says_how_many_users_would_decide_it():
    # The arm is 0.2 and the bound 0.1 away: half the width, four times the users.
    check = hold(measure(-0.2, 0.0, 0.2), Bound(high=0.1))
    assert check.users_needed == 400
    assert str(check) == (
        "rise is 0 [-0.2, 0.2], allowed is at most 0.1: not enough evidence,"
        " about 400 users would decide"
    )
    # Of two ends the nearer one needs more.
    assert hold(measure(-0.2, 0.0, 0.2), Bound(low=-0.05, high=0.1)).users_needed == 1600
    # Two digits, rounded up.
    assert hold(measure(-0.3, 0.0, 0.3), Bound(high=0.07)).users_needed == 1900


def test_no_number_is_given_where_none_can_be():
    on_the_line = hold(measure(-0.1, 0.1, 0.3), Bound(high=0.1))
    assert (on_the_line.outcome, on_the_line.users_needed) == ("undecided", None)
    assert hold(measure(-0.2, 0.0, 0.2, num_users=0), Bound(high=0.1)).users_needed is None
    assert str(on_the_line).endswith("not enough evidence")


KEPT = hold(measure(-0.1, 0.0, 0.05), Bound(high=0.1))
BROKEN = hold(measure(0.2, 0.3, 0.4), Bound(low=-0.1, high=0.1))
UNDECIDED = hold(measure(-0.2, 0.0, 0.2), Bound(high=0.1))
UNMEASURED = hold(Measure(name="slope", value=math.nan), Bound(low=0.9, high=1.1))


@pytest.mark.parametrize(
    ("checks", "ruling"),
    [
        ((KEPT, KEPT), "passed"),
        ((KEPT, UNDECIDED), "undecided"),
        ((KEPT, UNMEASURED), "undecided"),
        ((KEPT, UNDECIDED, BROKEN), "refused"),
        ((), "undecided"),
    ],
)
def test_a_gate_rules_by_its_checks(checks: tuple[Check, ...], ruling):
    verdict = Verdict(gate="g", checks=checks)
    assert verdict.ruling == ruling
    assert verdict.passed is (ruling == "passed")


def test_reasons_name_broken_checks_first():
    verdict = Verdict(gate="g", checks=(UNDECIDED, KEPT, BROKEN, UNMEASURED))
    first, second, third = verdict.reasons
    assert first == "rise is 0.3 [0.2, 0.4], allowed is -0.1 to 0.1"
    assert "not enough evidence" in second
    assert third == "slope could not be measured; allowed is 0.9 to 1.1"
    assert Verdict(gate="g").reasons == ("nothing was checked",)


def test_several_gates_pass_together_only():
    assert ruling_together(["passed", "passed"]) == "passed"
    assert ruling_together(["passed", "undecided"]) == "undecided"
    assert ruling_together(["refused", "undecided", "passed"]) == "refused"
    assert ruling_together([]) == "undecided"


def test_a_verdict_is_read_back_as_it_was_written():
    about = Measure(name="phrase_rise", value=0.1, about="'what a question'", num_users=4)
    verdict = Verdict(gate="g", checks=(KEPT, BROKEN, UNDECIDED), informative=(about,))
    document = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert str(verdict_from_json(document)) == str(verdict)
    assert document["ruling"] == "refused"
    assert document["checks"][0]["allowed_low"] is None


def test_what_is_no_verdict_is_refused_by_what_was_seen():
    with pytest.raises(ValueError, match="saw \\['gate'\\]"):
        verdict_from_json({"gate": "g"})
