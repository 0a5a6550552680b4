"""Registries to test with, on both databases: migrated once, then copied for each test."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from models.artifacts import Artifact
from models.database import sqlite_url
from models.migrate import migrate
from models.registry import Registry
from tests.models.crowd import Crowd
from tests.models.postgres import NoPostgres, Postgres, running_postgres

Opened: TypeAlias = Callable[..., Registry]

TEMPLATE = "rluf_template"
SHARED = "rluf_shared"
_numbers = itertools.count()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **parts: float) -> datetime:
        self.time += timedelta(**parts)
        return self.time


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with a migrated template; the test is skipped where there is none."""
    try:
        with running_postgres() as server:
            migrate(server.create(TEMPLATE))
            server.create(SHARED, template=TEMPLATE)
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "registry.db"
    migrate(sqlite_url(file))
    return file


@pytest.fixture(scope="session")
def crowd() -> Iterator[Crowd]:
    gathered = Crowd()
    yield gathered
    gathered.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "a home with spaces"
    folder.mkdir()
    return folder


@pytest.fixture
def sqlite(home: Path, migrated_file: Path) -> str:
    """URL of a migrated SQLite registry."""
    shutil.copy(migrated_file, home / "registry.db")
    return sqlite_url(home / "registry.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """URL of a migrated and empty registry, on each database in turn."""
    if request.param == "sqlite":
        found = request.getfixturevalue("sqlite")
    else:
        found = request.getfixturevalue("postgres").empty(SHARED)
    assert isinstance(found, str)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def own_url(request: pytest.FixtureRequest) -> str:
    """The same, in a database that the test may break; slower on PostgreSQL."""
    if request.param == "sqlite":
        found = request.getfixturevalue("sqlite")
    else:
        server = request.getfixturevalue("postgres")
        found = server.create(f"own_{next(_numbers)}", template=TEMPLATE)
    assert isinstance(found, str)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(home: Path) -> Iterator[Opened]:
    """Opens registries under the home, and closes them at the end."""
    registries = []

    def open_(url: str, **given: Any) -> Registry:
        registries.append(Registry(url, **({"root": home} | given)))
        return registries[-1]

    yield open_
    for registry in registries:
        registry.close()


@pytest.fixture
def registry(url: str, opened: Opened, clock: Clock) -> Registry:
    return opened(url, clock=clock)


def artifact_at(home: Path, name: str, hash: str) -> Artifact:
    """An artifact as the registry sees it; its files do not matter to the registry."""
    return Artifact(hash=hash * 8, path=home / "artifacts" / name / hash)


def register(registry: Registry, name: str, number: int, **changed: object) -> None:
    """Register versions of a policy until there are so many."""
    for n in range(len(registry.versions(name)) + 1, number + 1):
        given: dict[str, object] = {"kind": "policy", "config_hash": f"config-{n}"}
        registry.register(
            name,
            artifact=artifact_at(registry.root, name, f"{n:08x}"),
            snapshot_hash=None,
            **(given | changed),  # type: ignore[arg-type]
        )
