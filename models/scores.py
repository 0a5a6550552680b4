"""What a reward model says of chats."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredChats:
    """Calibrated logits_N of chats, and of which chats something was not read."""

    logits_N: Tensor
    prompts_cut: list[bool]
    replies_cut: list[bool]
