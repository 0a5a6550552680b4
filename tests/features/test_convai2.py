"""Goal: real events of volunteers end in exactly the labels that their publishers counted.

Method: the public log beside the checkout, through the pipeline into a store, as it is, repeated
and shuffled. Skipped where the log is not there.
"""

import gzip
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.config import FeaturesConfig
from features.offline.parquet import ParquetStore
from features.snapshot import take_snapshot
from features.views import query
from streams.config import StreamsConfig
from streams.pipeline import Pipeline, Record

LOG = Path(__file__).resolve().parents[3] / "shared/data/events/convai2.cloudevents.jsonl.gz"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not LOG.is_file(), reason=f"the public events are not at {LOG}"),
]


def ingest(root, lines, chunk):
    """What the worker does, without Kafka and without remembering what it has seen."""
    store = ParquetStore(FeaturesConfig(root=root))
    now_ms = time.time_ns() // 1_000_000
    for first in range(0, len(lines), chunk):
        pipeline = Pipeline(StreamsConfig())
        batch = lines[first : first + chunk]
        records = [Record("t", 0, first + i, now_ms, None, v, []) for i, v in enumerate(batch)]
        store.append(pipeline.run(records))


@pytest.fixture(scope="module")
def lines():
    return gzip.decompress(LOG.read_bytes()).splitlines()


@pytest.fixture(scope="module")
def once(lines, tmp_path_factory):
    root = tmp_path_factory.mktemp("once")
    ingest(root, lines, chunk=1000)
    return root


@pytest.fixture(scope="module")
def shuffled_twice(lines, tmp_path_factory):
    root = tmp_path_factory.mktemp("twice")
    again = [*lines, *lines]
    random.Random(0).shuffle(again)
    ingest(root, again, chunk=700)
    return root


@pytest.mark.parametrize("replayed", ["once", "shuffled_twice"])
def test_the_store_holds_what_was_counted(replayed, request):
    root = request.getfixturevalue(replayed)
    assert query(root, "SELECT count(*) AS n FROM shown").to_pylist() == [{"n": 6080}]
    assert query(root, "SELECT count(*) AS n FROM reactions").to_pylist() == [{"n": 1242}]
    assert query(root, "SELECT count(*) AS n FROM dead_letters").to_pylist() == [{"n": 0}]
    labels = query(
        root,
        "SELECT signal, count(*) AS n FROM labels WHERE value AND NOT mistap AND NOT dangling"
        " GROUP BY signal ORDER BY signal",
    )
    assert labels.to_pylist() == [{"signal": "dislike", "n": 459}, {"signal": "like", "n": 783}]


@pytest.mark.parametrize("exposure", ["shown", "raters"])
def test_once_and_shuffled_twice_give_one_snapshot(once, shuffled_twice, exposure):
    now = datetime.now(UTC)
    hashes = {
        take_snapshot(FeaturesConfig(root=root, exposure=exposure), signal="like", as_of=now).hash
        for root in (once, shuffled_twice)
    }
    assert len(hashes) == 1
