"""Which exposures become examples, on which side they stand, and how much each weighs.

All choices follow from hashes of ids and from times, never from the order of rows, so the same
facts always give the same examples.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Split: TypeAlias = Literal["train", "calibration", "eval", ""]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Texts: TypeAlias = npt.NDArray[np.str_]
# Arrays are over E exposures, unless they say U users.

CUTS = tuple(range(30, 96))
"""Times at which the past may be cut from the future, as percentiles of exposures."""
FLOAT_BITS = 53
"""Bits of a float64's fraction: as many of a hash fit in it exactly."""
KAPPA_RANGE = 4.0
"""Strata keep negatives at most this many times more or less often than all of them together: one
without any positive yet must not lose nearly all its rows, nor one with many keep too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Where each exposure stands."""

    names: Texts
    """train, calibration or eval; "" for those left out, being on the wrong side of the cut."""
    cut_us: int
    """Train and calibration lie at or before this time, eval after it; microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """How one stratum of the training split was thinned."""

    name: str
    num_positives: int
    num_negatives: int
    num_kept: int
    """Negatives kept."""
    kappa: float
    """num_kept / num_negatives; 1.0 where there were none."""


def hash_share(purpose: str, seed: int, ids: Sequence[str]) -> Floats:
    """A number in [0, 1) for each id, fixed by id, purpose and seed, and as good as random."""
    prefix = f"{purpose}:{seed}:".encode()
    digests = [hashlib.blake2b(prefix + i.encode(), digest_size=8).digest() for i in ids]
    bits = np.frombuffer(b"".join(digests), dtype=">u8") >> np.uint64(64 - FLOAT_BITS)
    return bits.astype(np.float64) / 2.0**FLOAT_BITS


def split(
    users: Sequence[str],
    user_of: Ints,
    shown_us: Ints,
    *,
    eval_share: float,
    calibration_share: float,
    seed: int,
) -> Splits:
    """Split by user and by time at once.

    users        the U users; user_of gives the index of each exposure's user
    shown_us     when each exposure was shown, microseconds since 1970

    Time is cut in two, and each user belongs to one side: to the later one with a chance equal to
    the share of their exposures that lie there, by hash; their exposures on the other side are left
    out. Evaluation thus sees other users, at later times. Users who come and go, as most do, lose
    next to nothing by it; with users who always stay it is a split by hash. The cut is the one that
    gives evaluation most nearly `eval_share` of what is kept. Of the earlier users,
    `calibration_share` calibrate, chosen by hash.
    """
    chance = hash_share("eval", seed, users)
    num_all = np.bincount(user_of, minlength=len(users))
    best: tuple[float, int, Bools, Bools] | None = None
    for cut_us in sorted({int(np.quantile(shown_us, c / 100, method="lower")) for c in CUTS}):
        is_later = shown_us > cut_us
        num_later = np.bincount(user_of[is_later], minlength=len(users))
        is_late_user = chance * num_all < num_later
        num_eval = int(num_later[is_late_user].sum())
        num_rest = int((num_all - num_later)[~is_late_user].sum())
        miss = abs(num_eval / max(1, num_eval + num_rest) - eval_share)
        if best is None or miss < best[0]:
            best = (miss, cut_us, is_later, is_late_user)
    assert best is not None
    _, cut_us, is_later, is_late_user = best
    is_calibrator = hash_share("calibration", seed, users) < calibration_share
    names = np.where(is_calibrator[user_of], "calibration", "train")
    names = np.where(is_later, "eval", names)
    names[is_later != is_late_user[user_of]] = ""
    return Splits(names=names, cut_us=cut_us)


def thin_negatives(
    strata: Sequence[str], is_positive: Bools, order: Floats, *, positive_share: float
) -> tuple[Bools, Floats, list[Stratum]]:
    """Keep all positives and, in each stratum, so many negatives that positives are a set share.

    strata       the name of each exposure's stratum, made of what is known before the answer
    order        negatives with the lowest numbers stay: hashes, so that none is preferred

    Gives which are kept, the rate kappa at which the negatives of each one's stratum were kept, and
    the strata. A model fitted to the kept rows with logit f - log(kappa) has f unbiased (Wang,
    Zhang and Wang, NeurIPS 2021; we keep an exact number by rank where they toss coins, which gives
    the same rates with less noise).
    """
    names, stratum_of = np.unique(np.asarray(strata, dtype=np.str_), return_inverse=True)
    num_positives = np.bincount(stratum_of[is_positive], minlength=len(names))
    num_negatives = np.bincount(stratum_of[~is_positive], minlength=len(names))
    odds = (1.0 - positive_share) / positive_share
    overall = min(1.0, odds * int(num_positives.sum()) / max(1, int(num_negatives.sum())))
    kept = is_positive.copy()
    kappa = np.ones(len(is_positive))
    report = []
    for index, name in enumerate(names):
        negatives = np.flatnonzero((stratum_of == index) & ~is_positive)
        rate = odds * int(num_positives[index]) / max(1, len(negatives))
        rate = min(1.0, max(overall / KAPPA_RANGE, min(rate, overall * KAPPA_RANGE)))
        num_kept = min(len(negatives), math.ceil(rate * len(negatives)))
        kept[negatives[np.argsort(order[negatives], kind="stable")[:num_kept]]] = True
        rate = num_kept / len(negatives) if len(negatives) else 1.0
        kappa[stratum_of == index] = rate
        report.append(
            Stratum(
                name=str(name),
                num_positives=int(num_positives[index]),
                num_negatives=int(num_negatives[index]),
                num_kept=num_kept,
                kappa=rate,
            )
        )
    return kept, kappa, report


def user_offsets(num_signal: Ints, num_shown: Ints, *, p0: float, strength: float) -> Floats:
    """How much more (or less) readily than others each user gives the signal, in logits.

    logit(p) - logit(p0), where p is the user's rate so far, shrunk to p0 as if by `strength`
    exposures with it; 0 for a user without history. Rounded, so that it is the same everywhere.
    """
    p = (num_signal + strength * p0) / (num_shown + strength)
    return np.round(np.log(p / (1.0 - p)) - math.log(p0 / (1.0 - p0)), 6)
