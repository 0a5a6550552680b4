"""Goal: no commit of a topic counts for another that is made under its name later.

Method: the watch by hand, over ids that we make up; and Apache Kafka itself, where topics are
deleted and made again while workers run, while they are stopped, and while an old one still
commits. That last commit is made by a consumer of the test, at the time that hurts most.
"""

import asyncio
import signal
from collections.abc import Mapping, Sequence

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.kafka.remade import TopicRemade, remade, watch_topics
from streams.kafka.topics import (
    ensure_topics,
    is_of_another_topic,
    is_stamped,
    lag,
    stamp_of,
    topic_ids,
)
from streams.worker import EXIT_STALLED
from tests.offsets import committed_offsets, end_offsets
from tests.streams.test_hostile_log import make_anew
from tests.streams.test_worker import produce_reactions, reactions
from tests.streams.worker_rig import is_caught_up, start_worker
from tests.waiting import WAIT_S, patiently, wait_for

NUM_OLD = 20
A, B = "2fbf5292-b7f0-4fd8-9e5a-bb884093e85f", "6b3d3f71-ea75-4add-b2e2-6d500911e0c6"


@pytest.fixture
def config(streams_config) -> StreamsConfig:
    patiently(lambda: ensure_topics(streams_config))
    return streams_config


def test_a_commit_is_of_another_topic_only_if_it_says_so():
    assert not is_of_another_topic(stamp_of(A), A)
    assert is_of_another_topic(stamp_of(A), B)
    assert is_of_another_topic(stamp_of(A), None)
    for metadata in ("", None, "somebody's note", stamp_of(None)):
        assert not is_stamped(metadata)
        assert not is_of_another_topic(metadata, B)


def test_a_topic_is_made_again_when_its_id_changed_and_not_when_it_is_gone():
    began_with = {"shown": A, "reactions": B}
    assert remade(began_with, began_with) == []
    assert remade(began_with, {"shown": A}) == []
    assert remade(began_with, {"shown": B, "reactions": B}) == ["shown"]
    assert remade({"shown": A}, began_with) == ["reactions"]


def test_the_watch_ends_with_the_first_change_and_survives_a_broker_that_is_away():
    looks: list[Mapping[str, str] | None] = [{"shown": A}, None, {}, {"shown": A}, {"shown": B}]

    def look() -> Mapping[str, str]:
        ids = looks.pop(0)
        if ids is None:
            raise Unavailable("no broker")
        return ids

    with pytest.raises(TopicRemade, match="shown"):
        asyncio.run(watch_topics(look, {"shown": A}, interval_s=0.0))
    assert looks == []


def commit(config: StreamsConfig, offsets: Mapping[tuple[str, int], int], metadata: str) -> None:
    """Commit for the workers' group, as a member of it or a tool would."""
    consumer = KafkaConsumer(
        bootstrap_servers=config.brokers, group_id=config.group, enable_auto_commit=False
    )
    consumer.commit(
        {
            TopicPartition(*place): OffsetAndMetadata(at, metadata, -1)
            for place, at in offsets.items()
        }
    )
    consumer.close()


def stamps(config: StreamsConfig) -> dict[tuple[str, int], str]:
    """The metadata of each commit of the group."""
    admin = KafkaAdminClient(bootstrap_servers=config.brokers)
    try:
        found = admin.list_group_offsets(config.group)[config.group]
    finally:
        admin.close()
    return {(place.topic, place.partition): at.metadata for place, at in found.items()}


def catch_up(config: StreamsConfig) -> None:
    wait_for(lambda: is_caught_up(config))


def ids_of(name: str, number: int) -> Sequence[str]:
    return [f"{name}{n}" for n in range(number)]


@pytest.mark.kafka
def test_lag_and_commits_count_from_the_first_record_where_the_commit_is_of_another_topic(config):
    produce_reactions(config, ids_of("one", NUM_OLD))
    ends = end_offsets(config, [config.reactions_topic])
    commit(config, ends, stamp_of(topic_ids(config)[config.reactions_topic]))
    assert sum(lag(config).values()) == 0
    assert committed_offsets(config) == ends
    commit(config, ends, stamp_of(A))
    assert sum(lag(config).values()) == NUM_OLD
    assert committed_offsets(config) == {}
    commit(config, ends, "")
    assert sum(lag(config).values()) == 0


@pytest.mark.kafka
@pytest.mark.parametrize("num_new", [8, 20, 60])
def test_a_topic_made_again_while_no_worker_runs_is_read_whole_whatever_is_committed(
    config, workers, tmp_path, num_new
):
    workers.append(start_worker(config, tmp_path))
    produce_reactions(config, ids_of("old", NUM_OLD))
    catch_up(config)
    assert workers[0].stop() == 0
    ends = end_offsets(config, [config.reactions_topic])
    (stamp,) = set(stamps(config).values())
    make_anew(config, config.reactions_topic)
    produce_reactions(config, ids_of("new", num_new))
    commit(config, ends, stamp)  # Kafka took the commits away with the topic; a late one came.
    assert sum(lag(config).values()) == num_new
    workers.append(start_worker(config, tmp_path))
    catch_up(config)
    assert set(reactions(tmp_path)) == {*ids_of("old", NUM_OLD), *ids_of("new", num_new)}
    (new_stamp,) = set(stamps(config).values())
    assert new_stamp == stamp_of(topic_ids(config)[config.reactions_topic]) != stamp


@pytest.mark.kafka
@pytest.mark.parametrize("num_new", [8, 20, 60])
def test_two_workers_whose_topic_is_made_again_both_end_and_their_successors_lose_nothing(
    config, workers, tmp_path, num_new
):
    """They look every 10 s here, as workers of the house do: time to read from wrong positions."""
    workers.extend(start_worker(config, tmp_path) for _ in range(2))
    produce_reactions(config, ids_of("old", NUM_OLD))
    catch_up(config)
    make_anew(config, config.reactions_topic)
    produce_reactions(config, ids_of("new", num_new))
    for worker in workers:
        assert worker.process.wait(WAIT_S) not in (0, EXIT_STALLED)
    workers.extend(start_worker(config, tmp_path) for _ in range(2))
    catch_up(config)
    assert set(reactions(tmp_path)) == {*ids_of("old", NUM_OLD), *ids_of("new", num_new)}


@pytest.mark.kafka
def test_a_worker_that_joins_one_of_before_reads_whole_what_that_one_passed_over(
    config, workers, tmp_path
):
    """The old worker stands still, as under a debugger, while all happens, and then goes on."""
    workers.append(start_worker(config, tmp_path))
    produce_reactions(config, ids_of("old", NUM_OLD))
    catch_up(config)
    old = workers[0].process
    old.send_signal(signal.SIGSTOP)
    make_anew(config, config.reactions_topic)
    produce_reactions(config, ids_of("new", NUM_OLD))
    workers.append(start_worker(config, tmp_path))
    old.send_signal(signal.SIGCONT)
    assert old.wait(WAIT_S) not in (0, EXIT_STALLED)
    catch_up(config)
    assert set(reactions(tmp_path)) == {*ids_of("old", NUM_OLD), *ids_of("new", NUM_OLD)}


@pytest.mark.kafka
def test_what_is_read_of_the_old_topic_and_not_yet_stored_is_stored_before_the_worker_ends(
    config, workers, tmp_path
):
    """It is nowhere else any more."""
    workers.append(start_worker(config, tmp_path))
    down, log = tmp_path / "down", workers[0].log
    down.touch()
    produce_reactions(config, ["old"])
    wait_for(lambda: "unavailable, waiting" in log.read_text())
    make_anew(config, config.reactions_topic)
    wait_for(lambda: "deleted and made again" in log.read_text())
    assert reactions(tmp_path) == {}
    down.unlink()
    assert workers[0].process.wait(WAIT_S) not in (0, EXIT_STALLED)
    assert reactions(tmp_path) == {"old": 1}


@pytest.mark.kafka
def test_commits_of_before_the_stamps_count_and_are_stamped_even_where_nothing_more_comes(
    config, workers, tmp_path
):
    produce_reactions(config, ids_of("old", NUM_OLD))
    ends = end_offsets(config, [config.reactions_topic])
    commit(config, ends, "")
    workers.append(start_worker(config, tmp_path))
    stamp = stamp_of(topic_ids(config)[config.reactions_topic])
    wait_for(lambda: set(stamps(config).values()) == {stamp})
    assert committed_offsets(config) == ends
    produce_reactions(config, ids_of("new", 5))
    catch_up(config)
    assert set(reactions(tmp_path)) == set(ids_of("new", 5))
