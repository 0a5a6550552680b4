"""Goal: whatever fails, every acknowledged event is stored, once, with the right label.

Method: a short chaos run on a real broker with real workers, killed by SIGKILL; `make chaos` does
the long one. The oracle and the judge are tested by themselves: a judge that finds nothing in a
store from which something was taken would prove nothing.
"""

from pathlib import Path

import pytest

from features.config import FeaturesConfig
from features.store import FactStore
from streams.config import StreamsConfig
from streams.kafka_binding import STRUCTURED_HEADER
from streams.pipeline import Pipeline, Record
from tests.chaos.judge import judge
from tests.chaos.malformed import KINDS
from tests.chaos.oracle import expect
from tests.chaos.run import run
from tests.chaos.story import story

CACHE = Path(__file__).parents[2] / "runs" / "cache"
CONFIG = StreamsConfig(dedup_ids_max=0)


def records_of(lines):
    """The records that a log would hold of these lines."""
    topics = {"shown": CONFIG.shown_topic, "reactions": CONFIG.reactions_topic}
    return [
        Record(
            topics[line.topic],
            0,
            offset,
            line.at_ms,
            line.key.encode(),
            line.value,
            tuple((name, value.encode()) for name, value in line.headers) or (STRUCTURED_HEADER,),
        )
        for offset, line in enumerate(lines)
    ]


def store(root, records):
    FactStore(FeaturesConfig(root=root)).append(Pipeline(CONFIG).run(records))


@pytest.fixture(scope="module")
def lines():
    return list(story(3_000, seed=5))


def test_a_story_is_the_same_for_the_same_seed_and_holds_what_it_promises(lines):
    assert list(story(3_000, seed=5)) == lines
    assert list(story(3_000, seed=6)) != lines
    kinds = [line.what for line in lines]
    assert (len(lines), kinds.count("malformed"), kinds.count("duplicate")) == (3_000, 30, 300)
    assert {line.reason for line in lines if line.reason} == set(KINDS)


def test_pipeline_store_and_fold_agree_with_the_oracle(lines, tmp_path):
    store(tmp_path, records_of(lines))
    findings = judge(tmp_path, expect(lines), None)
    assert findings.is_clean, findings.examples
    assert (findings.malformed, findings.dead_letters) == (30, 30)


@pytest.mark.parametrize("what", ["event", "malformed"])
def test_one_record_that_is_missing_is_found(lines, tmp_path, what):
    names = [line.value for line in lines]
    missing = next(
        number
        for number, line in enumerate(lines)
        if line.what == what and names.count(line.value) == 1 and "add" in str(line.value)
    )
    store(tmp_path, records_of([*lines[:missing], *lines[missing + 1 :]]))
    findings = judge(tmp_path, expect(lines), None)
    assert not findings.is_clean
    assert (findings.lost + findings.dead_letter_faults) == 1


def test_an_event_that_nobody_sent_and_a_label_that_differs_are_found(lines, tmp_path):
    store(tmp_path, records_of(lines))
    fewer = [line for line in lines if line.key != lines[0].key]
    findings = judge(tmp_path, expect(fewer), None)
    assert findings.doubled > 0
    expected = expect(lines)
    key = next(key for key, label in expected.labels.items() if label.value)
    expected.labels[key] = expected.labels[key]._replace(value=False)
    assert judge(tmp_path, expected, None).label_mismatches == 1


@pytest.mark.kafka
@pytest.mark.long
def test_nothing_is_lost_or_counted_twice_while_workers_broker_and_disk_fail(tmp_path):
    report = run(
        tmp_path,
        events=6_000,
        kills=3,
        seed=11,
        cluster_kind="single",
        cache=CACHE,
        on_progress=lambda what, done, total: None,
    )
    assert report.is_clean, report
    assert report.acknowledged == 6_000
    assert report.kills == 3
    assert report.faults["broker_killed"] == report.faults["broker_restarted"] == 1
