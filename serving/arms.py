"""Which users get which version: sticky, proportional, and known to everyone who can hash.

A unit (a user, mostly) is hashed with the experiment's name to a point in [0, 1); the arms divide
that line among them in their given order, each as long as its share. So the same unit gets the
same arm in every process and after every restart, with nothing stored, and the propensity of its
arm is the arm's share exactly.

When shares change, only the units that lie between an old boundary and the new one change arms.
With two arms, or when the last arm grows from nothing, that is the least movement possible. (With
three arms or more no assignment without memory moves the least between all possible shares; keep
an experiment's arms in one order, and the control between two treatments that grow in turn.)

Source: the hash-and-threshold assignment common to experiment platforms (Kohavi, Tang, Xu 2020,
"Trustworthy Online Controlled Experiments", 12); the experiment's name is the salt, so that arms
of different experiments are independent.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

SHARE_TOLERANCE = 1e-6
"""How far shares may sum from 1: decimal shares such as 0.1 are not exact in binary."""
POINTS = float(2**53)
"""Points on the line: as many as a float holds exactly, so that none rounds up to 1.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmShare:
    """One arm and the part of the units it gets."""

    name: str
    share: float
    """In [0, 1]; an arm of share 0 gets nobody."""


def point(experiment: str, unit: str) -> float:
    """Give the unit's place in [0, 1) in this experiment, uniform over units."""
    salted = f"{len(experiment)}:{experiment}{unit}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.sha256(salted).digest()[:8]) >> 11) / POINTS


def check_shares(arms: Sequence[ArmShare]) -> None:
    """Raise ValueError unless the arms' names differ and their shares are a distribution."""
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) != len(names):
        raise ValueError(f"arms need names that differ, got {names}")
    shares = [arm.share for arm in arms]
    if any(not 0 <= share <= 1 for share in shares):
        raise ValueError(f"shares must lie in [0, 1], got {shares}")
    if abs(sum(shares) - 1) > SHARE_TOLERANCE:
        raise ValueError(f"shares must sum to 1, got {shares} = {sum(shares)}")


def choose(experiment: str, arms: Sequence[ArmShare], unit: str) -> int:
    """Give the index of the unit's arm; the arm's share is its propensity."""
    place = point(experiment, unit)
    for index, boundary in enumerate(accumulate(arm.share for arm in arms)):
        if place < boundary:
            return index
    # Shares that sum to a hair less than 1 leave a gap: it belongs to the last arm that has any.
    return max(index for index, arm in enumerate(arms) if arm.share > 0)
