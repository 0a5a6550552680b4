"""Goal: the texts to learn from have the agreed form and mean what they say.
Method: read the files that the verbs write.
"""

import json

import numpy as np
import pytest

from simulator.__main__ import main
from simulator.corpus import write_pairs
from simulator.language import words


def written(tmp_path, *arguments: str) -> list[dict]:
    path = tmp_path / "out.jsonl"
    assert main([*arguments, "--out", str(path)]) == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_corpus_holds_whole_chats(tmp_path):
    chats = written(tmp_path, "corpus", "--n", "200", "--seed", "1")
    assert len(chats) == 200
    for chat in chats:
        assert set(chat) == {"messages"}
        roles = [message["role"] for message in chat["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert 1 <= len(roles) // 2 <= 5
    assert list(tmp_path.iterdir()) == [tmp_path / "out.jsonl"]


def test_the_same_seed_writes_the_same_corpus(tmp_path):
    arguments = ("corpus", "--n", "30", "--seed")
    assert written(tmp_path, *arguments, "1") == written(tmp_path, *arguments, "1")
    assert written(tmp_path, *arguments, "1") != written(tmp_path, *arguments, "2")


@pytest.mark.parametrize("kind", ["helpfulness", "safety", "harmful"])
def test_pairs_have_the_agreed_form(tmp_path, kind):
    for pair in written(tmp_path, "pairs", "--kind", kind, "--n", "50"):
        assert set(pair) == {"prompt", "chosen", "rejected", "synthetic"}
        assert pair["synthetic"] is True
        assert pair["prompt"][-1]["role"] == "user"
        assert pair["chosen"] != pair["rejected"]


def test_helpful_replies_are_chosen_as_often_shorter_as_longer():
    pairs = list(write_pairs("helpfulness", 400, 2))
    gaps = np.array([len(words(p["chosen"])) - len(words(p["rejected"])) for p in pairs])
    longer, shorter = np.mean(gaps > 0), np.mean(gaps < 0)
    # Balanced before the annotators' noise; the noise moves it by at most two standard errors.
    assert abs(longer - shorter) < 0.08


def test_safe_replies_are_chosen_but_for_the_annotators_noise():
    pairs = list(write_pairs("safety", 400, 2))
    marks = ("can't help with", "won't", "is not something I", "would rather not help")
    refused = [
        any(mark in p["chosen"] for mark in marks)
        for p in pairs
        if any(mark in p["chosen"] + p["rejected"] for mark in marks)
    ]
    assert len(refused) > 150
    assert 0.84 < np.mean(refused) < 0.96


@pytest.mark.parametrize(
    "arguments",
    [
        ["corpus", "--n", "0", "--out", "x"],
        ["live", "--url", "localhost:1", "--users", "1"],
        ["live", "--url", "http://localhost:1", "--users", "1", "--time-scale", "nan"],
        ["pairs", "--kind", "wit", "--n", "1", "--out", "x"],
        [],
    ],
)
def test_wrong_arguments_end_in_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_an_oracle_without_its_files_says_what_it_needs(tmp_path, capsys):
    assert main(["oracle"]) == 2
    assert "--ledger and --sealed" in capsys.readouterr().err
    missing = str(tmp_path / "no.jsonl")
    assert main(["oracle", "--ledger", missing, "--sealed", missing]) == 2
    assert "no.jsonl" in capsys.readouterr().err
