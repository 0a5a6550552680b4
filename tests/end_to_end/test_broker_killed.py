"""Goal: the API never acknowledges a reaction that is not durable, and what it acknowledged is a
fact exactly once, though the broker is killed under it.

Method: a broker of our own, `rluf api` and `rluf worker` as processes, and clients that send each
tap under one Idempotency-Key until it is acknowledged; the broker gets SIGKILL among them. Fewer
calls may be under way than there are clients, so that some are turned away while others wait.
"""

import itertools
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from features.views import query
from streams.config import StreamsConfig
from streams.kafka.topics import ensure_topics, lag
from tests.chaos.cluster import SingleNode
from tests.conftest import CACHE
from tests.rluf.command import ROOT, environment
from tests.waiting import WAIT_S, wait_for

pytestmark = pytest.mark.kafka

CLIENTS = 12
UNDER_WAY_MAX = 4
TAPS = 100
"""To be acknowledged before the broker is killed, and again after it is back."""
PAUSE_S = 0.05
"""Between two tries of one tap: the test is less patient than `retry-after` asks."""
FEEDBACK = "SELECT id, response_id FROM reactions"
LABELS = "SELECT response_id FROM labels WHERE value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API said to one call, and when by the test's clock."""

    tap: str
    status: int
    retry_after: str
    feedback_id: str
    sent_at: float
    answered_at: float


class Clients:
    """Threads that tap until they are told to stop; each sees its last tap through."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._taps = itertools.count()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        self.answers: list[Answer] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a tap was not acknowledged"

    def acknowledged(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 202]

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=WAIT_S) as client:
            while not self._is_over.is_set():
                tap = f"tap-{next(self._taps)}"
                while self._send(client, tap).status in (429, 503):
                    time.sleep(PAUSE_S)

    def _send(self, client: httpx.Client, tap: str) -> Answer:
        sent_at = time.monotonic()
        said = client.post(
            "/v1/feedback",
            json={"response_id": f"response-{tap}", "signal": "love", "actor_id": f"user-{tap}"},
            headers={"idempotency-key": tap},
        )
        answer = Answer(
            tap=tap,
            status=said.status_code,
            retry_after=said.headers.get("retry-after", ""),
            feedback_id=said.json().get("feedback_id", ""),
            sent_at=sent_at,
            answered_at=time.monotonic(),
        )
        self.answers.append(answer)
        return answer


@contextmanager
def running(verb: str, home: Path, settings: dict[str, str]) -> Iterator[None]:
    """`rluf verb` with its output in a file; it must live as long as the block."""
    path = home.parent / f"{verb}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rluf", verb],
            cwd=ROOT,
            env=environment(home, settings),
            stdout=log,
            stderr=log,
        )
    try:
        yield
        assert process.poll() is None, path.read_text("utf-8")
        process.terminate()
        assert process.wait(WAIT_S) == 0, path.read_text("utf-8")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=WAIT_S).status_code == 200
    except httpx.TransportError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the clients heard, and when there was no broker."""

    answers: list[Answer]
    gone_at: float
    back_at: float
    home: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A broker that was killed under feedback and is back; the worker has stored everything."""
    folder = tmp_path_factory.mktemp("killed")
    home, port = folder / "home", free_port()
    cluster = SingleNode(folder / "kafka", CACHE)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        config = StreamsConfig(brokers=cluster.brokers)
        ensure_topics(config)
        settings = {
            "RLUF_STREAMS__BROKERS": cluster.brokers,
            "RLUF_SERVING__PORT": str(port),
            "RLUF_SERVING__FEEDBACK_INFLIGHT_MAX": str(UNDER_WAY_MAX),
        }
        stack.enter_context(running("worker", home, settings))
        stack.enter_context(running("api", home, settings))
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: is_up(url), "the API did not come up")
        clients = Clients(url)
        clients.start()
        wait_for(lambda: len(clients.acknowledged()) >= TAPS, "no feedback before the fault")
        cluster.take_down(random.Random(1), in_order=False)
        gone_at = time.monotonic()

        def statuses() -> set[int]:
            return {answer.status for answer in clients.answers if answer.sent_at > gone_at}

        wait_for(lambda: 429 in statuses() and len(statuses()) > 1, "all were turned away, or none")
        back_at, num_before = time.monotonic(), len(clients.acknowledged())
        cluster.bring_back()
        wait_for(
            lambda: len(clients.acknowledged()) >= num_before + TAPS, "no feedback after the fault"
        )
        clients.finish()
        wait_for(lambda: sum(lag(config).values()) == 0, "the worker is behind")
        yield Told(answers=clients.answers, gone_at=gone_at, back_at=back_at, home=home)


def test_without_a_broker_nothing_is_acknowledged_and_the_client_is_told_when_to_come_back(told):
    assert {answer.status for answer in told.answers} == {202, 429, 503}
    assert all(int(each.retry_after) >= 1 for each in told.answers if each.status != 202)
    during = [
        answer
        for answer in told.answers
        if answer.sent_at > told.gone_at and answer.answered_at < told.back_at
    ]
    assert {answer.status for answer in during} == {429, 503}


def test_every_acknowledged_reaction_is_a_fact_exactly_once(told):
    acknowledged = {
        (each.feedback_id, f"response-{each.tap}") for each in told.answers if each.status == 202
    }
    facts = query(told.home, FEEDBACK).to_pylist()
    assert Counter((fact["id"], fact["response_id"]) for fact in facts) == Counter(acknowledged)
    labels = query(told.home, LABELS).column("response_id").to_pylist()
    assert sorted(labels) == sorted(response for _, response in acknowledged)


def test_taps_answered_503_were_acknowledged_when_sent_again(told):
    in_doubt = {answer.tap for answer in told.answers if answer.status == 503}
    assert in_doubt
    assert in_doubt <= {answer.tap for answer in told.answers if answer.status == 202}
