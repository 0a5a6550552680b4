"""Goal: kcat reads our topics and writes events that become facts, by the commands of events.md.

Method: kcat itself against Apache Kafka and a worker as a process; skipped where kcat is not
installed.
"""

import shutil
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from streams.codec import encode
from streams.config import StreamsConfig
from streams.topics import ensure_topics
from tests.streams.test_worker import produce, reaction, reactions
from tests.streams.worker_rig import (
    RunningWorker,
    dead_letters,
    is_caught_up,
    start_worker,
    wait_for,
)

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed"),
]

WAIT_S = 60.0
STRUCTURED = ("-H", "content-type=application/cloudevents+json")


@pytest.fixture
def config(streams_config: StreamsConfig) -> StreamsConfig:
    ensure_topics(streams_config)
    return streams_config


@pytest.fixture
def worker(config: StreamsConfig, tmp_path) -> Iterator[RunningWorker]:
    running = start_worker(config, tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop()


def kcat(config: StreamsConfig, *arguments: str, told: bytes = b"") -> bytes:
    command = ["kcat", "-b", config.brokers, *arguments]
    return subprocess.run(
        command, input=told, check=True, capture_output=True, timeout=WAIT_S
    ).stdout


def test_what_kcat_writes_as_the_page_says_becomes_a_fact(config, worker, tmp_path):
    event = reaction("structured")
    line = f"{event.response_id}\t".encode() + encode(event) + b"\n"
    kcat(config, "-P", "-t", config.reactions_topic, "-K", "\t", *STRUCTURED, told=line)
    envelope = msgspec.json.decode(encode(reaction("binary")))
    data = msgspec.json.encode(envelope.pop("data"))
    headers = [f"ce_{name}={value}" for name, value in envelope.items() if name[0] != "d"]
    told = [part for header in headers for part in ("-H", header)]
    kcat(config, "-P", "-t", config.reactions_topic, *told, told=data)
    kcat(config, "-P", "-t", config.reactions_topic, *STRUCTURED, told=b"no event\n")
    wait_for(lambda: is_caught_up(config), WAIT_S)
    assert reactions(tmp_path) == {"structured": 1, "binary": 1}
    assert dead_letters(tmp_path) == {b"no event": "malformed_json"}


def test_kcat_reads_events_and_the_reason_and_bytes_of_dead_letters(config, worker, tmp_path):
    value = encode(reaction("read"))
    produce(config, [value, b"no event"])
    wait_for(lambda: is_caught_up(config), WAIT_S)
    read = ("-C", "-o", "beginning", "-e", "-q")
    assert value in kcat(config, *read, "-t", config.reactions_topic).splitlines()
    letters = kcat(config, *read, "-t", config.dead_letters_topic, "-f", "%h\n%s\n\n")
    assert b"reason=malformed_json" in letters
    assert b"\nno event\n" in letters
