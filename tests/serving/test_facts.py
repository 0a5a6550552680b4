"""Goal: the page's numbers are what the store holds, each event once, each label by its reader.

Method: small histories in a store of their own, counted by hand.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from features.views import connect
from serving.facts import ACTIVITY_MINUTES, StoreFacts, read_facts
from serving.status import warn_of
from streams.events import DeadLetter, Event
from tests.features.histories import at, dead_letter, reaction, shown, store_all


def facts_of(root: Path, events: Sequence[Event | DeadLetter], seconds: float = 600) -> StoreFacts:
    """What the page says so many seconds after the start."""
    if events:
        store_all(root, events)
    with connect(root) as connection:
        return read_facts(connection, at(seconds))


def test_a_store_without_anything_gives_noughts(tmp_path: Path):
    facts = facts_of(tmp_path, [])
    assert set(asdict(facts.funnel).values()) == {0}
    assert list(facts.love) == list(facts.signals) == list(facts.dead_letters) == []
    assert facts.last_shown_at is facts.last_reaction_at is None
    assert len(facts.activity) == ACTIVITY_MINUTES + 1


def test_love_is_counted_per_version_with_an_interval_around_it(tmp_path: Path):
    events = [shown(f"a{n}", f"u{n}", n) for n in range(10)]
    events += [shown(f"b{n}", f"u{n}", 100 + n, policy="chat@2") for n in range(5)]
    loves = [reaction("a0", seconds=5, user_id="u0"), reaction("b1", seconds=105, user_id="u1")]
    first, second = facts_of(tmp_path, [*events, *loves]).love
    assert (first.policy, first.num_shown, first.num_loved, first.num_users) == (
        "chat@1",
        10,
        1,
        10,
    )
    assert (second.policy, second.num_shown, second.num_loved) == ("chat@2", 5, 1)
    assert first.rate is not None
    assert first.rate.low < first.rate.value == 0.1 < first.rate.high


def test_background_calls_are_no_unloved_answers(tmp_path: Path):
    events = [shown("r"), *(shown(f"t{n}", seconds=n, learnable=False) for n in range(1, 4))]
    taps = [reaction("r", seconds=10), reaction("t1", seconds=10)]
    facts = facts_of(tmp_path, [*events, *taps])
    [love] = facts.love
    assert (love.num_shown, love.num_loved) == (1, 1)
    assert (facts.funnel.num_shown, facts.funnel.num_not_learnable) == (1, 3)
    assert (facts.funnel.num_dangling, facts.funnel.num_elsewhere) == (0, 0)


def test_love_taken_back_no_longer_counts(tmp_path: Path):
    facts = facts_of(
        tmp_path, [shown("r"), reaction("r", seconds=10), reaction("r", "remove", seconds=90)]
    )
    assert (facts.funnel.num_loved, facts.funnel.num_reacted) == (0, 0)
    assert facts.funnel.num_reactions == 2
    [love] = facts.signals
    assert (love.num_on, love.num_taken_back, love.num_mistaps) == (0, 1, 0)


def test_a_mistap_is_counted_as_one(tmp_path: Path):
    facts = facts_of(
        tmp_path, [shown("r"), reaction("r", seconds=10), reaction("r", "remove", seconds=12)]
    )
    [love] = facts.signals
    assert (love.num_on, love.num_taken_back, love.num_mistaps) == (0, 0, 1)


def test_what_is_stored_twice_is_counted_once_and_told(tmp_path: Path):
    events = [shown("r"), reaction("r", seconds=10)]
    store_all(tmp_path, events)
    facts = facts_of(tmp_path, events)
    assert (facts.funnel.num_shown, facts.funnel.num_reactions) == (1, 1)
    assert facts.funnel.num_loved == 1
    assert facts.funnel.num_duplicates == 2


def test_a_reaction_to_what_was_never_shown_dangles(tmp_path: Path):
    facts = facts_of(tmp_path, [shown("r"), reaction("never", seconds=10)])
    assert (facts.funnel.num_dangling, facts.funnel.num_elsewhere) == (1, 0)
    assert facts.funnel.num_loved == 0


def test_a_reaction_by_somebody_else_is_not_the_readers(tmp_path: Path):
    facts = facts_of(tmp_path, [shown("r", "reader"), reaction("r", seconds=10, user_id="other")])
    assert (facts.funnel.num_dangling, facts.funnel.num_elsewhere) == (0, 1)
    assert facts.funnel.num_loved == 0
    assert facts.love[0].num_loved == 0


def test_any_reaction_counts_as_reacted_and_only_love_as_loved(tmp_path: Path):
    facts = facts_of(
        tmp_path,
        [
            shown("r1"),
            shown("r2", seconds=1),
            reaction("r1", seconds=10, signal="dislike"),
            reaction("r2", seconds=20),
            reaction("r2", seconds=30, signal="like"),
        ],
    )
    assert (facts.funnel.num_reacted, facts.funnel.num_loved) == (2, 1)


def test_dead_letters_are_told_by_reason_the_commonest_first(tmp_path: Path):
    letters = [dead_letter(n) for n in range(2)] + [
        dead_letter(n, reason="too_large", known_at=at(n)) for n in range(5, 9)
    ]
    first, second = facts_of(tmp_path, letters).dead_letters
    assert (first.reason, first.num, first.last_at) == ("too_large", 4, at(8))
    assert (second.reason, second.num) == ("malformed_json", 2)


@pytest.mark.parametrize("minutes", [0, 1, ACTIVITY_MINUTES - 1])
def test_activity_is_by_the_minute_in_which_events_became_known(tmp_path: Path, minutes: int):
    facts = facts_of(tmp_path, [shown("r"), reaction("r", seconds=1)], seconds=minutes * 60 + 5)
    busy = [row for row in facts.activity if row.num_shown or row.num_reactions]
    [row] = busy
    assert (row.minutes_ago, row.num_shown, row.num_reactions) == (minutes, 1, 1)


def test_what_came_before_the_last_hour_is_no_activity_but_still_fresh(tmp_path: Path):
    facts = facts_of(tmp_path, [shown("r")], seconds=timedelta(hours=2).total_seconds())
    assert all(row.num_shown == 0 for row in facts.activity)
    assert facts.last_shown_at == at(0)


@pytest.mark.parametrize(
    ("num_named", "who", "words"),
    [
        (0, {"user_id": "k", "client_id": "k"}, "one API key stands"),
        (0, {"user_id": "anonymous"}, "nobody stands"),
        (39, {"user_id": "k", "client_id": "k"}, "one API key stands"),
        (40, {"user_id": "k", "client_id": "k"}, ""),
        (0, {"user_id": "named", "client_id": "k"}, ""),
    ],
)
def test_where_most_answers_name_no_user_the_status_warns(tmp_path: Path, num_named, who, words):
    events = [shown(f"r{n}", **{"user_id": "u", **who}) for n in range(40)]
    events += [shown(f"n{n}", f"u{n}", client_id="k") for n in range(num_named)]
    naming = facts_of(tmp_path, events).naming
    told = warn_of(naming)
    assert bool(told) == bool(words)
    assert all(words in line for line in told)
