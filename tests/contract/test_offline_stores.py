"""Goal: every offline store keeps what the Protocol promises, so that views work over any.

Method: one small history through each row of OFFLINE_STORES.
"""

from collections import Counter

import pytest

from features.config import FeaturesConfig
from features.offline import OFFLINE_STORES
from features.tables import SCHEMAS
from features.views import connect_store
from tests.features.histories import (
    at,
    busy_month,
    dead_letter,
    erasure,
    facts_of,
    reaction,
    shown,
    verdict,
)


@pytest.fixture(params=sorted(OFFLINE_STORES))
def config(request, tmp_path):
    return FeaturesConfig(root=tmp_path / "a home", offline_store=request.param)


@pytest.fixture
def store(config):
    return OFFLINE_STORES[config.offline_store](config)


def ask(config, store, sql, as_of=None):
    with connect_store(store, root=config.root, as_of=as_of) as connection:
        return connection.sql(sql).fetchall()


@pytest.mark.parametrize("kind", SCHEMAS)
def test_an_empty_store_has_the_right_columns(config, store, kind):
    with connect_store(store, root=config.root, as_of=None) as connection:
        table = store.scan(connection, kind, as_of=None).to_arrow_table()
    assert table.num_rows == 0
    assert table.column_names == SCHEMAS[kind].names


def test_what_is_appended_is_read_with_every_value(config, store):
    tap = reaction("r", "add", 5, network="n-1")
    named = {"user_aliases": ("v", "w"), "response_aliases": ("m-1",), "client_id": "k-1"}
    seen = shown("r", **named)
    facts = facts_of([seen, tap, erasure("v", 0), verdict("w"), dead_letter(7)])
    store.append(facts)
    with connect_store(store, root=config.root, as_of=None) as connection:
        for kind in SCHEMAS:
            (row,) = store.scan(connection, kind, as_of=None).to_arrow_table().to_pylist()
            (fact,) = getattr(facts, kind)
            for name in SCHEMAS[kind].names:
                if name != "messages":
                    told = tuple(row[name]) if isinstance(row[name], list) else row[name]
                    assert told == getattr(fact, name), (kind, name)


def test_appending_twice_changes_no_answer(config, store):
    facts = facts_of(busy_month(4))
    store.append(facts)
    sql = "SELECT * FROM labels ORDER BY ALL"
    before = ask(config, store, sql)
    store.append(facts)
    store.append(facts_of([]))
    assert ask(config, store, sql) == before
    assert ask(config, store, "SELECT count(*) FROM shown") == [(40,)]


def test_as_of_shows_what_was_known(config, store):
    for seconds in (0, 50, 86_400, 200_000):
        store.append(facts_of([shown(f"r{seconds}", seconds=seconds)]))
    for as_of, count in ((at(0), 1), (at(86_399), 2), (at(86_400), 3), (at(10**6), 4)):
        assert ask(config, store, "SELECT count(*) FROM shown", as_of) == [(count,)]


def test_compaction_changes_no_answer(config, store):
    for event in busy_month(2):
        store.append(facts_of([event]))
    sql = "SELECT * FROM labels ORDER BY ALL"
    before = ask(config, store, sql)
    store.compact(files_min=2)
    assert ask(config, store, sql) == before


def test_erasing_removes_what_the_user_did_until_then_and_nothing_else(config, store):
    store.append(facts_of([shown("r", "u"), shown("q", "v"), shown("s", "v", 99)]))
    store.append(facts_of([reaction("q", "add", 5, user_id="v"), erasure("v", 60)]))
    assert store.erase() == 2
    assert store.erase() == 0
    with connect_store(store, root=config.root, as_of=None) as connection:
        kept = store.scan(connection, "shown", as_of=None).to_arrow_table()["response_id"]
    assert sorted(kept.to_pylist()) == ["r", "s"]


def test_news_tells_of_everybody_since_the_mark_at_least_once(config, store):
    seen: Counter[str] = Counter()
    mark = ""
    for number in range(4):
        store.append(facts_of([shown(f"r{number}", f"u{number}")]))
        if number == 2:
            store.compact(files_min=2)
        news, mark = store.news(mark)
        for table in news.values():
            seen.update(table["user_id"].to_pylist())
    assert set(seen) == {"u0", "u1", "u2", "u3"}
    news, mark = store.news(mark)
    assert not news
    store.append(facts_of([erasure("u1", 9), reaction("r2", user_id="u2")]))
    news, _ = store.news(mark)
    assert {kind: t["user_id"].to_pylist() for kind, t in news.items()} == {
        "erasures": ["u1"],
        "reactions": ["u2"],
    }


def test_a_store_says_which_folders_it_reads(config, store):
    assert all(folder.is_absolute() for folder in store.folders())
