"""Verdicts for tests that need one on record and do not care what was measured."""

from models.verdicts import Bound, Measure, Verdict, hold

CLOSERS = Measure(name="closer_rise", value=0.03, low=0.01, high=0.05, unit="ratio", num_users=80)
"""Beyond 0.005 it is broken, within 0.06 kept, and between 0.01 and 0.05 undecided."""
BOUNDS = {
    "passed": Bound(high=0.06),
    "refused": Bound(high=0.005),
    "undecided": Bound(high=0.04),
}


def said(gate: str, ruling: str = "passed", *, kl_nats: float | None = None) -> Verdict:
    """A verdict of this gate with this ruling, and a KL beside it where one is given."""
    beside = (Measure(name="kl_nats", value=kl_nats, unit="nats"),) if kl_nats is not None else ()
    verdict = Verdict(gate=gate, checks=(hold(CLOSERS, BOUNDS[ruling]),), informative=beside)
    assert verdict.ruling == ruling
    return verdict
