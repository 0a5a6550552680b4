"""Goal: what a kill leaves half done in derived files is seen by nobody and outlives no erasure.

Method: each fault that killing at every point has shown (test_every_crash.py), alone and at once:
the files are left as the kill left them, or a child is killed at the very operation.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from features.config import FeaturesConfig
from features.definitions import apply_definitions, feast_folder, open_feast
from features.erasing import forget_user, search
from features.online import OnlineStore, features_as_of
from features.snapshot import take_snapshot
from features.store import FactStore
from files.durable import PARTIAL_PREFIX, remove_folder, remove_partial
from tests.features.crash_points import KILLED, Nursery, Points
from tests.features.histories import (
    AFTER,
    at,
    busy_month,
    erasure,
    facts_of,
    reaction,
    shown,
    store_all,
)

HOURS_S = 2 * 3600
FORGOTTEN = "user-to-be-forgotten"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery([])
    yield nursery
    nursery.close()


def make_old(path: Path) -> None:
    then = time.time() - HOURS_S
    os.utime(path, (then, then))


def no_wait(config: FeaturesConfig) -> FactStore:
    return FactStore(config, clock=lambda: 0.0)


def test_a_push_whose_only_news_is_a_file_that_erasing_emptied_pushes(tmp_path):
    config = FeaturesConfig(root=tmp_path, compact_grace_s=0.0)
    store = no_wait(config)
    for event in (shown("q", "v"), shown("r"), erasure("u", 60)):
        store.append(facts_of([event]))
    store.push()
    assert store.erase() == 1  # The only row of its file.
    store.push()
    assert store.push() == 0
    assert OnlineStore(tmp_path).read(users=["u", "v"])["users"]["v"]["num_shown"] == 1


def apply_all(root: Path, points: Points) -> None:
    points.labels.append("begin")
    apply_definitions(root)


def test_a_kill_while_feasts_registry_is_written_anew_leaves_no_registry_for_good(
    tmp_path, nursery
):
    root = tmp_path / "home"
    calm = nursery.run(apply_all, root)
    again = tmp_path / "again"
    torn = [n for n, label in enumerate(calm.labels) if label.startswith("half of a write feast/r")]
    assert torn
    for number in torn:
        shutil.rmtree(again, ignore_errors=True)
        assert nursery.run(apply_all, again, die_at=number).exit_code == KILLED
        assert nursery.run(apply_all, again).fault == ""


def test_a_registry_that_was_lost_and_then_half_written_is_not_taken_for_applied(tmp_path):
    apply_definitions(tmp_path)
    registry = feast_folder(tmp_path) / "registry.db"
    whole = registry.read_bytes()
    registry.unlink()
    nursery = Nursery([])
    try:
        calm = nursery.run(apply_all, tmp_path)
        torn = calm.labels.index("half of a write feast/registry.db")
        registry.unlink()
        assert nursery.run(apply_all, tmp_path, die_at=torn).exit_code == KILLED
    finally:
        nursery.close()
    assert registry.stat().st_size < len(whole)
    assert {view.name for view in open_feast(tmp_path).list_feature_views()} >= {"user_history"}


def remove_it(root: Path, points: Points) -> None:
    remove_folder(root / "snapshot")


def test_a_snapshot_killed_while_it_is_removed_is_whole_or_gone(tmp_path, nursery):
    names = {"examples.parquet", "manifest.json"}
    for number in range(10):
        root = tmp_path / str(number)
        (root / "snapshot").mkdir(parents=True)
        for name in names:
            (root / "snapshot" / name).write_text(name)
        outcome = nursery.run(remove_it, root, die_at=number)
        left = {path.name for path in (root / "snapshot").glob("*")}
        assert left in (names, set())
        make_all_old(root)
        remove_partial(root, before_s=time.time() - 60)
        if not left:
            assert list(root.iterdir()) == []
        if outcome.exit_code == 0:
            break
    assert number >= 3  # It was killed at a rename, at two deletions and at that of the folder.


def make_all_old(root: Path) -> None:
    for path in root.glob(f"{PARTIAL_PREFIX}*"):
        make_old(path)


def test_erasing_removes_what_crashes_left_of_snapshots_and_histories(tmp_path):
    config = FeaturesConfig(root=tmp_path)
    others = busy_month(20)
    store_all(tmp_path, [*others, shown("f", FORGOTTEN), reaction("f", user_id=FORGOTTEN)])
    taken = take_snapshot(config, signal="love", as_of=AFTER)
    half = tmp_path / "snapshots" / f"{PARTIAL_PREFIX}one"
    shutil.copytree(taken.path, half)
    (half / "examples.parquet").rename(half / f"{PARTIAL_PREFIX}two")
    features_as_of(config, users=[FORGOTTEN], at=at(60))
    sources = feast_folder(tmp_path) / "sources"
    shutil.copyfile(sources / "user_history.parquet", sources / f"{PARTIAL_PREFIX}three")
    make_old(half)
    found = search(tmp_path, [FORGOTTEN], []).found
    assert f"feast/sources/{PARTIAL_PREFIX}three" in found
    assert f"snapshots/{half.name}/{PARTIAL_PREFIX}two" in found

    store_all(tmp_path, [erasure(FORGOTTEN, 10**6)])
    assert forget_user(config, [FORGOTTEN]).snapshots == (taken.hash,)
    left = search(tmp_path, [FORGOTTEN], [])
    assert [path for path in left.found if not path.startswith("store/erasures/")] == []
    assert left.unread == ()
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_a_file_that_a_kill_cut_in_half_is_said_to_be_unread_and_not_clean(tmp_path):
    store_all(tmp_path, [shown("f", FORGOTTEN)])
    (whole,) = tmp_path.rglob("part-*.parquet")
    data = whole.read_bytes()
    whole.rename(whole.with_name(f"{PARTIAL_PREFIX}one"))
    assert len(search(tmp_path, [FORGOTTEN], []).found) == 1
    whole.with_name(f"{PARTIAL_PREFIX}one").write_bytes(data[: len(data) // 2])
    assert len(search(tmp_path, [FORGOTTEN], []).unread) == 1


def test_asking_for_a_history_removes_unfinished_ones_of_long_ago(tmp_path):
    config = FeaturesConfig(root=tmp_path)
    store_all(tmp_path, [shown("r"), reaction("r", "add", 5)])
    apply_definitions(tmp_path)
    sources = feast_folder(tmp_path) / "sources"
    old, young = (sources / f"{PARTIAL_PREFIX}{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    make_old(old)
    features_as_of(config, users=["u"], at=at(60))
    assert not old.exists()
    assert young.exists()  # Somebody may be writing it.
    assert pq.read_table(sources / "user_history.parquet").num_rows > 0


def test_unfinished_files_and_folders_of_long_ago_go_and_others_stay(tmp_path):
    for name in ("old", "young"):
        (tmp_path / f"{PARTIAL_PREFIX}{name}").write_text("half")
        (tmp_path / f"{PARTIAL_PREFIX}folder-{name}" / "deep").mkdir(parents=True)
    (tmp_path / "whole").write_text("whole")
    for path in tmp_path.iterdir():
        if "young" not in path.name:
            make_old(path)
    (tmp_path / f"{PARTIAL_PREFIX}gone").symlink_to(tmp_path / "nowhere")  # Gone at the look.
    remove_partial(tmp_path, before_s=time.time() - 60)
    assert {path.name for path in tmp_path.iterdir()} == {
        "whole",
        f"{PARTIAL_PREFIX}young",
        f"{PARTIAL_PREFIX}folder-young",
        f"{PARTIAL_PREFIX}gone",
    }
