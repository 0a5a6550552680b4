"""Goal: verdicts applied in a connection hide and show what they will as facts, and nothing else.

Method: every view asked twice, of a store with the verdicts and of one without, where they are
applied.
"""

import pytest

from features.config import FeaturesConfig
from features.offline.parquet import ParquetStore
from features.pending import apply_verdicts
from features.views import connect_store
from tests.features.histories import AFTER, reaction, shown, store_all, verdict

LOVE = [
    shown("r1"),
    shown("r2", seconds=100),
    reaction("r1", "add", 5),
    reaction("r2", "add", 105),
    shown("r1", "v"),
    reaction("r1", "add", 7, user_id="v"),
]
QUARANTINE = [verdict("u", since=50, seconds=200)]
RELEASE = [verdict("u", "release", seconds=300)]
ONE = [verdict("v", response_id="r1", seconds=210)]


def views(root, stored, applied):
    """What the views that verdicts concern say."""
    store_all(root, [*LOVE, *stored])
    store = ParquetStore(FeaturesConfig(root=root))
    with connect_store(store, root=root, as_of=AFTER) as connection:
        apply_verdicts(connection, applied)
        return [
            connection.sql(f"SELECT * FROM {view} ORDER BY ALL").fetchall()
            for view in ("labels", "reactions", "counted", "folded_reactions", "quarantine")
        ]


@pytest.mark.parametrize(
    ("stored", "applied"),
    [
        ([], QUARANTINE),
        (QUARANTINE, RELEASE),
        (QUARANTINE, ONE),
        (RELEASE, QUARANTINE),
        ([verdict("u", "release", 400, rule="person")], [*QUARANTINE, *ONE]),
        ([], [*QUARANTINE, *QUARANTINE, *ONE]),
    ],
)
def test_verdicts_that_are_applied_count_like_facts(tmp_path, stored, applied):
    as_facts = views(tmp_path / "facts", [*stored, *applied], [])
    assert views(tmp_path / "applied", stored, applied) == as_facts


def test_without_verdicts_nothing_changes(tmp_path):
    assert views(tmp_path / "a", [], []) == views(tmp_path / "b", [], [])
    assert views(tmp_path / "a", [], []) != views(tmp_path / "c", [], QUARANTINE)


def test_nothing_is_written(tmp_path):
    views(tmp_path, [], QUARANTINE)
    store = ParquetStore(FeaturesConfig(root=tmp_path))
    with connect_store(store, root=tmp_path, as_of=AFTER) as connection:
        assert connection.sql("SELECT * FROM verdicts").fetchall() == []
