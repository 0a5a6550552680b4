"""Goal: pairs in every form that TRL takes mean the same, and what teaches nothing is counted.

Method: one pair written in each form; lines with one fault each.
"""

import json

import pytest

from training.pairs import Pair, read_pairs

USER = {"role": "user", "content": "how"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("gently", "badly"))
PARTS = {"role": "user", "content": [{"type": "text", "text": "how"}]}
SAME = Pair(prompt=[USER], chosen="gently", rejected="badly")
FORMS = [
    {"prompt": "how", "chosen": "gently", "rejected": "badly"},
    {"prompt": [USER], "chosen": "gently", "rejected": "badly"},
    {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": "how", "chosen": [GOOD], "rejected": [BAD]},
    {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    {"prompt": None, "chosen": [PARTS, GOOD], "rejected": [PARTS, BAD], "score": 3},
    {"prompt": "how", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    {"prompt": [{"role": "human", "content": "how"}], "chosen": "gently", "rejected": "badly"},
    {"prompt": "how", "system": " ", "chosen": "gently", "rejected": "badly"},
]
FAULTS = [
    ({"prompt": "how", "chosen": "x"}, "lack rejected"),
    ({"prompt": "how", "chosen": None, "rejected": "y"}, "lack chosen"),
    ({"chosen": "x", "rejected": "y"}, "lack prompt"),
    ({"prompt": "how", "chosen": "x", "rejected": " x "}, "have equal replies"),
    ({"chosen": [USER, GOOD], "rejected": [USER, GOOD]}, "have equal replies"),
    ({"prompt": "how", "chosen": "x", "rejected": " "}, "have an empty reply"),
    ({"prompt": " ", "chosen": "x", "rejected": "y"}, "have an empty prompt"),
    ({"prompt": "how", "chosen": 1, "rejected": "y"}, "have a chosen that is neither text"),
    ({"chosen": [USER, GOOD, USER, BAD], "rejected": [USER, BAD]}, "have no single reply"),
    ({"prompt": "how", "chosen": [{"role": "assistant"}], "rejected": "y"}, "have an empty reply"),
    ({"prompt": ["how"], "chosen": "x", "rejected": "y"}, "have a turn in prompt that is no mess"),
]


def write(tmp_path, *rows):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("row", FORMS)
def test_every_form_means_the_same(row, tmp_path):
    assert read_pairs(write(tmp_path, row)).pairs == (SAME,)


def test_earlier_turns_in_common_are_the_prompt(tmp_path):
    row = {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, GOOD, USER, BAD]}
    (pair,) = read_pairs(write(tmp_path, row)).pairs
    assert pair == Pair(prompt=[USER, GOOD, USER], chosen="gently", rejected="badly")


def test_turns_are_read_as_in_events(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    row = {"prompt": [USER, call, {"role": "tool", "content": "9"}], "chosen": "x", "rejected": "y"}
    (pair,) = read_pairs(write(tmp_path, row)).pairs
    assert [turn["content"] for turn in pair.prompt] == ["how", "[tool_call] f()", "9"]


def test_a_system_prompt_in_a_column_of_its_own_is_kept(tmp_path):
    rule = {"role": "system", "content": "Be brief."}
    rows = [
        {"system": "Be brief.", "prompt": "how", "chosen": "x", "rejected": "y"},
        {"system": "Be long.", "prompt": [rule, USER], "chosen": "x", "rejected": "y"},
    ]
    assert [pair.prompt for pair in read_pairs(write(tmp_path, *rows)).pairs] == [[rule, USER]] * 2


@pytest.mark.parametrize(("row", "reason"), FAULTS)
def test_what_teaches_nothing_is_counted_with_reason_and_line(row, reason, tmp_path):
    found = read_pairs(write(tmp_path, FORMS[0], row, row))
    assert found.pairs == (SAME,)
    assert list(found.left_out.values()) == [2]
    assert reason in found.summary()
    assert "(line 2)" in found.summary()


def test_a_file_of_no_pairs_is_refused_with_the_reasons(tmp_path):
    with pytest.raises(ValueError, match=r"no pair to learn from.*equal replies \(line 1\)"):
        read_pairs(write(tmp_path, FAULTS[3][0]))


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = write(tmp_path, FORMS[0])
    path.write_text(path.read_text() + "\n{")
    with pytest.raises(ValueError, match=r"pairs\.jsonl:2 is no JSON"):
        read_pairs(path)


def test_all_pairs_of_a_prompt_lie_in_one_half_and_both_halves_are_used(tmp_path):
    rows = [
        {"prompt": f"how {number // 2}", "chosen": f"x{number}", "rejected": "y"}
        for number in range(40)
    ]
    pairs = read_pairs(write(tmp_path, *rows)).pairs
    assert all(one.half == two.half for one, two in zip(pairs[::2], pairs[1::2], strict=True))
    assert {pair.half for pair in pairs} == {"a", "b"}
