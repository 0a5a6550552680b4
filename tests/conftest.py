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

register_profiles()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests that take long come first, so that no process ends with one of them alone;
    within a file the order stays."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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
