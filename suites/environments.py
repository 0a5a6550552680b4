"""An environment of its own for each client: a virtual environment or a folder of node_modules.

They are kept under runs/suites/environments and made again when the row's packages change.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from suites.table import Suite

MARK = ".installed.json"
INSTALL_LIMIT_S = 1_200.0
ENDS = 600
"""Characters of an installer's last words that are reported."""


class NotInstalled(Exception):
    """The client cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a client lives, and which version it is."""

    command: tuple[str, ...]
    """What runs a script in it."""
    version: str


def prepare(suite: Suite, root: Path) -> Environment:
    """Install what the suite needs, unless it is there. Raises NotInstalled."""
    for program in suite.programs:
        if shutil.which(program) is None:
            raise NotInstalled(f"no program {program!r} on the path (Debian has a package of it)")
    if suite.kind == "node":
        return _node(suite, root / (suite.environment or suite.name))
    if suite.packages:
        return _python(suite, root / (suite.environment or suite.name))
    return Environment(command=(sys.executable,), version=_program_version(suite))


def _python(suite: Suite, folder: Path) -> Environment:
    python = folder / "bin" / "python"
    if not _is_installed(suite, folder):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], folder.parent)
        _run([str(python), "-m", "pip", "install", "-q", *suite.packages], folder)
        _mark(suite, folder)
    name = suite.packages[0].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Environment(command=(str(python),), version=done.stdout.strip())


def _node(suite: Suite, folder: Path) -> Environment:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotInstalled(f"no program {program!r} on the path")
    if not _is_installed(suite, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}\n', "utf-8")
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        _run(["npm", "install", *quiet, *suite.packages], folder)
        _mark(suite, folder)
    manifest = folder / "node_modules" / suite.packages[0] / "package.json"
    version = json.loads(manifest.read_text("utf-8"))["version"]
    return Environment(command=("node",), version=version)


def _program_version(suite: Suite) -> str:
    if suite.distribution:
        return importlib.metadata.version(suite.distribution)
    if not suite.version:
        return ""
    done = subprocess.run(suite.version, capture_output=True, text=True)
    said = (done.stdout + done.stderr).split()
    return next((word.strip(",()").rpartition("/")[2] for word in said if _has_digits(word)), "")


def _has_digits(word: str) -> bool:
    return any(sign.isdigit() for sign in word) and "." in word


def _is_installed(suite: Suite, folder: Path) -> bool:
    mark = folder / MARK
    return mark.exists() and json.loads(mark.read_text("utf-8")) == list(suite.packages)


def _mark(suite: Suite, folder: Path) -> None:
    (folder / MARK).write_text(json.dumps(list(suite.packages)), "utf-8")


def _run(command: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PIP_CONSTRAINT", None)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{command[-1]}: not installed in {INSTALL_LIMIT_S:.0f} s") from None
    if done.returncode:
        raise NotInstalled(f"{' '.join(command[-3:])}: {(done.stderr or done.stdout)[-ENDS:]}")
