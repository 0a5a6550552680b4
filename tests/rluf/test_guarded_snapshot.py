"""Goal: every verb that trains looks with the guard before it freezes what it learns from.

Method: the facts of a burst of praise in the last seconds, and the function by which `refresh` and
`fit-reward` take their snapshot; what `replay` compares with it; the verdict through a real broker.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from features.snapshot import load_snapshot
from features.store import FactStore
from models.migrate import migrate
from models.registry import Registry
from rluf.replay_log import _snapshot
from rluf.settings import load_settings
from rluf.turn.refresh import recorded_snapshot
from streams.kafka.topics import ensure_topics
from streams.pipeline import Pipeline
from streams.worker import Judge
from tests.features.histories import store_all
from tests.features.test_snapshot_guard import FACTS, NOW, loves_of
from tests.rluf.test_guard import sent_verdicts
from tests.waiting import patiently


@pytest.fixture
def settings(tmp_path):
    return load_settings((), {"RLUF_HOME": str(tmp_path / "home"), "RLUF_GUARD__BURST_TAPS": "18"})


def test_what_trains_leaves_out_what_the_guard_finds_in_the_last_seconds(settings):
    store_all(settings.home, FACTS)
    migrate(settings.models.registry_url)
    registry = Registry(settings.models.registry_url, root=settings.home)
    snapshot = recorded_snapshot(settings, registry, "love", NOW)
    registry.close()
    assert loves_of(snapshot) == 0
    assert snapshot.num_pending == 1
    found = load_snapshot(settings.home / "snapshots" / snapshot.hash)
    assert found.manifest["guard"]["settings"]["burst_taps"] == 18


def test_a_replay_compares_with_the_snapshot_that_training_takes(settings):
    store_all(settings.home, FACTS)
    migrate(settings.models.registry_url)
    registry = Registry(settings.models.registry_url, root=settings.home)
    trained = recorded_snapshot(settings, registry, "love", NOW).hash
    registry.close()
    assert _snapshot(settings, "love", NOW) == trained
    assert _snapshot(settings, "love", NOW - timedelta(seconds=20)) != trained


@pytest.mark.kafka
def test_the_verdict_comes_through_the_log_later_and_changes_nothing(settings, streams_config):
    settings = replace(settings, streams=streams_config)
    patiently(lambda: ensure_topics(streams_config))
    now = datetime.now(UTC)
    moved = [
        msgspec.structs.replace(
            each, occurred_at=each.occurred_at + (now - NOW), known_at=each.known_at + (now - NOW)
        )
        for each in FACTS
    ]
    store_all(settings.home, moved)
    migrate(settings.models.registry_url)
    registry = Registry(settings.models.registry_url, root=settings.home)
    before = recorded_snapshot(settings, registry, "love", now)
    store = FactStore(settings.features)
    judge = Judge(lambda: store.judge(settings.guard), streams_config)
    judge._decide()
    judge.stop()
    store.append(Pipeline(streams_config).run(sent_verdicts(streams_config)))
    assert store.judge(settings.guard) == []
    after = recorded_snapshot(settings, registry, "love", datetime.now(UTC))
    registry.close()
    assert (loves_of(before), before.num_pending) == (0, 1)
    assert after.hash == before.hash
