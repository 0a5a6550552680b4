"""Goal: no damaged file of the embedded broker loses the log, or keeps every later start from it.

Method: each file empty, cut, filled with zeros, gone, a folder in its place, and of a later
version; first on the functions that read them, then on Apache Kafka itself with records in its log.
"""

import os
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from streams.errors import CannotStart
from streams.kafka.broker import Broker, BrokerState, running
from streams.kafka.identity import is_formatted, keep_identity
from streams.kafka.jars import Jar, ensure_jars
from tests.conftest import CACHE
from tests.damages import cut, empty, every_damage, gone, not_text, unreadable, zeroed
from tests.reading import read_whole
from tests.streams.kafka.test_jars import CONTENTS, Repository, lock_of

IDS = (
    "#\n#Wed Nov 25 17:10:53 UTC 2026\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\n"
    "version=1\ncluster.id=BBBBBBBBBBBBBBBBBBBBBB\n"
)
"""As Kafka writes meta.properties; the ids are made up."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A broker's home whose log holds a record, as far as its files tell."""
    log = tmp_path / "data" / "rluf.shown.v1-0" / "00000000000000000000.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"a record")
    (tmp_path / "data" / "meta.properties").write_text(IDS)
    keep_identity(tmp_path)
    return tmp_path


@every_damage
def test_a_log_gets_its_own_ids_back_and_is_never_formatted_again(home, damage):
    said: list[str] = []
    damage(home / "data" / "meta.properties")
    assert is_formatted(home, said.append)
    assert (home / "data" / "meta.properties").read_text() == IDS
    assert str(home / "data" / "meta.properties") in said[0]
    assert {path.name for path in (home / "data").iterdir()} == {
        "rluf.shown.v1-0",
        "meta.properties",
    }, "Kafka takes every folder beside for a partition"


@every_damage
@pytest.mark.parametrize("damage_of_copy", [gone, zeroed])
def test_a_log_that_lost_its_ids_for_good_is_refused_with_advice(home, damage, damage_of_copy):
    damage(home / "data" / "meta.properties")
    damage_of_copy(home / "meta.properties")
    with pytest.raises(CannotStart, match=r"data/meta\.properties.*backup.*move.*data"):
        is_formatted(home, pytest.fail)


@every_damage
def test_a_first_start_that_was_cut_short_is_made_anew(home, damage):
    (home / "data" / "rluf.shown.v1-0" / "00000000000000000000.log").write_bytes(b"")
    damage(home / "data" / "meta.properties")
    assert not is_formatted(home, pytest.fail)
    assert not (home / "data" / "meta.properties").exists()


@every_damage
def test_a_damaged_copy_is_made_anew(home, damage):
    damage(home / "meta.properties")
    assert is_formatted(home, pytest.fail)
    keep_identity(home)
    assert (home / "meta.properties").read_text() == IDS


def test_the_copy_follows_a_log_that_was_restored(home):
    other = IDS.replace("BBBB", "CCCC")
    (home / "data" / "meta.properties").write_text(other)
    keep_identity(home)
    assert (home / "meta.properties").read_text() == other


def test_more_fields_are_fine_and_a_later_version_is_named(home):
    place = home / "data" / "meta.properties"
    place.write_text(f"{IDS}more=1\n")
    assert is_formatted(home, pytest.fail)
    place.write_text(IDS.replace("version=1", "version=2"))
    with pytest.raises(CannotStart, match="version=2"):
        is_formatted(home, pytest.fail)
    assert "version=2" in place.read_text()


def place_of(process: psutil.Process) -> BrokerState:
    return BrokerState(
        port=9092, controller_port=9093, pid=process.pid, started_at=process.create_time()
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A broker.json that names a living process: this one."""
    path = tmp_path / "broker.json"
    path.write_bytes(msgspec.json.encode(place_of(psutil.Process())))
    return path


def test_a_running_broker_is_found_also_by_what_a_later_version_wrote(written):
    assert running(written.parent) == place_of(psutil.Process())
    later = msgspec.json.decode(written.read_bytes()) | {"started_by": "rluf 9"}
    written.write_bytes(msgspec.json.encode(later))
    assert running(written.parent) == place_of(psutil.Process())


@every_damage
def test_a_damaged_broker_json_names_no_broker(written, damage):
    damage(written)
    assert running(written.parent) is None


@pytest.mark.parametrize(
    "field", [{"port": None}, {"port": 70_000}, {"pid": -1}, {"pid": 2**40}, {"started_at": "now"}]
)
def test_odd_values_name_no_broker(written, field):
    written.write_bytes(msgspec.json.encode(msgspec.json.decode(written.read_bytes()) | field))
    assert running(written.parent) is None


@every_damage
def test_a_damaged_jar_is_fetched_again_or_its_place_is_named(tmp_path, damage):
    lock, repository = lock_of(CONTENTS), Repository(CONTENTS)
    paths = ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)
    damage(paths[2])
    if damage is unreadable:
        with pytest.raises(CannotStart, match=paths[2].name):
            ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)
    else:
        ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)
        assert paths[2].read_bytes() == CONTENTS["g:jar-2:1.0"]


def test_a_jar_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    lock, repository = lock_of(CONTENTS), Repository(CONTENTS)
    [first, *_] = ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)

    def refused(path: Path, jar: Jar) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("streams.kafka.jars.is_sound", refused)
    with pytest.raises(CannotStart, match=f"Permission denied.*{first.name}"):
        ensure_jars(tmp_path, lock, lambda _: None, fetch=repository)


def test_what_a_killed_download_left_is_swept_and_one_that_goes_on_is_not(tmp_path):
    lock = lock_of(CONTENTS)
    folder = tmp_path / "jars" / "kafka-9.9"
    for name, age_s in {".download-old": 100_000, ".download-new": 10}.items():
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age_s,) * 2)
    ensure_jars(tmp_path, lock, lambda _: None, fetch=Repository(CONTENTS))
    assert not (folder / ".download-old").exists()
    assert (folder / ".download-new").exists()


NUM_RECORDS = 10


@pytest.mark.kafka
def test_kafka_goes_on_with_its_log_after_every_damage_and_a_refusal_harms_nothing(tmp_path):
    """One log, a start for each damage: of its ids and of broker.json, of the copy, of both."""
    home = tmp_path / "kafka"
    place, copy = home / "data" / "meta.properties", home / "meta.properties"
    with started(home) as broker:
        fill(broker)
    ids = place.read_bytes()
    for damage, damage_of_cache in ((zeroed, cut), (gone, gone), (unreadable, not_text)):
        damage(place)
        damage_of_cache(home / "broker.json")
        with started(home) as broker:
            assert count(broker) == NUM_RECORDS, damage.__name__
            found = running(home)
            assert found is not None
            assert found.pid == broker.pid
        assert place.read_bytes() == copy.read_bytes() == ids
    empty(place)
    empty(copy)
    with pytest.raises(CannotStart, match="is empty"):
        started(home)
    place.write_bytes(ids)
    with started(home) as broker:
        assert count(broker) == NUM_RECORDS
    assert copy.read_bytes() == ids


def started(home: Path) -> Broker:
    return Broker.start(home, cache=CACHE, on_progress=lambda _: None)


def fill(broker: Broker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.brokers)
    admin.create_topics([NewTopic("t", 2, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=broker.brokers)
    for number in range(NUM_RECORDS):
        producer.send("t", b"synthetic %d" % number, partition=number % 2)
    producer.flush()
    producer.close()


def count(broker: Broker) -> int:
    """How many records a reader gets."""
    return len(read_whole(broker.brokers, "t"))
