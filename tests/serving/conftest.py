"""An API on a registry in a folder of its own, with fake voices and a fake broker."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from models.migrate import migrate
from models.registry import Registry
from serving.app import ApiDependencies, create_app
from serving.config import ServingConfig
from serving.engine import Engine
from serving.meters import Meters
from streams.config import StreamsConfig
from tests.serving.fakes import FakeClock, FakeLoader, FakeProducer, register, set_arms

FAST = ServingConfig(
    poll_interval_s=0.02,
    ack_timeout_s=60.0,  # A test that awaits no acknowledgement says how long it waits in vain.
    ack_timeout_down_s=60.0,
    status_cache_s=0.05,
)


@dataclass
class Place:
    """Everything around one API under test."""

    root: Path
    registry: Registry
    producer: FakeProducer
    loader: FakeLoader
    clock: FakeClock
    meters: Meters

    def room(self, config: ServingConfig = FAST, **overrides: Any) -> ApiDependencies:
        engine = Engine(registry=self.registry, load=self.loader, config=config, meters=self.meters)
        room = ApiDependencies(
            config=config,
            streams=StreamsConfig(),
            root=self.root,
            registry=self.registry,
            producer=self.producer,
            engine=engine,
            meters=self.meters,
            now=self.clock,
        )
        return replace(room, **overrides)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose registry holds nothing; migrated once, copied by each test."""
    home = tmp_path_factory.mktemp("empty")
    migrate(f"sqlite:///{home / 'registry.db'}")
    return home


@pytest.fixture(scope="session")
def live_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions, of which the second gets a quarter of the users."""
    home = tmp_path_factory.mktemp("live") / "home"
    shutil.copytree(empty_home, home)
    registry = Registry(f"sqlite:///{home / 'registry.db'}")
    register(registry, text="first")
    register(registry, text="second")
    set_arms(registry, [("champion", 1, 0.75), ("challenger", 2, 0.25)])
    registry.close()
    return home


def open_place(home: Path, root: Path) -> Place:
    shutil.copytree(home, root)
    registry = Registry(f"sqlite:///{root / 'registry.db'}")
    return Place(
        root=root,
        registry=registry,
        producer=FakeProducer(),
        loader=FakeLoader(),
        clock=FakeClock(),
        meters=Meters(),
    )


@pytest.fixture
def place(empty_home: Path, tmp_path: Path) -> Iterator[Place]:
    """Nothing is registered."""
    place = open_place(empty_home, tmp_path / "empty")
    yield place
    place.registry.close()


@pytest.fixture
def live(live_home: Path, tmp_path: Path) -> Iterator[Place]:
    """Two versions, of which the second gets a quarter of the users."""
    place = open_place(live_home, tmp_path / "home")
    yield place
    place.registry.close()


StartApi = Callable[..., TestClient]


@pytest.fixture
def start(live: Place) -> Iterator[StartApi]:
    """Start an API over `live`, with dials changed by keyword."""
    with ExitStack() as stack:

        def start_api(room: ApiDependencies | None = None, **dials: Any) -> TestClient:
            made = room or live.room(replace(FAST, **dials))
            client = TestClient(
                create_app(made), base_url="http://localhost:8000", raise_server_exceptions=False
            )
            return stack.enter_context(client)

        yield start_api


@pytest.fixture
def api(start: StartApi) -> TestClient:
    return start()
