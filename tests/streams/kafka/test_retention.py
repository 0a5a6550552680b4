"""Goal: what the log deleted before it was read is named once, and everything else goes on.

Method: Apache Kafka itself, told to delete records before, under and behind a worker whose watchdog
ends it after seconds; and commits of offsets that the log does not have.
"""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from streams.codec import encode
from streams.config import StreamsConfig
from streams.kafka.log import measure, read_log
from streams.kafka.topics import ensure_topics, lag, standings
from tests.offsets import committed_offsets
from tests.streams.kafka.conftest import STALL_S
from tests.streams.kafka.test_remade import commit
from tests.streams.silent_rig import watched
from tests.streams.test_worker import produce, reaction, reactions
from tests.streams.worker_rig import RunningWorker, is_caught_up, wait_for
from tests.waiting import patiently

pytestmark = pytest.mark.kafka

NAMED = "the log deleted records before they were read"


@pytest.fixture
def config(streams_config) -> StreamsConfig:
    """One partition, so that offsets are counted easily, and a worker that takes little in hand."""
    config = replace(streams_config, partitions=1, batch_events_max=5)
    patiently(lambda: ensure_topics(config))
    return config


def say(config: StreamsConfig, name: str, count: int) -> set[str]:
    """Have so many reactions acknowledged; gives their ids."""
    ids = [f"{name}{number}" for number in range(count)]
    produce(config, [encode(reaction(id)) for id in ids])
    return set(ids)


def delete(config: StreamsConfig, before: int) -> None:
    """Have the log forget the reactions before this offset, as retention does."""
    with closing(KafkaAdminClient(bootstrap_servers=config.brokers)) as admin:
        admin.delete_records({TopicPartition(config.reactions_topic, 0): before})


def catch_up(config: StreamsConfig) -> None:
    wait_for(lambda: is_caught_up(config))


def outlive_the_watchdog(worker: RunningWorker, folder: Path) -> None:
    """Let more time pass than a worker is given that stands still."""
    until = time.monotonic() + 3 * STALL_S
    with watched(folder):
        wait_for(lambda: time.monotonic() > until or worker.process.poll() is not None)
    assert worker.process.poll() is None, worker.log.read_text()


def test_where_all_was_deleted_the_worker_goes_on_and_names_it_once(config, start, tmp_path):
    place = (config.reactions_topic, 0)
    first = start()
    said = say(config, "read", 4)
    catch_up(config)
    assert first.stop() == 0
    say(config, "lost", 6)
    assert (standings(config)[place].lag, standings(config)[place].lost) == (6, 0)
    delete(config, 10)
    assert (standings(config)[place].lag, standings(config)[place].lost) == (0, 6)
    second = start()
    wait_for(lambda: committed_offsets(config).get(place) == 10)
    assert standings(config)[place].lost == 0
    outlive_the_watchdog(second, tmp_path)
    assert second.log.read_text().count(NAMED) == 1
    said |= say(config, "after", 3)
    catch_up(config)
    assert set(reactions(tmp_path)) == said
    assert second.stop() == 0
    third = start()
    said |= say(config, "last", 1)
    wait_for(lambda: set(reactions(tmp_path)) == said)
    assert NAMED not in third.log.read_text()


def test_where_nothing_was_ever_committed_and_all_was_deleted_the_worker_goes_on(
    config, start, tmp_path
):
    say(config, "lost", 6)
    delete(config, 6)
    assert sum(lag(config).values()) == 0
    assert standings(config)[config.reactions_topic, 0].lost == 6
    worker = start()
    wait_for(lambda: committed_offsets(config) == {(config.reactions_topic, 0): 6})
    outlive_the_watchdog(worker, tmp_path)
    assert worker.log.read_text().count(NAMED) == 1


def test_what_is_deleted_under_a_worker_that_waits_is_named_and_what_it_has_in_hand_is_stored(
    config, start, tmp_path
):
    worker = start()
    down = tmp_path / "down"
    down.touch()
    in_hand = say(config, "read", 10)
    wait_for(lambda: "unavailable, waiting" in worker.log.read_text())
    before = say(config, "perhaps", 20)
    delete(config, 30)
    kept = say(config, "kept", 5)
    down.unlink()
    catch_up(config)
    found = set(reactions(tmp_path))
    assert kept <= found <= in_hand | before | kept
    named = [line for line in worker.log.read_text().splitlines() if NAMED in line]
    assert len(named) == (found & (in_hand | before) != in_hand | before)
    assert worker.process.poll() is None


def test_a_commit_beyond_the_logs_end_is_read_again_from_the_first_record(config, start, tmp_path):
    place = (config.reactions_topic, 0)
    said = say(config, "read", 7)
    delete(config, 2)
    commit(config, {place: 1_000}, "")
    assert lag(config)[place] == 5
    worker = start()
    catch_up(config)
    assert set(reactions(tmp_path)) == said - {"read0", "read1"}
    assert "its end was lost" in worker.log.read_text()
    assert committed_offsets(config)[place] == 7


def test_a_replay_goes_on_past_what_is_deleted_while_it_reads(config):
    say(config, "read", 4)
    stretch = measure(config, start=None)
    delete(config, 3)
    records = [record for records in read_log(config, stretch) for record in records]
    assert [record.offset for record in records] == [3]
    assert stretch.lost == {(config.reactions_topic, 0): 3}
    stretch = measure(config, start=None)
    delete(config, 4)
    assert list(read_log(config, stretch)) == []
    assert stretch.lost == {(config.reactions_topic, 0): 4}
