"""The A/B result: love rate of each arm among live users, and its lift over the control.

The unit is the user. Users are assigned to arms and their exposures are not independent, so rates
are ratios of sums over users: variances by the delta method on users, checked by a bootstrap of
users. Lifts live on the log scale, where the interval of a ratio is nearly symmetric. Two intervals
are given: a fixed-horizon one, honest if looked at once, and a confidence sequence (mixture SPRT,
Johari et al. 2017, "Peeking at A/B tests"), honest however often it is looked at.
"""

# B draws, U users of one arm

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import chi2, norm

from models.verdicts import Measure

Floats: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

ALPHA = 0.05
SRM_P_MIN = 0.001
"""Below this, users did not land in arms as they should have, and the test is void."""
SHARE_TOLERANCE = 0.02
"""How far the arms' recorded propensities may sum from 1 before the shares count as changed."""
USERS_MIN = 100
LOVED_MIN = 20
"""Fewer users, or loved exposures, in an arm: its intervals rest on too little to be trusted."""
SMALLEST_LIFT = 0.10
"""Lift that the confidence sequence is sharpest for; the paper's moderate arm rose by 9.73 %."""
POWER_Z = 2.801585
"""Normal quantiles of 97.5 % and 80 % together: standard errors to a detectable effect."""
DRAWS_AT_ONCE = 100
"""Bootstrap draws held in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """The love rate of one arm."""

    arm: str
    num_users: int
    num_shown: int
    num_loved: int
    rate: float
    """Loved exposures over exposures."""
    rate_ci: Interval
    """95 %, delta method on users."""
    rate_ci_bootstrap: Interval
    """95 %, users resampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """One arm's love rate over the control's, minus 1."""

    arm: str
    control: str
    lift: float
    lift_ci: Interval
    """95 %, log ratio with variances by the delta method on users: for a single look."""
    adjusted: float
    """The lift less what was predicted of these users before they saw anything (CUPED); the lift
    itself where nothing was predicted."""
    adjusted_ci: Interval
    """95 %, of the adjusted lift: for a single look."""
    lift_ci_bootstrap: Interval
    """95 %, users resampled: for a single look."""
    lift_ci_sequential: Interval
    """95 % at every look together: stop when you like."""
    p_value: float
    """Two-sided, that the log ratio is 0: for a single look."""
    likelihood_ratio: float
    """The mixture SPRT's; at 1/0.05 = 20 the null may be rejected at any time."""
    detectable_lift: float
    """Smallest lift that this many users would find in 80 % of tests, single look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """Whether users landed in arms by the shares that they were assigned with."""

    observed: Mapping[str, int]
    """Users of each arm."""
    expected: Mapping[str, float]
    chi_square: float
    p_value: float
    """NaN where the shares changed during the test, for then no single split is expected."""
    is_void: bool
    """True where the mismatch is too great for any result of the test to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineReport:
    """An A/B test as it stands."""

    control: str
    arms: tuple[ArmResult, ...]
    lifts: tuple[Lift, ...]
    """One for each arm but the control."""
    sample_ratio: SampleRatio
    notes: tuple[str, ...]
    """What a reader must know before believing the numbers; empty where nothing is amiss."""

    def measures(self) -> tuple[Measure, ...]:
        """The rates and lifts as measures, for a verdict or a report."""
        rates = [
            Measure(
                name=f"love_rate[{arm.arm}]",
                value=arm.rate,
                low=arm.rate_ci[0],
                high=arm.rate_ci[1],
            )
            for arm in self.arms
        ]
        lifts = [
            Measure(
                name=f"love_lift[{lift.arm}]",
                value=lift.lift,
                low=lift.lift_ci[0],
                high=lift.lift_ci[1],
            )
            for lift in self.lifts
        ]
        return (*rates, *lifts)

    def to_json(self) -> dict[str, object]:
        """Plain values; NaN and infinities become None."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """One arm's users: exposures and loved exposures of each, and the arm's recorded share."""

    shown_U: Floats
    loved_U: Floats
    propensity_U: Floats
    predicted_U: Floats
    """What was known of each user before; 0 where nothing was."""

    def influence(self) -> Floats:
        """What each user adds to the log of the rate; the mean over users is 0."""
        residual_U = self.loved_U - self.rate() * self.shown_U
        return np.asarray(residual_U / self.loved_U.mean(), dtype=np.float64)

    def rate(self) -> float:
        return float(self.loved_U.sum() / self.shown_U.sum())

    def variance(self) -> float:
        """Of the rate, delta method for a ratio of sums over independent users."""
        num_users = len(self.shown_U)
        if num_users < 2:
            return math.nan
        residual_U = self.loved_U - self.rate() * self.shown_U
        correction = num_users / (num_users - 1)
        return float(correction * (residual_U**2).sum() / self.shown_U.sum() ** 2)

    def draws(self, bootstrap_samples: int, generator: np.random.Generator) -> Floats:
        """The rate under each draw of users with replacement, rate_B."""
        num_users = len(self.shown_U)
        share = np.full(num_users, 1 / num_users)
        rates = [
            (counts_BU @ self.loved_U) / (counts_BU @ self.shown_U)
            for start in range(0, bootstrap_samples, DRAWS_AT_ONCE)
            for counts_BU in (
                generator.multinomial(
                    num_users, share, size=min(DRAWS_AT_ONCE, bootstrap_samples - start)
                ),
            )
        ]
        return np.concatenate(rates)


def compare_arms(
    exposures: pa.Table,
    *,
    control: str,
    bootstrap_samples: int = 2_000,
    seed: int = 0,
) -> OnlineReport:
    """The A/B test of every arm against `control`.

    `exposures` has a row for each response shown: arm (string), user_id (string), loved (0 or 1)
    and propensity (the share of users that the arm had when the response was shown, in (0, 1]). It
    may have `predicted`, the same in all rows of a user: how much this user was expected to love
    before any reply of the test was seen. Raises ValueError where the control was shown to nobody.
    """
    sums = _sums_by_arm(exposures)
    arms = sorted(sums, key=lambda arm: (arm != control, arm))
    if control not in sums:
        raise ValueError(f"control {control!r} has no exposures, arms that have: {arms}")
    generator = np.random.default_rng(seed)
    draws = {arm: sums[arm].draws(bootstrap_samples, generator) for arm in arms}
    results = tuple(_arm_result(arm, sums[arm], draws[arm]) for arm in arms)
    lifts = tuple(
        _lift(arm, control, sums[arm], sums[control], draws[arm], draws[control])
        for arm in arms
        if arm != control
    )
    sample_ratio, ratio_notes = _sample_ratio({arm: sums[arm] for arm in arms})
    strays = (
        sum(len(sums[arm].shown_U) for arm in arms)
        - pc.count_distinct(exposures["user_id"]).as_py()
    )
    return OnlineReport(
        control=control,
        arms=results,
        lifts=lifts,
        sample_ratio=sample_ratio,
        notes=(*ratio_notes, *_stray_notes(strays), *_sample_notes(results)),
    )


def confidence_sequence(
    effect: float, variance: float, prior_sd: float, alpha: float = ALPHA
) -> Interval:
    """Interval that covers the true effect at all looks together with chance 1 - alpha.

    Normal mixture with prior N(0, prior_sd^2); half its width, with V the variance and T that of
    the prior, is sqrt(V (V + T) / T * (2 ln(1/alpha) + ln((V + T) / V))).
    """
    if not variance > 0:
        return (math.nan, math.nan)
    tau2 = prior_sd**2
    spread = variance * (variance + tau2) / tau2
    half = math.sqrt(spread * (2 * math.log(1 / alpha) + math.log((variance + tau2) / variance)))
    return (effect - half, effect + half)


def mixture_likelihood_ratio(effect: float, variance: float, prior_sd: float) -> float:
    """The mixture SPRT's evidence against no effect; reject at 1/alpha or more, at any time."""
    if not variance > 0:
        return math.nan
    tau2 = prior_sd**2
    exponent = tau2 * effect**2 / (2 * variance * (variance + tau2))
    return math.sqrt(variance / (variance + tau2)) * math.exp(min(exponent, 700.0))


def _sums_by_arm(exposures: pa.Table) -> dict[str, _Sums]:
    if "predicted" not in exposures.column_names:
        exposures = exposures.append_column("predicted", pa.nulls(len(exposures), pa.float64()))
    grouped = exposures.group_by(["arm", "user_id"]).aggregate(
        [("loved", "sum"), ("loved", "count"), ("propensity", "mean"), ("predicted", "mean")]
    )
    # Sorted, so that the bootstrap's draws do not hang on the order of the rows.
    columns = grouped.sort_by([("arm", "ascending"), ("user_id", "ascending")]).to_pydict()
    arm_of = np.array(columns["arm"])
    return {
        str(arm): _Sums(
            shown_U=np.array(columns["loved_count"], dtype=np.float64)[arm_of == arm],
            loved_U=np.array(columns["loved_sum"], dtype=np.float64)[arm_of == arm],
            propensity_U=np.array(columns["propensity_mean"], dtype=np.float64)[arm_of == arm],
            predicted_U=np.nan_to_num(
                np.array(columns["predicted_mean"], dtype=np.float64)[arm_of == arm]
            ),
        )
        for arm in np.unique(arm_of)
    }


def _arm_result(arm: str, sums: _Sums, rate_B: Floats) -> ArmResult:
    half = norm.ppf(1 - ALPHA / 2) * math.sqrt(sums.variance())
    return ArmResult(
        arm=arm,
        num_users=len(sums.shown_U),
        num_shown=int(sums.shown_U.sum()),
        num_loved=int(sums.loved_U.sum()),
        rate=sums.rate(),
        rate_ci=(max(0.0, sums.rate() - half), min(1.0, sums.rate() + half)),
        rate_ci_bootstrap=_percentiles(rate_B),
    )


def _lift(
    arm: str, control: str, treated: _Sums, base: _Sums, treated_B: Floats, base_B: Floats
) -> Lift:
    """NaN for everything but the point where an arm was never loved: a log ratio needs both."""
    rate, base_rate = treated.rate(), base.rate()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_B = treated_B / base_B
    effect = variance = math.nan
    if rate > 0 and base_rate > 0:
        effect = math.log(rate / base_rate)
        variance = treated.variance() / rate**2 + base.variance() / base_rate**2
    error = math.sqrt(variance)
    adjusted, adjusted_variance = _adjusted(effect, variance, treated, base)
    adjusted_error = math.sqrt(adjusted_variance)
    z = float(norm.ppf(1 - ALPHA / 2))
    prior_sd = math.log1p(SMALLEST_LIFT)
    low, high = confidence_sequence(effect, variance, prior_sd)
    return Lift(
        arm=arm,
        control=control,
        lift=rate / base_rate - 1 if base_rate > 0 else math.nan,
        lift_ci=(math.expm1(effect - z * error), math.expm1(effect + z * error)),
        adjusted=math.expm1(adjusted),
        adjusted_ci=(
            math.expm1(adjusted - z * adjusted_error),
            math.expm1(adjusted + z * adjusted_error),
        ),
        lift_ci_bootstrap=_percentiles(ratio_B - 1),
        lift_ci_sequential=(_expm1(low), _expm1(high)),
        p_value=2 * float(norm.sf(abs(effect) / error)) if error > 0 else math.nan,
        likelihood_ratio=mixture_likelihood_ratio(effect, variance, prior_sd),
        detectable_lift=_expm1(POWER_Z * error),
    )


def _adjusted(effect: float, variance: float, treated: _Sums, base: _Sums) -> tuple[float, float]:
    """The log ratio and its variance, less what the prediction explains (CUPED; Deng et al. 2013).

    The prediction was made before the users were divided, so its difference between arms is chance
    and may be taken out; the slope is that of both arms together.
    """
    if not variance > 0:
        return effect, variance
    sides = [(arm.influence(), arm.predicted_U - arm.predicted_U.mean()) for arm in (treated, base)]
    spread = sum(float(x_U @ x_U) for _, x_U in sides)
    if not spread > 0:
        return effect, variance
    slope = sum(float(l_U @ x_U) for l_U, x_U in sides) / spread
    left = [l_U - slope * x_U for l_U, x_U in sides]
    difference = float(treated.predicted_U.mean() - base.predicted_U.mean())
    return (
        effect - slope * difference,
        sum(float(l_U @ l_U) / (len(l_U) * (len(l_U) - 1)) for l_U in left),
    )


def _sample_ratio(sums: Mapping[str, _Sums]) -> tuple[SampleRatio, tuple[str, ...]]:
    """Users per arm against the arms' recorded shares."""
    arms = list(sums)
    observed = {arm: len(sums[arm].shown_U) for arm in arms}
    shares = {arm: float(sums[arm].propensity_U.mean()) for arm in arms}
    total, num_users = sum(shares.values()), sum(observed.values())
    changed = any(np.ptp(sums[arm].propensity_U) > SHARE_TOLERANCE for arm in arms)
    if changed or abs(total - 1) > SHARE_TOLERANCE:
        unknown = SampleRatio(
            observed=observed,
            expected=dict.fromkeys(arms, math.nan),
            chi_square=math.nan,
            p_value=math.nan,
            is_void=False,
        )
        return unknown, ("the arms' shares changed or an arm is missing: sample ratio not checked",)
    expected = {arm: num_users * share / total for arm, share in shares.items()}
    statistic = sum((observed[arm] - expected[arm]) ** 2 / expected[arm] for arm in arms)
    p_value = float(chi2.sf(statistic, len(arms) - 1)) if len(arms) > 1 else 1.0
    ratio = SampleRatio(
        observed=observed,
        expected=expected,
        chi_square=float(statistic),
        p_value=p_value,
        is_void=p_value < SRM_P_MIN,
    )
    if not ratio.is_void:
        return ratio, ()
    return ratio, (f"sample ratio mismatch (p = {p_value:.2g}): the test is void",)


def _stray_notes(strays: int) -> list[str]:
    """Arms are compared as if their users were others; a user in two arms blurs that."""
    return [f"{strays} users were shown more than one arm"] if strays else []


def _sample_notes(results: Sequence[ArmResult]) -> list[str]:
    return [
        f"arm {result.arm!r} has {result.num_users} users and {result.num_loved} loved replies; "
        f"its intervals need at least {USERS_MIN} and {LOVED_MIN}"
        for result in results
        if result.num_users < USERS_MIN or result.num_loved < LOVED_MIN
    ]


def _percentiles(values_B: Floats) -> Interval:
    kept = values_B[np.isfinite(values_B)]
    if not len(kept):
        return (math.nan, math.nan)
    low, high = np.quantile(kept, [ALPHA / 2, 1 - ALPHA / 2])
    return (float(low), float(high))


def _expm1(value: float) -> float:
    """exp(value) - 1, infinite rather than an error where it is too large."""
    return math.expm1(value) if value < 700 else math.inf


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
