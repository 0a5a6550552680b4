"""Goal: only the jars that were locked are ever run, downloaded once, and faults say what to do.

Method: a small lock and a fake repository; the real ones serve tests/streams/test_broker.py.
"""

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from scripts.kafka_jars import lock_text
from streams.errors import CannotStart
from streams.kafka.jars import Jar, JarLock, ensure_jars, is_sound, read_lock

CONTENTS = {f"g:jar-{n}:1.0": b"jar %d" % n * 100 for n in range(6)}


def lock_of(contents: dict[str, bytes]) -> JarLock:
    return JarLock(
        version="9.9",
        jars=tuple(
            Jar(coordinate=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
            for name, content in contents.items()
        ),
    )


class Repository:
    """Serves jars into the folder it is asked to, as jgo does; can fail in chosen ways."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.served: list[str] = []
        self.fault: Callable[[], Exception] | None = None

    def __call__(self, jar: Jar, folder: Path) -> Path:
        if self.fault is not None and len(self.served) >= 3:
            raise self.fault()
        self.served.append(jar.coordinate)
        path = folder / f"{len(self.served)}-{jar.filename}"
        path.write_bytes(self.contents[jar.coordinate])
        return path


def test_the_lock_holds_kafka_and_a_place_to_log_to_and_reads_back_as_written(tmp_path):
    lock = read_lock()
    names = {jar.coordinate.rsplit(":", 1)[0] for jar in lock.jars}
    assert {"org.apache.kafka:kafka_2.13", "org.slf4j:slf4j-simple"} <= names
    assert len({jar.filename for jar in lock.jars}) == len(lock.jars)
    copy = tmp_path / "lock.toml"
    copy.write_text(lock_text(lock))
    assert read_lock(copy) == lock


def test_jars_are_downloaded_once_and_the_download_is_shown(tmp_path):
    repository, said = Repository(CONTENTS), []
    paths = ensure_jars(tmp_path, lock_of(CONTENTS), said.append, fetch=repository)
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    assert len(said) == 2  # The beginning and the end: what is quick needs no line a file.
    assert "6 of 6 files" in said[-1]
    again = ensure_jars(tmp_path, lock_of(CONTENTS), pytest.fail, fetch=repository)
    assert again == paths
    assert len(repository.served) == 6


def test_nothing_but_jars_stays_in_the_cache(tmp_path):
    ensure_jars(tmp_path, lock_of(CONTENTS), lambda _: None, fetch=Repository(CONTENTS))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".jar"}
    assert len(files) == 6


@pytest.mark.parametrize("damage", [b"", b"jar 3", b"JAR 3" * 100])
def test_a_damaged_jar_is_found_at_the_next_start_and_fetched_again(tmp_path, damage):
    lock, repository = lock_of(CONTENTS), Repository(CONTENTS)
    paths = ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)
    paths[3].write_bytes(damage)
    assert not is_sound(paths[3], lock.jars[3])
    ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)
    assert paths[3].read_bytes() == CONTENTS["g:jar-3:1.0"]
    assert repository.served[6:] == ["g:jar-3:1.0"]


def test_a_jar_that_is_not_the_one_locked_is_refused_and_not_kept(tmp_path):
    forged = CONTENTS | {"g:jar-4:1.0": b"evil" * 125}
    with pytest.raises(CannotStart, match=r"g:jar-4:1\.0.*SHA-256"):
        ensure_jars(tmp_path, lock_of(CONTENTS), lambda _: None, fetch=Repository(forged))
    assert not list(tmp_path.rglob("jar-4*"))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda: requests.ConnectionError("no route"), "could not be downloaded.*no route"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (lambda: PermissionError(errno.EACCES, "denied"), "Cannot write"),
        (lambda: RuntimeError("not found in remote repositories"), "No Maven repository"),
    ],
)
def test_a_download_that_fails_says_why_and_goes_on_from_there_next_time(tmp_path, fault, says):
    repository = Repository(CONTENTS)
    repository.fault = fault
    with pytest.raises(CannotStart, match=says):
        ensure_jars(tmp_path, lock_of(CONTENTS), lambda _: None, fetch=repository)
    repository.fault = None
    ensure_jars(tmp_path, lock_of(CONTENTS), lambda _: None, fetch=repository)
    assert len(list(tmp_path.rglob("*.jar"))) == 6


def test_a_cache_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "jars").write_text("a file, not a folder")
    with pytest.raises(CannotStart, match="Cannot write"):
        ensure_jars(tmp_path, lock_of(CONTENTS), lambda _: None, fetch=Repository(CONTENTS))
