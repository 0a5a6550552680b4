"""Goal: kcat reads our topics and writes events that become facts, by the commands of events.md.

Method: kcat itself against Apache Kafka and a worker as a process, by commands of our own and by
those of the page, word for word but for the topics' names; skipped where kcat is not installed.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streams.codec import encode
from streams.config import StreamsConfig
from streams.kafka.topics import ensure_topics
from tests.streams.test_worker import produce, reaction, reactions
from tests.streams.worker_rig import (
    RunningWorker,
    dead_letters,
    is_caught_up,
    start_worker,
)
from tests.waiting import WAIT_S, patiently, wait_for

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed"),
]

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
STRUCTURED = ("-H", "content-type=application/cloudevents+json")


@pytest.fixture
def config(streams_config: StreamsConfig) -> StreamsConfig:
    patiently(lambda: ensure_topics(streams_config))
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
    wait_for(lambda: is_caught_up(config))
    assert reactions(tmp_path) == {"structured": 1, "binary": 1}
    assert dead_letters(tmp_path) == {b"no event": "malformed_json"}


def test_kcat_reads_events_and_the_reason_and_bytes_of_dead_letters(config, worker, tmp_path):
    value = encode(reaction("read"))
    produce(config, [value, b"no event"])
    wait_for(lambda: is_caught_up(config))
    read = ("-C", "-o", "beginning", "-e", "-q")
    assert value in kcat(config, *read, "-t", config.reactions_topic).splitlines()
    letters = kcat(config, *read, "-t", config.dead_letters_topic, "-f", "%h\n%s\n\n")
    assert b"reason=malformed_json" in letters
    assert b"\nno event\n" in letters


def commands(config: StreamsConfig) -> list[str]:
    """The shell blocks of the page's section on kcat, with the test's topics for the house's."""
    _, _, section = PAGE.read_text("utf-8").partition("## With kcat")
    house = StreamsConfig()
    for old, new in zip(house.topics, config.topics, strict=True):
        section = section.replace(f"-t {old} ", f"-t {new} ")
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed, which the page uses")
def test_the_commands_of_the_page_work_as_they_stand_there(config, worker, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "up.json").write_bytes(msgspec.json.encode({"brokers": config.brokers}))
    (tmp_path / "reactions.jsonl").write_bytes(encode(reaction("from-a-file")) + b"\n")
    produce(config, [b"no event"])
    read, *written = commands(config)
    said = []
    for block in (*written, read):
        shell = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(shell, cwd=tmp_path, capture_output=True, timeout=WAIT_S, check=False)
        assert done.returncode == 0, done.stderr.decode()
        wait_for(lambda: is_caught_up(config))
        said.append(done.stdout)
    assert len(written) == 2
    assert reactions(tmp_path) == {"from-a-file": 1, "tap-1": 1}
    assert dead_letters(tmp_path) == {b"no event": "malformed_json"}
    assert encode(reaction("from-a-file")) in said[-1].splitlines()
    assert b"reason=malformed_json" in said[-1]
