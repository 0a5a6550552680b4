"""Brings the jars of Apache Kafka into our cache, once, and checks them at every start.

jars.toml names every jar with its SHA-256, so what runs is what was tested, whatever the
repository serves. jgo fetches them (Maven Central, after the repositories of the user's own jgo
settings; proxies and certificates as `requests` finds them). Nothing is written outside the cache.
"""

import errno
import hashlib
import logging
import os
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext

from streams.errors import CannotStart

logger = logging.getLogger(__name__)

LOCK_PATH = Path(__file__).with_name("jars.toml")
NUM_DOWNLOADS_AT_ONCE = 4
NUM_TRIES = 3
RETRY_PAUSE_S = 1.0
MB = 1_000_000
SAY_EVERY_S = 2.0
"""Between two reports of a download's progress."""
STAGING = ".download-"
LEFTOVER_AGE_S = 86_400.0
"""A download that began more than a day ago belongs to a process that died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One file of the class path."""

    coordinate: str
    """group:artifact:version, as Maven names it."""
    sha256: str
    bytes: int

    @property
    def filename(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True, kw_only=True)
class JarLock:
    """All jars of one Kafka."""

    version: str
    jars: tuple[Jar, ...]


def read_lock(path: Path = LOCK_PATH) -> JarLock:
    """The jars that we run."""
    content = tomllib.loads(path.read_text())
    return JarLock(
        version=content["version"], jars=tuple(Jar(**entry) for entry in content["jars"])
    )


def ensure_jars(
    cache: Path,
    lock: JarLock,
    on_progress: Callable[[str], None],
    *,
    fetch: Callable[[Jar, Path], Path] | None = None,
) -> list[Path]:
    """The verified jars of `lock` under `cache`, downloading those that are absent or damaged.

    `fetch` gets one jar into a folder and returns its path; jgo does it unless a test says
    otherwise. Raises CannotStart when the download fails, a sum differs or the disk is full.
    """
    folder = cache / "jars" / f"kafka-{lock.version}"
    try:
        wanted = [jar for jar in lock.jars if not is_sound(folder / jar.filename, jar)]
        if wanted:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            _download(wanted, folder, lock.version, on_progress, fetch or fetch_with_jgo)
    except OSError as error:
        raise CannotStart(_why_not(error, folder)) from error
    return [folder / jar.filename for jar in lock.jars]


def is_sound(path: Path, jar: Jar) -> bool:
    """Whether the file is there and is, byte for byte, the one that was locked."""
    if not path.is_file() or path.stat().st_size != jar.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256


def fetch_with_jgo(jar: Jar, folder: Path) -> Path:
    """Download one jar into `folder` and return where it lies."""
    context = MavenContext(repo_cache=folder, remote_repos=repositories())
    artifact = context.create_dependency(jar.coordinate).artifact
    for num_tries in range(1, NUM_TRIES + 1):
        try:
            return Path(artifact.resolve())
        except requests.RequestException:
            if num_tries == NUM_TRIES:
                raise
            artifact.cached_path.unlink(missing_ok=True)
            time.sleep(RETRY_PAUSE_S * num_tries)
    raise AssertionError("unreachable: the last try returns or raises")


def repositories() -> dict[str, str]:
    """Name to URL: the user's own mirrors first, then Maven Central."""
    return {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}


def _download(
    jars: Sequence[Jar],
    folder: Path,
    version: str,
    on_progress: Callable[[str], None],
    fetch: Callable[[Jar, Path], Path],
) -> None:
    """Fetch into a folder of our own, verify, and only then move into place: a download that is
    killed, or another one at the same time, never leaves half a jar."""
    total_mb = sum(jar.bytes for jar in jars) / MB
    on_progress(f"downloading Apache Kafka {version}: {len(jars)} files, {total_mb:.1f} MB")
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
    try:
        done_mb, said_at = 0.0, time.monotonic()
        with ThreadPoolExecutor(NUM_DOWNLOADS_AT_ONCE) as pool:
            fetched = pool.map(lambda jar: fetch(jar, staging), jars)
            for number, (jar, path) in enumerate(zip(jars, fetched, strict=True), start=1):
                if not is_sound(path, jar):
                    raise CannotStart(
                        f"{jar.coordinate} as downloaded is not the file that we know: its SHA-256 "
                        f"must be {jar.sha256}. Nothing was kept; try again, or check the proxy "
                        "or mirror that serves it."
                    )
                os.replace(path, folder / jar.filename)
                done_mb += jar.bytes / MB
                if number < len(jars) and time.monotonic() - said_at < SAY_EVERY_S:
                    continue
                said_at = time.monotonic()
                on_progress(
                    f"downloading Apache Kafka {version}: {number} of {len(jars)} files, "
                    f"{done_mb:.1f} of {total_mb:.1f} MB"
                )
    except RuntimeError as error:  # jgo's word for "no repository has it".
        raise CannotStart(f"No Maven repository has a jar that we need: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    logger.info("kafka downloaded", extra={"version": version, "files": len(jars)})


def _sweep(folder: Path) -> None:
    """Remove what downloads that were killed left behind."""
    for left in folder.glob(f"{STAGING}*"):
        if time.time() - left.stat().st_mtime > LEFTOVER_AGE_S:
            shutil.rmtree(left, ignore_errors=True)


def _why_not(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"The disk is full: Apache Kafka needs 45 MB under {folder}."
    if isinstance(error, requests.RequestException):
        return (
            f"Apache Kafka could not be downloaded: {error}. Check the network (and the proxy "
            "settings), or name a running cluster with RLUF_STREAMS__BROKERS."
        )
    return (
        f"Cannot write Apache Kafka's jars under {folder}: {error}. They are only a cache: mend the"
        " permission, or delete that folder, and they are downloaded again."
    )
