"""The command line in this process, for the many questions that need no process of their own."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rluf import cli
from tests.rluf.command import Outcome, environment

Call = Callable[..., Outcome]


@pytest.fixture
def call(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Call]:
    """`rluf ...` through `main`, without the two seconds of a process."""

    def run(*arguments: str, settings: Mapping[str, str] | None = None) -> Outcome:
        with monkeypatch.context() as patch:
            for name, value in environment(home, settings).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["rluf", *arguments])
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, " ".join(said.err.split()))

    for name in [name for name in os.environ if name.startswith("RLUF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(
        "streams.kafka.topics.REQUEST_TIMEOUT_MS", 1_000
    )  # Nobody answers later either.
    before = dict(os.environ)
    yield run
    os.environ.clear()  # The command prepares the environment of its libraries.
    os.environ.update(before)
