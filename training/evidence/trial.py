"""A trial: evidence that grows until every gate is decided, or until its budget is spent.

Clear cases end at the first look; what is close to a limit gets all the prompts that there are. The
intervals hold at all looks together (see `looks`), so stopping early is no way to pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from models.verdicts import Measure, Verdict
from training.evidence.clustered import Users
from training.evidence.gates import NO_DOUBTS, Doubts, decide_policy
from training.evidence.harmful import Harmful, unsafe_lines
from training.evidence.limits import Limits
from training.evidence.looks import LOOKS, pocock_quantile
from training.evidence.offline import (
    Samples,
    Scorer,
    Scores,
    examine,
    safety_measures,
    score_samples,
)
from training.evidence.sentinels import watch

Draw: TypeAlias = Callable[[Sequence[int]], Samples]
"""Replies of both policies to the prompts at these places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one candidate showed."""

    measures: Sequence[Measure]
    verdicts: Sequence[Verdict]
    num_looks: int
    """After how many looks it was decided, or the budget was spent."""
    samples: Samples
    """The replies that it was decided on."""

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(verdict.ruling == "passed" for verdict in self.verdicts)

    def measure(self, name: str) -> Measure | None:
        """The measure of this name, if it was taken."""
        return next((m for m in self.measures if m.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """How a trial asks about harm: replies to the prompts of `harmful` at these places."""

    harmful: Harmful
    draw: Draw


def run_trial(
    draw: Draw,
    users: Users,
    scorers: Mapping[str, Scorer],
    limits: Limits,
    *,
    seed: int,
    safety_threshold: float | None = None,
    harm: Harm | None = None,
    doubts: Doubts = NO_DOUBTS,
) -> Trial:
    """Look until a gate refuses or all pass, at most until every prompt is used.

    `users`: who asked each prompt. Without `harm` nothing is said of safety in absolute terms, nor
    where harm is asked for, and no candidate passes. Raises ValueError where there is no prompt.
    """
    for trial in look(
        draw,
        users,
        scorers,
        limits,
        seed=seed,
        safety_threshold=safety_threshold,
        harm=harm,
        doubts=doubts,
    ):
        if trial.passed or any(verdict.ruling == "refused" for verdict in trial.verdicts):
            break
    return trial


def look(
    draw: Draw,
    users: Users,
    scorers: Mapping[str, Scorer],
    limits: Limits,
    *,
    seed: int,
    safety_threshold: float | None = None,
    harm: Harm | None = None,
    doubts: Doubts = NO_DOUBTS,
    looks: tuple[float, ...] = LOOKS,
) -> Iterator[Trial]:
    """What is known at each look, over growing shares of the prompts in an order that mixes users.

    Raises ValueError where there are fewer prompts than looks.
    """
    if len(users) < len(looks):
        raise ValueError(f"a trial of {len(looks)} looks needs as many prompts, saw {len(users)}")
    order, quantile = np.random.default_rng(seed).permutation(len(users)), pocock_quantile(looks)
    samples: Samples | None = None
    scores: dict[str, Scores] = {}
    lines_P = np.zeros(0)
    asking = None if harm is None else _AskingHarm(harm, scorers["safety"], seed)
    seen = 0
    for number, share in enumerate(looks, 1):
        upto = max(seen + 1, round(share * len(order)))
        new = draw([int(place) for place in order[seen:upto]])
        samples = new if samples is None else samples.followed_by(new)
        for role, pair in score_samples(new, scorers).items():
            scores[role] = _joined(scores.get(role), pair)
        if harm is not None:
            lines = unsafe_lines(scorers["safety"], new.prompts, harm.harmful.unsafe)
            lines_P = np.concatenate([lines_P, lines])
        seen = upto
        measures = [
            *examine(
                samples,
                scores,
                safety_threshold=safety_threshold,
                lines_P=None if harm is None else lines_P,
                quantile=quantile,
            ),
            *watch(samples, quantile=quantile),
            *([] if asking is None else asking.upto(share, quantile)),
        ]
        yield Trial(
            measures=measures,
            verdicts=decide_policy(measures, limits, doubts),
            num_looks=number,
            samples=samples,
        )


class _AskingHarm:
    """The harmful prompts so far: each stands for itself, for no user asked it."""

    def __init__(self, harm: Harm, scorer: Scorer, seed: int) -> None:
        self._harm = harm
        self._scorer = scorer
        self._order = np.random.default_rng(seed).permutation(len(harm.harmful.prompts))
        self._seen = 0
        self._scores: Scores | None = None
        self._lines_P = np.zeros(0)

    def upto(self, share: float, quantile: float) -> list[Measure]:
        """What is known at this share of the prompts."""
        upto = max(self._seen + 1, round(share * len(self._order)))
        new = self._harm.draw([int(place) for place in self._order[self._seen : upto]])
        self._seen = upto
        self._scores = _joined(self._scores, score_samples(new, {"": self._scorer})[""])
        lines = unsafe_lines(self._scorer, new.prompts, self._harm.harmful.unsafe)
        self._lines_P = np.concatenate([self._lines_P, lines])
        return safety_measures(
            *self._scores,
            np.arange(len(self._lines_P)),
            threshold=None,
            lines_P=self._lines_P,
            prefix="harmful_",
            quantile=quantile,
        )


def _joined(before: Scores | None, new: Scores) -> Scores:
    if before is None:
        return new
    return np.concatenate([before[0], new[0]]), np.concatenate([before[1], new[1]])
