"""Several reward models on one encoder: what they have in common is computed once.

Reward models whose heads were fitted to an encoder as it is keep it, weight for weight, so a reply
that love, helpfulness and safety all judge passes through it once instead of three times. The
logits are those of each model alone, to rounding.
"""

# N chats, F features

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from models.chat import Chat
from models.pooled import PooledClassifier
from models.reward import RewardModel

ScoreChats = Callable[[Sequence[Chat]], Tensor]
"""Gives calibrated logits_N of chats, float32."""


def share_trunk(rewards: Mapping[str, RewardModel]) -> dict[str, ScoreChats]:
    """A scorer for each reward model; those with the same encoder share it, and hold it once.

    Only the last call's features are kept, so sharing needs the models to be asked of the same
    chats one after the other, as a mixture of objectives does.
    """
    scorers: dict[str, ScoreChats] = {
        name: reward.calibrated_logits for name, reward in rewards.items()
    }
    trunks: list[_Trunk] = []
    for name, reward in rewards.items():
        model = reward.pooled
        if model is None:
            continue
        trunk = next((known for known in trunks if is_same_reader(known.reward, reward)), None)
        if trunk is None:
            trunk = _Trunk(reward, model)
            trunks.append(trunk)
        model.encoder = trunk.model.encoder
        # A weight may be a view of its model's whole file, which stays in memory with it.
        for parameter in model.classifier.parameters():
            parameter.data = parameter.data.clone()
        scorers[name] = trunk.scorer(reward, model)
    return scorers


def is_same_reader(one: RewardModel, other: RewardModel) -> bool:
    """Whether two models read the same tokens, through the same encoder, at the same levels."""
    mine, its = one.pooled, other.pooled
    return (
        mine is not None
        and its is not None
        and one.max_tokens == other.max_tokens
        and mine.config.levels == its.config.levels
        and mine.config.separator_id == its.config.separator_id
        and one.tokenizer.get_vocab() == other.tokenizer.get_vocab()
        and _same(mine.encoder, its.encoder)
    )


class _Trunk:
    """An encoder, and what it gave for the chats of the last call."""

    def __init__(self, reward: RewardModel, model: PooledClassifier) -> None:
        self.reward = reward
        self.model = model
        self._ids: list[list[int]] = []
        self._features_NF = torch.empty((0, model.classifier.in_features))

    def scorer(self, reward: RewardModel, model: PooledClassifier) -> ScoreChats:
        """A scorer of one of the models."""

        def score(chats: Sequence[Chat]) -> Tensor:
            features_NF = self._features_of(reward.encode(chats))
            with torch.inference_mode():
                logits_N1: Tensor = model.classifier(features_NF.to(model.device)).float().cpu()
            return reward.calibrated(logits_N1[:, 0])

        return score

    def _features_of(self, ids: list[list[int]]) -> Tensor:
        if ids != self._ids:
            self._ids, self._features_NF = ids, self.reward.features(ids).rows()
        return self._features_NF


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)
