"""Goal: features at a time count exactly what had happened before it, and nothing later.

Method: histories that hypothesis makes up, replayed in disorder; each exposure's features, joined
by Feast, against a naive count in Python. The last row of a history against what is pushed online.
"""

import tempfile
from datetime import timedelta
from functools import reduce
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from features.config import FeaturesConfig
from features.definitions import LABELS_SERVICE, TRAINING_SERVICE
from features.history import current_sql, history_sql
from features.online import features_as_of, join_history
from features.views import connect
from streams.reactions import ReactionState, fold
from tests.features.histories import (
    AFTER,
    at,
    busy_month,
    erasure,
    reaction,
    replay,
    shown,
    store_all,
)
from tests.properties import examples

JUST_BEFORE = timedelta(microseconds=1)
RESPONSES = {f"r{number}": ("u" if number < 4 else "v", number * 7) for number in range(6)}
EXPOSURES = [shown(name, user, seconds) for name, (user, seconds) in RESPONSES.items()]
REACTIONS = st.lists(
    st.builds(
        lambda name, action, delay, signal: reaction(
            name, action, RESPONSES[name][1] + delay, user_id=RESPONSES[name][0], signal=signal
        ),
        st.sampled_from(sorted(RESPONSES)),
        st.sampled_from(["add", "remove"]),
        st.integers(-5, 20),  # Some clients' clocks are behind: a reaction before its exposure.
        st.sampled_from(["love", "dislike"]),
    ),
    max_size=16,
)


def count_naively(user, signal, until, reactions):
    """Exposures and standing signals of a user strictly before a time."""
    seen = [e for e in EXPOSURES if e.user_id == user and e.occurred_at < until]
    standing = 0
    for exposure in seen:
        events = [
            r
            for r in reactions
            if r.response_id == exposure.response_id
            and r.signal == signal
            and r.occurred_at < until
        ]
        standing += reduce(fold, events, ReactionState()).is_on()
    return len(seen), standing


@settings(max_examples=examples(6))
@given(reactions=REACTIONS, seed=st.integers(0, 99))
def test_features_at_an_exposure_are_those_of_a_naive_count_before_it(reactions, seed):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store_all(root, replay([*EXPOSURES, *reactions], seed), chunk=5)
        entities = pa.table(
            {
                "user_id": [e.user_id for e in EXPOSURES],
                "event_timestamp": pa.array(
                    [e.occurred_at - JUST_BEFORE for e in EXPOSURES], pa.timestamp("us", "UTC")
                ),
            }
        )
        with connect(root) as connection:
            joined = join_history(
                FeaturesConfig(root=root), connection, entities, TRAINING_SERVICE
            ).to_pylist()
    for exposure, row in zip(EXPOSURES, joined, strict=True):
        assert row["user_id"] == exposure.user_id
        for signal in ("love", "dislike"):
            num_shown, num_signal = count_naively(
                exposure.user_id, signal, exposure.occurred_at, reactions
            )
            assert (row["num_shown"] or 0, row[f"num_{signal}"] or 0) == (num_shown, num_signal)


def test_a_reaction_at_the_very_moment_of_exposure_is_not_its_own_history(tmp_path):
    store_all(tmp_path, [shown("r", seconds=5), reaction("r", "add", 5), reaction("r", "add", 1)])
    config = FeaturesConfig(root=tmp_path)
    (before,) = features_as_of(config, users=["u"], at=at(5) - JUST_BEFORE)
    (then,) = features_as_of(config, users=["u"], at=at(5))
    assert (before["num_shown"], before["num_love"]) == (None, None)
    assert (then["num_shown"], then["num_love"]) == (1, 1)


def test_dangling_reactions_and_those_to_others_exposures_do_not_count(tmp_path):
    store_all(
        tmp_path,
        [shown("r"), reaction("unknown", "add", 3), reaction("r", "add", 3, user_id="stranger")],
    )
    rows = features_as_of(FeaturesConfig(root=tmp_path), users=["u", "stranger"], at=AFTER)
    assert [(r["num_shown"], r["num_love"]) for r in rows] == [(1, 0), (None, None)]


def test_as_of_says_by_when_it_had_to_be_known(tmp_path):
    store_all(tmp_path, [shown("r"), reaction("r", "add", 5, known_at=at(900))])
    config = FeaturesConfig(root=tmp_path)
    for as_of, num_love in ((at(899), 0), (at(900), 1), (None, 1)):
        (row,) = features_as_of(config, users=["u"], at=at(60), as_of=as_of)
        assert row["num_love"] == num_love


def test_policies_have_a_history_too(tmp_path):
    store_all(tmp_path, [shown("r", policy="chat@1"), shown("q", policy="chat@2", seconds=9)])
    rows = features_as_of(
        FeaturesConfig(root=tmp_path), policies=["chat@1", "chat@2", "chat@3"], at=at(8)
    )
    assert [r["num_shown"] for r in rows] == [1, None, None]
    assert abs(rows[0]["love_rate_smoothed"] - 1 / 21) < 1e-12  # (0 + 20 * 0.05) / (1 + 20)


def test_feast_gives_labels_at_a_time(tmp_path):
    store_all(tmp_path, [shown("r"), reaction("r", "add", 5), reaction("r", "remove", 50)])
    entities = pa.table(
        {
            "response_id": ["r", "r", "r"],
            "event_timestamp": pa.array([at(4), at(5), at(50)], pa.timestamp("us", "UTC")),
        }
    )
    with connect(tmp_path) as connection:
        joined = join_history(
            FeaturesConfig(root=tmp_path), connection, entities, LABELS_SERVICE
        ).to_pylist()
    assert [row["love"] for row in joined] == [None, True, False]
    assert [row["dislike"] for row in joined] == [None, None, None]


def test_the_last_row_of_each_history_is_what_is_served(tmp_path):
    events = [*busy_month(15), erasure("u3", 3 * 3000 + 1500)]
    store_all(tmp_path, replay(events, 3), chunk=40)
    with connect(tmp_path) as connection:
        for key in ("user_id", "policy"):
            last = connection.sql(
                f"SELECT * FROM ({history_sql(key, strength=20, rate=0.05)})"
                f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY event_timestamp DESC) = 1"
                f" ORDER BY {key}"
            ).to_arrow_table()
            current = connection.sql(current_sql(key, strength=20, rate=0.05)).to_arrow_table()
            assert current.num_rows > 1
            assert current.to_pylist() == last.to_pylist()
