"""Goal: what the guard would find counts in a snapshot at once, whether or not a worker asked it.

Method: a made-up month with a burst of praise in the last seconds before the snapshot; the verdicts
are stored, or not, before, after and in disorder.
"""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.config import FeaturesConfig
from features.guarding import decide
from features.offline.parquet import ParquetStore
from features.snapshot import load_snapshot, take_snapshot
from streams.events import PERSON
from streams.guard.rules import RULES, GuardConfig
from tests.features.histories import at, busy_month, reaction, replay, shown, store_all, verdict
from tests.properties import examples

NOW_S = 10 * 86_400.0
"""When the snapshot is taken, in seconds after the start: all exposures are mature."""
NOW = at(NOW_S)
NUM = 20
SHOWN_S = 4 * 86_400.0
BURST = [
    *(shown(f"x-{i}", "x", SHOWN_S + 60 * i) for i in range(NUM)),
    *(reaction(f"x-{i}", "add", NOW_S - 10 + i / 5, user_id="x") for i in range(NUM)),
]
FACTS = [*busy_month(), *BURST]
GUARD = GuardConfig(rules=("burst",))


def take(root, guard=GUARD, as_of=NOW):
    return take_snapshot(FeaturesConfig(root=root), signal="love", as_of=as_of, guard=guard)


def loves_of(snapshot, user_id="x"):
    rows = snapshot.examples().to_pylist()
    return sum(row["label"] for row in rows if row["user_id"] == user_id)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A home with the facts and no verdict, for tests that only read it."""
    root = tmp_path_factory.mktemp("attacked")
    store_all(root, FACTS)
    return root


def decided(root, now=NOW):
    """What the worker would send."""
    config = FeaturesConfig(root=root)
    return list(decide(ParquetStore(config), config, GUARD, now=now))


def test_praise_of_the_last_seconds_that_the_guard_finds_is_no_example(attacked):
    assert loves_of(take(attacked, guard=None)) > 0
    snapshot = take(attacked)
    assert loves_of(snapshot) == 0
    assert snapshot.num_pending == 1
    assert snapshot.manifest["left_out"]["quarantined"] == NUM
    assert load_snapshot(snapshot.path).num_pending == 1


def test_the_hash_is_that_of_a_snapshot_for_which_the_verdict_was_a_fact(attacked, tmp_path):
    store_all(tmp_path, [*FACTS, *decided(attacked, NOW - timedelta(seconds=1))])
    later = take(tmp_path)
    assert later.num_pending == 0
    assert later.hash == take(attacked).hash == take(tmp_path, guard=None).hash
    assert later.hash != take(attacked, guard=None).hash


def test_a_verdict_that_became_a_fact_later_changes_no_snapshot_of_before(tmp_path):
    store_all(tmp_path, FACTS)
    before = take(tmp_path).hash
    later = [msgspec.structs.replace(v, known_at=at(NOW_S + 30)) for v in decided(tmp_path)]
    store_all(tmp_path, later)
    assert take(tmp_path).hash == before


@settings(max_examples=examples(4))
@given(seed=st.integers(0, 999), chunk=st.integers(50, 400))
def test_no_order_and_no_repetition_of_facts_matters(attacked, seed, chunk):
    with tempfile.TemporaryDirectory() as folder:
        events = [msgspec.structs.replace(e, known_at=NOW) for e in replay(FACTS, seed)]
        store_all(Path(folder), events, chunk=chunk)
        assert take(Path(folder)).hash == take(attacked).hash


def test_before_the_attack_there_is_nothing_to_find(attacked):
    as_of = NOW - timedelta(seconds=20)
    assert take(attacked, as_of=as_of).hash == take(attacked, guard=None, as_of=as_of).hash
    assert take(attacked, as_of=as_of).num_pending == 0


def test_who_was_released_by_a_person_stays_whatever_the_rules_find(attacked, tmp_path):
    store_all(tmp_path, [*FACTS, verdict("x", "release", NOW_S - 1, rule=PERSON)])
    assert take(tmp_path).hash == take(attacked, guard=None).hash


def test_what_a_rule_no_longer_finds_counts_again(attacked, tmp_path):
    stale = verdict("u1", "quarantine", SHOWN_S, rule="burst", since=0)
    store_all(tmp_path, [*FACTS, stale])
    snapshot = take(tmp_path)
    assert snapshot.hash == take(attacked).hash
    assert snapshot.hash != take(tmp_path, guard=None).hash


def test_the_manifest_says_what_the_guard_did_and_names_no_user(tmp_path):
    store_all(tmp_path, FACTS)
    manifest = take(tmp_path).manifest
    assert manifest["guard"]["pending"] == {"quarantine burst": 1}
    assert manifest["guard"]["rule_versions"] == {"burst": RULES["burst"].version}
    assert manifest["guard"]["settings"]["burst_taps"] == GUARD.burst_taps
    assert '"x"' not in json.dumps(manifest)


def test_without_a_look_the_manifest_says_so(attacked):
    assert take(attacked, guard=None).manifest["guard"] is None
