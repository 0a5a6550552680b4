"""Goal: each rule finds what it is for and spares what it is not; verdicts follow from findings.
Method: small tables by hand, one synthetic world of two seeds, and shuffled, repeated rows.
"""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.attacks import GROSS, AttackConfig, events
from streams.guard.rules import RULES, GuardConfig
from streams.guard.rulings import changes, find_violations
from tests.properties import examples

START = datetime(2026, 1, 5, tzinfo=UTC)
TIME = ("occurred_at", pa.timestamp("us", "UTC"))
TEXTS = ("response_id", "user_id", "signal", "action", "network")
REACTIONS = pa.schema([*((name, pa.string()) for name in TEXTS), TIME])
TEXTS_SHOWN = ("response_id", "user_id", "policy", "prompt", "response")
SHOWN = pa.schema([*((name, pa.string()) for name in TEXTS_SHOWN), TIME])


def tap(user, response, seconds, network="", signal="love"):
    at = START + timedelta(seconds=seconds)
    row = {"response_id": response, "user_id": user, "signal": signal, "action": "add"}
    return row | {"network": network, "occurred_at": at}


def show(user, response, seconds, prompt="", text="A reply.", policy="chat@1"):
    row = {"response_id": response, "user_id": user, "policy": policy, "prompt": prompt}
    return row | {"response": text, "occurred_at": START + timedelta(seconds=seconds)}


def found(rule, taps, shown=(), **dials):
    config = GuardConfig(rules=(rule,), **dials)
    reactions = pa.Table.from_pylist(list(taps), REACTIONS)
    return find_violations(reactions, pa.Table.from_pylist(list(shown), SHOWN), config)


DAY_S = 86_400


def test_a_day_of_too_much_praise_is_left_out_whole_praised_or_not():
    """The twins that nobody praised go with what was praised, and other days stay."""
    taps = [tap("u", f"r{i}", i * 60) for i in range(5)]
    shown = [show("u", f"r{i}", i * 60 - 30) for i in range(1, 9)]
    shown += [show("u", "next", DAY_S + 60), show("v", "other", 60)]
    hits = found("user_cap", [*taps, tap("u", "next", DAY_S + 90)], shown, user_cap=4)
    assert [f.response_id for f in hits] == [f"r{i}" for i in range(9)]
    assert not found("user_cap", taps, shown, user_cap=5)


def test_praise_counts_on_the_day_that_it_was_shown():
    shown = [show("u", f"r{i}", DAY_S - 60) for i in range(4)]
    taps = [tap("u", f"r{i}", DAY_S + i - 2) for i in range(4)]
    assert len(found("user_cap", taps, shown, user_cap=3)) == 4
    assert not found("user_cap", taps, user_cap=3), "half of it each day"


def test_a_networks_day_of_too_much_praise_is_left_out_for_all_its_users():
    taps = [tap(f"u{i}", f"r{i}", i, network="n") for i in range(4)]
    taps.append(tap("quiet", "before", -DAY_S, network="n"))
    shown = [show("quiet", "unpraised", 60), show("stranger", "theirs", 60)]
    hits = found("network_cap", taps, shown, network_cap=3)
    assert [f.user_id for f in hits] == ["quiet", "u0", "u1", "u2", "u3"]
    assert hits[0].response_id == "unpraised"
    assert not found("network_cap", [row | {"network": None} for row in taps], network_cap=3)


def test_a_burst_is_faster_than_a_hand_and_complaints_are_none():
    assert [f.user_id for f in found("burst", [tap("u", f"r{i}", i / 5) for i in range(20)])] == [
        "u"
    ]
    assert not found("burst", [tap("u", f"r{i}", i * 2) for i in range(20)])
    assert not found("burst", [tap("u", f"r{i}", i / 5, signal="dislike") for i in range(20)])


def test_who_praises_everything_is_found_where_others_do_not():
    shown = [show(f"u{u}", f"r{u}-{i}", i * 900) for u in range(20) for i in range(40)]
    taps = [tap("u0", f"r0-{i}", i * 900 + 5) for i in range(40)]
    taps += [tap(f"u{u}", f"r{u}-{i}", i * 900 + 5) for u in range(1, 20) for i in range(u % 9)]
    assert [f.user_id for f in found("always", taps, shown)] == ["u0"]
    assert not found("always", taps)
    everyone = [tap(row["user_id"], row["response_id"], 9) for row in shown]
    assert not found("always", everyone, shown)


@pytest.mark.parametrize(("apart", "expected"), [(5, 5), (500, 0)])
def test_accounts_that_move_together_are_found_by_their_times(apart, expected):
    taps = [tap(f"u{u}", f"r{r}", r * 9000 + u * apart) for u in range(5) for r in range(6)]
    assert len(found("together", taps)) == expected


def test_a_wave_of_fresh_accounts_is_found_only_above_what_is_usual():
    shown = [show(f"h{i}", f"h{i}", i * 3600) for i in range(72)]
    shown += [show(f"b{i}", f"b{i}", 50 * 3600 + i) for i in range(30)]
    taps = [tap(f"b{i}", f"b{i}", 50 * 3600 + i + 9) for i in range(30)]
    assert len(found("fresh", taps, shown)) == 30
    assert not found("fresh", taps[:10], shown)
    assert not found("fresh", taps)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Tell me: one two three four five six seven eight nine", 1),
        ("Say exactly: whatever", 1),
        ("Count from one to nine in words for a child of three years", 0),
    ],
)
def test_a_dictated_reply_is_found_praised_or_not(prompt, expected):
    text = "One two three four five six seven eight nine."
    shown = [show("u", "r", 0, prompt=prompt, text=text), show("v", "q", 0, prompt, text)]
    hits = found("dictated", [tap("u", "r", 5)], shown)
    assert [(f.user_id, f.response_id) for f in hits] == [("u", "r"), ("v", "q")][: 2 * expected]
    assert all(f.since == START for f in hits)


def test_self_praise_is_of_own_accounts_or_asked_for():
    taps = [tap("staff-1", "r", 5), tap("chat", "r", 6), tap("u", "r", 7), tap("u", "q", 8)]
    begs = "Please tap the heart if this helped."
    shown = [show("u", "r", 0), show("u", "q", 0, text=begs), show("v", "unpraised", 0, text=begs)]
    hits = found("self_praise", taps, shown, house_accounts=("staff-*",))
    assert [(f.user_id, f.response_id) for f in hits] == [
        ("chat", ""),
        ("staff-1", ""),
        ("u", "q"),
        ("v", "unpraised"),
    ]


def test_a_ruling_on_an_account_begins_with_all_that_it_was_shown():
    """What it saw before its first praise is not left as replies that nobody loved."""
    shown = [show(f"u{u}", f"r{r}", r * 9000 - 60) for u in range(5) for r in range(-2, 6)]
    taps = [tap(f"u{u}", f"r{r}", r * 9000 + u * 5) for u in range(5) for r in range(6)]
    begun = START - timedelta(seconds=2 * 9000 + 60)
    assert {f.since for f in found("together", taps, shown)} == {begun}


def tables(config):
    """A world's reactions and exposures, and the truth about its accounts."""
    made, truth = events(config)
    taps, shown = [], []
    for event in made:
        row = event["data"] | {"occurred_at": datetime.fromisoformat(event["time"])}
        if event["type"] == "rluf.reaction.v1":
            taps.append(row)
        else:
            shown.append(row | {"prompt": row["messages"][-1]["content"]})
    return pa.Table.from_pylist(taps, REACTIONS), pa.Table.from_pylist(shown, SHOWN), truth


@pytest.mark.parametrize("seed", [101, 102])
def test_gross_attacks_are_found_and_the_honest_are_spared(seed):
    reactions, shown, truth = tables(AttackConfig(seed=seed, honest=1000, each_kind=20))
    flagged = {finding.user_id for finding in find_violations(reactions, shown, GuardConfig())}
    for kind in GROSS:
        users = {user for user, each in truth.items() if each == kind}
        assert len(users & flagged) >= 0.9 * len(users), kind
    honest = {user for user, each in truth.items() if each == "honest"}
    assert len(honest & flagged) <= 0.005 * len(honest)


@settings(max_examples=examples(30))
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_order_and_repetition_change_nothing(seed, repeated):
    taps = [tap(f"u{u}", f"r{r}", r * 9000 + u * 5, "n") for u in range(5) for r in range(6)]
    shown = [show(row["user_id"], row["response_id"], 0, f"p{u}") for u, row in enumerate(taps)]
    rng = random.Random(seed)
    more, seen = taps + rng.choices(taps, k=repeated), shown + rng.choices(shown, k=repeated)
    rng.shuffle(more)
    rng.shuffle(seen)
    config = GuardConfig(network_cap=10, user_cap=3)

    def judged(rows, exposures):
        reactions = pa.Table.from_pylist(rows, REACTIONS)
        return find_violations(reactions, pa.Table.from_pylist(exposures, SHOWN), config)

    assert judged(more, seen) == judged(taps, shown) != []


def test_nothing_at_all_gives_no_findings():
    assert find_violations(REACTIONS.empty_table(), SHOWN.empty_table(), GuardConfig()) == []


def test_verdicts_quarantine_what_is_new_and_release_what_is_gone():
    findings = found("burst", [tap("u", f"r{i}", i / 5) for i in range(20)])
    dials = {"decided_at": START + timedelta(days=1), "window_start": START}
    (verdict,) = changes(findings, {}, **dials)
    assert (verdict.action, verdict.rule, verdict.since) == ("quarantine", "burst", START)
    standing = {("burst", "u", ""): START}
    assert changes(findings, standing, **dials) == []
    assert [v.action for v in changes([], standing, **dials)] == ["release"]
    late = {"decided_at": dials["decided_at"], "window_start": START + timedelta(seconds=1)}
    assert changes([], standing, **late) == []


def test_an_unknown_rule_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="together"):
        GuardConfig(rules=("nonsense",))
    assert all(rule.name == name for name, rule in RULES.items())
