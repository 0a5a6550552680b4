"""Goal: real events of volunteers, sent by one command, end in exactly the published counts.

Method: `rluf replay` of the public log beside the checkout, as a stranger runs it: on a fresh home,
again, shuffled, and with the worker killed while it stores. Skipped where the log is not there.
"""

import gzip
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.views import query
from rluf.local import read_state
from tests.rluf.command import finish, rluf, start
from tests.waiting import wait_for

LOG = Path(__file__).resolve().parents[3] / "shared/data/events/convai2.cloudevents.jsonl.gz"
pytestmark = [
    pytest.mark.data,
    pytest.mark.kafka,
    pytest.mark.skipif(not LOG.is_file(), reason=f"the public events are not at {LOG}"),
]
COUNTS = {
    "shown": 6080,
    "reactions": 1242,
    "likes": 783,
    "dislikes": 459,
    "labels": 1242,
    "dead_letters": 0,
}
COUNTS_SQL = """
    SELECT (SELECT count(*) FROM shown) AS shown,
           (SELECT count(*) FROM reactions) AS reactions,
           count(*) FILTER (signal = 'like' AND value AND NOT dangling) AS likes,
           count(*) FILTER (signal = 'dislike' AND value AND NOT dangling) AS dislikes,
           count(*) AS labels,
           (SELECT count(*) FROM dead_letters) AS dead_letters
    FROM labels
"""


def assert_nothing_is_lost(home: Path, sent_ids: set[str]) -> None:
    """Ask the store as anyone may for its counts, and then for every id that was sent."""
    assert rluf("features", "sql", COUNTS_SQL, "--json", home=home).value() == [COUNTS]
    ids = query(home, "FROM shown SELECT id UNION ALL FROM reactions SELECT id")
    stored = Counter(ids.column("id").to_pylist())
    assert set(stored) == sent_ids
    assert set(stored.values()) == {1}


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return gzip.decompress(LOG.read_bytes()).splitlines()


@pytest.fixture(scope="module")
def sent_ids(lines: list[bytes]) -> set[str]:
    return {json.loads(line)["id"] for line in lines}


@pytest.fixture(scope="module")
def shuffled(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    mixed = list(lines)
    random.Random(0).shuffle(mixed)
    path = tmp_path_factory.mktemp("events") / "shuffled.jsonl"
    path.write_bytes(b"\n".join(mixed) + b"\n")
    return path


def test_one_command_on_a_fresh_home_is_enough(tmp_path, sent_ids):
    home = tmp_path / "home"
    answer = rluf("replay", str(LOG), "--json", home=home)
    assert answer.code == 0, answer.err
    report = answer.value()
    assert (report["sent"], report["refused"], report["behind"]) == (7322, 0, 0)
    assert (report["shown"], report["reactions"]) == (6080, 1242)
    assert report["labels_on"] == {"like": 783, "dislike": 459}
    assert "worker: ready" in answer.err
    assert_nothing_is_lost(home, sent_ids)
    assert read_state(home) is None, "what it started, it stopped"


def test_shuffled_with_the_worker_killed_and_then_sent_again_gives_the_same(
    tmp_path, shuffled, sent_ids
):
    home = tmp_path / "home"
    process = start("replay", str(shuffled), home=home)
    killed = kill_worker_at_work(home)
    answer = finish(process)
    assert answer.code == 0, answer.err
    assert f"worker: ready (pid {killed})" in answer.err
    assert "worker died: killed by SIGKILL" in answer.err
    assert "worker: restarting (1 of 5)" in answer.err
    assert_nothing_is_lost(home, sent_ids)

    again = rluf("replay", str(LOG), "--json", home=home)
    assert again.code == 0, again.err
    assert again.value()["sent"] == 7322
    assert_nothing_is_lost(home, sent_ids)


def kill_worker_at_work(home: Path) -> int:
    """Kill the worker once it has stored something, long before the end; give its process id."""
    wait_for(lambda: any(stored_files(home)), "something was stored")
    state = read_state(home)
    assert state is not None
    pids = state["pids"]
    assert isinstance(pids, dict)
    os.kill(pids["worker"], signal.SIGKILL)
    return int(pids["worker"])


def stored_files(home: Path) -> Iterator[Path]:
    return (home / "store").rglob("*.parquet")


def test_the_dead_letters_of_a_file_are_told_by_its_lines(tmp_path):
    """Some bad lines: code 0, each named; nothing but bad lines: code 3."""
    home, file = tmp_path / "home", tmp_path / "some.ndjson"
    with gzip.open(LOG) as log:
        good = [next(log).strip() for _ in range(3)]
    bad = [b"{", b'{"type":"rluf.reaction.v1"}', good[0].replace(b'"1.0"', b'"0.1"', 1)]
    mixed = b"\r\n".join([b"", good[0], bad[0], good[1], bad[1], b"", bad[2], good[2]])
    file.write_bytes(gzip.compress(b"\xef\xbb\xbf" + mixed))
    answer = rluf("replay", str(file), "--json", home=home)
    assert answer.code == 0, answer.err
    report = answer.value()
    assert (report["sent"], report["dead_letters"]) == (6, 3)
    lines = sorted(line for fault in report["faults"] for line in fault["lines"])
    assert lines == [3, 5, 7]
    assert all(fault["detail"] for fault in report["faults"])
    file.write_bytes(b"\n".join(bad[:2]))
    answer = rluf("replay", str(file), "--json", home=home)
    assert answer.code == 3, answer.err
    report = answer.value()
    assert (report["sent"], report["dead_letters"]) == (2, 5), "the store holds the earlier ones"
    assert sum(fault["count"] for fault in report["faults"]) == 2
