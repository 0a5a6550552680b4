"""Scorers and batches for tests of objectives: what they say can be read off the text."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.chat import Chat
from tests.tiny_policy import ask
from training.objectives.base import Completions, Ingredients, Reference


def stars(chats: Sequence[Chat]) -> Tensor:
    """A logit of one for each "*" of the reply."""
    return torch.tensor([float(chat[-1]["content"].count("*")) for chat in chats])


PROMPTS = [ask("one"), ask("two")]
REFERENCE = Reference(
    prompts=PROMPTS,
    replies=[["plain", "a *", "* b *", "c"], ["* * * *", "nothing", "* x", "y"]],
)
"""Mean logits 0.75 and 1.25."""


def ingredients(**changes: object) -> Ingredients:
    """Everything that any objective may need."""
    facts: dict[str, object] = {
        "scorers": {"love": stars, "helpfulness": stars, "safety": stars},
        "reference": REFERENCE,
        "spread": 0.15,
        "safety_quantile": 0.02,
        "safety_threshold": 0.5,
    }
    return Ingredients(**{**facts, **changes})


def batch(*pairs: tuple[Chat, str]) -> Completions:
    """Completions of (prompt, reply)s."""
    return Completions(prompts=[p for p, _ in pairs], replies=[r for _, r in pairs])
