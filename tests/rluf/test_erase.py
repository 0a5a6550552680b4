"""Goal: after `rluf erase` no file holds the user's rows or text, and the report says so truly.

Method: a home with a user of unmistakable texts in every place that a home has (store, merged
files, a leftover of a crash, a verdict, dead letters, online rows, Feast's sources, a snapshot, a
step of a turn, models in the registry). Bytes are searched by this file's own eyes beside the
report's: raw, and every cell of every parquet file.
"""

import os
import threading
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from features.config import FeaturesConfig
from features.online import features_as_of, online_features
from features.snapshot import take_snapshot
from features.store import FactStore
from features.views import query
from models.artifacts import Artifact
from models.migrate import migrate
from models.registry import Registry
from rluf.erase import erase_facts, erase_user
from rluf.settings import load_settings
from streams.errors import Unavailable
from streams.events import Message
from streams.kafka.topics import ensure_topics
from tests.features.histories import (
    AFTER,
    at,
    busy_month,
    dead_letter,
    erasure,
    facts_of,
    reaction,
    shown,
    verdict,
)
from tests.waiting import patiently

WHO = "canary-user-7f3a"
PROMPT = "my zebra Quagga sleeps under the old piano"
REPLY = "Then let Quagga the zebra sleep; pianos are patient furniture."
CANARIES = (WHO, PROMPT, REPLY)
EVENTS = [
    shown("cr1", WHO, 40_000, messages=(Message(role="user", content=PROMPT),), response=REPLY),
    shown("cr2", WHO, 40_100, messages=(Message(role="user", content=PROMPT),), response=REPLY),
    reaction("cr1", "add", 40_010, user_id=WHO),
    verdict(WHO, seconds=40_500, rule="person", action="release"),
    dead_letter(1, value=b'{"data":{"user_id":"%s"' % WHO.encode()),
    dead_letter(2, value=b"{", key=WHO.encode()),
    dead_letter(3, value=b'{"data":{"user_id":"somebody else"'),
]
SOON = 1_000_000.0
"""When the erasure is asked for, in seconds after START."""


@pytest.fixture
def settings(tmp_path):
    settings = load_settings((), {"RLUF_HOME": str(tmp_path / "home")})
    return replace(settings, features=replace(settings.features, compact_files_min=2))


@pytest.fixture
def registry(settings):
    settings.home.mkdir(parents=True)
    migrate(settings.models.registry_url)
    registry = Registry(settings.models.registry_url, root=settings.home)
    yield registry
    registry.close()


def fill(settings, events):
    """A home in which everything was used; gives the snapshot."""
    store = FactStore(settings.features)
    month = [event for event in busy_month() if getattr(event, "user_id", "") != WHO]
    store.append(facts_of(month))
    store.append(facts_of(events))
    store.push()
    store.compact()
    store.append(facts_of([each for each in events if each in EVENTS[:1]]))  # Sent again.
    features_as_of(settings.features, users=["u1", WHO], at=AFTER)
    return take_snapshot(settings.features, signal="love", as_of=AFTER)


def register(registry, name, snapshot_hash, parents=(), number=1):
    return registry.register(
        name,
        artifact=Artifact(hash=f"{number:064x}", path=registry.root / "artifacts" / name / "x"),
        kind="policy" if name == "chat" else "reward",
        config_hash=f"{number}",
        snapshot_hash=snapshot_hash,
        parents=parents,
    )


def places_of(home, *needles):
    """Files that hold one of these, in any cell or raw, but for the erasure and the broker."""
    found = set()
    for path in home.rglob("*"):
        if not path.is_file() or "erasures" in path.parts:
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pq.read_table(path).to_pylist()).encode()
        found |= {str(path.relative_to(home)) for each in needles if each.encode() in data}
    return found


def test_no_file_holds_the_user_afterwards_and_others_are_untouched(settings, registry, tmp_path):
    snapshot = fill(settings, EVENTS)
    step = settings.home / "turns" / "steps" / "evidence-12ab"
    step.mkdir(parents=True)
    (step / "replies.json").write_text(f'{{"prompt": "{PROMPT}"}}')
    left_by_a_crash = settings.home / "store" / "shown" / "date=2026-03-01" / ".partial-1"
    left_by_a_crash.write_text(REPLY)
    os.utime(left_by_a_crash, (time.time() - 3_600, time.time() - 3_600))
    love = register(registry, "love", snapshot.hash)
    register(registry, "chat", None, parents=[("love", love.number)])
    register(registry, "other", None, number=2)
    registry.move_alias("chat", "champion", 1, expected=None, why="test", who="test")
    assert len(places_of(settings.home, *CANARIES)) >= 8, "the test must have something to find"

    FactStore(settings.features).append(facts_of([erasure(WHO, SOON)]))
    report = erase_facts(settings, registry, WHO, who="ann", why="asked")

    assert places_of(settings.home, *CANARIES) == set()
    assert report.is_clean
    assert report.named_by_the_erasure
    assert report.rows_removed == 4
    assert report.snapshots_removed == (snapshot.hash,)
    assert report.steps_removed == ("evidence-12ab",)
    assert report.versions_that_learned == ("chat@1", "love@1")
    assert report.versions_live == ("chat@1",)
    assert WHO not in report.summary()
    letters = query(settings.home, 'SELECT "offset" FROM dead_letters').to_pylist()
    assert letters == [{"offset": 3}]
    assert online_features(settings.home, users=[WHO])["users"][WHO]["num_shown"] is None

    fresh = replace(settings, home=tmp_path / "never", features=FeaturesConfig(root=tmp_path / "n"))
    never = fill(fresh, [event for event in EVENTS if getattr(event, "user_id", WHO) != WHO])
    assert take_snapshot(settings.features, signal="love", as_of=AFTER).hash == never.hash


def test_again_it_ends_the_same_and_keeps_what_was_found_first(settings, registry):
    snapshot = fill(settings, EVENTS)
    love = register(registry, "love", snapshot.hash)
    FactStore(settings.features).append(facts_of([erasure(WHO, SOON)]))
    first = erase_facts(settings, registry, WHO, who="ann", why="asked")
    again = erase_facts(settings, registry, WHO, who="ann", why="asked")
    assert again.is_clean
    assert (again.rows_removed, again.snapshots_removed) == (
        first.rows_removed,
        first.snapshots_removed,
    )
    assert again.versions_that_learned == (love.ref,)


def test_a_push_after_the_erasure_does_not_bring_the_row_back(settings, registry):
    fill(settings, EVENTS)
    store = FactStore(settings.features)
    store.append(facts_of([erasure(WHO, SOON)]))
    erase_facts(settings, registry, WHO, who="ann", why="asked")
    store.append(facts_of([shown("later", "u1", 50_000)]))
    FactStore(settings.features).push()
    assert places_of(settings.home, *CANARIES) == set()


def test_what_is_left_is_named(settings, registry):
    fill(settings, EVENTS)
    FactStore(settings.features).append(facts_of([erasure(WHO, SOON)]))
    (settings.home / "notes.txt").write_text(f"remember {WHO}")
    report = erase_facts(settings, registry, WHO, who="ann", why="asked")
    assert report.still_found == ("notes.txt",)
    assert not report.is_clean


def test_what_the_user_does_later_stays(settings, registry):
    fill(settings, EVENTS)
    store = FactStore(settings.features)
    store.append(facts_of([erasure(WHO, SOON), shown("back", WHO, SOON + 60)]))
    erase_facts(settings, registry, WHO, who="ann", why="asked")
    rows = query(settings.home, f"SELECT response_id FROM shown WHERE user_id = '{WHO}'")
    assert rows.to_pylist() == [{"response_id": "back"}]


@pytest.mark.kafka
def test_the_erasure_travels_as_an_event_and_is_waited_for(
    settings, registry, streams_config, monkeypatch
):
    settings = replace(settings, streams=streams_config)
    patiently(lambda: ensure_topics(streams_config))
    store = FactStore(settings.features)
    store.append(facts_of(EVENTS))
    monkeypatch.setattr("rluf.erase.FACT_WAIT_S", 1.0)
    with pytest.raises(Unavailable, match="no worker stored it"):
        erase_user(settings, registry, WHO, who="ann", why="asked")
    monkeypatch.setattr("rluf.erase.FACT_WAIT_S", 60.0)
    monkeypatch.setattr("rluf.erase.new_id", lambda: "the erasure")
    stored = replace_id(erasure(WHO, SOON), "the erasure")
    timer = threading.Timer(1.0, lambda: store.append(facts_of([stored])))
    timer.start()
    assert erase_user(settings, registry, WHO, who="ann", why="asked").rows_removed == 3
    timer.join()


def replace_id(event, id):
    return type(event)(
        id=id,
        source="/operator",
        user_id=event.user_id,
        occurred_at=at(SOON),
        known_at=at(SOON),
    )
