"""Several reward models on one encoder: the layers that they have in common are computed once.

Reward models fitted with frozen lowest layers keep those layers, weight for weight, so a reply that
love, helpfulness and safety all judge passes through them once instead of three times. The logits
are those of each model alone, to rounding.
"""

# N chats, S tokens of all chats, D width

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from models.bert import is_splittable
from models.chat import Chat
from models.reward import RewardModel, batches_by_length
from training.token_cache import TokenCache, fill_cache

SCORE_BATCH = 64
"""Chats scored together, of like length."""
STATES_BYTES_MAX = 512 << 20
"""Most memory for the states of one call's chats; a larger call is computed without sharing."""
FLOAT_BYTES = 4

ScoreChats = Callable[[Sequence[Chat]], Tensor]
"""Gives calibrated logits_N of chats, float32."""


def share_trunk(rewards: Mapping[str, RewardModel]) -> dict[str, ScoreChats]:
    """A scorer for each reward model; those that can share layers do, and hold them once.

    Only the last call's states are kept, so sharing needs the models to be asked of the same chats
    one after the other, as a mixture of objectives does.
    """
    scorers: dict[str, ScoreChats] = {
        name: reward.calibrated_logits for name, reward in rewards.items()
    }
    splittable = {name: reward for name, reward in rewards.items() if is_splittable(reward.model)}
    depth = common_depth(list(splittable.values()))
    if depth > 0:
        first, *others = splittable.values()
        for other in others:
            _take_trunk(other, first, depth)
        trunk = _Trunk(first, depth)
        scorers |= {name: trunk.scorer(reward) for name, reward in splittable.items()}
    return scorers


def common_depth(rewards: Sequence[RewardModel]) -> int:
    """How many lowest layers, the embeddings below them included, all of the models share.

    0 where there are fewer than two, or where they do not read the same tokens.
    """
    if len(rewards) < 2 or len({reward.max_tokens for reward in rewards}) > 1:
        return 0
    first, *others = rewards
    if any(other.tokenizer.get_vocab() != first.tokenizer.get_vocab() for other in others):
        return 0
    trees = [_bert(reward).bert for reward in rewards]
    if not all(_same(trees[0].embeddings, tree.embeddings) for tree in trees[1:]):
        return 0
    depth = 0
    for layers in zip(*(tree.encoder.layer for tree in trees), strict=False):
        if not all(_same(layers[0], layer) for layer in layers[1:]):
            break
        depth += 1
    return depth


def _take_trunk(reward: RewardModel, first: RewardModel, depth: int) -> None:
    """Have a model hold the first one's trunk instead of its own, which is equal."""
    mine, its = _bert(reward), _bert(first)
    mine.bert.embeddings = its.bert.embeddings
    for number in range(depth):
        mine.bert.encoder.layer[number] = its.bert.encoder.layer[number]
    shared = {parameter.data_ptr() for parameter in its.parameters()}
    for parameter in mine.parameters():
        if parameter.data_ptr() not in shared:
            # A weight may be a view of its model's whole file, which stays in memory with it.
            parameter.data = parameter.data.clone()


class _Trunk:
    """The common layers, and what they gave for the chats of the last call."""

    def __init__(self, reward: RewardModel, depth: int) -> None:
        self._reward = reward
        self._depth = depth
        self._ids: list[list[int]] = []
        self._hidden_SD = torch.empty(0)

    def scorer(self, reward: RewardModel) -> ScoreChats:
        model = _bert(reward)

        def score(chats: Sequence[Chat]) -> Tensor:
            ids = reward.encode(chats)
            num_bytes = sum(map(len, ids)) * int(model.config.hidden_size) * FLOAT_BYTES
            if not ids or num_bytes > STATES_BYTES_MAX:
                return reward.calibrated_logits(chats)
            lengths = [len(row) for row in ids]
            states = TokenCache(model, self._states_of(ids), lengths, self._depth)
            logits_N = torch.empty(len(ids), dtype=torch.float32)
            with torch.inference_mode():
                for rows in batches_by_length(lengths, SCORE_BATCH):
                    logits_N[torch.tensor(rows)] = states.logits(rows).float().cpu()
            return torch.from_numpy(reward.calibration.apply(logits_N.numpy())).float()

        return score

    def _states_of(self, ids: list[list[int]]) -> Tensor:
        if ids != self._ids:
            model = _bert(self._reward)
            cache = fill_cache(self._reward, model, ids, self._depth, lambda *_: None)
            self._ids, self._hidden_SD = ids, cache.hidden_SD
        return self._hidden_SD


def _bert(reward: RewardModel) -> BertForSequenceClassification:
    assert is_splittable(reward.model)
    return reward.model


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)
