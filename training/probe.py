"""Fit a pooled head: the best linear model of an encoder's states as they are.

Fine-tuning under a random head first destroys what the encoder knows, and needs far more labels
than a young product has (Kumar et al., ICLR 2022, arXiv 2202.10054: "linear probing, then
fine-tuning"). The loss is the fit's own, of labels or of pairs, with a ridge penalty on the weights
of standardised features that is chosen by cross-validation over users, or over prompts. The problem
is convex, so where it starts is no matter.
"""

# N rows, U different texts, F features, M texts changed

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.pooled import PooledClassifier
from models.reward import Features
from training.label_loss import label_loss

STD_MIN = 1e-6
RIDGES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Penalties tried, per row and squared weight of a standardised feature, strongest first."""
PROMPT_SCALE = 0.3
"""What standardised features of the prompt are multiplied by, so that their weights are dearer: a
prompt is the same for all its replies, and on few labels its many features mostly add noise
(docs/log.md)."""
FOLDS = 4
WORSE_MAX = 2
"""Weaker penalties tried after the best so far, before the rest are left out."""
ITERATIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTask:
    """What a head is to tell from the features of texts."""

    features: Features
    loss: Callable[[Tensor, Tensor], Tensor]
    """The mean loss of these rows, from the scores_U of all texts and the rows' numbers."""
    folds_N: Tensor | None
    """Which fold each row belongs to; None where the strongest penalty is to be taken."""
    num_rows: int
    start_logit: float | None
    """The bias to start from; None where scores have no zero of their own."""
    moves_MF: Tensor | None = None
    """Changes of features by which a score must not move, times the root of their price."""


def label_task(
    features: Features,
    labels_N: Tensor,
    kappas_N: Tensor,
    offsets_N: Tensor,
    weights_N: Tensor,
    *,
    users_N: Tensor,
    start_logit: float,
    moves_MF: Tensor | None = None,
) -> HeadTask:
    """Tell the labels of rows; folds are of users, and None where one lacks a label."""
    columns = (labels_N, kappas_N, offsets_N, weights_N)

    def loss(scores_U: Tensor, rows: Tensor) -> Tensor:
        picked = [column[rows] for column in columns]
        return label_loss(scores_U[features.text_N[rows]], *picked) / weights_N[rows].sum()

    folds_N = users_N % FOLDS
    positives = torch.bincount(folds_N, labels_N, minlength=FOLDS)
    are_mixed = (positives > 0) & (positives < torch.bincount(folds_N, minlength=FOLDS))
    return HeadTask(
        features=features,
        loss=loss,
        folds_N=folds_N if bool(are_mixed.all()) else None,
        num_rows=len(labels_N),
        start_logit=start_logit,
        moves_MF=moves_MF,
    )


def pair_task(features: Features, prompts_N: Tensor) -> HeadTask:
    """Tell the first text of each pair from the second (Bradley-Terry).

    The features are of the first texts of all pairs and then of the second; folds are of prompts.
    """
    first_N, second_N = features.text_N.chunk(2)

    def loss(scores_U: Tensor, rows: Tensor) -> Tensor:
        margins = scores_U[first_N[rows]] - scores_U[second_N[rows]]
        return torch.nn.functional.softplus(-margins).mean()

    folds_N = prompts_N % FOLDS
    has_all = bool((torch.bincount(folds_N, minlength=FOLDS) > 0).all())
    return HeadTask(
        features=features,
        loss=loss,
        folds_N=folds_N if has_all else None,
        num_rows=len(first_N),
        start_logit=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A linear model of features as they are."""

    weight_F: Tensor
    bias: float
    ridge: float
    """The penalty chosen."""

    def put_into(self, model: PooledClassifier) -> None:
        """Make it the model's own."""
        with torch.no_grad():
            model.classifier.weight.copy_(self.weight_F[None])
            model.classifier.bias.fill_(self.bias)


def fit_head(task: HeadTask) -> Head:
    """The best head for the task. Raises ValueError where its loss is no finite number."""
    probe, rows = _Probe(task), torch.arange(task.num_rows)
    with torch.no_grad():
        start = task.loss(
            probe.scores(torch.zeros_like(probe.mean_F), task.start_logit or 0.0), rows
        )
    if not torch.isfinite(start):
        raise ValueError(f"no head can be fitted to these {len(rows)} rows: their loss is {start}")
    ridge = choose_ridge(task)
    weight_F, bias = probe.fit(rows, ridge)
    scaled_F = weight_F / probe.std_F
    return Head(weight_F=scaled_F, bias=bias - float(probe.mean_F @ scaled_F), ridge=ridge)


def choose_ridge(task: HeadTask) -> float:
    """The penalty with the least loss on users, or prompts, that the probe did not see.

    The strongest one where the folds cannot say.
    """
    if task.folds_N is None:
        return RIDGES[0]
    probe = _Probe(task)
    sides = [
        (torch.nonzero(task.folds_N != fold)[:, 0], torch.nonzero(task.folds_N == fold)[:, 0])
        for fold in range(FOLDS)
    ]
    starts: list[tuple[Tensor, float] | None] = [None] * FOLDS
    losses: list[float] = []
    for ridge in RIDGES:
        total = 0.0
        for fold, (kept, aside) in enumerate(sides):
            found = probe.fit(kept, ridge, start=starts[fold])
            starts[fold] = found
            with torch.no_grad():
                total += float(task.loss(probe.scores(*found), aside)) * len(aside)
        losses.append(total)
        if len(losses) - 1 - int(np.argmin(losses)) >= WORSE_MAX:
            break
    return RIDGES[int(np.argmin(losses))]


class _Probe:
    """A linear model of standardised features, which are never copied."""

    def __init__(self, task: HeadTask) -> None:
        self.task = task
        self.values_UF = task.features.values_UF
        self.mean_F = self.values_UF.mean(0)
        std_F = self.values_UF.std(0, correction=0).clamp(min=STD_MIN)
        self.std_F = torch.where(task.features.is_prompt_F, std_F / PROMPT_SCALE, std_F)

    def scores(self, weight_F: Tensor, bias: Tensor | float) -> Tensor:
        """scores_U of all texts."""
        scaled_F = weight_F / self.std_F
        return self.values_UF @ scaled_F - self.mean_F @ scaled_F + bias

    def fit(
        self, rows: Tensor, ridge: float, start: tuple[Tensor, float] | None = None
    ) -> tuple[Tensor, float]:
        """weight_F and bias of the penalised fit to these rows."""
        has_bias = self.task.start_logit is not None
        weight_F, bias = start or (torch.zeros_like(self.mean_F), self.task.start_logit or 0.0)
        weight_F = weight_F.clone().requires_grad_(True)
        bias_1 = torch.tensor(bias, requires_grad=has_bias)
        optimizer = torch.optim.LBFGS(
            [weight_F, bias_1] if has_bias else [weight_F],
            max_iter=ITERATIONS,
            tolerance_grad=1e-5,
            tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.task.loss(self.scores(weight_F, bias_1), rows)
            loss = loss + 0.5 * ridge * weight_F.square().sum()
            if self.task.moves_MF is not None:
                moved_M = self.task.moves_MF @ (weight_F / self.std_F)
                loss = loss + moved_M.square().mean()
            torch.autograd.backward(loss)
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return weight_F.detach(), float(bias_1.detach())
