"""The command line of the simulator: python -m simulator {corpus,pairs,live,oracle}."""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from simulator.client import ApiGone
from simulator.corpus import write_chats, write_pairs
from simulator.ledger import Lines
from simulator.live import LiveConfig, Tally, live
from simulator.oracle import open_rehearsal, open_sealed

PROGRESS_LINE_S = 10.0
"""Seconds between two lines of progress where there is no terminal."""
EXIT_CODES = """exit codes:
  0    done
  2    wrong arguments
  3    the API cannot be reached, or stopped answering; what it acknowledged is in the ledger
  4    done, but the API refused more than --refused-max of the calls
  130  interrupted; what the API acknowledged is in the ledger
"""
DONE, WRONG_ARGUMENTS, API_GONE, TOO_MANY_REFUSED, INTERRUPTED = 0, 2, 3, 4, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "corpus": _corpus,
        "pairs": _pairs,
        "live": _live,
        "oracle": _oracle,
    }
    try:
        return verbs[options.verb](options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError) as error:
        print(f"simulator {options.verb}: {error}", file=sys.stderr)
        return WRONG_ARGUMENTS


def _corpus(options: argparse.Namespace) -> int:
    return _write(options.out, write_chats(options.n, options.seed))


def _pairs(options: argparse.Namespace) -> int:
    return _write(options.out, write_pairs(options.kind, options.n, options.seed))


def _write(path: Path, lines: Iterable[dict[str, object]]) -> int:
    """Write a file as a whole: it appears under its name only when it is complete."""
    part = path.with_name(path.name + ".part")
    with Lines(part) as file:
        for line in lines:
            file.write(line)
    part.replace(path)
    return DONE


def _live(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = LiveConfig(
        url=options.url,
        users=options.users,
        seed=options.seed,
        ledger=options.out,
        sealed=options.sealed,
        concurrency=options.concurrency,
        time_scale=options.time_scale,
        give_up_s=options.give_up,
    )

    progress = Progress(config.users)

    try:
        summary = asyncio.run(live(config, progress.show if options.progress else _say_nothing))
    except ApiGone as gone:
        print(f"simulator live: {gone}. Is the API up at {config.url}?", file=sys.stderr)
        return API_GONE
    progress.end()
    _print_report(summary, is_json=options.json)
    refused, acknowledged = summary["calls_refused"], summary["calls_acknowledged"]
    assert isinstance(refused, dict)
    assert isinstance(acknowledged, int)
    num_refused = sum(refused.values())
    if num_refused > options.refused_max * (num_refused + acknowledged):
        print(f"simulator live: the API refused {num_refused} calls: {refused}", file=sys.stderr)
        return TOO_MANY_REFUSED
    return DONE


def _say_nothing(tally: Tally) -> None:
    """For those who did not ask for progress."""


class Progress:
    """On a terminal one line that is written over; else a line now and then, never one twice."""

    def __init__(self, users: int) -> None:
        self._users = users
        self._is_terminal = sys.stderr.isatty()
        self._said = ""
        self._said_at = -PROGRESS_LINE_S

    def show(self, tally: Tally) -> None:
        """Say how far it is, if it is time to."""
        taps = sum(tally.taps.values())
        text = f"{tally.users:,} of {self._users:,} users, {tally.turns:,} replies, {taps:,} taps"
        now = time.monotonic()
        if text == self._said or (not self._is_terminal and now - self._said_at < PROGRESS_LINE_S):
            return
        self._said, self._said_at = text, now
        print(f"\r{text}" if self._is_terminal else text, end="", file=sys.stderr)
        print("" if self._is_terminal else "\n", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal and self._said:
            print(file=sys.stderr, flush=True)


def _oracle(options: argparse.Namespace) -> int:
    if options.rehearse:
        report = open_rehearsal(options.rehearse, options.seed)
    elif options.ledger and options.sealed:
        report = open_sealed(options.ledger, options.sealed)
    else:
        raise ValueError("give either --ledger and --sealed, or --rehearse")
    _print_report(report, is_json=options.json)
    return DONE


def _print_report(report: dict[str, object], *, is_json: bool) -> None:
    """The report as one line of JSON, or as lines for people."""
    if is_json:
        print(json.dumps(report, ensure_ascii=False))
        return
    for name, value in _flat(report):
        print(f"{name:<45} {value}")


def _flat(report: dict[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in report.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="Users with sealed tastes, who talk with the API like anyone else.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_text_verbs(verbs)
    _add_live_verb(verbs)
    _add_oracle_verb(verbs)
    return parser


def _add_text_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    corpus = verbs.add_parser("corpus", help="chats that the demo's first policy is taught")
    pairs = verbs.add_parser("pairs", help="preferences of synthetic annotators")
    pairs.add_argument("--kind", choices=("helpfulness", "safety", "harmful"), required=True)
    for verb, what in ((corpus, "chats"), (pairs, "pairs")):
        verb.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines")
        verb.add_argument("--n", type=_whole, required=True, help=f"how many {what}")
        verb.add_argument("--seed", type=int, default=0, help="default %(default)s")


def _add_live_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = verbs.add_parser(
        "live",
        help="users who talk with the API and react",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--url", type=_url, required=True, help="of the API, without /v1")
    verb.add_argument("--users", type=_whole, required=True, help="how many users come")
    verb.add_argument("--seed", type=int, default=0, help="another seed is another crowd")
    verb.add_argument("--out", type=Path, metavar="LEDGER", help="acknowledged calls, JSON lines")
    verb.add_argument(
        "--sealed", type=Path, metavar="FILE", help="truths that a learner must not read"
    )
    verb.add_argument(
        "--concurrency", type=_whole, default=32, help="users at a time, default %(default)s"
    )
    verb.add_argument(
        "--time-scale",
        type=_positive,
        default=1.0,
        help="factor on thinking and reaction times, default %(default)s",
    )
    verb.add_argument(
        "--give-up",
        type=_positive,
        default=20.0,
        metavar="SECONDS",
        help="stop after so long without an answer, default %(default)s",
    )
    verb.add_argument(
        "--refused-max",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="more refused calls than this end in exit code 4, default %(default)s",
    )
    verb.add_argument("--progress", action="store_true", help="a line a second on stderr")
    verb.add_argument("--json", action="store_true", help="the summary as one line of JSON")


def _add_oracle_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = verbs.add_parser("oracle", help="open the sealed truths, at the end")
    verb.add_argument("--ledger", type=Path, help="what `live --out` wrote")
    verb.add_argument("--sealed", type=Path, help="what `live --sealed` wrote")
    verb.add_argument(
        "--rehearse",
        type=_whole,
        metavar="USERS",
        help="instead: the natural rates, with the grammar's own baseline and no API",
    )
    verb.add_argument("--seed", type=int, default=0, help="of the rehearsal, default %(default)s")
    verb.add_argument("--json", action="store_true", help="the report as one line of JSON")


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} does not start with http:// or https://")
    return text.rstrip("/").removesuffix("/v1")


if __name__ == "__main__":
    sys.exit(main())
