"""Sends an input file until every line is acknowledged, whatever happens to the brokers.

A retry is the same bytes with the same timestamp. What was acknowledged, and where it lies, is
kept.
"""

import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.kafka.producer import Producer, RecordPlace
from streams.kafka_binding import STRUCTURED_HEADER
from tests.chaos.lines import Line, read_lines

PENDING_MAX = 5_000
"""Lines on their way at once."""
RETRY_S = 0.2
CLOSE_S = 2.0
FAILURES_MAX = 200
"""So many failures in a row, and the producer is replaced, as a client that is restarted."""


class Sender:
    """A thread that sends; watch `num_sent` and `num_acknowledged`."""

    def __init__(self, path: Path, num_lines: int, config: StreamsConfig, *, rate: float) -> None:
        """`rate` is in lines a second at most."""
        self._path = path
        self._config = config
        self._rate = rate
        self._topics = {"shown": config.shown_topic, "reactions": config.reactions_topic}
        self._waiting: deque[tuple[int, Line, Future[RecordPlace]]] = deque()
        self._producer: Producer | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._is_stopped = threading.Event()
        self.num_lines = num_lines
        self.num_sent = 0
        self.num_acknowledged = 0
        self.num_retries = 0
        self.num_producers = 0
        self.offsets = array("q", [-1]) * num_lines
        """Offset of each acknowledged line; -1 while it is not."""
        self.partitions = array("i", [-1]) * num_lines

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Give up what is not sent yet."""
        self._is_stopped.set()
        self._thread.join()

    def is_done(self) -> bool:
        """Whether the thread has ended: all is acknowledged, unless it was stopped or failed."""
        return not self._thread.is_alive()

    def acknowledged(self) -> Iterator[Line]:
        """The lines that the brokers have acknowledged."""
        return (
            line
            for line, offset in zip(read_lines(self._path), self.offsets, strict=True)
            if offset >= 0
        )

    def places(self) -> Iterator[tuple[Line, RecordPlace]]:
        """The same with where each lies in the log."""
        lines = zip(read_lines(self._path), self.partitions, self.offsets, strict=True)
        for line, partition, offset in lines:
            if offset >= 0:
                yield line, RecordPlace(self._topics[line.topic], partition, offset)

    def _run(self) -> None:
        began = time.monotonic()
        for number, line in enumerate(read_lines(self._path)):
            while number > (time.monotonic() - began) * self._rate:
                self._is_stopped.wait(0.01)
                self._settle(block=False)
            self._waiting.append((number, line, self._send(line)))
            self.num_sent += 1
            while len(self._waiting) >= PENDING_MAX and not self._is_stopped.is_set():
                self._settle(block=True)
            if self._is_stopped.is_set():
                break
        while self._waiting and not self._is_stopped.is_set():
            self._settle(block=True)
        if self._producer is not None:
            self._producer.close(CLOSE_S)

    def _send(self, line: Line) -> Future[RecordPlace]:
        """Hand a line to the producer, however long it takes to have one."""
        while True:
            try:
                if self._producer is None:
                    self._producer = Producer(self._config)
                    self.num_producers += 1
                return self._producer.send_raw(
                    self._topics[line.topic],
                    line.key.encode(),
                    line.value,
                    line.at_ms,
                    _headers(line),
                )
            except Unavailable as fault:
                self.num_retries += 1
                if self._is_stopped.is_set():
                    failed: Future[RecordPlace] = Future()
                    failed.set_exception(fault)
                    return failed
                time.sleep(RETRY_S)

    def _settle(self, *, block: bool) -> None:
        """Note what is acknowledged, oldest first; send again what failed."""
        while self._waiting and (block or self._waiting[0][2].done()):
            number, line, future = self._waiting.popleft()
            block = False
            try:
                place = future.result()
            except Unavailable:
                self.num_retries += 1
                self._failures += 1
                if self._is_stopped.is_set():
                    return
                self._replace_producer()
                self._waiting.append((number, line, self._send(line)))
            else:
                self._failures = 0
                self.partitions[number], self.offsets[number] = place.partition, place.offset
                self.num_acknowledged += 1

    def _replace_producer(self) -> None:
        """Begin anew with a client whose records fail one after the other."""
        if self._failures >= FAILURES_MAX and self._producer is not None:
            self._producer.close(CLOSE_S)
            self._producer = None
            self._failures = 0


def _headers(line: Line) -> Sequence[tuple[str, bytes]]:
    if line.headers:
        return [(name, value.encode()) for name, value in line.headers]
    return [STRUCTURED_HEADER]
