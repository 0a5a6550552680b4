"""Goal: what is quarantined is stored, hidden from every fold, and comes back when released.

Method: small histories with verdicts among them, asked through the views and a snapshot.
"""

from itertools import permutations

import pytest

from features.config import FeaturesConfig
from features.examples import expose
from features.views import connect, query
from streams.signals import SIGNALS
from tests.features.histories import AFTER, at, erasure, reaction, shown, store_all, verdict

LOVE = [
    shown("r1"),
    shown("r2", seconds=100),
    reaction("r1", "add", 5),
    reaction("r2", "add", 105),
    shown("r1", "v"),
    reaction("r1", "add", 7, user_id="v"),
]


def loved(root, as_of=AFTER):
    rows = query(root, "SELECT response_id, user_id FROM labels WHERE value ORDER BY ALL", as_of)
    return [tuple(row.values()) for row in rows.to_pylist()]


def quarantined(root):
    rows = query(root, "SELECT response_id, user_id FROM labels WHERE quarantined ORDER BY ALL")
    return [tuple(row.values()) for row in rows.to_pylist()]


def test_a_quarantined_user_loves_nothing_from_then_on(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", since=50, seconds=200)])
    assert loved(tmp_path) == [("r1", "u"), ("r1", "v")]
    assert quarantined(tmp_path) == [("r2", "u")]


def test_a_verdict_on_one_response_leaves_the_others(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", response_id="r1", seconds=200)])
    assert loved(tmp_path) == [("r1", "v"), ("r2", "u")]


def test_events_are_stored_whatever_the_verdict(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", seconds=200)])
    rows = query(tmp_path, "SELECT user_id, quarantined FROM reactions ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in rows] == [("u", True), ("u", True), ("v", False)]


def test_before_it_was_decided_nothing_was_hidden(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", seconds=200)])
    assert len(loved(tmp_path, at(199))) == 3
    assert loved(tmp_path, at(200)) == [("r1", "v")]


@pytest.mark.parametrize(
    ("verdicts", "is_quarantined"),
    [
        ([verdict("u", "quarantine", 200), verdict("u", "release", 300)], False),
        ([verdict("u", "release", 200), verdict("u", "quarantine", 300)], True),
        ([verdict("u", "release", 200), verdict("u", "quarantine", 200)], True),
        ([verdict("u", "quarantine", 200), verdict("u", "release", 300, rule="other")], True),
        ([verdict("u", "quarantine", 200), verdict("u", "release", 100, rule="person")], False),
        (
            [
                verdict("u", "release", 100, rule="person"),
                verdict("u", "quarantine", 150, rule="person"),
            ],
            True,
        ),
    ],
)
def test_the_latest_verdict_counts_and_a_person_overrules(tmp_path, verdicts, is_quarantined):
    store_all(tmp_path, [*LOVE, *verdicts])
    assert (("r1", "u") not in loved(tmp_path)) == is_quarantined


def test_no_order_and_no_repetition_of_verdicts_matters(tmp_path):
    verdicts = [
        verdict("u", "quarantine", 200),
        verdict("u", "release", 300),
        verdict("u", "quarantine", 400, since=50),
    ]
    seen = set()
    for number, order in enumerate(permutations([*verdicts, verdicts[0]])):
        store_all(tmp_path / str(number), [*LOVE, *order])
        seen.add(str(loved(tmp_path / str(number))))
    assert seen == {"[('r1', 'u'), ('r1', 'v')]"}


def test_a_quarantined_reaction_is_in_no_history(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", seconds=200)])
    with connect(tmp_path) as connection:
        rows = connection.sql("SELECT DISTINCT user_id FROM counted").fetchall()
        every = connection.sql("SELECT count(*) FROM folded_reactions").fetchall()
    assert (rows, every) == ([("v",)], [(3,)])


def test_the_verdicts_on_an_erased_user_are_hidden_too(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", seconds=200), erasure("u", 500)])
    assert query(tmp_path, "SELECT * FROM verdicts").num_rows == 0
    assert query(tmp_path, "SELECT * FROM quarantine").num_rows == 0


def test_what_stands_says_by_which_rule_and_why(tmp_path):
    store_all(tmp_path, [verdict("u", seconds=200), verdict("u", seconds=200)])
    (row,) = query(tmp_path, "SELECT * FROM quarantine").to_pylist()
    assert (row["rule"], row["rule_version"], row["evidence"]) == ("burst", 1, '{"taps":40}')


def test_an_exposure_whose_love_does_not_count_is_no_example_of_not_being_loved(tmp_path):
    store_all(tmp_path, [*LOVE, verdict("u", response_id="r1", since=5, seconds=200)])
    with connect(tmp_path, as_of=AFTER) as connection:
        found = expose(connection, FeaturesConfig(root=tmp_path), SIGNALS["love"])
    rows = {(row["response_id"], row["user_id"]): row for row in found.to_pylist()}
    assert {key for key, row in rows.items() if row["quarantined"]} == {("r1", "u")}
    assert rows["r2", "u"]["stands"]
    assert rows["r1", "v"]["stands"]
