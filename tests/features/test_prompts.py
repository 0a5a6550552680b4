"""Goal: a policy practises on what users ask now, as often as they ask it, and no evidence.
Method: small stores whose prompts are numbered.
"""

import json

import pytest

from features.config import FeaturesConfig
from features.prompts import newest_prompts
from streams.events import Message
from streams.guard.rules import GuardConfig
from tests.features.histories import AFTER, at, erasure, reaction, shown, store_all, verdict


def asked(number: int, user_id: str = "u", **fields):
    return shown(
        fields.pop("response_id", f"r{number}"),
        user_id,
        60.0 * number,
        **{"turn": number, "messages": (Message(role="user", content=str(number)),), **fields},
    )


def contents(root, *, limit=99, without=(), as_of=AFTER, guard=None):
    prompts = newest_prompts(
        FeaturesConfig(root=root), as_of=as_of, limit=limit, without=without, guard=guard
    )
    return [json.loads(prompt.messages)[-1]["content"] for prompt in prompts]


def test_the_newest_come_first_and_only_so_many(tmp_path):
    store_all(tmp_path, [asked(number) for number in (2, 5, 1, 4, 3)])
    assert contents(tmp_path) == ["5", "4", "3", "2", "1"]
    assert contents(tmp_path, limit=2) == ["5", "4"]


def test_what_is_asked_often_comes_often_whether_or_not_it_was_loved(tmp_path):
    same = (Message(role="user", content="again"),)
    facts = [asked(number, f"u{number}", messages=same) for number in range(8)]
    store_all(tmp_path, [*facts, asked(9, "x"), reaction("r9", "add", 560, user_id="x")])
    assert sorted(contents(tmp_path)) == ["9", *["again"] * 8]


def test_users_of_the_evidence_are_left_out(tmp_path):
    store_all(tmp_path, [asked(1, "a"), asked(2, "b"), asked(3, "a")])
    assert contents(tmp_path, without={"a"}) == ["2"]
    assert contents(tmp_path, without={"a", "b"}) == []


def test_choices_and_repeated_reports_of_one_message_are_one_prompt(tmp_path):
    one = asked(1)
    choice = asked(1, response_id="r1-1", id="another")
    store_all(tmp_path, [one, choice, one])
    assert contents(tmp_path) == ["1"]


def test_what_may_not_teach_is_no_prompt(tmp_path):
    facts = [asked(1, learnable=False), asked(2, messages=()), asked(3)]
    store_all(tmp_path, facts)
    assert contents(tmp_path) == ["3"]


def test_what_was_not_known_then_and_what_was_forgotten_is_no_prompt(tmp_path):
    store_all(tmp_path, [asked(1), asked(2, "gone"), asked(3), erasure("gone", 500)])
    assert contents(tmp_path, as_of=at(100)) == ["1"]
    assert contents(tmp_path) == ["3", "1"]


@pytest.mark.parametrize("response_id", ["", "r2"])
def test_whom_the_guard_distrusts_gives_no_prompt_of_that_time(tmp_path, response_id):
    store_all(tmp_path, [asked(1), asked(2, "x"), verdict("x", response_id=response_id)])
    assert contents(tmp_path) == ["1"]
    assert contents(tmp_path, guard=GuardConfig(rules=("burst",))) == ["1"]
