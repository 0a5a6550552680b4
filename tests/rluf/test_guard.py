"""Goal: an operator sees what is quarantined, and overrules it through the log.

Method: verdicts in a small store; a person's verdict through a real broker and the pipeline.
"""

import re
from dataclasses import replace

import pytest

from features.store import FactStore
from rluf.guard import list_quarantined, overrule
from rluf.settings import load_settings
from streams.errors import BadEvent, Unavailable
from streams.kafka.topics import ensure_topics
from streams.pipeline import Pipeline, Record
from streams.worker import Judge
from tests.features.histories import reaction, shown, store_all, verdict
from tests.offsets import end_offsets
from tests.reading import read_whole
from tests.waiting import patiently

LOVE = [shown("r1"), reaction("r1", "add", 5), reaction("r2", "add", 6)]


@pytest.fixture
def settings(tmp_path):
    return load_settings((), {"RLUF_HOME": str(tmp_path / "home")})


def sent_verdicts(config):
    """The records on the topic of verdicts."""
    return [
        Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
        for r in read_whole(config.brokers, config.verdicts_topic)
    ]


def test_what_stands_is_listed_with_how_many_reactions_it_covers(settings):
    store_all(settings.home, [*LOVE, verdict("u", seconds=9), verdict("v", response_id="r9")])
    first, second = list_quarantined(settings)
    assert (first["user_id"], first["rule"], first["reactions"]) == ("u", "burst", 2)
    assert (second["user_id"], second["response_id"], second["reactions"]) == ("v", "r9", 0)


@pytest.mark.kafka
def test_a_person_overrules_the_guard_through_the_log(settings, streams_config):
    settings = replace(settings, streams=streams_config)
    patiently(lambda: ensure_topics(streams_config))
    store_all(settings.home, [*LOVE, verdict("u", seconds=9)])
    made = overrule(settings, "u", "release", response_id="", who="ann", why="a fan, not a bot")
    records = sent_verdicts(streams_config)
    facts = Pipeline(streams_config).run(records)
    assert [each.id for each in facts.verdicts] == [made["verdict"]]
    FactStore(settings.features).append(facts)
    assert list_quarantined(settings) == []


@pytest.mark.kafka
def test_what_the_guard_decides_is_in_the_log_once_it_is_counted(streams_config):
    patiently(lambda: ensure_topics(streams_config))
    decided = [verdict("u"), verdict("v", "release")]
    judge = Judge(lambda: decided, streams_config)
    judge._decide()
    judge.stop()
    facts = Pipeline(streams_config).run(sent_verdicts(streams_config))
    assert {(each.user_id, each.action, each.rule) for each in facts.verdicts} == {
        ("u", "quarantine", "burst"),
        ("v", "release", "burst"),
    }
    assert facts.dead_letters == []


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user_id": " "}, "data.user_id"),
        ({"user_id": "x" * 513}, "data.user_id"),
        ({"response_id": "x" * 513}, "data.response_id"),
        ({"why": "x" * 5_000}, "data.evidence"),
    ],
)
def test_a_verdict_that_the_worker_would_refuse_is_not_sent(
    settings, streams_config, fields, words
):
    settings = replace(settings, streams=streams_config)
    told = {"user_id": "u", "response_id": "", "who": "ann", "why": "x"} | fields
    user_id = told.pop("user_id")
    with pytest.raises(BadEvent, match=re.escape(words)):
        overrule(settings, user_id, "release", **told)
    assert sum(end_offsets(streams_config).values()) == 0


def test_without_a_broker_nothing_is_decided_in_silence(settings):
    settings = replace(settings, streams=replace(settings.streams, brokers="127.0.0.1:1"))
    with pytest.raises(Unavailable):
        overrule(settings, "u", "release", response_id="", who="ann", why="x")
