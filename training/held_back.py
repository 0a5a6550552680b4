"""Prompts held back from practice: where training asks how often the policy beats production.

The statistic is the gate's own (`wins_of`), so training stops where the gate would refuse; prompts
and reward model are those of training, so it is no evidence.
"""

# P prompts, K replies to each

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.chat import Chat, chat_of
from models.policy import Policy
from training.evidence.clustered import Floats
from training.evidence.offline import wins_of
from training.objectives.base import Scorer

BATCH_SIZE = 64
"""Replies sampled at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """The prompts, with what the teacher thinks of production's replies to them."""

    prompts: Sequence[Chat]
    scorer: Scorer
    """The reward model that teaches."""
    reference_PK: Floats
    """Its logits of production's replies."""
    max_new_tokens: int
    seed: int

    def wins(self, policy: Policy, *, first: int = 0, every: int = 1) -> Floats:
        """How often the policy's replies outscore production's, wins_P, on every n-th prompt.

        The policy draws by production's random numbers, as in the evidence.
        """
        places = range(first, len(self.prompts), every)
        if not places:
            return np.zeros(0)
        mine_PK = _logits(
            policy,
            self.prompts,
            places,
            self.scorer,
            replies=self.reference_PK.shape[1],
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
        )
        return wins_of(mine_PK, self.reference_PK[list(places)])


def hold_back(
    production: Policy,
    prompts: Sequence[Chat],
    scorer: Scorer,
    *,
    replies: int,
    max_new_tokens: int,
    seed: int,
) -> HeldBack:
    """Samples and scores production's replies once. `replies`: of each policy to each prompt."""
    return HeldBack(
        prompts=prompts,
        scorer=scorer,
        reference_PK=_logits(
            production,
            prompts,
            range(len(prompts)),
            scorer,
            replies=replies,
            max_new_tokens=max_new_tokens,
            seed=seed,
        ),
        max_new_tokens=max_new_tokens,
        seed=seed,
    )


def _logits(
    policy: Policy,
    prompts: Sequence[Chat],
    places: Sequence[int],
    scorer: Scorer,
    *,
    replies: int,
    max_new_tokens: int,
    seed: int,
) -> Floats:
    """Logits_PK of fresh replies at temperature 1, which the gate too samples at."""
    asked = [prompts[place] for place in places for _ in range(replies)]
    sampled = policy.reply(
        asked,
        max_new_tokens=max_new_tokens,
        seed=[seed + place * replies + k for place in places for k in range(replies)],
        batch_size=BATCH_SIZE,
    )
    chats = [chat_of(prompt, reply.text) for prompt, reply in zip(asked, sampled, strict=True)]
    logits: Floats = scorer(chats).double().cpu().numpy().reshape(len(places), replies)
    return logits
