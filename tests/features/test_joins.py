"""Goal: the gauges of the join say how many reactions and exposures have met, and no more.

Method: small histories by hand, and random ones counted again in plain Python; the meters before,
after and without a look.
"""

import random
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from features.config import FeaturesConfig
from features.guarding import decide
from features.joins import WINDOW, JoinMeters, measure_joins
from features.views import connect
from files.durable import lock
from streams.guard.rules import GuardConfig
from tests.features.histories import at, erasure, reaction, shown, store_all, verdict

DAY_S = WINDOW.total_seconds()
NOW = at(DAY_S)
"""The window then begins at second 0."""


def joins_of(root, events, now=NOW, **dials):
    store_all(root, events)
    with connect(root) as connection:
        return measure_joins(connection, now, **dials)


def numbers(joins):
    return (
        joins.num_matched_reactions,
        joins.num_dangling_reactions,
        joins.num_matched_exposures,
        joins.num_unmatched_exposures,
    )


def test_what_met_and_what_did_not_is_counted(tmp_path):
    events = [
        shown("r1"),
        shown("r2"),
        shown("r3"),
        reaction("r1", "add", 5),
        reaction("r1", "remove", 6),
        reaction("nowhere", "add", 7),
    ]
    assert numbers(joins_of(tmp_path, events)) == (2, 1, 1, 2)


def test_what_may_not_be_learned_from_is_not_missed_a_reaction(tmp_path):
    background = shown("title", learnable=False)
    assert numbers(joins_of(tmp_path, [shown("r1"), background])) == (0, 0, 0, 1)


def test_an_empty_store_has_nothing_and_no_delay(tmp_path):
    found = joins_of(tmp_path, [])
    assert (numbers(found), found.delay_s, found.one_in) == ((0, 0, 0, 0), {}, 1)


def test_events_stored_several_times_count_once(tmp_path):
    events = [shown("r1"), reaction("r1", "add", 5), reaction("x", "add", 5)] * 3
    assert numbers(joins_of(tmp_path, events)) == (1, 1, 1, 0)


def test_what_was_known_before_the_window_is_not_counted_but_is_met(tmp_path):
    events = [
        shown("old", seconds=-30 * DAY_S),
        shown("silent", seconds=-30 * DAY_S),
        reaction("gone", "add", -30 * DAY_S),
        reaction("old", "add", 5),
    ]
    found = joins_of(tmp_path, events)
    assert numbers(found) == (1, 0, 0, 0)
    assert found.delay_s[50] == 30 * DAY_S + 5


def test_the_window_is_of_when_it_became_known_not_when_it_happened(tmp_path):
    late = reaction("r", "add", -9 * DAY_S, known_at=at(5))
    early = reaction("r", "add", 5, known_at=at(-1))
    assert numbers(joins_of(tmp_path, [late, early])) == (0, 1, 0, 0)


def test_the_delay_runs_from_the_first_exposure_to_each_tap_that_adds(tmp_path):
    events = [
        shown("r1", seconds=10),
        shown("r1", "v", seconds=90),
        shown("r2", seconds=10),
        reaction("r1", "add", 11),
        reaction("r1", "remove", 5_000),
        reaction("r2", "add", 13),
        reaction("r1", "add", 15, user_id="v"),
        reaction("nowhere", "add", 9_999),
    ]
    assert joins_of(tmp_path, events).delay_s == pytest.approx({50: 3, 90: 4.6, 99: 4.96})


def test_a_tap_before_its_exposure_has_a_negative_delay(tmp_path):
    events = [shown("r", seconds=10), reaction("r", "add", 8)]
    assert joins_of(tmp_path, events).delay_s == {50: -2, 90: -2, 99: -2}


def test_quarantined_reactions_arrived_like_others_and_erased_users_did_nothing(tmp_path):
    events = [
        shown("r1", "u"),
        shown("r2", "v"),
        reaction("r1", "add", 5, user_id="u"),
        reaction("r2", "add", 5, user_id="v"),
        verdict("u", seconds=6),
        erasure("v", 7),
    ]
    assert numbers(joins_of(tmp_path, events)) == (1, 0, 1, 0)


def random_history(seed):
    """Exposures and reactions of two days in any order, some of them alone, some twice."""
    rng = random.Random(seed)
    ids = [f"r{n}" for n in range(40)]
    events = [shown(r, seconds=rng.uniform(-DAY_S, DAY_S)) for r in ids if rng.random() < 0.7]
    events += [
        reaction(r, rng.choice(["add", "remove"]), rng.uniform(-DAY_S, DAY_S))
        for r in rng.choices(ids, k=60)
    ]
    events += rng.sample(events, k=20)
    rng.shuffle(events)
    return events


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_are_counted_as_plain_python_counts_them(tmp_path, seed):
    events = random_history(seed)
    facts = {event.id: event for event in events}.values()
    shows = {e.response_id: e for e in facts if e.id.startswith("shown")}
    taps = [e for e in facts if not e.id.startswith("shown") and e.known_at >= at(0)]
    tapped = {tap.response_id for tap in taps}
    recent = {r for r, e in shows.items() if e.known_at >= at(0)}
    expected = (
        sum(tap.response_id in shows for tap in taps),
        sum(tap.response_id not in shows for tap in taps),
        len(recent & tapped),
        len(recent - tapped),
    )
    assert numbers(joins_of(tmp_path, events)) == expected


def test_of_too_many_events_a_share_of_the_responses_stands_for_all(tmp_path):
    events = [shown(f"r{n}") for n in range(2_000)]
    events += [reaction(f"r{n}", "add", 5) for n in range(1_000)]
    events += [reaction(f"x{n}", "add", 5) for n in range(400)]
    found = joins_of(tmp_path, events, events_max=1_000)
    assert found.one_in == 4
    assert all(number % 4 == 0 for number in numbers(found))
    # One in four of n by hash: four standard deviations are 4 sqrt(3 n), at most 0.35 n here.
    assert numbers(found) == pytest.approx((1_000, 400, 1_000, 1_000), rel=0.35)
    assert found.num_matched_reactions == found.num_matched_exposures  # Taken whole, or left.


def samples(registry):
    return {
        sample.name + sample.labels.get("percentile", ""): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_before_the_first_look_there_are_names_and_no_values():
    registry = CollectorRegistry()
    assert len(list(JoinMeters(registry).collect())) == 6
    assert samples(registry) == {}


def test_a_look_shows_all_and_one_that_fails_shows_nothing(tmp_path):
    store_all(tmp_path, [shown("r1"), shown("r2"), reaction("r1", "add", 5), reaction("x")])
    registry = CollectorRegistry()
    meters = JoinMeters(registry)
    with connect(tmp_path) as connection:
        meters.look(connection, NOW)
    assert samples(registry) == {
        "rluf_join_matched_reactions": 1,
        "rluf_join_dangling_reactions": 1,
        "rluf_join_matched_exposures": 1,
        "rluf_join_unmatched_exposures": 1,
        "rluf_join_delay_seconds50": 5,
        "rluf_join_delay_seconds90": 5,
        "rluf_join_delay_seconds99": 5,
        "rluf_join_look_timestamp_seconds": NOW.timestamp(),
    }
    meters.look(connection, NOW)  # It is closed.
    assert samples(registry) == {}


def test_the_guard_looks_at_the_joins_unless_another_process_does(tmp_path):
    store = store_all(tmp_path, [shown("r1"), reaction("x"), reaction("y")])
    config = FeaturesConfig(root=tmp_path)

    def dangling():
        return REGISTRY.get_sample_value("rluf_join_dangling_reactions")

    decide(store, config, GuardConfig(), now=NOW)
    assert dangling() == 2
    with lock(tmp_path.absolute() / "store" / ".guard.lock"):
        decide(store, config, GuardConfig(), now=NOW + timedelta(days=2))
    assert dangling() == 2
    decide(store, config, GuardConfig(), now=NOW + timedelta(days=2))
    assert dangling() == 0
