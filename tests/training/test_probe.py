"""Goal: a head is the best linear one of its encoder's states, and is not moved by what must not
count; models on one encoder read it once. Method: a tiny random encoder, and labels that follow a
word of the reply."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.reward import Features, RewardModel
from tests.training.tiny_encoder import save_tiny_encoder
from training.probe import (
    FOLDS,
    PROMPT_SCALE,
    RIDGES,
    HeadTask,
    choose_ridge,
    fit_head,
    label_task,
    pair_task,
)
from training.shared_trunk import is_same_reader, share_trunk

WORDS = ["tea", "cat", "sun", "rain", "love", "hate", "blue", "red", "walk", "run"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "base", WORDS)


def load(encoder, seed: int | None = None) -> RewardModel:
    """A model of the encoder, with a head drawn at random where a seed is given."""
    reward = RewardModel.from_pretrained(encoder, max_tokens=32)
    if seed is not None:
        dice = torch.Generator().manual_seed(seed)
        weight = reward.pooled.classifier.weight
        weight.data = torch.randn(weight.shape, generator=dice)
    return reward


def texts(num: int, seed: int = 0) -> list[list[dict[str, str]]]:
    dice = np.random.default_rng(seed)
    return [
        [
            {"role": "user", "content": " ".join(dice.choice(WORDS, 3))},
            {"role": "assistant", "content": " ".join(dice.choice(WORDS, 5))},
        ]
        for _ in range(num)
    ]


def says_love(chats) -> np.ndarray:
    return np.array(["love" in chat[-1]["content"] for chat in chats], dtype=np.float64)


def task_of(reward, chats, labels, *, kappa=1.0, weights=None, moves=None) -> HeadTask:
    num = len(chats)
    return label_task(
        reward.features(reward.encode(chats)),
        torch.tensor(labels, dtype=torch.float32),
        torch.full((num,), kappa),
        torch.zeros(num),
        torch.ones(num) if weights is None else torch.tensor(weights, dtype=torch.float32),
        users_N=torch.arange(num) % 40,
        start_logit=0.0,
        moves_MF=moves,
    )


def noise_task(labels: torch.Tensor, states: torch.Tensor, users: torch.Tensor) -> HeadTask:
    num = len(labels)
    return label_task(
        Features(
            values_UF=states,
            text_N=torch.arange(num),
            is_prompt_F=torch.zeros(states.shape[1], dtype=torch.bool),
        ),
        labels, torch.ones(num), torch.zeros(num), torch.ones(num),
        users_N=users, start_logit=0.0,
    )  # fmt: skip


def test_the_head_knows_the_labels_and_the_model_scores_by_it(encoder):
    reward, chats = load(encoder), texts(400)
    labels = says_love(chats)
    fit_head(task_of(reward, chats, labels)).put_into(reward.pooled)
    scores = reward.logits(chats).numpy()
    assert np.median(scores[labels == 1]) > np.median(scores[labels == 0]) + 1


def test_thinned_negatives_are_put_back_into_the_probability(encoder):
    """With every second negative dropped, the mean prediction is still the natural rate."""
    chats = texts(1500)
    labels = says_love(chats)
    kept = (labels == 1) | (np.arange(len(chats)) % 2 == 0)
    rows = [chats[row] for row in np.flatnonzero(kept)]
    reward = load(encoder)
    fit_head(task_of(reward, rows, labels[kept], kappa=0.5)).put_into(reward.pooled)
    predicted = torch.sigmoid(reward.logits(chats)).mean().item()
    assert predicted == pytest.approx(labels.mean(), rel=0.1)  # The naive rate is 1.6 times it.


def test_the_ridge_is_the_one_that_does_best_on_other_users():
    dice = torch.Generator().manual_seed(1)
    states = torch.randn((240, 60), generator=dice)
    users = torch.arange(240) % 24
    noise = (torch.rand(240, generator=dice) < 0.3).float()
    strongest = choose_ridge(noise_task(noise, states, users))
    assert strongest >= RIDGES[1], "labels are noise"
    signal = (states[:, 0] > 0.5).float()
    assert choose_ridge(noise_task(signal, states, users)) < strongest


def test_folds_without_both_labels_take_the_strongest_ridge():
    num = FOLDS * 2
    states = torch.randn((num, 5), generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(num)
    labels[0] = 1.0
    assert choose_ridge(noise_task(labels, states, torch.arange(num))) == RIDGES[0]


def test_the_head_agrees_with_scikit_learn(encoder):
    reward, chats = load(encoder), texts(300)
    labels = says_love(chats)
    head = fit_head(task_of(reward, chats, labels))
    head.put_into(reward.pooled)
    raw = reward.features(reward.encode(chats)).rows().numpy().astype(np.float64)
    states = (raw - raw.mean(0)) / raw.std(0)
    states[:, reward.pooled.is_prompt().numpy()] *= PROMPT_SCALE
    peer = LogisticRegression(C=1 / (head.ridge * len(chats)), tol=1e-8, max_iter=5_000)
    expected = peer.fit(states, labels).decision_function(states)
    np.testing.assert_allclose(reward.logits(chats).numpy(), expected, atol=0.02)


def test_a_head_of_pairs_prefers_what_was_preferred_whatever_the_prompt(encoder):
    reward, chats = load(encoder), texts(600)
    labels = says_love(chats)
    loved, plain = (np.flatnonzero(labels == label)[:150] for label in (1, 0))
    prompts = [chats[row][:1] for row in range(150)]
    chosen, rejected = (
        [[*prompt, chats[row][1]] for prompt, row in zip(prompts, rows, strict=True)]
        for rows in (loved, plain)
    )
    features = reward.features(reward.encode([*chosen, *rejected]))
    fit_head(pair_task(features, torch.arange(150))).put_into(reward.pooled)
    margins = reward.logits(chosen) - reward.logits(rejected)
    assert (margins > 0).float().mean() > 0.9


def test_labels_that_are_no_numbers_give_no_head(encoder):
    reward, chats = load(encoder), texts(40)
    labels = says_love(chats)
    labels[3] = np.nan
    with pytest.raises(ValueError, match="their loss is nan"):
        fit_head(task_of(reward, chats, labels))


def test_an_invariant_head_is_not_moved_by_the_sign_off(encoder):
    chats = texts(500)
    loved = says_love(chats)
    signed = [
        [*chat[:-1], {**chat[-1], "content": chat[-1]["content"] + " love"}] for chat in chats
    ]
    shifts = {}
    for weight in (0.0, 30.0):
        reward = load(encoder)
        before, after = (reward.features(reward.encode(c)).rows() for c in (chats, signed))
        moves = weight**0.5 * (after - before)
        fit_head(task_of(reward, chats, loved, moves=moves)).put_into(reward.pooled)
        shifts[weight] = (reward.logits(signed) - reward.logits(chats)).mean().item()
    assert shifts[0.0] > 0.5
    assert abs(shifts[30.0]) < 0.2 * shifts[0.0]


def test_a_row_that_weighs_nothing_is_as_good_as_absent(encoder):
    chats = texts(200)
    labels = says_love(chats)
    reward = load(encoder)
    task = task_of(
        reward,
        chats + chats,
        np.concatenate([labels, 1 - labels]),
        weights=np.concatenate([np.ones(200), np.zeros(200)]),
    )
    fit_head(replace(task, folds_N=None)).put_into(reward.pooled)
    scores = reward.logits(chats).numpy()
    assert np.median(scores[labels == 1]) > np.median(scores[labels == 0])


# Models on one encoder.


def test_models_on_one_encoder_read_it_once_and_give_their_own_scores(encoder, monkeypatch):
    rewards = {name: load(encoder, seed) for seed, name in enumerate(("love", "help", "safe"))}
    chats, others = texts(30), texts(7, seed=9)
    expected = {
        name: [reward.calibrated_logits(batch) for batch in (chats, others)]
        for name, reward in rewards.items()
    }
    scorers = share_trunk(rewards)
    calls = []
    features = RewardModel.features
    monkeypatch.setattr(
        RewardModel, "features", lambda self, ids: (calls.append(len(ids)), features(self, ids))[1]
    )
    for which, batch in enumerate((chats, others)):
        for name in rewards:
            torch.testing.assert_close(
                scorers[name](batch), expected[name][which], atol=1e-5, rtol=1e-4
            )
    assert calls == [30, 7]


def test_models_on_one_encoder_hold_its_layers_once(encoder):
    one, other = load(encoder, 0), load(encoder, 1)
    chats = texts(30)
    expected = other.calibrated_logits(chats)
    share_trunk({"one": one, "other": other})
    shared = {parameter.data_ptr() for parameter in one.model.parameters()}
    assert all(weight.data_ptr() in shared for weight in other.pooled.encoder.parameters())
    for parameter in other.model.parameters():
        whole = parameter.numel() * parameter.element_size()
        assert parameter.data_ptr() in shared or parameter.untyped_storage().nbytes() == whole
    torch.testing.assert_close(other.calibrated_logits(chats), expected)


def test_models_that_read_otherwise_share_nothing(encoder):
    one, other = load(encoder, 0), load(encoder, 1)
    assert is_same_reader(one, other)
    other.max_tokens = 16
    assert not is_same_reader(one, other)
    moved = load(encoder, 2)
    with torch.no_grad():
        moved.pooled.encoder.embeddings.word_embeddings.weight.add_(0.01)
    assert not is_same_reader(one, moved)
    chats = texts(5)
    expected = moved.calibrated_logits(chats)
    scorers = share_trunk({"one": one, "moved": moved})
    torch.testing.assert_close(scorers["moved"](chats), expected)


def test_no_chats_give_no_scores(encoder):
    scorers = share_trunk({"a": load(encoder, 0), "b": load(encoder, 1)})
    assert scorers["a"]([]).shape == (0,)
