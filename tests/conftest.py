"""What tests of several rooms share: one Apache Kafka for the whole run, and how long it looks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.config import StreamsConfig
from streams.events import new_id
from streams.kafka.broker import Broker
from tests.properties import register_profiles

CACHE = Path(__file__).parent.parent / "runs" / "cache"
"""In the checkout, so that the broker is downloaded once and not by every run."""

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "docs/test_snippets.py",
    "rluf/turn/test_refresh_resume.py",
    "end_to_end/test_suites.py",
    "streams/kafka/test_security.py",
    "streams/test_silent_stop.py",
    "features/test_every_crash.py",
    "streams/test_hostile_log.py",
    "end_to_end/test_broker_killed.py",
    "end_to_end/test_replay.py",
    "end_to_end/test_traces.py",
    "streams/test_worker.py",
    "rluf/test_damaged_files.py",
    "rluf/test_cli.py",
    "end_to_end/test_up.py",
    "features/test_one_fold.py",
    "serving/test_server.py",
    "serving/test_openapi.py",
)
"""Files that take more than half a minute, by how long they take (`pytest --durations`)."""

register_profiles()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process ends with one of them alone; within a
    file the order stays."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker (`.brokers` is host:port), started the way `rluf up` does.

    It is shared: give topics and groups names of your own, and stop or kill a broker of your own.
    """
    home = tmp_path_factory.mktemp("kafka home")
    with Broker.start(home, cache=CACHE, on_progress=lambda _: None) as broker:
        yield broker


@pytest.fixture
def streams_config(kafka_broker: Broker) -> StreamsConfig:
    """The shared broker, with a group and topics that no other test uses; they are not made yet."""
    name = new_id()
    return StreamsConfig(
        brokers=kafka_broker.brokers,
        group=f"{name}.group",
        shown_topic=f"{name}.shown",
        reactions_topic=f"{name}.reactions",
        erasures_topic=f"{name}.erasures",
        verdicts_topic=f"{name}.verdicts",
        dead_letters_topic=f"{name}.dead-letters",
        decisions_topic=f"{name}.decisions",
    )


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a test's bytes by their argument: what is compressed differs from second to second, and
    processes that run side by side have to collect the same names."""
    return argname if isinstance(val, bytes) and not val.isascii() else None
