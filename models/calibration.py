"""From a raw score to a probability that can be believed: Platt scaling and isotonic regression.

Both are monotone maps from logit to logit, fitted on rows at natural prevalence, so that order is
kept and a difference of calibrated logits stays a log-odds ratio. Isotonic regression is the mean-
preserving kind (pool adjacent violators), joined by straight lines between the blocks' centres
instead of steps: a step would tie scores that the model does tell apart, and a policy learns
nothing from a tie.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

CalibrationMethod: TypeAlias = Literal["none", "platt", "isotonic"]
Floats: TypeAlias = npt.NDArray[np.float64]

CALIBRATION_FILE = "calibration.json"
ISOTONIC_POSITIVES_MIN = 2_000
"""Positives from which isotonic regression is worth its variance (science.md 4.2)."""
SLOPE_MIN = 0.01
"""A smaller or negative slope would flatten or reverse the order; the fit is held at this."""
SLOPE_PRIOR_SD = 1.0
"""Spread of the weak prior on Platt's slope round 1: felt only where positives are very few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A monotone map of logits, and the facts of sampling that it rests on."""

    kind: CalibrationMethod = "none"
    slope: float = 1.0
    """Platt: calibrated logit = slope * logit + intercept. Isotonic: slope beyond the end knots."""
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    """Isotonic: (raw logit, calibrated logit), both strictly increasing, straight between."""
    base_rate: float | None = None
    """Share of positives where it was fitted, at natural prevalence."""
    kappa: float | None = None
    """Mean rate at which negatives were kept in training; the loss has corrected for it already."""
    num_rows: int = 0
    num_positives: int = 0

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits of raw logits, any shape."""
        raw = np.asarray(logits, dtype=np.float64)
        if self.kind == "none":
            return raw
        if self.kind == "platt":
            return np.asarray(self.slope * raw + self.intercept)
        xs, ys = np.asarray(self.knots).T
        inner = np.asarray(np.interp(raw, xs, ys), dtype=np.float64)
        below = np.minimum(raw - xs[0], 0.0)
        above = np.maximum(raw - xs[-1], 0.0)
        return np.asarray(inner + self.slope * (below + above))

    def to_json(self) -> dict[str, object]:
        """Plain values, the form of the sidecar file."""
        return asdict(self) | {"knots": [list(knot) for knot in self.knots]}

    def write(self, folder: Path) -> None:
        """Write the sidecar into a model's folder."""
        text = json.dumps(self.to_json(), indent=2) + "\n"
        (folder / CALIBRATION_FILE).write_text(text, encoding="utf-8")


def read_calibration(folder: Path) -> Calibration:
    """The sidecar of a model's folder; the identity where there is none.

    Raises ValueError, with its path, for one that is damaged or of a later version.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return Calibration()
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["knots"] = tuple((float(x), float(y)) for x, y in fields["knots"])
        return Calibration(**fields)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ValueError(
            f"{path} is no calibration that this program can read ({fault!r}): restore the model's"
            " folder from a backup, or fit it again"
        ) from fault


def fit_platt(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    kappa: float | None = None,
) -> Calibration:
    """Logistic regression of labels_N on logits_N (Platt 1999, without its smoothed targets).

    The intercept is free, so predictions sum to the positives where it was fitted. Raises
    ValueError where one class is missing.
    """
    from scipy.optimize import minimize  # Here: who only reads a calibration needs no SciPy.

    x, y, w = _checked(logits, labels, weights)
    start = np.array([1.0, _logit(float(np.average(y, weights=w))) - float(np.average(x))])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, intercept = parameters
        z = slope * x + intercept
        residual = w * (_sigmoid(z) - y)
        pull = (slope - 1.0) / SLOPE_PRIOR_SD**2
        value = float(w @ (np.logaddexp(0.0, z) - y * z)) + 0.5 * pull * (slope - 1.0)
        return value, np.array([float(residual @ x) + pull, float(residual.sum())])

    bounds = [(SLOPE_MIN, None), (None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-10)
    slope, intercept = (float(value) for value in found.x)
    return Calibration(
        kind="platt",
        slope=slope,
        intercept=intercept,
        base_rate=float(np.average(y, weights=w)),
        kappa=kappa,
        num_rows=len(y),
        num_positives=int(y.sum()),
    )


def fit_isotonic(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    kappa: float | None = None,
) -> Calibration:
    """Isotonic regression of labels_N on logits_N, in logits, with Platt's slope past its ends.

    Blocks without a positive (or without a negative) are merged into their neighbour, for their
    logit would be infinite. Falls back to Platt where fewer than two blocks remain. Raises
    ValueError where one class is missing.
    """
    from sklearn.isotonic import IsotonicRegression

    platt = fit_platt(logits, labels, weights, kappa=kappa)
    x, y, w = _checked(logits, labels, weights)
    order = np.argsort(x, kind="stable")
    x, y, w = x[order], y[order], w[order]
    fitted = IsotonicRegression(increasing=True).fit(x, y, sample_weight=w).predict(x)
    block = np.cumsum(np.r_[0, np.diff(fitted) > 0])
    weight = np.bincount(block, w)
    centre = np.bincount(block, w * x) / weight
    rate = np.bincount(block, w * y) / weight
    inside = (rate > 0) & (rate < 1)
    if not inside.any():
        return platt
    first, last = np.argmax(inside), len(inside) - 1 - np.argmax(inside[::-1])
    if last <= first:
        return platt
    # Pure blocks can only lie at the two ends; pooling them into the first mixed block keeps means.
    group = np.clip(np.arange(len(rate)), first, last) - first
    total = np.bincount(group, weight)
    centres = np.bincount(group, weight * centre) / total
    rates = np.bincount(group, weight * rate) / total
    knots = tuple((float(c), _logit(float(r))) for c, r in zip(centres, rates, strict=True))
    return Calibration(
        kind="isotonic",
        slope=platt.slope,
        knots=knots,
        base_rate=platt.base_rate,
        kappa=kappa,
        num_rows=platt.num_rows,
        num_positives=platt.num_positives,
    )


def _checked(
    logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    x = np.asarray(logits, dtype=np.float64)
    y = np.asarray(labels, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    if not (y.min(initial=1.0) == 0.0 and y.max(initial=0.0) == 1.0):
        raise ValueError(f"calibration needs rows of both labels, got {len(y)} rows of one or none")
    return x, y, w


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), dtype=np.float64)


def _logit(p: float) -> float:
    return float(np.log(p) - np.log1p(-p))
