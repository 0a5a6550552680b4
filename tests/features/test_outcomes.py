"""Goal: every row of the table "What a sequence of reactions means" in docs/events.md is true.

Method: events, written as bytes and stamped with when the log heard of them, go through pipeline
and store in the order of arrival; then the view `labels`, the exposures that a snapshot draws from
and the features are asked. Row of the table, and its test here (test_...):

    added                                       an_added_signal_stands
    added, then removed 10 s later or more      taken_back_after_ten_seconds_...
    added, then removed sooner than 10 s        taken_back_sooner_is_a_mistap_...
    added, removed, added again                 added_again_it_stands_...
    added, removed, added, quickly removed      the_latest_pair_decides_...
    removed, never added                        a_removal_alone_is_neither_...
    tie                                         a_tie_goes_to_the_removal
    change of signal                            love_and_then_dislike_both_stand_...
    removal arrives before its add              arrivals_in_any_order_...
    reaction arrives before its exposure        a_reaction_dangles_until_...
    reaction happened before its exposure       a_reaction_from_before_its_exposure_...
    the exposure never comes                    a_reaction_to_what_was_never_shown_...
    another user                                someone_elses_reaction_...
    learnable: false                            what_may_not_be_learned_from_...
    tapped in time, arrives a month late        heard_of_a_month_late_...
    tapped a month after                        tapped_a_month_after_...
    duplicate                                   the_same_id_again_is_one_event_...
    the same tap under a new id                 one_tap_under_several_ids_...
    one (source, id), different events          an_id_used_twice_...
    one exposure under several ids              an_exposure_reported_twice_...
    clock ahead by at most 300 s, and by more   a_clock_ahead_...
    clock behind                                a_clock_behind_...
    user erased                                 an_erased_user_...
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest

from features.config import FeaturesConfig
from features.examples import expose
from features.history import history_sql
from features.offline.parquet import ParquetStore
from features.views import connect, query
from streams.config import StreamsConfig
from streams.events import Event
from streams.pipeline import Facts, Pipeline, Record
from streams.signals import SIGNALS
from tests.features.algebra_events import unplaced
from tests.features.histories import AFTER, at, erasure, reaction, shown

CONFIG = StreamsConfig()
MONTH_S = 30 * 86_400
SHOWN = shown("r")


def tell(root: Path, *events: Event, pipeline: Pipeline | None = None) -> Facts:
    """One batch of the log, in this order of arrival, into the store."""
    records = [
        Record(topic, 0, offset, stamp_ms, key, value, ())
        for offset, (topic, key, value, stamp_ms) in enumerate(map(unplaced, events))
    ]
    pipeline = pipeline or Pipeline(CONFIG)
    facts = pipeline.run(records)
    ParquetStore(FeaturesConfig(root=root)).append(facts)
    pipeline.remember(facts)
    return facts


def labels(root: Path, as_of: datetime | None = None) -> list[tuple[object, ...]]:
    """(signal, value, mistap, dangling) of each label, sorted."""
    sql = "SELECT signal, value, mistap, dangling FROM labels ORDER BY ALL"
    return [tuple(row.values()) for row in query(root, sql, as_of).to_pylist()]


def exposures(root: Path, as_of: datetime = AFTER, signal: str = "love") -> Sequence[dict]:
    """What a snapshot as of then is drawn from."""
    with connect(root, as_of) as connection:
        config = FeaturesConfig(root=root)
        return expose(connection, config, SIGNALS[signal]).to_pylist()


def flags(root: Path, as_of: datetime = AFTER, signal: str = "love") -> set[str]:
    """What is true of the only exposure, beside whether it may be learned from."""
    (row,) = exposures(root, as_of, signal)
    names = ("stands", "mistap", "taken_back", "too_late", "is_young")
    return {name for name in names if row[name]}


def history(root: Path, user_id: str = "u") -> list[tuple[datetime, int, int]]:
    """(time, num_shown, num_love) of each step of a user's features."""
    with connect(root) as connection:
        rows = connection.sql(history_sql("user_id", strength=20.0, rate=0.05)).to_arrow_table()
    return [
        (row["event_timestamp"], row["num_shown"], row["num_love"])
        for row in rows.to_pylist()
        if row["user_id"] == user_id
    ]


def test_an_added_signal_stands(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 5))
    assert labels(tmp_path) == [("love", True, False, False)]
    assert flags(tmp_path) == {"stands"}


def test_taken_back_after_ten_seconds_it_is_a_negative_that_is_counted(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 5), reaction("r", "remove", 15))
    assert labels(tmp_path) == [("love", False, False, False)]
    assert flags(tmp_path) == {"taken_back"}


def test_taken_back_sooner_is_a_mistap_and_left_out(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 5), reaction("r", "remove", 14.999))
    assert labels(tmp_path) == [("love", False, True, False)]
    assert "mistap" in flags(tmp_path)
    assert flags(tmp_path, signal="dislike") == set(), "only of that signal"


def test_added_again_it_stands_and_the_mistap_is_forgotten(tmp_path):
    taps = [reaction("r", "add", 5), reaction("r", "remove", 7), reaction("r", "add", 60)]
    tell(tmp_path, SHOWN, *taps)
    assert labels(tmp_path) == [("love", True, False, False)]
    assert flags(tmp_path) == {"stands"}


def test_the_latest_pair_decides_that_it_was_a_mistap(tmp_path):
    tell(
        tmp_path,
        SHOWN,
        reaction("r", "add", 5),
        reaction("r", "remove", 50),
        reaction("r", "add", 60),
        reaction("r", "remove", 62),
    )
    assert labels(tmp_path) == [("love", False, True, False)]


def test_a_removal_alone_is_neither_praise_nor_mistap(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "remove", 5))
    assert labels(tmp_path) == [("love", False, False, False)]
    assert flags(tmp_path) == set()


@pytest.mark.parametrize(("signal", "is_mistap"), [("love", True), ("continue", False)])
def test_a_tie_goes_to_the_removal(tmp_path, signal, is_mistap):
    taps = [reaction("r", action, 5, signal=signal) for action in ("remove", "add")]
    tell(tmp_path, SHOWN, *taps)
    assert labels(tmp_path) == [(signal, False, is_mistap, False)]


def test_love_and_then_dislike_both_stand_until_one_is_removed(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 5), reaction("r", "add", 60, signal="dislike"))
    assert labels(tmp_path) == [("dislike", True, False, False), ("love", True, False, False)]
    tell(tmp_path, reaction("r", "remove", 61))
    assert labels(tmp_path) == [("dislike", True, False, False), ("love", False, False, False)]


def test_arrivals_in_any_order_have_one_outcome(tmp_path):
    events = [SHOWN, reaction("r", "add", 5), reaction("r", "remove", 50), reaction("r", "add", 70)]
    for number, order in enumerate(permutations(events)):
        root = tmp_path / str(number)
        for event in order:
            tell(root, event)
        assert labels(root) == [("love", True, False, False)]


def test_a_reaction_dangles_until_its_exposure_arrives(tmp_path):
    tell(tmp_path, reaction("r", "add", 5))
    assert labels(tmp_path) == [("love", True, False, True)]
    assert (exposures(tmp_path), history(tmp_path)) == ([], [])
    tell(tmp_path, shown("r", known_at=at(100)))
    assert labels(tmp_path) == [("love", True, False, False)]
    assert labels(tmp_path, at(99)) == [("love", True, False, True)]
    assert flags(tmp_path) == {"stands"}


def test_a_reaction_from_before_its_exposure_counts_from_the_exposure_on(tmp_path):
    tell(tmp_path, shown("r", seconds=100), reaction("r", "add", 40))
    assert flags(tmp_path) == {"stands"}
    assert history(tmp_path) == [(at(100), 1, 1)]


def test_a_reaction_to_what_was_never_shown_dangles_for_ever_and_counts_nowhere(tmp_path):
    tell(tmp_path, SHOWN, reaction("never", "add", 5))
    assert labels(tmp_path, AFTER) == [("love", True, False, True)]
    assert [row["response_id"] for row in exposures(tmp_path)] == ["r"]
    assert flags(tmp_path) == set()
    assert history(tmp_path) == [(at(0), 1, 0)]


def test_someone_elses_reaction_is_their_label_and_counts_nowhere(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 5, user_id="other"))
    assert query(tmp_path, "SELECT user_id, value, dangling FROM labels").to_pylist() == [
        {"user_id": "other", "value": True, "dangling": False}
    ]
    assert flags(tmp_path) == set()
    assert (history(tmp_path), history(tmp_path, "other")) == ([(at(0), 1, 0)], [])


def test_what_may_not_be_learned_from_keeps_its_label(tmp_path):
    tell(tmp_path, shown("r", learnable=False), reaction("r", "add", 5))
    assert labels(tmp_path) == [("love", True, False, False)]
    assert [row["learnable"] for row in exposures(tmp_path)] == [False]


def test_what_may_not_be_learned_from_is_no_unloved_answer(tmp_path):
    background = [shown(f"title-{n}", seconds=n, learnable=False) for n in range(1, 4)]
    tell(tmp_path, SHOWN, *background, reaction("r", "add", 5), reaction("title-1", "add", 5))
    assert history(tmp_path) == [(at(0), 1, 0), (at(5), 1, 1)]


def test_heard_of_a_month_late_it_counts_from_when_it_is_known(tmp_path):
    heard_at = at(MONTH_S)
    tell(tmp_path, SHOWN, reaction("r", "add", 5, known_at=heard_at))
    before, after = heard_at - timedelta(seconds=1), heard_at
    assert labels(tmp_path, before) == []
    assert labels(tmp_path, after) == [("love", True, False, False)]
    assert flags(tmp_path, before) == set()
    assert flags(tmp_path, after) == {"stands"}


def test_a_removal_heard_of_a_month_late_takes_back_from_then_on(tmp_path):
    heard_at = at(MONTH_S)
    tell(tmp_path, SHOWN, reaction("r", "add", 5), reaction("r", "remove", 60, known_at=heard_at))
    assert flags(tmp_path, heard_at - timedelta(seconds=1)) == {"stands"}
    assert flags(tmp_path, heard_at) == {"taken_back"}


def test_tapped_a_month_after_it_stands_and_a_snapshot_counts_it_as_too_late(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", MONTH_S))
    assert labels(tmp_path) == [("love", True, False, False)]
    assert flags(tmp_path) == {"too_late"}
    assert history(tmp_path) == [(at(0), 1, 0)], "and so do features"


def test_the_same_id_again_is_one_event_remembered_or_not(tmp_path):
    tap, pipeline = reaction("r", "add", 5), Pipeline(CONFIG)
    tell(tmp_path, SHOWN, tap, pipeline=pipeline)
    assert tell(tmp_path, tap, pipeline=pipeline).duplicates == 1
    assert tell(tmp_path, tap).duplicates == 0, "a worker that remembers nothing stores it again"
    assert query(tmp_path, "SELECT count(*) AS n FROM reactions").to_pylist() == [{"n": 1}]
    assert history(tmp_path)[-1] == (at(5), 1, 1)


def test_one_tap_under_several_ids_is_several_events_of_one_effect(tmp_path):
    tell(tmp_path, SHOWN, *(reaction("r", "add", 5, id=f"tap-{n}") for n in range(3)))
    assert query(tmp_path, "SELECT count(*) AS n FROM reactions").to_pylist() == [{"n": 3}]
    assert labels(tmp_path) == [("love", True, False, False)]
    assert history(tmp_path)[-1] == (at(5), 1, 1)


def test_an_id_used_twice_keeps_the_earliest_stored_and_drops_what_came_while_remembered(tmp_path):
    late, early = reaction("r", "add", 60, id="x"), reaction("r", "remove", 5, id="x")
    for name, order in (("a", (late, early)), ("b", (early, late))):
        for event in order:
            tell(tmp_path / name, event)
        rows = query(tmp_path / name, "SELECT action, occurred_at FROM reactions").to_pylist()
        assert rows == [{"action": "remove", "occurred_at": at(5)}]
    tell(tmp_path / "c", late, early)
    rows = query(tmp_path / "c", "SELECT action FROM reactions").to_pylist()
    assert rows == [{"action": "add"}], "the second came while the first was remembered"


def test_an_exposure_reported_twice_counts_once_as_the_earliest_and_may_be_barred_by_any(tmp_path):
    first, again = shown("r", policy="chat@1"), shown("r", id="x", seconds=9, policy="chat@2")
    tell(tmp_path, again, first)
    (row,) = exposures(tmp_path)
    assert (row["policy"], row["shown_at"], row["learnable"]) == ("chat@1", at(0), True)
    assert history(tmp_path) == [(at(0), 1, 0)]
    tell(tmp_path, shown("r", id="y", seconds=20, learnable=False))
    assert [row["learnable"] for row in exposures(tmp_path)] == [False]


def test_a_clock_ahead_is_believed_for_300_s_and_then_refused(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 300, known_at=at(0)))
    assert labels(tmp_path) == [("love", True, False, False)]
    tell(tmp_path, reaction("r", "remove", 100))
    assert labels(tmp_path) == [("love", True, False, False)], "a right clock may lose"
    refused = tell(tmp_path, reaction("r", "remove", 400.001, known_at=at(100)))
    assert [letter.reason for letter in refused.dead_letters] == ["absurd_time"]
    assert labels(tmp_path) == [("love", True, False, False)]


def test_a_clock_behind_is_taken_as_told(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", -MONTH_S, known_at=at(5)))
    assert labels(tmp_path) == [("love", True, False, False)]
    assert flags(tmp_path) == {"stands"}


def test_an_erased_user_is_hidden_at_every_time_and_counts_again_later(tmp_path):
    tell(tmp_path, SHOWN, reaction("r", "add", 5), erasure("u", 100))
    assert (labels(tmp_path), labels(tmp_path, at(50))) == ([], [])
    assert (exposures(tmp_path), history(tmp_path)) == ([], [])
    tell(tmp_path, shown("r2", seconds=200), reaction("r2", "add", 205))
    assert labels(tmp_path) == [("love", True, False, False)]
    assert history(tmp_path) == [(at(200), 1, 0), (at(205), 1, 1)]
