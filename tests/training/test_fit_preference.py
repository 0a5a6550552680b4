"""Goal: a model fitted on pairs prefers what people preferred, on prompts that it never saw.

Method: made-up pairs in which one word decides, and a tiny random encoder or causal model; short
real runs of TRL's trainer, which go through its internals.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from models.calibration import Calibration
from models.chat import chat_of
from models.reading import Spelled
from models.reward import RewardModel
from tests.tiny_policy import save_tiny_policy
from tests.training.fake_snapshot import PLAIN, WORDS
from tests.training.tiny_encoder import save_tiny_encoder
from training.config import PreferenceConfig
from training.fit_preference import (
    fit_preference,
    measure_pairs,
    split_pairs,
)
from training.pairs import Pair, read_pairs

NUM_PROMPTS = 150


def made_up_pairs(seed: int = 0) -> list[dict[str, object]]:
    """Two pairs a prompt; "gentle" is preferred, and the rejected reply is the longer one."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(NUM_PROMPTS):
        for _ in range(2):
            chosen, rejected = rng.choice(PLAIN, 4).tolist(), rng.choice(PLAIN, 5).tolist()
            chosen[rng.integers(4)] = "gentle"
            rows.append(
                {
                    "prompt": f"how {number}",
                    "chosen": " ".join(chosen),
                    "rejected": " ".join(rejected),
                }
            )
    return rows


def write_lines(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_lines(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", made_up_pairs())


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> PreferenceConfig:
    base = save_tiny_encoder(tmp_path_factory.mktemp("encoder"), WORDS)
    return PreferenceConfig(
        base=str(base), max_tokens=32, frozen_layers=1, lr_encoder=3e-3, lr_head=3e-3
    )


def fit(pairs, config, out):
    return fit_preference(pairs, config, out, on_progress=lambda stage, done, total: None)


@pytest.fixture(scope="module")
def fitted(pairs, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted")
    return fit(pairs, config, out), out


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_it_learns_what_was_preferred_and_not_what_is_longer(fitted):
    report, out = fitted
    assert (report.num_train, report.num_held_out) == (240, 60)
    assert report.accuracy > 0.85  # Chance is 0.5, with a standard error of 0.06 on 60 pairs.
    assert 0.7 < report.accuracy_ci[0] < report.accuracy <= report.accuracy_ci[1]
    assert report.longer_accuracy < 0.2
    assert report.margin > 0.5
    assert json.loads((out / "report.json").read_text()) == report.to_json()


def test_swapped_preferences_give_the_opposite_model(config, tmp_path):
    rows = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in made_up_pairs()]
    fit(write_lines(tmp_path / "swapped.jsonl", rows), config, tmp_path / "out")
    reward = RewardModel.from_pretrained(tmp_path / "out")
    gentle, plain = reward.logits(
        [chat_of("how", "water gentle cup"), chat_of("how", "water boil cup")]
    ).tolist()
    assert gentle < plain


def test_preferences_tossed_by_a_coin_teach_nothing(config, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        row | {"chosen": row["rejected"], "rejected": row["chosen"]} if rng.random() < 0.5 else row
        for row in made_up_pairs()
    ]
    report = fit(write_lines(tmp_path / "tossed.jsonl", rows), config, tmp_path / "out")
    assert abs(report.accuracy - 0.5) < 0.2  # Three standard errors on 60 pairs.


def test_the_folder_loads_anywhere_and_carries_no_calibration(fitted, pairs):
    _, out = fitted
    reward = RewardModel.from_pretrained(out)
    assert reward.calibration == Calibration()
    chats = [chat_of(pair.prompt, pair.chosen) for pair in read_pairs(pairs).pairs[:20]]
    theirs = AutoModelForSequenceClassification.from_pretrained(out, trust_remote_code=True).eval()
    with torch.inference_mode():
        logits = theirs(**reward.pad(reward.encode(chats))).logits[:, 0]
    # Padding differs, so sums are taken in another order.
    torch.testing.assert_close(logits, reward.logits(chats), atol=1e-5, rtol=0)


def test_the_same_pairs_and_dials_give_the_same_weights(fitted, pairs, config, tmp_path):
    torch.rand(3)  # Whatever else draws in the process must not matter.
    fit(pairs, config, tmp_path / "again")
    assert weights_hash(tmp_path / "again") == weights_hash(fitted[1])
    fit(pairs, replace(config, seed=1), tmp_path / "other")  # Other prompts are kept aside.
    assert weights_hash(tmp_path / "other") != weights_hash(fitted[1])


def test_frozen_layers_stay_and_the_others_move(pairs, config, tmp_path):
    report = fit(pairs, replace(config, epochs=1), tmp_path)
    assert report.accuracy > 0.85
    before = RewardModel.from_pretrained(config.base).model.state_dict()
    after = RewardModel.from_pretrained(tmp_path).model.state_dict()
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert not [name for name in moved if "embeddings" in name or "layer.0." in name]
    assert "encoder.encoder.layer.1.attention.self.query.weight" in moved


@pytest.mark.parametrize("frozen_layers", [-1, 0])
def test_a_small_causal_model_can_be_the_base(frozen_layers, pairs, config, tmp_path):
    """It takes the road without kept states, on a few of the pairs."""
    base = save_tiny_policy(tmp_path / "policy")
    few = write_lines(tmp_path / "few.jsonl", made_up_pairs()[:40])
    dials = replace(config, base=str(base), frozen_layers=frozen_layers, epochs=1, max_tokens=64)
    report = fit(few, dials, tmp_path / "out")
    reward = RewardModel.from_pretrained(tmp_path / "out")
    before = RewardModel.from_pretrained(base, max_tokens=64).model.state_dict()
    after = reward.model.state_dict()
    is_same = torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert is_same == (frozen_layers == 0)
    _, held_out = split_pairs(read_pairs(few).pairs, dials.held_out_share, dials.seed)
    assert measure_pairs(reward, held_out, num_train=report.num_train) == report


def test_progress_counts_the_steps(pairs, config, tmp_path):
    seen = []
    fit_preference(
        pairs,
        replace(config, epochs=1),
        tmp_path,
        on_progress=lambda *event: seen.append(event),
    )
    steps = [event for event in seen if event[0] == "training"]
    assert steps == [("training", step, 15) for step in range(1, 16)]
    assert seen[-1] == ("measuring", 1, 1)


# Pairs.


def test_a_prompt_lies_on_one_side_only(pairs):
    rows = read_pairs(pairs).pairs
    train, held_out = split_pairs(rows, 0.2, seed=0)
    assert len(train) + len(held_out) == len(rows)
    sides = [{json.dumps(pair.prompt) for pair in side} for side in (train, held_out)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 0.2 * NUM_PROMPTS
    assert split_pairs(list(reversed(rows)), 0.2, seed=0)[1] == list(reversed(held_out))
    assert split_pairs(rows, 0.2, seed=1)[1] != held_out


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
def test_a_split_that_leaves_a_side_empty_is_refused(share, pairs):
    with pytest.raises(ValueError, match=f"150 prompts cannot be split at a share of {share}"):
        split_pairs(read_pairs(pairs).pairs, share, seed=0)


def test_a_prompt_may_be_turns_or_one_users_text(tmp_path):
    turns = [{"role": "user", "content": "how"}]
    rows = [{"prompt": prompt, "chosen": "a", "rejected": "b"} for prompt in ("how", turns)]
    first, second = read_pairs(write_lines(tmp_path / "pairs.jsonl", rows)).pairs
    assert first == second == Pair(prompt=turns, chosen="a", rejected="b")


class CountsGentle:
    def spell(self, chats):
        counts = [[chat[-1]["content"].count("gentle")] for chat in chats]
        cut = [row == [2] for row in counts]
        return Spelled(ids=counts, prompts_cut=[False] * len(cut), replies_cut=cut)

    def logits_of(self, ids):
        return torch.tensor([float(row[0]) for row in ids])


def test_accuracy_counts_ties_half_and_the_margin_is_a_mean():
    pairs = [
        Pair(prompt=chat_of("how"), chosen="gentle gentle", rejected="boil it all"),
        Pair(prompt=chat_of("how"), chosen="gentle", rejected="gentle"),
        Pair(prompt=chat_of("how"), chosen="boil", rejected="gentle"),
        Pair(prompt=chat_of("how"), chosen="gentle", rejected="cup"),
    ]
    report = measure_pairs(CountsGentle(), pairs, num_train=7)
    assert report.accuracy == (1 + 0.5 + 0 + 1) / 4
    assert report.margin == (2 + 0 - 1 + 1) / 4
    assert report.longer_accuracy == (1 + 0.5 + 0 + 1) / 4
    assert (report.num_train, report.num_held_out) == (7, 4)


def test_accuracy_is_held_against_the_better_rule_by_length():
    """Shorter is preferred in three of four pairs, so "the shorter wins" is the rule to beat."""

    pairs = [
        Pair(prompt=chat_of(f"how {n}"), chosen="gentle", rejected="long and cold")
        if n % 4
        else Pair(prompt=chat_of(f"how {n}"), chosen="gentle and long", rejected="cold")
        for n in range(40)
    ]
    report = measure_pairs(CountsGentle(), pairs, num_train=0)
    assert (report.accuracy, report.longer_accuracy) == (1.0, 0.25)
    assert report.accuracy_over_length == pytest.approx(0.25)
    low, high = report.accuracy_over_length_ci
    assert 0 < low < 0.25 < high
