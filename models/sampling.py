"""How one token is drawn: temperature, nucleus and penalties, and all the chance beforehand."""

# N replies of one batch, P prompt tokens, T reply tokens, V vocabulary, K likeliest tokens

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

GREEDY_BELOW = 1e-5
"""A temperature under this takes the likeliest token: logits over it would leave float32, and no
two tokens whose logits differ by more than rounding could both be drawn (vLLM's limit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dials:
    """How to sample. Temperature 0, or a nucleus of mass 0, takes the likeliest token."""

    max_new_tokens: int
    temperature: float
    top_p: float
    presence_penalty: float = 0.0
    """Taken once from the logit of every token that the reply has already."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the reply has it already (OpenAI's formula)."""
    num_top: int = 0
    """How many of the likeliest tokens are given beside each token that was drawn."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not self.temperature >= 0 or math.isinf(self.temperature):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must be in [0, 1], got {self.top_p}")
        penalties = (self.presence_penalty, self.frequency_penalty)
        if not all(math.isfinite(penalty) for penalty in penalties):
            raise ValueError(f"penalties must be finite, got {penalties}")

    @property
    def has_penalties(self) -> bool:
        return self.presence_penalty != 0 or self.frequency_penalty != 0


class Drawn(NamedTuple):
    """One token of a reply."""

    token: int
    logprob: float
    """log p under the model itself, whatever it was sampled at, in nats."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens at this place, each with its log p, the likeliest first."""


def make_draws(num_rows: int, max_new_tokens: int, seed: int | Sequence[int] | None) -> Tensor:
    """Returns draws_NT, float64 uniform in [0, 1): all the chance that a call will need."""
    generator = torch.Generator()
    shape = (num_rows, max_new_tokens)
    if seed is None:
        generator.seed()
        return torch.rand(shape, generator=generator, dtype=torch.float64)
    if isinstance(seed, int):
        generator.manual_seed(seed)
        return torch.rand(shape, generator=generator, dtype=torch.float64)
    if len(seed) != num_rows:
        raise ValueError(f"{num_rows} chats need {num_rows} seeds, got {len(seed)}")
    if num_rows == 0:
        return torch.zeros(shape, dtype=torch.float64)
    return torch.stack(
        [
            torch.rand(shape[1], generator=generator.manual_seed(s), dtype=torch.float64)
            for s in seed
        ]
    )


def draw_tokens(logits_NV: Tensor, draw_N: Tensor, dials: Dials) -> Tensor:
    """Returns tokens_N, int64: the inverse of the cumulative distribution at each row's draw."""
    if dials.temperature < GREEDY_BELOW or dials.top_p == 0:
        return logits_NV.argmax(-1)
    p_NV = (logits_NV / dials.temperature).softmax(-1)
    if dials.top_p < 1:
        p_NV = keep_nucleus(p_NV, dials.top_p)
    cumulative_NV = p_NV.double().cumsum(-1)
    target_N1 = draw_N[:, None] * cumulative_NV[:, -1:]
    # right=True: a draw of exactly 0 must not choose a token of probability 0.
    return torch.searchsorted(cumulative_NV, target_N1, right=True)[:, 0].clamp(
        max=logits_NV.shape[-1] - 1
    )


def keep_nucleus(p_NV: Tensor, top_p: float) -> Tensor:
    """Zeroes all but the smallest set of tokens whose mass reaches top_p (Holtzman et al. 2020).

    The likeliest token stays, however small top_p is: beneath float32 it would be 0.
    """
    sorted_NV, order_NV = p_NV.sort(-1, descending=True)
    is_out_NV = sorted_NV.cumsum(-1) - sorted_NV >= top_p
    is_out_NV[:, 0] = False
    sorted_NV[is_out_NV] = 0
    return torch.zeros_like(p_NV).scatter(-1, order_NV, sorted_NV)


def penalise(logits_NV: Tensor, counts_NV: Tensor, dials: Dials) -> Tensor:
    """Takes the penalties from the logits of tokens that each row has already.

    OpenAI's formula: logit - count x frequency_penalty - (count > 0) x presence_penalty, the count
    being of the reply so far, not of the prompt.
    """
    return (
        logits_NV
        - counts_NV * dials.frequency_penalty
        - (counts_NV > 0).to(logits_NV.dtype) * dials.presence_penalty
    )


def likeliest(logp_NV: Tensor, num: int) -> list[tuple[tuple[int, float], ...]]:
    """For each row its likeliest tokens with their log p."""
    if num == 0:
        return [()] * len(logp_NV)
    logp_NK, token_NK = logp_NV.topk(min(num, logp_NV.shape[-1]), dim=-1)
    return [
        tuple(zip(tokens, logps, strict=True))
        for tokens, logps in zip(token_NK.tolist(), logp_NK.tolist(), strict=True)
    ]


def left_pad(rows: list[list[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns ids_NP and mask_NP, int64, padded on the left: all rows end in the same column."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask
