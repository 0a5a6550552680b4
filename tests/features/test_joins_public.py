"""Goal: on real events the join's gauges, and late and out-of-order events, are what the logs hold.

Method: two public logs beside the checkout through the pipeline into a store: one whose publishers
tied every reaction to its exposure, 1 ms after it, and one without exposures. Late and out of order
are counted again from the raw lines. Skipped where the logs are not there.
"""

import gzip
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from features.config import FeaturesConfig
from features.joins import measure_joins
from features.offline.parquet import ParquetStore
from features.views import connect
from streams.config import StreamsConfig
from streams.events import Reaction, Shown
from streams.pipeline import Pipeline, Record

LOGS = Path(__file__).resolve().parents[3] / "shared/data/events"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not LOGS.is_dir(), reason=f"the public events are not at {LOGS}"),
]
CHUNK = 5_000


def ingested(root, name):
    """The lines of a log, heard of just now, and its facts, made durable batch after batch."""
    lines = gzip.decompress((LOGS / name).read_bytes()).splitlines()
    now_ms = time.time_ns() // 1_000_000
    pipeline, store, batches = (
        Pipeline(StreamsConfig()),
        ParquetStore(FeaturesConfig(root=root)),
        [],
    )
    for first in range(0, len(lines), CHUNK):
        batch = enumerate(lines[first : first + CHUNK])
        batches.append(
            pipeline.run([Record("t", 0, first + i, now_ms, None, v, ()) for i, v in batch])
        )
        store.append(batches[-1])
        pipeline.remember(batches[-1])
    return lines, batches


def joins_of(root):
    with connect(root) as connection:
        return measure_joins(connection, datetime.now(UTC))


def test_every_reaction_of_the_log_with_exposures_is_matched_a_millisecond_after_it(tmp_path):
    ingested(tmp_path, "convai2.cloudevents.jsonl.gz")
    found = joins_of(tmp_path)
    assert (found.num_matched_reactions, found.num_dangling_reactions) == (1_242, 0)
    assert found.num_matched_exposures + found.num_unmatched_exposures == 6_080
    assert found.delay_s == pytest.approx({50: 0.001, 90: 0.001, 99: 0.001})


def test_every_reaction_of_the_log_without_exposures_dangles(tmp_path):
    _, batches = ingested(tmp_path, "cofacts.cloudevents.jsonl.gz")
    found = joins_of(tmp_path)
    stored = sum(len(facts.reactions) for facts in batches)
    assert (found.num_matched_reactions, found.num_dangling_reactions) == (0, stored)
    assert (found.num_matched_exposures, found.delay_s) == (0, {})


@pytest.mark.parametrize("name", ["convai2.cloudevents.jsonl.gz", "cofacts.cloudevents.jsonl.gz"])
def test_late_and_out_of_order_are_as_the_raw_lines_have_them(tmp_path, name):
    lines, batches = ingested(tmp_path, name)
    times = [datetime.fromisoformat(msgspec.json.decode(line)["time"]) for line in lines]
    num_back, latest = 0, times[0]
    for at in times:
        num_back += at < latest
        latest = max(latest, at)
    kept = sum(len(f.reactions) + len(f.shown) for f in batches)
    assert kept == len(lines)  # No duplicates or dead letters, so that every line counts.
    assert sum(facts.out_of_order.total() for facts in batches) == num_back
    assert sum(facts.late[Reaction] + facts.late[Shown] for facts in batches) == len(lines)
