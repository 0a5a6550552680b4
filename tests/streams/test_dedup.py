"""Goal: ids are remembered for a window, within a limit, across crashes, and never falsely.

Method: small memories with a clock that we set, beside a plain Python set as the truth; files are
damaged the ways that crashes and full disks damage them.
"""

import random
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dedup import SEGMENTS, SeenIds

PLACE = ("t", 0)


class Clock:
    """Seconds since 1970 that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def memory(clock, folder=None, *, num_max=1_000_000, window_s=800.0):
    return SeenIds(num_max=num_max, window_s=window_s, folder=folder, clock=clock)


def known(seen, ids, place=PLACE):
    hashes = np.array(ids, dtype=np.uint64)
    return [each for each, is_known in zip(ids, seen.known(place, hashes), strict=True) if is_known]


@given(st.lists(st.sets(st.integers(0, 2**64 - 1), max_size=20), max_size=40), st.randoms())
def test_it_knows_exactly_what_it_was_told(batches, chance):
    seen = memory(Clock())
    truth = set()
    for batch in batches:
        seen.add(PLACE, batch)
        truth |= batch
    asked = [*truth, *(chance.getrandbits(64) for _ in range(10))]
    chance.shuffle(asked)
    assert known(seen, asked) == [each for each in asked if each in truth]


def test_partitions_know_nothing_of_each_other(clock):
    seen = memory(clock)
    seen.add(("t", 0), {1, 2})
    assert known(seen, [1, 2], ("t", 1)) == []
    seen.forget(("t", 0))
    assert known(seen, [1, 2], ("t", 0)) == []


def test_ids_are_known_for_the_window_and_forgotten_soon_after(clock):
    seen = memory(clock, window_s=800.0)
    seen.add(PLACE, {1})
    clock.now_s += 800.0
    seen.add(PLACE, {2})
    assert known(seen, [1, 2]) == [1, 2]
    clock.now_s += 800.0 / SEGMENTS + 1
    seen.add(PLACE, {3})
    assert known(seen, [1, 2, 3]) == [2, 3]


def test_no_more_ids_are_kept_than_allowed_and_the_oldest_go(clock):
    seen = memory(clock, num_max=1_000)
    for number in range(100):
        clock.now_s += 1
        seen.add(("t", number % 3), set(range(100 * number, 100 * number + 100)))
    assert 500 <= len(seen) <= 1_000
    assert known(seen, [9_999], ("t", 99 % 3)) == [9_999]
    assert known(seen, [0], ("t", 0)) == []


def test_eight_bytes_an_id(clock):
    seen = memory(clock)
    chance = random.Random(1)
    for _ in range(50):
        seen.add(PLACE, {chance.getrandbits(64) for _ in range(2_000)})
    assert len(seen) == 100_000
    assert seen.num_bytes == 800_000


def test_another_process_knows_what_this_one_knew(clock, tmp_path):
    first = memory(clock, tmp_path)
    for start in range(0, 1_000, 100):
        clock.now_s += 20
        first.add(PLACE, set(range(start, start + 100)))
    second = memory(clock, tmp_path)
    assert known(second, [0, 555, 999, 1_000]) == [0, 555, 999]
    assert len(second) == 1_000


@given(num=st.integers(1, 6), num_bytes_left=st.integers(0, 48))
def test_a_file_cut_anywhere_loses_what_was_cut_off_alone(num, num_bytes_left):
    """At 0 bytes too: its owner was killed between making the file and writing to it."""
    told = list(range(1, num + 1))
    kept = told[: num_bytes_left // 8]
    with tempfile.TemporaryDirectory() as folder:
        memory(Clock(), Path(folder)).add(PLACE, set(told))
        (path,) = Path(folder).rglob("*.ids")
        path.write_bytes(path.read_bytes()[:num_bytes_left])
        second = memory(Clock(), Path(folder))
        assert known(second, [*told, 99]) == kept
        second.add(PLACE, {99})
        assert known(memory(Clock(), Path(folder)), [*told, 99]) == [*kept, 99]


def test_a_disk_that_fills_in_the_middle_of_a_write_leaves_no_half_of_a_hash(clock, tmp_path):
    seen = memory(clock, tmp_path)
    seen.add(PLACE, {1})
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, most[1]))  # Room for one hash and a half.
    try:
        seen.add(PLACE, {2, 3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    seen.add(PLACE, {4})
    assert known(seen, [1, 2, 3, 4]) == [1, 2, 3, 4]
    assert all(path.stat().st_size % 8 == 0 for path in tmp_path.rglob("*.ids"))


def test_files_outside_of_the_window_are_deleted(clock, tmp_path):
    memory(clock, tmp_path, window_s=80.0).add(PLACE, {1})
    clock.now_s += 1_000
    second = memory(clock, tmp_path, window_s=80.0)
    assert known(second, [1]) == []
    assert list(tmp_path.rglob("*.ids")) == []


def test_a_folder_that_cannot_be_written_costs_memory_of_nothing(clock, tmp_path):
    folder = tmp_path / "ids"
    folder.write_text("a file where the folder should be")
    seen = memory(clock, folder)
    seen.add(PLACE, {1, 2})
    assert known(seen, [1, 2, 3]) == [1, 2]


def test_nothing_is_remembered_where_nothing_may_be(clock):
    seen = memory(clock, num_max=0)
    seen.add(PLACE, {1})
    assert known(seen, [1]) == []
