"""Write streams/kafka/jars.toml for a version of Kafka: `python -m scripts.kafka_jars 4.3.1`."""

import argparse
import hashlib
import tempfile
from pathlib import Path

from jgo.maven import MavenContext

from streams.kafka.jars import LOCK_PATH, Jar, JarLock, repositories

LOCK_HEADING = """\
# Every jar of Apache Kafka that we run, by Maven coordinate, with its SHA-256 and size in bytes.
# Written by scripts/kafka_jars.py; so is that of another version.
"""
SLF4J_VERSION = "2.0.17"


def lock_text(lock: JarLock) -> str:
    """The content of a lock file."""
    rows = [
        f'[[jars]]\ncoordinate = "{jar.coordinate}"\nsha256 = "{jar.sha256}"\nbytes = {jar.bytes}\n'
        for jar in lock.jars
    ]
    return "\n".join((LOCK_HEADING, f'version = "{lock.version}"\n', *rows))


def resolve_lock(version: str, cache: Path) -> JarLock:
    """What jars.toml should hold for this version of Kafka, resolved anew by jgo."""
    context = MavenContext(repo_cache=cache, remote_repos=repositories())
    roots = (f"org.apache.kafka:kafka_2.13:{version}", f"org.slf4j:slf4j-simple:{SLF4J_VERSION}")
    inputs, transitive = context.resolver.resolve([context.create_dependency(r) for r in roots])
    jars = []
    for dependency in (*inputs, *transitive):
        artifact = dependency.artifact
        content = Path(artifact.resolve()).read_bytes()
        jars.append(
            Jar(
                coordinate=f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}",
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
            )
        )
    return JarLock(version=version, jars=tuple(sorted(jars, key=lambda jar: jar.coordinate)))


def main() -> None:
    """Resolve and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        LOCK_PATH.write_text(lock_text(resolve_lock(asked.version, Path(cache))))


if __name__ == "__main__":
    main()
