"""What fitting a reward model, or its baseline, reports: measures, calibration, counts, times."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.calibration import (
    ISOTONIC_POSITIVES_MIN,
    Calibration,
    CalibrationMethod,
    fit_isotonic,
    fit_platt,
)
from models.reading import Spelled
from models.verdicts import Measure
from training.examples import Examples
from training.reward_metrics import Comparison, RewardMetrics, Scored, measure_scores

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """Shares of the measured rows of which the model did not read everything."""

    prompts: float
    """Prompts without their start."""
    replies: float
    """Replies without their end."""

    @classmethod
    def of(cls, spelled: Spelled) -> "Truncation":
        """The shares of chats in tokens."""
        num = max(1, len(spelled.ids))
        return cls(prompts=sum(spelled.prompts_cut) / num, replies=sum(spelled.replies_cut) / num)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardReport:
    """A fitted model's measures on later users at natural prevalence."""

    kind: str
    """"encoder" for a linear head on an encoder's states, "classifier" for any other head."""
    signal: str
    snapshot_hash: str
    num_train: int
    num_train_positives: int
    num_calibration: int
    num_calibration_positives: int
    metrics: RewardMetrics
    calibration: Calibration
    scored: Scored
    """The measured rows with their predictions, for comparisons of models; not in the JSON."""
    num_probed: int = 0
    """Training rows that a linear head was fitted on."""
    baselines: Mapping[str, Comparison] = field(default_factory=dict)
    """What much simpler models reach on the same rows, by name (training/baseline.py)."""
    truncation: Truncation | None = None
    """None where nothing is cut."""
    probe_shift: Measure = field(
        default_factory=lambda: Measure(name="probe_shift", value=math.nan)
    )
    """Mean change of the calibrated logit where a sign-off is appended and the user is not leaving;
    NaN where not probed."""
    probe_shift_leaving: Measure = field(
        default_factory=lambda: Measure(name="probe_shift_leaving", value=math.nan)
    )
    """The same where the user is leaving: there a goodbye is in its place."""
    loss_curve: tuple[float, ...] = ()
    """Mean training loss of each epoch, averaged over members."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage."""

    def to_json(self) -> dict[str, object]:
        """Plain values; measures at the top level, NaN as None."""
        measures = asdict(self.metrics)
        for name, row in self.baselines.items():
            measures[f"auroc_{name}"] = row.auroc
            measures[f"concordance_within_prompt_{name}"] = row.concordance_within_prompt
            measures[f"margin_over_{name}"] = row.margin
            measures[f"margin_over_{name}_ci"] = row.margin_ci
        document = {
            "kind": self.kind,
            "signal": self.signal,
            "snapshot_hash": self.snapshot_hash,
            "n_labels": self.num_train + self.num_calibration,
            "n_train": self.num_train,
            "n_train_positives": self.num_train_positives,
            "n_probed": self.num_probed,
            "n_calibration": self.num_calibration,
            "n_calibration_positives": self.num_calibration_positives,
            "n_eval": measures.pop("num_rows"),
            "n_eval_positives": measures.pop("num_positives"),
            "n_eval_users": measures.pop("num_users"),
            "ne": measures.pop("normalized_entropy"),
            "ne_ci": measures.pop("normalized_entropy_ci"),
            "n_prompt_pairs": measures.pop("num_prompt_pairs"),
            "truncation": None if self.truncation is None else asdict(self.truncation),
            "probe_shift": self.probe_shift.value,
            "probe_shift_ci": (self.probe_shift.low, self.probe_shift.high),
            "probe_shift_leaving": self.probe_shift_leaving.value,
            "probe_shift_leaving_ci": (self.probe_shift_leaving.low, self.probe_shift_leaving.high),
            **measures,
            "calibration": self.calibration.to_json(),
            "loss_curve": list(self.loss_curve),
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
        }
        plain = _plain(document)
        assert isinstance(plain, dict)
        return plain

    def write(self, folder: Path) -> None:
        """Write report.json into a model's folder, without times: equal fits are equal bytes."""
        facts = {name: value for name, value in self.to_json().items() if name != "seconds"}
        text = json.dumps(facts, indent=2) + "\n"
        (folder / REPORT_FILE).write_text(text, encoding="utf-8")

    def headline(self) -> dict[str, float]:
        """The figures that a model card shows."""
        return {
            "auroc": self.metrics.auroc,
            "pr_auc": self.metrics.pr_auc,
            "normalized_entropy": self.metrics.normalized_entropy,
            "predicted_over_observed": self.metrics.predicted_over_observed,
            "slope": self.metrics.slope,
            "length_correlation": self.metrics.length_correlation,
            "concordance_within_prompt": self.metrics.concordance_within_prompt,
            **{f"auroc_{name}": row.auroc for name, row in self.baselines.items()},
        }


def fit_calibration(
    kind: str, logits: npt.NDArray[np.float64], examples: Examples, kappa: float
) -> Calibration:
    """Calibrate raw logits on rows at natural prevalence; `kappa` is only noted beside it."""
    chosen: CalibrationMethod | str = kind
    if kind == "auto":
        enough = examples.num_positives() >= ISOTONIC_POSITIVES_MIN
        chosen = "isotonic" if enough else "platt"
    if chosen == "none":
        return Calibration(kappa=kappa)
    fit = {"platt": fit_platt, "isotonic": fit_isotonic}[chosen]
    return fit(logits, examples.labels, kappa=kappa)


def measure_examples(
    logits: npt.NDArray[np.float64], examples: Examples, *, bootstrap_samples: int, seed: int
) -> tuple[Scored, RewardMetrics]:
    """Measures of calibrated logits_N on the rows, and the rows with their predictions."""
    scored = Scored(
        logits=logits,
        labels=examples.labels,
        users=examples.user_numbers(),
        prompts=examples.prompt_numbers(),
        lengths=examples.lengths,
        arrived=examples.arrived,
    )
    metrics = measure_scores(
        scored, segments=examples.segments, bootstrap_samples=bootstrap_samples, seed=seed
    )
    return scored, metrics


def _plain(value: object) -> object:
    """The value with tuples as lists and numbers that JSON lacks as None."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
