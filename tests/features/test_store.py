"""Goal: facts are durable when append returns, whole or not there, and files stay few.

Method: the real store in a folder of the test's own; faults are those of the system (a limit on
file sizes, a file where a folder should be, a call that fails), crashes are real SIGKILLs.
"""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from features.config import FeaturesConfig
from features.offline.parquet import ParquetStore
from features.tables import VERSION, VERSION_KEY
from features.views import connect, query
from streams.errors import Unavailable
from streams.pipeline import Facts
from tests.features.histories import (
    at,
    busy_month,
    dead_letter,
    erasure,
    facts_of,
    reaction,
    shown,
    store_all,
)


def files_under(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def parts_under(root):
    return list(root.rglob("*.parquet"))


def count(root, view):
    return query(root, f"SELECT count(*) AS n FROM {view}").to_pylist()[0]["n"]


def test_each_kind_goes_to_one_file_in_the_folder_of_its_day(tmp_path):
    store_all(tmp_path, [shown("r"), shown("q"), reaction("r"), erasure("v", 0), dead_letter(1)])
    kinds = {path.parent.parent.name: path for path in parts_under(tmp_path)}
    assert set(kinds) == {"shown", "reactions", "erasures", "dead_letters"}
    assert {path.parent.name for path in kinds.values()} == {"date=2026-03-01"}
    assert len(parts_under(tmp_path)) == 4


def test_facts_around_midnight_go_to_two_folders(tmp_path):
    store_all(tmp_path, [shown("r"), shown("q", known_at=at(86_400))])
    assert {p.parent.name for p in parts_under(tmp_path)} == {"date=2026-03-01", "date=2026-03-02"}


def test_no_facts_make_no_files(tmp_path):
    ParquetStore(FeaturesConfig(root=tmp_path)).append(Facts())
    assert files_under(tmp_path) == []


def test_files_say_their_version_and_hold_microseconds(tmp_path):
    precise = datetime(2026, 3, 1, 1, 2, 3, 456_789, tzinfo=UTC)
    store_all(tmp_path, [reaction("r", occurred_at=precise)])
    schema = pq.read_schema(parts_under(tmp_path)[0])
    assert schema.metadata[VERSION_KEY] == VERSION
    assert str(schema.field("occurred_at").type) == "timestamp[us, tz=UTC]"
    assert query(tmp_path, "SELECT occurred_at FROM reactions")[0][0].as_py() == precise


@contextmanager
def files_limited_to(num_bytes):
    """The system refuses to let this process write larger files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_midway_leaves_nothing_and_can_be_repeated(tmp_path):
    store = store_all(tmp_path, [shown("r")])
    before = files_under(tmp_path)
    # The reactions' file fits the limit, the exposure's does not: neither may stay.
    facts = facts_of([reaction("r"), shown("q", response=os.urandom(20_000).hex())])
    with files_limited_to(8_000), pytest.raises(Unavailable, match="cannot write facts"):
        store.append(facts)
    assert files_under(tmp_path) == before
    store.append(facts)
    assert (count(tmp_path, "shown"), count(tmp_path, "reactions")) == (2, 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
def test_a_failing_disk_is_unavailable_and_says_what_to_do(tmp_path, monkeypatch, code, call):
    store = store_all(tmp_path, [shown("r")])
    before = files_under(tmp_path)

    def fail(*_arguments):
        raise OSError(code, os.strerror(code))

    facts = facts_of([reaction("r"), shown("q")])
    with monkeypatch.context() as patched:
        patched.setattr(f"files.durable.os.{call}", fail)
        with pytest.raises(Unavailable) as raised:
            store.append(facts)
    text = str(raised.value)
    assert os.strerror(code) in text
    assert str(tmp_path) in text
    assert "; " in text
    assert files_under(tmp_path) == before


def test_a_file_where_the_folder_should_be_is_unavailable(tmp_path):
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(Unavailable, match="Not a directory"):
        ParquetStore(FeaturesConfig(root=tmp_path)).append(facts_of([shown("r")]))


APPEND_FOREVER = """
import sys
from pathlib import Path
from features.config import FeaturesConfig
from features.offline.parquet import ParquetStore
from tests.features.histories import facts_of, reaction, shown
store = ParquetStore(FeaturesConfig(root=Path(sys.argv[1])))
number = 0
while True:
    store.append(facts_of([shown(f"r{number}"), reaction(f"r{number}")]))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""


def test_what_was_appended_before_a_kill_is_there_and_nothing_half(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", APPEND_FOREVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        for _ in range(40):
            last = int(writer.stdout.readline())
    finally:
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
    last = max([last, *map(int, rest)])
    seen = set(query(tmp_path, "SELECT response_id FROM shown")["response_id"].to_pylist())
    assert seen >= {f"r{number}" for number in range(last + 1)}
    assert count(tmp_path, "reactions") >= last + 1


def test_merging_keeps_every_row_and_leaves_one_file_a_day_and_kind(tmp_path):
    events = busy_month(6)
    store = store_all(tmp_path, events, chunk=3)
    before = query(tmp_path, "SELECT * FROM labels ORDER BY ALL")
    done = store.compact(files_min=2)
    assert done.num_files == 2
    assert done.num_merged == len(parts_under(tmp_path)) - 2  # The old ones stay for a while.
    assert query(tmp_path, "SELECT * FROM labels ORDER BY ALL") == before
    assert count(tmp_path, "raw_shown") == count(tmp_path, "shown") == 60


def test_few_files_are_left_alone(tmp_path):
    store = store_all(tmp_path, [shown(f"r{number}") for number in range(9)], chunk=1)
    assert store.compact(files_min=10).num_merged == 0
    assert store.compact(files_min=9).num_merged == 9


def test_merged_files_go_when_no_reader_can_have_them(tmp_path):
    now = [time.time()]
    store = ParquetStore(FeaturesConfig(root=tmp_path, compact_grace_s=120), clock=lambda: now[0])
    for number in range(5):
        store.append(facts_of([shown(f"r{number}")]))
    with connect(tmp_path) as earlier:
        store.compact(files_min=2)
        now[0] += 100
        assert store.compact(files_min=2).num_deleted == 0
        assert earlier.sql("SELECT count(*) FROM shown").fetchall() == [(5,)]
    now[0] += 100
    assert store.compact(files_min=2).num_deleted == 5
    assert len(parts_under(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.replaces"))
    assert count(tmp_path, "shown") == 5


def test_merged_files_can_be_merged_again(tmp_path):
    now = [time.time()]
    store = ParquetStore(FeaturesConfig(root=tmp_path, compact_grace_s=0), clock=lambda: now[0])
    for number in range(12):
        store.append(facts_of([shown(f"r{number}")]))
        if number % 3 == 2:
            store.compact(files_min=2)
            assert count(tmp_path, "raw_shown") == number + 1
            now[0] += 10
    store.compact(files_min=2)
    assert count(tmp_path, "raw_shown") == 12
    assert len(parts_under(tmp_path)) == 1


def test_a_merge_cut_short_before_its_list_was_written_loses_nothing(tmp_path):
    store = store_all(tmp_path, [shown(f"r{number}") for number in range(4)], chunk=1)
    store.compact(files_min=2)
    (listing,) = tmp_path.rglob("*.replaces")
    listing.unlink()
    assert count(tmp_path, "shown") == 4


def test_a_list_whose_merged_file_was_not_seen_hides_nothing(tmp_path):
    store = store_all(tmp_path, [shown(f"r{number}") for number in range(4)], chunk=1)
    store.compact(files_min=2)
    (merged,) = tmp_path.rglob("*.merged.parquet")
    merged.unlink()
    assert count(tmp_path, "shown") == 4


def test_leftovers_of_a_crash_are_swept_when_they_are_old(tmp_path):
    now = [time.time()]
    store = ParquetStore(FeaturesConfig(root=tmp_path), clock=lambda: now[0])
    store.append(facts_of([shown("r")]))
    leftover = parts_under(tmp_path)[0].parent / ".partial-left"
    leftover.write_bytes(b"half")
    store.compact(files_min=2)
    assert leftover.exists()
    now[0] += 2 * 3600
    store.compact(files_min=2)
    assert not leftover.exists()
    assert count(tmp_path, "shown") == 1


def test_readers_miss_nothing_while_others_append_and_merge(tmp_path):
    stop = threading.Event()
    acknowledged = [0, 0]

    def append(worker):
        store = ParquetStore(FeaturesConfig(root=tmp_path))
        while not stop.is_set():
            store.append(facts_of([shown(f"r{worker}-{acknowledged[worker]}")]))
            acknowledged[worker] += 1
            time.sleep(0.005)  # Unbridled, two writers outrun the readers on a busy machine.

    def merge():
        store = ParquetStore(FeaturesConfig(root=tmp_path))
        while not stop.is_set():
            store.compact(files_min=4)

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(2)]
    threads.append(threading.Thread(target=merge))
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            floor = sum(acknowledged)
            seen = count(tmp_path, "shown")
            assert seen >= floor
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert count(tmp_path, "shown") == sum(acknowledged) > 50


def test_erasing_removes_the_rows_from_the_files(tmp_path):
    now = [time.time()]
    store = ParquetStore(FeaturesConfig(root=tmp_path, compact_grace_s=0), clock=lambda: now[0])
    store.append(
        facts_of([shown("r", "u"), shown("q", "v", response="A secret."), reaction("q", "add", 5)])
    )
    store.append(facts_of([erasure("v", 60), shown("back", "v", 61)]))
    assert store.erase() == 1
    assert store.erase() == 0
    now[0] += 10
    store.compact(files_min=2)
    assert count(tmp_path, "raw_shown") == 2
    kept = [
        row
        for part in parts_under(tmp_path / "store" / "shown")
        for row in pq.read_table(part).to_pylist()
    ]
    assert {row["response_id"] for row in kept} == {"r", "back"}


def test_a_thousand_small_files_are_read_as_one_and_merged(tmp_path):
    store = store_all(tmp_path, [shown("r")])
    one = parts_under(tmp_path)[0]
    for number in range(1000):
        os.link(one, one.parent / f"part-{number:04}.parquet")
    assert count(tmp_path, "shown") == 1
    store.compact(files_min=2)
    assert store.compact(files_min=2).num_files == 1
