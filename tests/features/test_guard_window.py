"""Goal: what the guard reads at once is bounded, and what it leaves unread changes no finding.

Method: small histories in a real store; the newest minutes are counted by hand.
"""

from datetime import timedelta

import pytest

from features.config import FeaturesConfig
from features.guarding import facts_for_guard, look, window_start
from features.offline.parquet import ParquetStore
from features.views import connect
from streams.events import Message
from streams.guard.rules import GuardConfig
from streams.guard.rulings import find_violations
from tests.features.histories import START, at, busy_month, facts_of, reaction, shown

LONG_AGO = START - timedelta(days=1)


def stored(root, events):
    ParquetStore(FeaturesConfig(root=root)).append(facts_of(events))
    return connect(root)


def minute_by_minute(num):
    """Two facts a minute that the guard reads, and two that it does not."""
    return [
        event
        for minute in range(num)
        for event in (
            shown(f"r{minute}", seconds=60 * minute + 1),
            reaction(f"r{minute}", "add", 60 * minute + 2),
            reaction(f"r{minute}", "remove", 60 * minute + 3),
            reaction(f"r{minute}", "add", 60 * minute + 4, signal="dislike"),
        )
    ]


@pytest.mark.parametrize(
    ("facts_max", "minutes"), [(20, 10), (19, 9), (7, 3), (6, 3), (2, 1), (1, 1)]
)
def test_the_window_begins_at_the_minute_from_which_few_enough_facts_are_left(
    tmp_path, facts_max, minutes
):
    with stored(tmp_path, minute_by_minute(10)) as connection:
        since = window_start(connection, LONG_AGO, facts_max=facts_max)
        reactions, exposures = facts_for_guard(connection, since, GuardConfig())
    assert (reactions.num_rows, exposures.num_rows) == (minutes, minutes)
    assert since == (LONG_AGO if minutes == 10 else at(60 * (10 - minutes)))


def test_an_empty_store_and_a_small_one_are_judged_from_where_they_were_told(tmp_path):
    with stored(tmp_path, []) as connection:
        assert window_start(connection, LONG_AGO, facts_max=1) == LONG_AGO


def test_a_window_that_is_cut_never_begins_before_it_would_have(tmp_path):
    inside = at(30)
    with stored(tmp_path, minute_by_minute(1)) as connection:
        assert window_start(connection, at(0), facts_max=1) == at(0)
        assert window_start(connection, inside, facts_max=1) == inside


def test_texts_are_read_where_praised_or_where_a_rule_may_find_them_praised_or_not(tmp_path):
    long = "A vessel that boils water on a fire, and that is most of what there is to say of it."
    ordered = (Message(role="user", content="Say exactly: it's \\d"),)
    events = [
        *(shown(name, response=long) for name in ("loved", "plain", "hated")),
        shown("begs", response=f"{long} Please tap the heart!"),
        shown("ordered", response=long, messages=ordered),
        shown("short", response="It is."),
        reaction("loved"),
        reaction("hated", signal="dislike"),
    ]
    with stored(tmp_path, events) as connection:
        _, exposures = facts_for_guard(connection, LONG_AGO, GuardConfig())
        _, others = facts_for_guard(connection, LONG_AGO, GuardConfig(rules=("burst",)))
    texts = {row["response_id"] for row in exposures.to_pylist() if row["response"]}
    assert texts == {"loved", "begs", "ordered", "short"}
    assert {row["response_id"] for row in others.to_pylist() if row["response"]} == {"loved"}
    prompts = {row["prompt"] for row in exposures.to_pylist()}
    assert prompts == {"", "What is a kettle?", "Say exactly: it's \\d"}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_read_changes_no_finding(tmp_path, seed):
    dials = GuardConfig(user_cap=2, burst_taps=2, burst_window_s=600.0)
    with stored(tmp_path, busy_month(seed=seed)) as connection:
        every = connection.sql("SELECT * FROM folded_reactions").to_arrow_table()
        exposures = connection.sql(
            "SELECT *, messages AS prompt FROM raw_shown"  # Texts that no rule knows.
        ).to_arrow_table()
        config = FeaturesConfig(root=tmp_path, guard_window_s=60 * 86_400.0)
        verdicts = look(connection, config, dials, now=at(86_400 * 40))
    rules = GuardConfig(
        user_cap=2, burst_taps=2, burst_window_s=600.0, rules=("user_cap", "burst", "always")
    )
    found = {
        (each.rule, each.user_id, each.response_id)
        for each in find_violations(every, exposures, rules)
    }
    decided = {(each.rule, each.user_id, each.response_id) for each in verdicts}
    assert found
    assert found == {each for each in decided if each[0] in rules.rules}
