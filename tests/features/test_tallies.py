"""Goal: policies' rows, which are summed from tallies, are those that all facts give, always.

Method: random histories pushed in random portions and compared with the fold over everything;
then the tallies are lost, broken, of another layout, or of users who asked to be forgotten.
"""

import random
import sqlite3

import pyarrow.parquet as pq
import pytest

from features.config import FeaturesConfig
from features.definitions import POLICY_STATS, USER_HISTORY, source_schema
from features.erasing import forget_user
from features.history import CLOCKS, COUNTS, current_sql
from features.offline.parquet import ParquetStore
from features.online import online_features
from features.store import FactStore
from features.tallies import Tallies, tallies_path
from features.views import connect
from streams.errors import Unavailable
from tests.features.histories import busy_month, erasure, facts_of, reaction, shown


@pytest.fixture
def config(tmp_path):
    return FeaturesConfig(root=tmp_path)


@pytest.fixture
def store(config):
    """Its clock stands still: no push seems slow and needs a rest."""
    return FactStore(config, clock=lambda: 0.0)


def by_fold(config, key):
    """Rows of each id, from all facts."""
    sql = current_sql(key, strength=config.prior_strength, rate=config.prior_rate)
    with connect(config.root) as connection:
        rows = connection.sql(sql).to_arrow_table()
    view = USER_HISTORY if key == "user_id" else POLICY_STATS
    return {row.pop(key): row for row in rows.cast(source_schema(view)).to_pylist()}


def served(config, policies):
    found = online_features(config.root, policies=policies)["policies"]
    return {policy: {name: row[name] for name in COUNTS} for policy, row in found.items()}


def counts_by_fold(config):
    return {
        policy: {name: row[name] for name in COUNTS}
        for policy, row in by_fold(config, "policy").items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_sums_of_tallies_are_what_all_facts_give_however_they_came_in(config, store, seed):
    chance = random.Random(seed)
    events = [*busy_month(12, seed), shown("x", "v", policy="chat@2"), reaction("x", user_id="v")]
    chance.shuffle(events)
    while events:
        portion = chance.randrange(1, 60)
        store.append(facts_of(events[:portion]))
        del events[:portion]
        store.push()
    policies = by_fold(config, "policy")
    found = Tallies(tallies_path(config.root)).by_policy().to_pylist()
    assert {row["policy"]: {name: row[name] for name in (*COUNTS, *CLOCKS)} for row in found} == {
        policy: {name: row[name] for name in (*COUNTS, *CLOCKS)} for policy, row in policies.items()
    }
    nothing = dict.fromkeys(COUNTS)
    expected = {"chat@1": nothing, "chat@2": nothing} | counts_by_fold(config)
    assert served(config, list(expected)) == expected


@pytest.mark.parametrize("is_old", [False, True])
def test_tallies_that_were_deleted_or_are_of_another_layout_are_computed_again(
    config, store, is_old
):
    store.append(facts_of([shown("r"), shown("q", "v"), reaction("r")]))
    store.push()
    path = tallies_path(config.root)
    if is_old:
        with sqlite3.connect(path) as database:
            database.execute("ALTER TABLE tallies RENAME COLUMN num_love TO num_adored")
            database.execute("PRAGMA user_version = 1")
    else:
        path.unlink()
    store.append(facts_of([shown("s", "w")]))
    assert store.push() == 4  # All three users and their policy, not only the new one.
    assert served(config, ["chat@1"]) == counts_by_fold(config)


def test_a_broken_file_of_tallies_is_named_with_what_to_do(config, store):
    store.append(facts_of([shown("r")]))
    store.push()
    path = tallies_path(config.root)
    path.write_bytes(b"no database" * 100)
    store.append(facts_of([shown("q")]))
    with pytest.raises(Unavailable, match=r"tallies\.db.*delete it"):
        store.push()
    path.unlink()
    store.push()
    assert served(config, ["chat@1"])["chat@1"]["num_shown"] == 2


@pytest.mark.parametrize("is_pushed", [False, True])
def test_nothing_of_an_erased_user_stays_in_the_tallies(config, store, is_pushed):
    store.append(facts_of([shown("r", "user-of-no-name"), shown("q", "v")]))
    store.push()
    files = list(tallies_path(config.root).parent.glob("tallies.db*"))
    assert any(b"user-of-no-name" in path.read_bytes() for path in files)
    store.append(facts_of([erasure("user-of-no-name", 60)]))
    if is_pushed:
        store.push()
    else:
        forget_user(config, ["user-of-no-name"])
    for path in tallies_path(config.root).parent.glob("tallies.db*"):
        assert b"user-of-no-name" not in path.read_bytes()
    store.push()
    assert served(config, ["chat@1"])["chat@1"]["num_shown"] == 1


def test_a_push_that_died_before_its_end_is_made_again(config, monkeypatch):
    store = FactStore(config, clock=lambda: 0.0)
    store.append(facts_of([shown("r"), reaction("r")]))

    def die(*_arguments):
        raise OSError(5, "gone")

    with monkeypatch.context() as patched:
        patched.setattr(Tallies, "keep_mark", die)
        with pytest.raises(Unavailable):
            store.push()
    assert FactStore(config, clock=lambda: 0.0).push() == 2
    assert served(config, ["chat@1"]) == counts_by_fold(config)


def test_a_merge_larger_than_a_row_group_keeps_every_row_and_makes_several(
    config, store, monkeypatch
):
    monkeypatch.setattr("features.offline.parquet.PIECE_ROWS_MAX", 3)
    monkeypatch.setattr("features.offline.parquet.GROUP_ROWS_MIN", 7)
    for file in range(4):
        rows = [shown(f"r{file}-{number}", f"u{number}") for number in range(10)]
        store.append(facts_of(rows))
    before = by_fold(config, "user_id")
    assert ParquetStore(config).compact(files_min=2).num_merged == 4
    (merged,) = config.root.rglob("*.merged.parquet")
    metadata = pq.read_metadata(merged)
    assert metadata.num_rows == 40
    assert metadata.num_row_groups == 6
    assert by_fold(config, "user_id") == before
