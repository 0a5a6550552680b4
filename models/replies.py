"""Sampled answers, whole and in parts."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.spelling import SpeltToken

FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One sampled answer."""

    text: str
    logprob: float
    """Sum over the reply's tokens (its end of turn included) of log p, in nats, at temperature 1
    and without top-p, whatever it was sampled at: what `Policy.log_probs` gives again."""
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    is_cut: bool = False
    """A stop sequence ended it: `text` is what came before, the rest is of all that was drawn."""
    token_ids: tuple[int, ...] = ()
    """The tokens as sampled. A text may have many spellings in tokens, so log-probabilities under
    another model are taken of these, not of the text."""
    spelt: tuple[SpeltToken, ...] = ()
    """Each token with its spelling, where log-probabilities were asked for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a reply's text, as soon as it is sure."""

    text: str
    spelt: tuple[SpeltToken, ...] = ()
    """Its tokens, where log-probabilities were asked for."""
