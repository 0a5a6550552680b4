"""Goal: `rluf up` is one command, says what happens to its parts, and leaves nothing behind.

Method: once for real on a fresh home, with Ctrl-C as a terminal sends it: to the whole group.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.rluf.command import Outcome, rluf, start
from tests.waiting import WAIT_S, wait_for

pytestmark = pytest.mark.kafka
OWN_PORT = {"RLUF_SERVING__PORT": "0"}


class Up:
    """A running `rluf up` and what it has said so far."""

    def __init__(self, home: Path, *options: str, settings: Mapping[str, str] = OWN_PORT) -> None:
        self.home = home
        self.process: subprocess.Popen[str] = start("up", *options, home=home, settings=settings)
        self.said: list[str] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(iter(self.process.stderr.readline, ""))

    def says(self, text: str, *, times: int = 1) -> None:
        """Wait until it has said a text so often."""

        def has_said() -> bool:
            assert self.process.poll() is None, "".join(self.said)
            return sum(text in line for line in self.said) >= times

        wait_for(has_said, f"{text!r} was not said in {self.said}")

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "up.json").read_text("utf-8"))
        return state

    def interrupt(self) -> int:
        """Ctrl-C; gives the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(WAIT_S)
        self._listener.join(WAIT_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "home")
    try:
        running.says("ready: the page and the API are at")
        yield running
    finally:
        running.interrupt()


def test_the_api_is_where_it_says(up):
    with urllib.request.urlopen(f"{up.state()['url']}/healthz", timeout=WAIT_S) as answer:
        assert answer.status == 200
    assert any(f"at {up.state()['url']} " in line for line in up.said)


def test_a_second_one_on_this_home_is_refused(up):
    second = rluf("up", home=up.home, settings=OWN_PORT)
    assert second.code == 4
    assert str(up.home) in second.err
    assert "RLUF_HOME" in second.err


def test_a_taken_port_is_named_before_anything_is_started(up, tmp_path):
    port = up.state()["url"].rsplit(":", 1)[1]
    for verb in ("up", "api"):
        settings = {"RLUF_SERVING__PORT": port, "RLUF_STREAMS__BROKERS": up.state()["brokers"]}
        answer: Outcome = rluf(verb, home=tmp_path / verb, settings=settings)
        assert answer.code == 4, answer.err
        assert f"port {port}" in answer.err
        assert "RLUF_SERVING__PORT" in answer.err
        assert "worker" not in answer.err


def test_a_killed_child_is_named_and_comes_back(up):
    before = up.state()["pids"]["worker"]
    os.kill(before, signal.SIGKILL)
    up.says("worker died: killed by SIGKILL")
    up.says("worker: ready", times=2)
    assert up.state()["pids"]["worker"] != before


def test_ctrl_c_ends_everything_in_order_and_nothing_has_to_be_killed(up):
    pids = [*up.state()["pids"].values(), broker_pid(up.home)]
    assert up.interrupt() == 130
    assert "stopping" in up.said[-1], "a part that had to be killed is named after that"
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "a process is left")
    assert not (up.home / "up.json").exists()
    assert "worker drained" in (up.home / "logs" / "worker.log").read_text("utf-8")


def broker_pid(home: Path) -> int:
    return int(json.loads((home / "kafka" / "broker.json").read_text("utf-8"))["pid"])


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
