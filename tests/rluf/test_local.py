"""Goal: a child that dies is reported with its cause and last words, restarted, or ends the whole.

Method: real child processes of a few lines; no broker, as one is named.
"""

import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from rluf import local
from rluf.child import Child
from rluf.console import Console
from rluf.local import (
    AlreadyUp,
    ChildFailed,
    PortTaken,
    Supervisor,
    read_state,
    require_free_port,
    supervised,
)
from rluf.settings import Settings, load_settings
from tests.waiting import wait_for

SLEEPER = "import time; print('working', flush=True); time.sleep(60)"


def settings_at(home: Path) -> Settings:
    return load_settings([], {"RLUF_HOME": str(home), "RLUF_STREAMS__BROKERS": "127.0.0.1:1"})


def make(home: Path, code: str, said: list[str]) -> Supervisor:
    def plan(settings: Settings, recipes: object) -> list[Child]:
        log = home / "logs" / "worker.log"
        return [Child(name="worker", command=[sys.executable, "-c", code], log=log)]

    return Supervisor(settings_at(home), say=said.append, plan=plan)


def test_a_killed_child_is_named_with_its_cause_and_started_again(tmp_path):
    said: list[str] = []
    supervisor = make(tmp_path, SLEEPER, said)
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        process = supervisor.children[0].process
        assert process is not None
        wait_for(lambda: "working" in supervisor.children[0].log_tail())
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: any("restarting (1 of 5)" in line for line in said))
        assert any("worker died: killed by SIGKILL" in line for line in said)
        assert any("working" in line for line in said)
        wait_for(lambda: supervisor.children[0].process is not process)
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


def test_a_child_that_came_back_is_said_to_be_ready(tmp_path):
    said: list[str] = []
    supervisor = make(tmp_path, SLEEPER, said)
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    try:
        process = supervisor.children[0].process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: sum("worker: ready" in line for line in said) == 2)
        assert f"worker: ready (pid {process.pid})" in said[1]
        assert str(process.pid) not in said[-1]
    finally:
        supervisor.stop()
        watcher.join()


def test_a_child_that_does_not_end_is_killed_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "STOP_WAIT_S", 0.1)
    said: list[str] = []
    supervisor = make(
        tmp_path, f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEPER}", said
    )
    supervisor.start()
    wait_for(lambda: "working" in supervisor.children[0].log_tail())
    supervisor.stop()
    assert said[-1] == "worker: killed, as it did not end within 0.1 s"
    assert supervisor.children[0].has_died()


def test_no_broker_is_started_where_one_is_named(tmp_path):
    said: list[str] = []
    supervisor = make(tmp_path, SLEEPER, said)
    supervisor.start()
    try:
        assert supervisor.broker is None
        assert said[0] == "broker: using 127.0.0.1:1; none started"
        assert not (tmp_path / "kafka").exists()
    finally:
        supervisor.stop()


def test_the_fault_ends_the_block_also_where_ctrl_c_was_ignored(tmp_path, monkeypatch):
    """A shell starts jobs in the background like this."""
    monkeypatch.setattr(local, "RESTARTS_MAX", 0)
    supervisor = make(tmp_path, "import time; time.sleep(0.3)", [])
    monkeypatch.setattr(local, "Supervisor", lambda settings, say: supervisor)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with (
            pytest.raises(ChildFailed, match="worker died 1 times"),
            supervised(settings_at(tmp_path), say=lambda _: None),
        ):
            time.sleep(20)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_port_that_somebody_has_is_refused_and_a_free_one_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} of 127\.0\.0\.1.*RLUF_SERVING__PORT"):
            require_free_port("127.0.0.1", port)
    assert require_free_port("127.0.0.1", port) == port
    assert require_free_port("127.0.0.1", 0) > 0
    with pytest.raises(PortTaken, match=r"nowhere\.invalid"):
        require_free_port("nowhere.invalid", 8000)


def test_log_tail_with_brackets_are_printed_as_they_are(capsys):
    Console(as_json=False).say("bind on [Errno 98] failed [/x] at ('127.0.0.1', 1)" + "." * 80)
    assert capsys.readouterr().err == (
        "bind on [Errno 98] failed [/x] at ('127.0.0.1', 1)" + "." * 80 + "\n"
    )


def test_state_left_by_a_crash_does_not_count(tmp_path):
    (tmp_path / "up.json").write_text('{"brokers": "gone:1"}', "utf-8")
    assert read_state(tmp_path) is None
