"""The command `rluf` as a stranger runs it: a process with a home and an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import CACHE
from tests.waiting import WAIT_S

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished command left."""

    code: int
    out: str
    err: str

    def value(self) -> Any:
        """Standard output, which must be exactly one JSON value."""
        return json.loads(self.out)


def environment(home: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of its own; the jars come from the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RLUF_")}
    return {
        **kept,
        "RLUF_HOME": str(home),
        "RLUF_CACHE": str(CACHE),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **(settings or {}),
    }


def start(
    *arguments: str, home: Path, settings: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `rluf ...` in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "rluf", *arguments],
        cwd=ROOT,
        env=environment(home, settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for its end. A traceback is never an answer."""
    out, err = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in err, err
    return Outcome(process.returncode, out, err)


def rluf(
    *arguments: str,
    home: Path,
    settings: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `rluf ...` to its end."""
    return finish(start(*arguments, home=home, settings=settings))
