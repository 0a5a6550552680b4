"""Ten million hostile records through the pipeline, and what became of each."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fuzz.laws import Oracle, config_for_fuzzing
from fuzz.mutations import Mutator
from streams.pipeline import Pipeline, Record

BATCH = 1_000
ROUND = 250_000
"""Inputs after which ids are forgotten, so that the oracle's memory stays small."""
KEPT_MAX = 20
"""The most faults whose bytes are kept in a report."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run found."""

    engine: str
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    crashes: int = 0
    """Inputs for which the pipeline or the codec raised anything: none may."""
    unexplained: int = 0
    """Batches in which a law was broken: a drop without a name, lost bytes, a changed event."""
    slowest_ms: float = 0.0
    """The slowest batch, in ms; the machine may have been busy."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Kinds of facts, duplicates and reasons, each with its number."""
    faults: list[str] = field(default_factory=list)


class Checker:
    """Feeds batches to a pipeline and holds what comes out against the laws."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._config = config_for_fuzzing()
        self._forget()

    def _forget(self) -> None:
        self._pipeline = Pipeline(self._config)
        self._oracle = Oracle(self._config)
        self._round_ends = self.report.inputs + ROUND

    def check(self, records: Sequence[Record]) -> None:
        """Run one batch; note crashes and broken laws."""
        report = self.report
        if report.inputs >= self._round_ends:
            self._forget()
        report.inputs += len(records)
        began = time.perf_counter()
        try:
            facts = self._pipeline.run(records)
        except Exception as fault:  # Any fault at all is what we look for.
            report.crashes += 1
            self._note(f"{fault!r} on {self._culprit(records)!r}")
            return
        report.slowest_ms = max(report.slowest_ms, 1000 * (time.perf_counter() - began))
        counted = Counter(letter.reason for letter in facts.dead_letters)
        counted.update(
            shown=len(facts.shown),
            reactions=len(facts.reactions),
            erasures=len(facts.erasures),
            verdicts=len(facts.verdicts),
            duplicates=facts.duplicates,
        )
        for name, count in counted.items():
            report.outcomes[name] = report.outcomes.get(name, 0) + count
        for law in self._oracle.broken_laws(records, facts):
            report.unexplained += 1
            self._note(law)
        self._pipeline.remember(facts)

    def _culprit(self, records: Sequence[Record]) -> Record:
        """The first record that crashes a pipeline by itself; else the first of the batch."""
        for record in records:
            try:
                Pipeline(self._config).run([record])
            except Exception:  # See check.
                return record
        return records[0]

    def _note(self, fault: str) -> None:
        if len(self.report.faults) < KEPT_MAX:
            self.report.faults.append(fault[:2_000])


def run_mutations(num_inputs: int, seed: int, on_progress: Callable[[Report], None]) -> Report:
    """Mutate, run and check `num_inputs` records; the same seed gives the same records."""
    report = Report(engine="mutate", seed=seed)
    checker, mutator = Checker(report), Mutator(seed)
    began = time.monotonic()
    while report.inputs < num_inputs:
        checker.check(mutator.records(min(BATCH, num_inputs - report.inputs)))
        report.seconds = round(time.monotonic() - began, 1)
        on_progress(report)
    return report
