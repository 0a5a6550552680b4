"""Begin with a linear probe: the best head on the states as they are, before any layer moves.

Fine-tuning under a random head first destroys what the encoder knows, and needs far more labels
than a young product has (Kumar et al., ICLR 2022, arXiv 2202.10054: "linear probing, then
fine-tuning"). The probe is the same loss as the fit's own, with a ridge penalty chosen by
cross-validation over users; pooler and head are then set to it, so that fine-tuning starts there.
"""

# N rows, M rows changed, D width

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.bert import set_head
from training.examples import Examples
from training.label_loss import label_loss
from training.token_cache import TokenCache

GAIN = 0.3
"""Standardised states go through the pooler's tanh at this scale, where it is nearly straight."""
STD_MIN = 1e-6
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Penalties tried, per row and squared weight of a standardised state."""
FOLDS = 4
ROWS_MAX = 20_000
"""Rows that the probe is fitted on at most, evenly spaced: its 385 numbers need no more."""
ITERATIONS = 60
READ_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance:
    """Texts whose score must not change by what was done to some of the examples' texts."""

    cache: TokenCache
    """The changed texts."""
    rows: Sequence[int]
    """Which example each of them was made of."""
    weight: float
    """Price of a squared change of the logit, in nats a row."""


def start_from_probe(
    cache: TokenCache, examples: Examples, *, start_logit: float, invariance: Invariance | None
) -> float:
    """Set pooler and head to the best linear model of the states; gives the ridge chosen."""
    rows = list(range(0, len(examples), -(-len(examples) // ROWS_MAX)))
    first_ND, mean_D, std_D = _read(cache, rows)

    def states(first_ND: Tensor) -> Tensor:
        return torch.tanh(GAIN * (first_ND - mean_D) / std_D) / GAIN

    states_ND = states(first_ND)
    moves_MD = torch.zeros((1, states_ND.shape[1]))
    if invariance is not None:
        changed_MD, _, _ = _read(invariance.cache, range(len(invariance.rows)))
        plain_MD, _, _ = _read(cache, invariance.rows)
        moves_MD = invariance.weight**0.5 * (states(changed_MD) - states(plain_MD))
    columns = [
        torch.tensor(column[rows], dtype=torch.float32)
        for column in (examples.labels, examples.kappas, examples.user_offsets, examples.weights)
    ]
    users_N = torch.tensor(examples.user_numbers()[rows])
    ridge = choose_ridge(states_ND, columns, users_N, moves_MD, start_logit)
    weight_D, bias = _fit(states_ND, columns, ridge, moves_MD, start_logit)
    set_head(
        cache.model, mean_D=mean_D, std_D=std_D, gain=GAIN, weight_D=weight_D / GAIN, bias=bias
    )
    return ridge


def start_from_nothing(cache: TokenCache) -> None:
    """Set the pooler to give standardised states, and the head to say nothing of them yet."""
    rows = list(range(0, len(cache.lengths), -(-len(cache.lengths) // ROWS_MAX)))
    _, mean_D, std_D = _read(cache, rows)
    silent_D = torch.zeros_like(mean_D)
    set_head(cache.model, mean_D=mean_D, std_D=std_D, gain=GAIN, weight_D=silent_D, bias=0.0)


def choose_ridge(
    states_ND: Tensor,
    columns: Sequence[Tensor],
    users_N: Tensor,
    moves_MD: Tensor,
    start_logit: float,
) -> float:
    """The penalty with the least loss on users that the probe did not see.

    The strongest one where the folds cannot say: too few users, or one without both labels.
    """
    fold_N = users_N % FOLDS
    losses = np.zeros(len(RIDGES))
    for fold in range(FOLDS):
        kept, aside = fold_N != fold, fold_N == fold
        if not (_has_both(columns[0][kept]) and _has_both(columns[0][aside])):
            return RIDGES[-1]
        for index, ridge in enumerate(RIDGES):
            weight_D, bias = _fit(
                states_ND[kept],
                [column[kept] for column in columns],
                ridge,
                moves_MD,
                start_logit,
            )
            logits_N = states_ND[aside] @ weight_D + bias
            losses[index] += float(label_loss(logits_N, *(column[aside] for column in columns)))
    return RIDGES[int(losses.argmin())]


def _fit(
    states_ND: Tensor,
    columns: Sequence[Tensor],
    ridge: float,
    moves_MD: Tensor,
    start_logit: float,
) -> tuple[Tensor, float]:
    """weight_D and bias of the penalised fit; the problem is convex, so where it starts is no
    matter."""
    weight_D = torch.zeros(states_ND.shape[1], requires_grad=True)
    bias = torch.tensor(start_logit, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight_D, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = label_loss(states_ND @ weight_D + bias, *columns) / columns[-1].sum()
        loss = loss + 0.5 * ridge * weight_D.square().sum()
        loss = loss + (moves_MD @ weight_D).square().mean()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight_D.detach(), float(bias.detach())


def _read(cache: TokenCache, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """first_ND of these texts, and each column's mean and standard deviation."""
    cache.model.train(False)
    order = sorted(range(len(rows)), key=lambda index: cache.lengths[rows[index]])
    first_ND = torch.empty((len(rows), int(cache.model.config.hidden_size)))
    with torch.no_grad():
        for start in range(0, len(order), READ_BATCH):
            batch = order[start : start + READ_BATCH]
            first_ND[torch.tensor(batch)] = cache.first([rows[index] for index in batch]).cpu()
    return first_ND, first_ND.mean(0), first_ND.std(0).clamp(min=STD_MIN)


def _has_both(labels_N: Tensor) -> bool:
    return bool(0 < labels_N.sum() < len(labels_N))
