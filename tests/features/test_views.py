"""Goal: the views show each fact once, hide the erased, and can be asked but not changed.

Method: small stores written by the real parquet store, asked through `query`.
"""

import random
from datetime import timedelta
from itertools import permutations

import pytest

from features.views import VIEWS, connect, query
from tests.features.histories import (
    AFTER,
    at,
    dead_letter,
    erasure,
    reaction,
    replay,
    shown,
    store_all,
)

HISTORY = [
    shown("r0", "u", 0),
    shown("r1", "v", 10),
    reaction("r0", "add", 20, user_id="u"),
    reaction("r1", "add", 30, user_id="v"),
    reaction("r1", "remove", 90, user_id="v"),
]


def rows(root, view, as_of=None):
    return query(root, f"SELECT * FROM {view} ORDER BY ALL", as_of).to_pylist()


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_store_answers_with_no_rows(tmp_path, view):
    assert rows(tmp_path / "not there yet", view) == []


@pytest.mark.parametrize("seed", range(4))
def test_events_that_come_again_are_shown_once_as_first_known(tmp_path, seed):
    again = replay(HISTORY, seed)
    store_all(tmp_path, [*again, *HISTORY], chunk=3)
    for view, count in (("shown", 2), ("reactions", 3)):
        seen = rows(tmp_path, view)
        assert len(seen) == count
        first = {e.id: e.known_at for e in HISTORY}
        assert all(row["known_at"] == first[row["id"]] for row in seen)


def test_one_id_used_for_different_events_gives_one_of_them_in_any_order(tmp_path):
    liars = [shown("r", response=text, source="/liar", id="1") for text in ("a", "b", "c")]
    chosen = set()
    for number, order in enumerate(permutations(liars)):
        store_all(tmp_path / str(number), list(order), chunk=1)
        (row,) = rows(tmp_path / str(number), "shown")
        chosen.add(row["response"])
    assert len(chosen) == 1


def test_the_same_id_from_two_sources_is_two_events(tmp_path):
    store_all(tmp_path, [shown("r", id="1", source="/a"), shown("q", id="1", source="/b")])
    assert len(rows(tmp_path, "shown")) == 2


def test_facts_known_later_are_not_seen_as_of_a_time(tmp_path):
    store_all(tmp_path, HISTORY)
    assert [len(rows(tmp_path, "reactions", at(s))) for s in (19, 20, 89, 90)] == [0, 1, 2, 3]


def test_as_of_holds_across_the_midnight_between_two_folders(tmp_path):
    midnight = at(12 * 3600)
    store_all(
        tmp_path,
        [
            shown("before", known_at=midnight - timedelta(microseconds=1)),
            shown("after", known_at=midnight),
        ],
    )
    assert [
        r["response_id"] for r in rows(tmp_path, "shown", midnight - timedelta(microseconds=1))
    ] == ["before"]
    assert len(rows(tmp_path, "shown", midnight)) == 2


def test_what_a_user_did_until_their_erasure_is_hidden_at_every_time(tmp_path):
    store_all(tmp_path, [*HISTORY, erasure("v", 60)])
    for as_of in (None, at(40), AFTER):
        assert {r["user_id"] for r in rows(tmp_path, "shown", as_of)} == {"u"}
    assert [r["occurred_at"] for r in rows(tmp_path, "reactions") if r["user_id"] == "v"] == [
        at(90)  # After the erasure they may come back.
    ]


def test_the_wish_to_be_forgotten_is_itself_known_from_its_time_on(tmp_path):
    store_all(tmp_path, [erasure("v", 60)])
    assert rows(tmp_path, "erasures", at(59)) == []
    assert len(rows(tmp_path, "erasures", at(60))) == 1


def test_late_events_of_an_erased_user_are_hidden_too(tmp_path):
    late = shown("r9", "v", 5, known_at=at(500))
    store_all(tmp_path, [*HISTORY, erasure("v", 60), late], chunk=1)
    assert {r["response_id"] for r in rows(tmp_path, "shown")} == {"r0"}


def test_a_dead_letter_written_twice_is_shown_once_with_its_bytes(tmp_path):
    letters = [
        dead_letter(1),
        dead_letter(1),
        dead_letter(2),
        dead_letter(1, partition=3),
    ]
    random.Random(0).shuffle(letters)
    store_all(tmp_path, letters, chunk=1)
    seen = rows(tmp_path, "dead_letters")
    assert [(r["partition"], r["offset"]) for r in seen] == [(0, 1), (0, 2), (3, 1)]
    assert seen[0]["known_at"] == at(0)
    assert seen[0]["value"] == b"{\xff"
    assert seen[0]["key"] is None


def test_a_dead_letter_of_a_topic_made_again_is_another_one_than_that_of_its_place(tmp_path):
    store_all(tmp_path, [dead_letter(1), dead_letter(1, known_at=at(9), value=b"[")], chunk=1)
    assert {r["value"] for r in rows(tmp_path, "dead_letters")} == {b"{\xff", b"["}


def test_texts_come_back_as_they_were(tmp_path):
    odd = "naïve 👩‍👩‍👧 ' \" \\ \x00 \n\t \u2028 ∑"
    store_all(tmp_path, [shown("r", response=odd, messages=())])
    (row,) = rows(tmp_path, "shown")
    assert (row["response"], row["messages"]) == (odd, "[]")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE x (i INTEGER)",
        "DROP VIEW shown",
        "INSERT INTO erased VALUES ('u', now())",
        "COPY shown TO 'stolen.csv'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "ATTACH 'other.db'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/hosts')",
        "SELECT * FROM nowhere",
        "SELEC 1",
        "",
    ],
)
def test_only_one_select_over_the_views_is_answered(tmp_path, sql):
    store_all(tmp_path, HISTORY)
    with pytest.raises(ValueError):
        query(tmp_path, sql)


def test_a_with_query_and_paths_with_spaces_and_quotes_work(tmp_path):
    root = tmp_path / "o'neil's home \"x\""
    store_all(root, HISTORY)
    table = query(root, "WITH a AS (SELECT user_id FROM shown) SELECT count(*) AS n FROM a")
    assert table.to_pylist() == [{"n": 2}]


def test_a_connection_keeps_answering_from_the_files_that_it_saw(tmp_path):
    store = store_all(tmp_path, HISTORY, chunk=1)
    with connect(tmp_path) as connection:
        assert store.compact(files_min=2).num_merged == len(HISTORY)
        store_all(tmp_path, [shown("new")])
        assert connection.sql("SELECT count(*) FROM shown").fetchall() == [(2,)]
    assert len(rows(tmp_path, "shown")) == 3
