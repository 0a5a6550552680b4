"""Measures our redaction beside kept libraries: what each finds of the hard cases, and how fast.

`python -m benchmarks.redaction [FILE]` prints a table and writes results/redaction.json, or FILE.
A library that is not installed is left out, with a note. The cases are synthetic, our
own, and known to who wrote the patterns: ours has an advantage that no figure here shows.
"""

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from streams.redaction.numbers import CARD_MARK, IBAN_MARK
from streams.redaction.redact import EMAIL_MARK, PHONE_MARK, redact
from tests.streams.redaction.cases import CASES, KINDS

RESULTS = Path(__file__).parent / "results" / "redaction.json"
Finder: TypeAlias = Callable[[str], list[tuple[int, int]]]
MARKS = {"email": EMAIL_MARK, "phone": PHONE_MARK, "card": CARD_MARK, "iban": IBAN_MARK}
RUNS = 5
BUDGET_S = 0.2
"""How long one run repeats a call, at least."""

TYPICAL = (
    "Thanks, that was a great answer about the trip to Lisbon! We leave on 2026-11-24 at 10:15 and "
    "need 3 rooms for 2 nights under 450 EUR; could you compare version 2.1 of the plan with ours?"
).ljust(200, ".")
SECRETS = (
    "Mail ada@example.com or ring +44 20 7946 0958, IBAN DE89 3704 0044 0532 0130 00, thanks. "
)
TEXTS = {
    "us_200_chars": TYPICAL,
    "us_200_chars_secrets": SECRETS.ljust(200, "."),
    "us_20_kb": (TYPICAL * 100)[:20_000],
}


def marked(kind: str) -> Finder:
    """Where ours puts the mark of a kind, in a text with at most one secret.

    All between the beginning and the end that stayed is one span; a second mark is a false alarm.
    """
    mark = MARKS[kind]

    def find(text: str) -> list[tuple[int, int]]:
        stored = redact(text)
        num_marks = stored.count(mark) - text.count(mark)
        if num_marks < 1:
            return []
        start = _num_same(stored, text)
        room = min(len(stored), len(text)) - start
        num_after = _num_same(stored[::-1][:room], text[::-1][:room])
        return [(start, len(text) - num_after), *[(0, 0)] * (num_marks - 1)]

    return find


def _num_same(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def with_phonenumbers(region: str | None) -> Finder:
    """Its matcher at its own leniency; a region lends its national forms."""
    library = import_module("phonenumbers")

    def find(text: str) -> list[tuple[int, int]]:
        return [(m.start, m.end) for m in library.PhoneNumberMatcher(text, region)]

    return find


def with_presidio(recognizer: str, entity: str) -> Finder:
    """One recogniser by itself, with its patterns and checksums."""
    library = import_module("presidio_analyzer.predefined_recognizers")
    one = getattr(library, recognizer)()

    def find(text: str) -> list[tuple[int, int]]:
        return [(found.start, found.end) for found in one.analyze(text, [entity], None) or ()]

    return find


def with_commonregex(pattern: str) -> Finder:
    """One pattern of the library."""
    library = import_module("commonregex")
    compiled = getattr(library, pattern)

    def find(text: str) -> list[tuple[int, int]]:
        return [match.span() for match in compiled.finditer(text)]

    return find


def with_stdnum(kind: str) -> Finder:
    """Checksums only: candidates are every run of groups, whole, for the library finds none."""
    library = import_module("stdnum.luhn" if kind == "card" else "stdnum.iban")
    pattern = re.compile(
        r"(?<!\w)\d(?:[ -]?\d){12,18}(?!\w)"
        if kind == "card"
        else r"(?i)(?<!\w)[a-z]{2}\d\d(?:[ -]?[a-z\d]{4}){2,7}(?:[ -]?[a-z\d]{1,3})?(?!\w)"
    )

    def find(text: str) -> list[tuple[int, int]]:
        return [
            match.span()
            for match in pattern.finditer(text)
            if library.is_valid(match[0].replace(" ", "").replace("-", ""))
        ]

    return find


def contestants() -> Iterator[tuple[str, str, str, Callable[[], Finder]]]:
    """(library to import, name, kind, how to make its finder)."""
    for kind in KINDS:
        yield "streams", "ours", kind, partial(marked, kind)
    for region in (None, "US", "GB"):
        name = f"phonenumbers, region {region}"
        yield "phonenumbers", name, "phone", partial(with_phonenumbers, region)
    for kind, recognizer, entity in (
        ("email", "EmailRecognizer", "EMAIL_ADDRESS"),
        ("phone", "PhoneRecognizer", "PHONE_NUMBER"),
        ("card", "CreditCardRecognizer", "CREDIT_CARD"),
        ("iban", "IbanRecognizer", "IBAN_CODE"),
    ):
        name = "presidio-analyzer recogniser, no NLP model"
        yield "presidio_analyzer", name, kind, partial(with_presidio, recognizer, entity)
    for kind, pattern in (("email", "email"), ("phone", "phone"), ("card", "credit_card")):
        yield "commonregex", "commonregex", kind, partial(with_commonregex, pattern)
    for kind in ("card", "iban"):
        name = "python-stdnum behind a plain pattern"
        yield "stdnum", name, kind, partial(with_stdnum, kind)


def score(kind: str, find: Finder) -> dict[str, float]:
    """Precision and recall of one finder.

    A secret is found when a span touches it and at most two of its characters are outside all
    spans; a span that touches no secret of its kind is a false alarm.
    """
    found = missed = alarms = 0
    for case in CASES:
        spans = find(case.text)
        is_ours = case.kind == kind
        touching = [s for s in spans if is_ours and s[0] < case.end and s[1] > case.start]
        alarms += len(spans) - len(touching)
        if not is_ours:
            continue
        covered = sum(min(e, case.end) - max(s, case.start) for s, e in touching)
        if touching and covered >= case.end - case.start - 2:
            found += 1
        else:
            missed += 1
    return {
        "precision": round(found / max(found + alarms, 1), 4),
        "recall": round(found / max(found + missed, 1), 4),
        "found": found,
        "missed": missed,
        "false_alarms": alarms,
    }


def cost_us(run: Callable[[str], object], text: str) -> float:
    """Microseconds of one call: the median over the runs."""
    figures = []
    for _ in range(RUNS):
        num_calls, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < BUDGET_S / RUNS:
            run(text)
            num_calls += 1
        figures.append(took / num_calls * 1e6)
    return round(statistics.median(figures), 2)


def main() -> None:
    """Measure all that is installed, print and write one row for each library and kind."""
    rows: list[dict[str, object]] = []
    ours: dict[str, dict[str, float]] = {}
    for library, name, kind, make in contestants():
        if find_spec(library) is None:
            print(f"{library} is not installed: {kind} is left out")
            continue
        find = make()
        timed: Callable[[str], object] = redact if name == "ours" else find
        costs = {what: cost_us(timed, text) for what, text in TEXTS.items()}
        figures = {**score(kind, find), **costs}
        print(json.dumps({"name": name, "kind": kind, **figures}))
        if name == "ours":
            ours[kind] = figures
        else:
            rows.append(_row(kind, name, ours[kind], figures))
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    target.write_text(json.dumps(rows, indent=2) + "\n")


def _row(kind: str, name: str, ours: dict[str, float], peer: dict[str, float]) -> dict[str, object]:
    """A row of the table of all benchmarks, with the figures behind it."""
    num_cases = sum(case.kind == kind for case in CASES)
    return {
        "what": f"redaction: {kind}, {num_cases} hard cases among {len(CASES)}",
        "unit": "F1",
        "ours": _f1(ours),
        "peer": _f1(peer),
        "peer_name": name,
        "ratio": round(_f1(ours) / max(_f1(peer), 1e-9), 2),
        "spread": 0.0,
        "runs": 1,
        "ours_figures": ours,
        "peer_figures": peer,
    }


def _f1(figures: dict[str, float]) -> float:
    both = figures["precision"] + figures["recall"]
    return round(2 * figures["precision"] * figures["recall"] / both, 4) if both else 0.0


if __name__ == "__main__":
    main()
