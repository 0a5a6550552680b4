"""Goal: a child that dies is reported with its cause and last words, restarted, or ends the whole.

Method: real child processes of a few lines; no broker, as one is named.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rluf import local
from rluf.local import AlreadyUp, Child, ChildFailed, Supervisor, read_state
from rluf.settings import Settings, load_settings

SLEEPER = "import time; print('working', flush=True); time.sleep(60)"


def settings_at(home: Path) -> Settings:
    return load_settings([], {"RLUF_HOME": str(home), "RLUF_STREAMS__BROKERS": "127.0.0.1:1"})


def make(home: Path, code: str, said: list[str]) -> Supervisor:
    def plan(settings: Settings, recipes: object) -> list[Child]:
        log = home / "logs" / "worker.log"
        return [Child(name="worker", command=[sys.executable, "-c", code], log=log)]

    return Supervisor(settings_at(home), say=said.append, plan=plan)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline, "it did not come true within 20 s"
        time.sleep(0.02)


def test_a_killed_child_is_named_with_its_cause_and_started_again(tmp_path):
    said: list[str] = []
    supervisor = make(tmp_path, SLEEPER, said)
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        process = supervisor.children[0].process
        assert process is not None
        wait_until(lambda: "working" in supervisor.children[0].last_words())
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: any("restarting (1 of 5)" in line for line in said))
        assert any("worker died: killed by SIGKILL" in line for line in said)
        assert any("working" in line for line in said)
        wait_until(lambda: supervisor.children[0].process is not process)
    finally:
        supervisor.stop()
        watcher.join()
    assert supervisor.children[0].has_died()


def test_a_child_that_keeps_dying_ends_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "RESTARTS_MAX", 1)
    said: list[str] = []
    supervisor = make(tmp_path, "import time, sys; time.sleep(0.5); sys.exit('no disk')", said)
    supervisor.start()
    try:
        with pytest.raises(ChildFailed, match=r"worker died 2 times.*exit code 1"):
            supervisor.watch()
    finally:
        supervisor.stop()
    assert any("no disk" in line for line in said)


def test_two_supervisors_never_share_a_home(tmp_path):
    first = make(tmp_path, SLEEPER, [])
    first.start()
    try:
        with pytest.raises(AlreadyUp, match="RLUF_HOME"):
            make(tmp_path, SLEEPER, []).start()
        state = read_state(tmp_path)
        assert state is not None
        assert state["brokers"] == "127.0.0.1:1"
    finally:
        first.stop()
    assert read_state(tmp_path) is None


def test_state_left_by_a_crash_does_not_count(tmp_path):
    (tmp_path / "up.json").write_text('{"brokers": "gone:1"}', "utf-8")
    assert read_state(tmp_path) is None
