"""Goal: every line of a file reaches the topic of its type, unchanged, and is accounted for.

Method: small files of each kind, and a producer that keeps what it is sent and answers late.
"""

import gzip
from concurrent.futures import Future

import msgspec
import pytest

from streams import replay
from streams.codec import encode
from streams.config import StreamsConfig
from streams.errors import BadEvent, Unavailable
from streams.kafka.producer import RecordPlace
from streams.replay import UNREADABLE, read_events, replay_file
from tests.streams.samples import erasure, reaction, shown


class LateProducer:
    """Acknowledges a record once `num_late` newer ones have come, or its `num_last`th has."""

    def __init__(self, *, num_late: int = 0, num_last: int = 0) -> None:
        self.sent: list[tuple[str, bytes | None, bytes]] = []
        self.num_late = num_late
        self.num_last = num_last
        self.open: list[Future[RecordPlace]] = []
        self.num_open_max = 0
        self.fault: Exception | None = None

    def send_raw(self, topic: str, key: bytes | None, value: bytes) -> Future[RecordPlace]:
        self.sent.append((topic, key, value))
        future: Future[RecordPlace] = Future()
        self.open.append(future)
        self.num_open_max = max(self.num_open_max, len(self.open))
        num_late = 0 if len(self.sent) == self.num_last else self.num_late
        while len(self.open) > num_late:
            oldest = self.open.pop(0)
            if self.fault is None:
                oldest.set_result(RecordPlace("t", 0, 0))
            else:
                oldest.set_exception(self.fault)
        return future


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(params=[".jsonl", ".jsonl.gz"])
def write(request, tmp_path):
    def write_lines(*lines: bytes):
        path = tmp_path / f"some events{request.param}"
        content = b"\n".join(lines)
        path.write_bytes(gzip.compress(content) if request.param.endswith("gz") else content)
        return path

    return write_lines


def test_lines_go_to_the_topic_of_their_type_under_the_key_of_their_response(write):
    events = [encode(shown()), encode(reaction()), encode(erasure())]
    producer = LateProducer()
    report = replay_file(write(*events), producer, StreamsConfig(), on_progress=quiet)
    assert producer.sent == [
        ("rluf.shown.v1", b"chatcmpl-1", events[0]),
        ("rluf.reactions.v1", b"chatcmpl-1", events[1]),
        ("rluf.erasures.v1", b"u-9", events[2]),
    ]
    assert (report.sent, report.refused) == (3, 0)
    assert report.by_type == {
        "rluf.response.shown.v1": 1,
        "rluf.reaction.v1": 1,
        "rluf.subject.erased.v1": 1,
    }


def test_what_cannot_be_read_goes_to_the_worker_all_the_same(write):
    lines = [
        b"{",
        b"\xff\xfe",
        b"[1]",
        b'{"type":7}',
        b'{"type":"other","subject":"x"}',
        b"[" * 9**5,
    ]
    producer = LateProducer()
    report = replay_file(write(*lines), producer, StreamsConfig(), on_progress=quiet)
    assert [(topic, value) for topic, _, value in producer.sent] == [
        ("rluf.reactions.v1", line) for line in lines
    ]
    assert report.by_type == {UNREADABLE: 5, "other": 1}


def test_blank_lines_and_line_ends_are_no_events(write):
    line = encode(reaction())
    assert list(read_events(write(b"", line + b"\r", b"   ", line, b""))) == [(2, line), (4, line)]


def test_an_empty_file_sends_nothing_and_says_so(write):
    progress = []
    report = replay_file(
        write(b""), LateProducer(), StreamsConfig(), on_progress=lambda *at: progress.append(at)
    )
    assert (report.sent, progress) == (0, [(0, 0), (0, 0)])


def test_it_waits_for_acknowledgements_and_never_runs_far_ahead(write, monkeypatch):
    monkeypatch.setattr(replay, "PENDING_MAX", 10)
    lines = [encode(reaction(id=str(n))) for n in range(1_100)]
    producer = LateProducer(num_late=9, num_last=1_100)
    progress = []
    report = replay_file(
        write(*lines), producer, StreamsConfig(), on_progress=lambda *at: progress.append(at)
    )
    assert report.sent == 1_100
    assert producer.num_open_max == 10
    assert progress == [(0, 1_100), (500, 1_100), (1_000, 1_100), (1_100, 1_100)]


def test_a_line_that_kafka_refuses_is_counted_and_the_rest_is_sent(write):
    class Picky(LateProducer):
        def send_raw(self, topic, key, value):
            if b"too-long" in value:
                raise BadEvent("too_large", "more than Kafka takes")
            return super().send_raw(topic, key, value)

    lines = [encode(reaction(id=text)) for text in ("1", "too-long", "2")]
    report = replay_file(write(*lines), Picky(), StreamsConfig(), on_progress=quiet)
    assert (report.sent, report.refused) == (2, 1)


def test_a_record_that_is_never_acknowledged_stops_the_replay(write):
    producer = LateProducer()
    producer.fault = Unavailable("gone")
    with pytest.raises(Unavailable, match="gone"):
        replay_file(write(encode(reaction())), producer, StreamsConfig(), on_progress=quiet)


def test_another_kind_of_file_is_refused_by_name(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(encode(reaction()))
    with pytest.raises(ValueError, match=r"events.csv is none of \*.jsonl, \*.ndjson"):
        list(read_events(path))


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"x" * 10_000)[:-12], b"\x1f\x8b\x08"]
)
def test_a_damaged_archive_is_refused_before_anything_is_sent(tmp_path, content):
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(content)
    producer = LateProducer()
    with pytest.raises(ValueError, match="damaged"):
        replay_file(path, producer, StreamsConfig(), on_progress=quiet)
    assert producer.sent == []


def test_routing_reads_no_more_of_an_event_than_it_needs(write):
    line = msgspec.json.encode({"type": "rluf.reaction.v1", "partitionkey": "p", "subject": "s"})
    producer = LateProducer()
    replay_file(write(line), producer, StreamsConfig(), on_progress=quiet)
    assert producer.sent == [("rluf.reactions.v1", b"p", line)]
