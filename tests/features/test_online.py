"""Goal: what is served is what the facts say, whoever pushed and in whatever order.

Method: the real Feast store on SQLite in a folder of the test's own; other workers are other
FactStores over the same folder, other processes are real ones.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from features.config import FeaturesConfig
from features.definitions import apply_definitions, feast_folder
from features.online import OnlineStore, online_features
from features.store import COMPACT_INTERVAL_S, FactStore
from streams.errors import Unavailable
from tests.features.histories import busy_month, erasure, facts_of, reaction, shown


@pytest.fixture
def config(tmp_path):
    return FeaturesConfig(root=tmp_path / "a home")


@pytest.fixture
def store(config):
    """A worker's store whose clock stands still, so that no push seems slow and needs a rest."""
    return FactStore(config, clock=lambda: 0.0)


def user(config, user_id="u"):
    return online_features(config.root, users=[user_id])["users"][user_id]


def test_pushed_rows_are_served_and_unknown_ids_are_empty(config, store):
    store.append(facts_of([shown("r"), shown("q", seconds=9), reaction("r", "add", 5)]))
    assert store.push() == 2  # One user, one policy.
    found = online_features(config.root, users=["u", "nobody"], policies=["chat@1"])
    assert (found["users"]["u"]["num_shown"], found["users"]["u"]["num_love"]) == (2, 1)
    assert found["users"]["u"]["love_rate_smoothed"] == pytest.approx((1 + 20 * 0.05) / (2 + 20))
    assert found["policies"]["chat@1"]["num_shown"] == 2
    assert set(found["users"]["nobody"].values()) == {None}


def test_nothing_new_pushes_nothing(config, store):
    assert store.push() == 0
    store.append(facts_of([shown("r")]))
    assert store.push() == 2
    assert store.push() == 0


def test_a_late_event_corrects_the_row(config, store):
    store.append(facts_of([shown("r", seconds=100), reaction("r", "remove", 300)]))
    store.push()
    store.append(facts_of([reaction("r", "add", 200)]))  # Older than what was pushed.
    store.push()
    assert user(config)["num_love"] == 0
    store.append(facts_of([reaction("r", "add", 400)]))
    store.push()
    assert user(config)["num_love"] == 1


def test_a_worker_that_died_before_pushing_leaves_it_to_the_next(config):
    FactStore(config).append(facts_of([shown("r"), reaction("r", "add", 5)]))
    survivor = FactStore(config, clock=lambda: 0.0)
    survivor.append(facts_of([shown("q", "v")]))
    assert survivor.push() == 3
    assert user(config)["num_love"] == 1


def test_workers_that_push_at_the_same_time_end_in_the_right_row(config):
    workers = [FactStore(config, clock=lambda: 0.0) for _ in range(3)]

    def work(number):
        for turn in range(6):
            workers[number].append(facts_of([shown(f"r{number}-{turn}", "u", turn)]))
            workers[number].push()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert user(config)["num_shown"] == 18


def test_an_erased_user_is_served_as_unknown_to_us(config, store):
    store.append(facts_of([shown("r"), reaction("r", "add", 5)]))
    store.push()
    store.append(facts_of([erasure("u", 60)]))
    store.push()
    row = user(config)
    assert set(row.values()) == {None}


def test_two_slow_pushes_are_followed_by_a_rest_and_one_alone_is_not(config):
    now = [0.0]

    def clock():
        now[0] += 1.0  # Each look at the clock takes a second: a push seems to take one.
        return now[0]

    store = FactStore(config, clock=clock)
    for response_id in ("p", "q"):
        store.append(facts_of([shown(response_id)]))
        assert store.push() == 2
    store.append(facts_of([shown("r")]))
    assert store.push() == 0
    now[0] += 60
    assert store.push() == 2


def test_pushing_merges_small_files_now_and_then(config):
    now = [0.0]
    store = FactStore(config, clock=lambda: now[0])
    for number in range(config.compact_files_min):
        store.append(facts_of([shown(f"r{number}")]))
    store.push()
    folder = config.root / "store" / "shown"
    assert not list(folder.rglob("*.merged.parquet"))
    now[0] += COMPACT_INTERVAL_S
    store.push()
    assert len(list(folder.rglob("*.merged.parquet"))) == 1
    assert store.push() == 0
    assert store.compact()["num_files"] == 1


def test_a_disk_that_fails_while_pushing_is_unavailable_and_loses_nothing(
    config, store, monkeypatch
):
    store.append(facts_of([shown("r")]))

    def fail(*_arguments):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr("files.durable.os.fsync", fail)
        with pytest.raises(Unavailable, match="No space"):
            store.push()
    assert store.push() == 2


def test_applying_definitions_again_changes_nothing(config):
    apply_definitions(config.root)
    registry = feast_folder(config.root) / "registry.db"
    written_at = registry.stat().st_mtime_ns
    apply_definitions(config.root)
    assert registry.stat().st_mtime_ns == written_at


def test_a_home_that_moved_is_set_up_for_its_new_place(config, store, tmp_path):
    store.append(facts_of(busy_month(3)))
    store.push()
    before = user(config, "u1")
    moved = tmp_path / "another place"
    config.root.rename(moved)
    assert OnlineStore(moved).read(users=["u1"])["users"]["u1"] == before
    assert not config.root.exists()


READ = """
import sys, warnings
from pathlib import Path
from features.online import online_features
assert "torch" not in sys.modules, "Feast brought torch with it"
shown = [f[0] for f in warnings.filters if f[2] is DeprecationWarning and f[1] is f[3] is None]
assert "once" not in shown, "Feast changed what is warned about"
print(online_features(Path(sys.argv[1]), users=["u"])["users"]["u"]["num_love"])
"""


def test_another_process_reads_what_was_pushed_and_writes_nowhere_else(config, store, tmp_path):
    store.append(facts_of([shown("r"), reaction("r", "add", 5)]))
    store.push()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o500)
    environment = {
        "HOME": str(elsewhere),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    answer = subprocess.run(
        [sys.executable, "-c", READ, str(config.root)],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=environment,
        check=False,
    )
    assert answer.stdout.strip() == "1", answer.stderr
    assert answer.stderr == ""
    assert list(elsewhere.iterdir()) == []


def test_a_read_takes_milliseconds_of_the_processor(config, store):
    store.append(facts_of(busy_month(5)))
    store.push()
    online = OnlineStore(config.root)
    online.read(users=["u1"])
    took = []
    for _ in range(50):
        started = time.thread_time()  # However busy the machine is.
        online.read(users=["u1"], policies=["chat@1"])
        took.append(time.thread_time() - started)
    assert sorted(took)[25] < 0.02  # 0.6 ms here.


def test_freshness_is_the_age_of_the_last_push_that_saw_all_facts(config):
    now = [100.0]
    store = FactStore(config, clock=lambda: now[0])
    store.append(facts_of([shown("r")]))
    store.push()
    now[0] += 7.0
    assert REGISTRY.get_sample_value("rluf_feature_freshness_seconds") == 7.0
    store.push()  # Nothing new: what is served is of now.
    assert REGISTRY.get_sample_value("rluf_feature_freshness_seconds") == 0.0
