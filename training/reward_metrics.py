"""How good a reward model is on rows it never saw: order, calibration, shortcuts, segments.

Every interval resamples *users*, not rows: a few users give most reactions, and rows of one user
are not independent. Expected calibration error alone says little at a low base rate (a constant
scores near 0), so predicted/observed and the slope stand beside it (science.md 4.2).
"""

# B draws, N rows, U users

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

ECE_BINS = 10
"""Bins of equal mass, for the expected calibration error and the reliability curve."""
DRAWS_AT_ONCE = 50
"""Bootstrap draws held in memory together."""
SEGMENT_ROWS_MIN = 30
"""Smaller segments are left out of the table: their figures would be noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Rows with their predictions: what every measure here is computed from."""

    logits: Floats
    """Calibrated logits."""
    labels: Floats
    """1.0 or 0.0."""
    users: npt.NDArray[np.int64]
    """User numbers, 0 to U-1."""
    prompts: npt.NDArray[np.int64]
    """Prompt numbers: rows of one number are replies to the same turns."""
    lengths: Floats
    """Characters of the reply."""
    arrived: Floats | None = None
    """Share of the signal's reactions that come by each row's age; None: all have come."""

    def expected(self) -> Floats:
        """The chance of each row that its reaction has been seen by now."""
        p_N = sigmoid(self.logits)
        return p_N if self.arrived is None else p_N * self.arrived


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Rows of neighbouring predictions: what was promised and what came."""

    predicted: float
    observed: float
    low: float
    """Wilson interval of `observed`, 95 %."""
    high: float
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """The measures of one slice of the rows."""

    segment: str
    value: str
    num_rows: int
    num_positives: int
    auroc: float
    predicted_over_observed: float
    predicted_over_observed_ci: Interval
    """95 %, over users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardMetrics:
    """The measures on rows kept aside; `*_ci` are 95 % intervals over users."""

    auroc: float
    auroc_ci: Interval
    pr_auc: float
    pr_auc_ci: Interval
    base_rate: float
    normalized_entropy: float
    """Log loss over the entropy of the base rate; 1 is what a constant reaches."""
    normalized_entropy_ci: Interval
    predicted_over_observed: float
    predicted_over_observed_ci: Interval
    slope: float
    """Slope of the labels on the calibrated logit; 1 is neither too sure nor too shy."""
    slope_ci: Interval
    ece: float
    """Expected calibration error over bins of equal mass."""
    length_correlation: float
    """Pearson correlation of the calibrated logit with the reply's length."""
    length_correlation_ci: Interval
    concordance_within_user: float
    """Chance that of one user's loved and unloved replies the loved one scores higher."""
    concordance_within_user_ci: Interval
    concordance_within_prompt: float
    """Chance that of a loved and an unloved reply to one prompt the loved one scores higher: what
    learning from comparisons of replies rests on."""
    concordance_within_prompt_ci: Interval
    num_prompt_pairs: int
    """Such pairs of replies."""
    num_rows: int
    num_positives: int
    num_users: int
    reliability: tuple[ReliabilityBin, ...]
    segments: tuple[SegmentRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Another model's ranking of the same rows, and the margin over it."""

    auroc: float
    concordance_within_prompt: float
    margin: float
    """AUROC of the reward model less this one's."""
    margin_ci: Interval
    """95 %, over users."""


def measure_scores(
    scored: Scored,
    *,
    segments: Mapping[str, Sequence[str]],
    bootstrap_samples: int,
    seed: int,
) -> RewardMetrics:
    """All measures of the rows; `segments` maps a slice's name to its value on each row.

    Raises ValueError where a label is missing altogether: nothing could be measured.
    """
    y = scored.labels
    if not 0 < y.sum() < len(y):
        raise ValueError(f"needs rows of both labels, got {int(y.sum())} positives in {len(y)}")
    expected_N = scored.expected()
    measures: dict[str, Callable[[Floats], Floats]] = {
        "auroc": lambda w_BN: weighted_auroc(scored.logits, y, w_BN),
        "pr_auc": lambda w_BN: weighted_average_precision(scored.logits, y, w_BN),
        "ne": lambda w_BN: _normalized_entropy(scored.logits, y, w_BN),
        "ratio": lambda w_BN: (w_BN @ expected_N) / (w_BN @ y),
        "slope": lambda w_BN: weighted_slope(scored.logits, y, w_BN),
        "length": lambda w_BN: _weighted_pearson(scored.logits, scored.lengths, w_BN),
        "prompt": lambda w_BN: weighted_concordance(scored.logits, y, scored.prompts, w_BN),
    }
    points, intervals = _bootstrap(scored.users, measures, bootstrap_samples, seed)
    concordance, concordance_ci = _concordance(scored, bootstrap_samples, seed)
    bins = reliability_bins(expected_N, y)
    return RewardMetrics(
        auroc=points["auroc"],
        auroc_ci=intervals["auroc"],
        pr_auc=points["pr_auc"],
        pr_auc_ci=intervals["pr_auc"],
        base_rate=float(y.mean()),
        normalized_entropy=points["ne"],
        normalized_entropy_ci=intervals["ne"],
        predicted_over_observed=points["ratio"],
        predicted_over_observed_ci=intervals["ratio"],
        slope=points["slope"],
        slope_ci=intervals["slope"],
        ece=sum(b.num_rows * abs(b.predicted - b.observed) for b in bins) / len(y),
        length_correlation=points["length"],
        length_correlation_ci=intervals["length"],
        concordance_within_user=concordance,
        concordance_within_user_ci=concordance_ci,
        concordance_within_prompt=points["prompt"],
        concordance_within_prompt_ci=intervals["prompt"],
        num_prompt_pairs=_num_pairs(y, scored.prompts),
        num_rows=len(y),
        num_positives=int(y.sum()),
        num_users=int(scored.users.max()) + 1,
        reliability=tuple(bins),
        segments=tuple(_segment_rows(scored, expected_N, segments, bootstrap_samples, seed)),
    )


def auroc_difference(
    first: Scored, second: Scored, *, bootstrap_samples: int, seed: int
) -> tuple[float, Interval]:
    """AUROC of the first minus that of the second on the same rows, with its interval over users.

    Both are resampled together, so what they share cancels.
    """
    assert np.array_equal(first.labels, second.labels), "the two must score the same rows"
    measures: dict[str, Callable[[Floats], Floats]] = {
        "difference": lambda w_BN: (
            weighted_auroc(first.logits, first.labels, w_BN)
            - weighted_auroc(second.logits, second.labels, w_BN)
        )
    }
    points, intervals = _bootstrap(first.users, measures, bootstrap_samples, seed)
    return points["difference"], intervals["difference"]


def weighted_auroc(score_N: Floats, label_N: Floats, weight_BN: Floats) -> Floats:
    """Chance that a positive outscores a negative, ties half, under each row of weights.

    NaN where a draw holds one label only.
    """
    return weighted_concordance(score_N, label_N, np.zeros(len(score_N), dtype=np.int64), weight_BN)


def weighted_concordance(
    score_N: Floats, label_N: Floats, group_N: npt.NDArray[np.int64], weight_BN: Floats
) -> Floats:
    """Chance that a positive outscores a negative of its own group, ties half, over all such pairs,
    under each row of weights; a pair weighs the product of its two.

    NaN where a draw holds no such pair.
    """
    order = np.lexsort((score_N, group_N))
    score, group = score_N[order], group_N[order]
    is_new_group = np.r_[True, np.diff(group) > 0]
    starts = np.flatnonzero(is_new_group | np.r_[True, np.diff(score) > 0])
    positive = np.add.reduceat(weight_BN[:, order] * label_N[order], starts, axis=1)
    negative = np.add.reduceat(weight_BN[:, order] * (1 - label_N[order]), starts, axis=1)
    firsts = np.flatnonzero(is_new_group[starts])
    sizes = np.diff(np.r_[firsts, len(starts)])
    upto = np.cumsum(negative, axis=1)
    before_group = np.repeat((upto - negative)[:, firsts], sizes, axis=1)
    below = upto - before_group - 0.5 * negative
    per_group = [np.add.reduceat(side, firsts, axis=1) for side in (positive, negative)]
    pairs = (per_group[0] * per_group[1]).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * below).sum(axis=1) / pairs)


def compare_scores(
    scored: Scored, other: Scored, *, bootstrap_samples: int, seed: int
) -> Comparison:
    """How well other scores rank the same rows, and how far the first are ahead of them."""
    ones = np.ones((1, len(other.labels)))
    margin, margin_ci = auroc_difference(
        scored, other, bootstrap_samples=bootstrap_samples, seed=seed
    )
    auroc = weighted_auroc(other.logits, other.labels, ones)
    within = weighted_concordance(other.logits, other.labels, other.prompts, ones)
    return Comparison(
        auroc=float(auroc[0]),
        concordance_within_prompt=float(within[0]),
        margin=margin,
        margin_ci=margin_ci,
    )


def weighted_average_precision(score_N: Floats, label_N: Floats, weight_BN: Floats) -> Floats:
    """Area under precision over recall as a step function, under each row of weights."""
    order = np.argsort(-score_N, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score_N[order]) < 0])
    positive = np.add.reduceat(weight_BN[:, order] * label_N[order], starts, axis=1)
    total = np.add.reduceat(weight_BN[:, order], starts, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.cumsum(positive, axis=1) / np.cumsum(total, axis=1)
        return np.asarray(
            np.nansum(positive * precision, axis=1) / positive.sum(axis=1), dtype=np.float64
        )


def weighted_slope(logit_N: Floats, label_N: Floats, weight_BN: Floats) -> Floats:
    """Slope of logistic regression of the labels on the logits, under each row of weights.

    Newton's method from slope 1 and intercept 0; a ridge of 1e-3 keeps it finite where the labels
    are separable.
    """
    x = logit_N
    slope_B1 = np.ones((len(weight_BN), 1))
    intercept_B1 = np.zeros((len(weight_BN), 1))
    for _ in range(15):
        p_BN = sigmoid(slope_B1 * x + intercept_B1)
        residual = weight_BN * (label_N - p_BN)
        curvature = weight_BN * p_BN * (1 - p_BN)
        g0 = residual.sum(axis=1, keepdims=True)
        g1 = (residual * x).sum(axis=1, keepdims=True) - 1e-3 * (slope_B1 - 1)
        h00 = curvature.sum(axis=1, keepdims=True) + 1e-9
        h01 = (curvature * x).sum(axis=1, keepdims=True)
        h11 = (curvature * x * x).sum(axis=1, keepdims=True) + 1e-3
        determinant = h00 * h11 - h01 * h01
        # Halved steps of at most 1 cannot overshoot into the flat of the sigmoid.
        slope_B1 = slope_B1 + np.clip((h00 * g1 - h01 * g0) / determinant, -1, 1)
        intercept_B1 = intercept_B1 + np.clip((h11 * g0 - h01 * g1) / determinant, -1, 1)
    return slope_B1[:, 0]


def reliability_bins(p_N: Floats, label_N: Floats) -> list[ReliabilityBin]:
    """Mean prediction and rate of positives in bins of equal mass, lowest first."""
    order = np.argsort(p_N, kind="stable")
    bins = []
    for rows in np.array_split(order, min(ECE_BINS, len(order))):
        observed = float(label_N[rows].mean())
        low, high = wilson_interval(float(label_N[rows].sum()), len(rows))
        bins.append(
            ReliabilityBin(
                predicted=float(p_N[rows].mean()),
                observed=observed,
                low=low,
                high=high,
                num_rows=len(rows),
            )
        )
    return bins


def wilson_interval(successes: float, trials: int, z: float = 1.959964) -> Interval:
    """Interval of a proportion (Wilson 1927), good at small counts and near 0 and 1."""
    if trials == 0:
        return (0.0, 1.0)
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(rate * (1 - rate) / trials + (z / trials) ** 2 / 4)
    return (max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def user_draws(
    num_users: int, bootstrap_samples: int, seed: int, at_once: int = DRAWS_AT_ONCE
) -> Iterator[Floats]:
    """How often each user is drawn, counts_BU, in portions; U draws with replacement each."""
    generator = np.random.default_rng(seed)
    share = np.full(num_users, 1 / num_users)
    for start in range(0, bootstrap_samples, at_once):
        size = min(at_once, bootstrap_samples - start)
        yield generator.multinomial(num_users, share, size=size).astype(np.float64)


def percentile_interval(draws: Floats) -> Interval:
    """The middle 95 % of the draws; draws that were undefined do not count."""
    kept = draws[np.isfinite(draws)]
    if not len(kept):
        return (float("nan"), float("nan"))
    low, high = np.quantile(kept, [0.025, 0.975])
    return (float(low), float(high))


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), dtype=np.float64)


def _bootstrap(
    user_N: npt.NDArray[np.int64],
    measures: Mapping[str, Callable[[Floats], Floats]],
    bootstrap_samples: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, Interval]]:
    ones = np.ones((1, len(user_N)))
    points = {name: float(measure(ones)[0]) for name, measure in measures.items()}
    draws: dict[str, list[Floats]] = {name: [] for name in measures}
    for counts_BU in user_draws(int(user_N.max()) + 1, bootstrap_samples, seed):
        weight_BN = counts_BU[:, user_N]
        with np.errstate(invalid="ignore", divide="ignore"):  # A draw may hold one label only.
            for name, measure in measures.items():
                draws[name].append(measure(weight_BN))
    intervals = {name: percentile_interval(np.concatenate(rows)) for name, rows in draws.items()}
    return points, intervals


def _normalized_entropy(logit_N: Floats, label_N: Floats, weight_BN: Floats) -> Floats:
    loss_N = np.logaddexp(0.0, logit_N) - label_N * logit_N
    total_B = weight_BN.sum(axis=1)
    rate_B = np.clip((weight_BN @ label_N) / total_B, 1e-12, 1 - 1e-12)
    entropy_B = -rate_B * np.log(rate_B) - (1 - rate_B) * np.log1p(-rate_B)
    return np.asarray((weight_BN @ loss_N) / total_B / entropy_B)


def _weighted_pearson(x_N: Floats, y_N: Floats, weight_BN: Floats) -> Floats:
    total_B = weight_BN.sum(axis=1)
    mean_x, mean_y = (weight_BN @ x_N) / total_B, (weight_BN @ y_N) / total_B
    covariance = (weight_BN @ (x_N * y_N)) / total_B - mean_x * mean_y
    variance_x = (weight_BN @ (x_N * x_N)) / total_B - mean_x**2
    variance_y = (weight_BN @ (y_N * y_N)) / total_B - mean_y**2
    spread = np.sqrt(np.maximum(variance_x, 0) * np.maximum(variance_y, 0))
    return np.where(spread > 0, covariance / np.where(spread > 0, spread, 1.0), 0.0)


def _concordance(scored: Scored, bootstrap_samples: int, seed: int) -> tuple[float, Interval]:
    """Mean over users with both labels of their own AUROC; each such user counts the same."""
    order = np.argsort(scored.users, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scored.users[order]) > 0])
    own: list[float] = []
    for rows in np.split(order, starts[1:]):
        labels = scored.labels[rows]
        if 0 < labels.sum() < len(rows):
            auroc = weighted_auroc(scored.logits[rows], labels, np.ones((1, len(rows))))
            own.append(float(auroc[0]))
    if not own:
        return float("nan"), (float("nan"), float("nan"))
    values = np.array(own)
    draws = [
        counts_BU @ values / len(values)
        for counts_BU in user_draws(len(values), bootstrap_samples, seed)
    ]
    return float(values.mean()), percentile_interval(np.concatenate(draws))


def _num_pairs(label_N: Floats, group_N: npt.NDArray[np.int64]) -> int:
    """Pairs of a positive and a negative within a group."""
    return int(np.bincount(group_N, label_N) @ np.bincount(group_N, 1 - label_N))


def _segment_rows(
    scored: Scored,
    expected_N: Floats,
    segments: Mapping[str, Sequence[str]],
    bootstrap_samples: int,
    seed: int,
) -> Iterator[SegmentRow]:
    for segment, values in segments.items():
        value_N = np.asarray(values)
        for value in sorted(set(values)):
            rows = np.flatnonzero(value_N == value)
            if len(rows) < SEGMENT_ROWS_MIN:
                continue
            labels = scored.labels[rows]
            auroc = weighted_auroc(scored.logits[rows], labels, np.ones((1, len(rows))))
            positives = float(labels.sum())
            ratio_ci = _ratio_interval(
                expected_N[rows], labels, scored.users[rows], bootstrap_samples, seed
            )
            yield SegmentRow(
                segment=segment,
                value=value,
                num_rows=len(rows),
                num_positives=int(positives),
                auroc=float(auroc[0]),
                predicted_over_observed=(
                    float(expected_N[rows].sum()) / positives if positives else float("nan")
                ),
                predicted_over_observed_ci=ratio_ci,
            )


def _ratio_interval(
    expected_N: Floats,
    label_N: Floats,
    user_N: npt.NDArray[np.int64],
    bootstrap_samples: int,
    seed: int,
) -> Interval:
    """Interval of predicted over observed on some rows, over their users."""
    _, codes_N = np.unique(user_N, return_inverse=True)
    promised_U, came_U = np.bincount(codes_N, expected_N), np.bincount(codes_N, label_N)
    with np.errstate(invalid="ignore", divide="ignore"):  # A draw may hold no positive.
        draws = [
            (counts_BU @ promised_U) / (counts_BU @ came_U)
            for counts_BU in user_draws(len(promised_U), bootstrap_samples, seed)
        ]
    return percentile_interval(np.concatenate(draws))
