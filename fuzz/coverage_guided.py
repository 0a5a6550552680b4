"""The same laws under atheris, whose inputs are led by the coverage of our code.

atheris is no dependency of the project: install it where you fuzz (`pip install atheris==3.0.0`).
libFuzzer ends the process by itself, so the report is written as it goes.
"""

import sys
import time
from collections.abc import Callable

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

from fuzz.mutations import KNOWN_AT_MS, seeds
from fuzz.run import Checker, Report
from streams.pipeline import Record

BATCH = 64
INPUT_BYTES_MAX = 4_096
MODULES = ("streams.codec", "streams.rejections", "streams.pipeline", "streams.redaction.redact")


def run_atheris(
    num_inputs: int, seed: int, folder: str, on_progress: Callable[[Report], None]
) -> None:
    """Run `num_inputs` inputs, led by coverage; `folder` holds the corpus. Ends the process."""
    report = Report(engine="atheris", seed=seed)
    checker = Checker(report)
    began = time.monotonic()
    held: list[Record] = []

    def take(raw: bytes) -> None:
        """The first byte picks how the rest is wrapped."""
        headers = BINARY if raw[:1] == b"b" else ()
        held.append(Record("fuzz", 0, len(held), KNOWN_AT_MS, None, raw[1:] or None, headers))
        is_last = report.inputs + len(held) >= num_inputs
        if len(held) >= BATCH or is_last:
            checker.check(held)
            held.clear()
            report.seconds = round(time.monotonic() - began, 1)
            on_progress(report)
            if report.crashes or report.unexplained:
                raise AssertionError(report.faults[-1])

    atheris.instrument_imports(include=list(MODULES))
    atheris.instrument_all()
    atheris.Setup(
        [
            sys.argv[0],
            f"-runs={num_inputs}",
            f"-seed={seed}",
            f"-max_len={INPUT_BYTES_MAX}",
            "-verbosity=0",
            "-len_control=0",
            folder,
        ],
        take,
    )
    atheris.Fuzz()


BINARY: tuple[tuple[str, bytes | None], ...] = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/fuzz"),
    ("ce_type", b"rluf.reaction.v1"),
    ("ce_time", b"2026-01-02T03:04:05Z"),
)


def corpus() -> list[bytes]:
    """What atheris starts from: each seed, structured; and one reaction in binary mode."""
    data = b'b{"response_id":"r","user_id":"u","signal":"love","action":"add"}'
    return [*(b"s" + seed for seed in seeds()), data]
