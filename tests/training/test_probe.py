"""Goal: a fit starts from the best linear head, and is not moved by what must not count.
Method: a tiny random encoder, states kept once, labels that follow one of its directions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.bert import attend_evenly, lower_states, upper_first
from models.reward import RewardModel
from tests.training.tiny_encoder import save_tiny_encoder
from training.examples import Examples
from training.probe import FOLDS, RIDGES, Invariance, choose_ridge, start_from_probe
from training.shared_trunk import common_depth, share_trunk
from training.token_cache import TokenCache, fill_cache

WORDS = ["tea", "cat", "sun", "rain", "love", "hate", "blue", "red", "walk", "run"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "base", WORDS)


def load(encoder, seed: int = 0) -> RewardModel:
    return RewardModel.from_pretrained(encoder, max_tokens=32, seed=seed)


def texts(num: int, seed: int = 0) -> list[list[dict[str, str]]]:
    dice = np.random.default_rng(seed)
    return [
        [
            {"role": "user", "content": " ".join(dice.choice(WORDS, 3))},
            {"role": "assistant", "content": " ".join(dice.choice(WORDS, 5))},
        ]
        for _ in range(num)
    ]


def cached(reward: RewardModel, chats, depth: int = 1) -> TokenCache:
    return fill_cache(reward, reward.model, reward.encode(chats), depth, lambda *_: None)


def examples_of(chats, labels, *, kappa: float = 1.0) -> Examples:
    num = len(chats)
    return Examples(
        split="train",
        chats=list(chats),
        labels=np.asarray(labels, dtype=np.float64),
        user_ids=[f"u{row % 40}" for row in range(num)],
        kappas=np.full(num, kappa),
        weights=np.ones(num),
        user_offsets=np.zeros(num),
        lengths=np.ones(num),
        segments={},
    )


def says_love(chats) -> np.ndarray:
    return np.array(["love" in chat[-1]["content"] for chat in chats], dtype=np.float64)


def test_attending_evenly_makes_the_first_token_a_mean_of_all(encoder):
    reward = load(encoder)
    attend_evenly(reward.model)
    inputs = reward.pad(reward.encode(texts(4)))
    mask = inputs["attention_mask"]
    below = reward.model.config.num_hidden_layers - 1
    with torch.no_grad():
        states = lower_states(reward.model, inputs["input_ids"], mask, below)
        order = torch.cat([torch.tensor([0]), torch.randperm(states.shape[1] - 1) + 1])
        plain = upper_first(reward.model, states, mask, below)
        mixed = upper_first(reward.model, states[:, order], mask[:, order], below)
    # Which place a token has is known from its state alone, so an even look does not see the order.
    torch.testing.assert_close(plain, mixed, atol=1e-5, rtol=1e-4)


def test_the_probe_starts_the_model_at_a_head_that_knows_the_labels(encoder):
    reward, chats = load(encoder), texts(400)
    attend_evenly(reward.model)
    labels = says_love(chats)
    cache = cached(reward, chats)
    start_from_probe(cache, examples_of(chats, labels), start_logit=0.0, invariance=None)
    scores = cache.logits(range(len(chats))).detach().numpy()
    assert np.median(scores[labels == 1]) > np.median(scores[labels == 0]) + 1
    np.testing.assert_allclose(scores, reward.logits(chats).numpy(), atol=1e-4)


def test_thinned_negatives_are_put_back_into_the_probability(encoder):
    """With every second negative dropped, the mean prediction is still the natural rate."""
    chats = texts(1500)
    labels = says_love(chats)
    kept = (labels == 1) | (np.arange(len(chats)) % 2 == 0)
    rows = [chats[row] for row in np.flatnonzero(kept)]
    reward = load(encoder)
    attend_evenly(reward.model)
    data = examples_of(rows, labels[kept], kappa=0.5)
    start_from_probe(cached(reward, rows), data, start_logit=0.0, invariance=None)
    predicted = torch.sigmoid(reward.logits(chats)).mean().item()
    assert predicted == pytest.approx(labels.mean(), rel=0.1)  # The naive rate is 1.6 times it.


def test_the_ridge_is_the_one_that_does_best_on_other_users(encoder):
    dice = torch.Generator().manual_seed(1)
    states = torch.randn((240, 60), generator=dice)
    users = torch.arange(240) % 24
    columns = [
        (torch.rand(240, generator=dice) < 0.3).float(),
        torch.ones(240),
        torch.zeros(240),
        torch.ones(240),
    ]
    nothing = torch.zeros((1, 60))
    assert choose_ridge(states, columns, users, nothing, 0.0) == RIDGES[-1], "labels are noise"
    columns[0] = (states[:, 0] > 0.5).float()
    assert choose_ridge(states, columns, users, nothing, 0.0) < RIDGES[-1]


def test_folds_without_both_labels_take_the_strongest_ridge():
    states = torch.randn((FOLDS * 2, 5), generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(FOLDS * 2)
    labels[0] = 1.0
    columns = [labels, torch.ones(FOLDS * 2), torch.zeros(FOLDS * 2), torch.ones(FOLDS * 2)]
    users = torch.arange(FOLDS * 2)
    assert choose_ridge(states, columns, users, torch.zeros((1, 5)), 0.0) == RIDGES[-1]


def test_the_probe_agrees_with_scikit_learn(encoder):
    reward, chats = load(encoder), texts(300)
    attend_evenly(reward.model)
    labels = says_love(chats)
    cache = cached(reward, chats)
    ridge = start_from_probe(cache, examples_of(chats, labels), start_logit=0.0, invariance=None)
    first = cache.first(range(len(chats))).detach().numpy().astype(np.float64)
    states = np.tanh(0.3 * (first - first.mean(0)) / first.std(0, ddof=1)) / 0.3
    peer = LogisticRegression(C=1 / (ridge * len(chats)), tol=1e-8, max_iter=5_000)
    expected = peer.fit(states, labels).decision_function(states)
    np.testing.assert_allclose(reward.logits(chats).numpy(), expected, atol=0.02)


def test_an_invariant_probe_is_not_moved_by_the_sign_off(encoder):
    chats = texts(500)
    loved = says_love(chats)
    signed = [
        [*chat[:-1], {**chat[-1], "content": chat[-1]["content"] + " love"}] for chat in chats
    ]
    shifts = {}
    for weight in (0.0, 30.0):
        reward = load(encoder)
        attend_evenly(reward.model)
        cache = cached(reward, chats)
        invariance = Invariance(cache=cached(reward, signed), rows=range(500), weight=weight)
        start_from_probe(cache, examples_of(chats, loved), start_logit=0.0, invariance=invariance)
        shifts[weight] = (reward.logits(signed) - reward.logits(chats)).mean().item()
    assert shifts[0.0] > 0.5
    assert abs(shifts[30.0]) < 0.2 * shifts[0.0]


def test_models_on_one_encoder_share_its_layers_and_give_their_own_scores(encoder):
    rewards = {name: load(encoder, seed) for seed, name in enumerate(("love", "help", "safe"))}
    for reward in rewards.values():
        torch.nn.init.normal_(reward.model.bert.encoder.layer[-1].output.dense.weight, std=0.1)
    num_layers = next(iter(rewards.values())).model.config.num_hidden_layers
    assert common_depth(list(rewards.values())) == num_layers - 1
    chats, others = texts(30), texts(7, seed=9)
    scorers = share_trunk(rewards)
    for batch in (chats, others, chats):
        for name, reward in rewards.items():
            expected = reward.calibrated_logits(batch)
            torch.testing.assert_close(scorers[name](batch), expected, atol=1e-5, rtol=1e-4)


def test_models_on_one_encoder_hold_its_layers_once(encoder):
    one, other = load(encoder), load(encoder, 1)
    torch.nn.init.normal_(other.model.bert.encoder.layer[-1].output.dense.weight, std=0.1)
    chats = texts(30)
    expected = other.calibrated_logits(chats)
    share_trunk({"one": one, "other": other})
    shared = {parameter.data_ptr() for parameter in one.model.parameters()}
    embeddings = other.model.bert.embeddings.word_embeddings.weight
    assert embeddings.data_ptr() in shared
    for parameter in other.model.parameters():
        whole = parameter.numel() * parameter.element_size()
        assert parameter.data_ptr() in shared or parameter.untyped_storage().nbytes() == whole
    torch.testing.assert_close(other.calibrated_logits(chats), expected)


def test_models_that_read_otherwise_share_nothing(encoder):
    one, other = load(encoder), load(encoder)
    other.max_tokens = 16
    assert common_depth([one, other]) == 0
    moved = load(encoder)
    with torch.no_grad():
        moved.model.bert.embeddings.word_embeddings.weight.add_(0.01)
    assert common_depth([one, moved]) == 0
    assert common_depth([one]) == 0
    assert len(share_trunk({"one": one, "moved": moved})) == 2


def test_no_chats_give_no_scores(encoder):
    scorers = share_trunk({"a": load(encoder), "b": load(encoder, 1)})
    assert scorers["a"]([]).shape == (0,)


def test_columns_may_be_weighted(encoder):
    """A row that weighs nothing is as good as absent."""
    chats = texts(200)
    labels = says_love(chats)
    wrong = examples_of(chats + chats, np.concatenate([labels, 1 - labels]))
    weights = np.concatenate([np.ones(200), np.zeros(200)])
    silent = replace(wrong, weights=weights)
    reward = load(encoder)
    attend_evenly(reward.model)
    start_from_probe(cached(reward, chats + chats), silent, start_logit=0.0, invariance=None)
    scores = reward.logits(chats).numpy()
    assert np.median(scores[labels == 1]) > np.median(scores[labels == 0]) + 1
