"""Goal: an API that is told to stop answers what is under way, closes what it has and ends with 0.

Method: `serve` in a process of its own before fakes; a request whose body is sent only once the
process has been told to stop and takes no new connection.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parents[2]
BODY = json.dumps({"response_id": "chatcmpl-1", "signal": "love", "actor_id": "u-9"}).encode()
HEAD = (
    "POST /v1/feedback HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\nexpect: 100-continue\r\n\r\n"
).encode()
SCRIPT = """
import signal
import sys
from dataclasses import replace
from pathlib import Path
from serving.server import serve
from tests.serving.conftest import FAST, open_place
# A shell without job control has what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
place = open_place(Path(sys.argv[1]), Path(sys.argv[2]))
try:
    serve(place.room(replace(FAST, port=int(sys.argv[3]))))
except KeyboardInterrupt:
    print("interrupted")
finally:
    place.registry.close()
    print("closed")
"""


@contextmanager
def serving(home: Path, root: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that serves, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(home), str(root), str(port)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_port(process, port, is_open=True)
        yield process, port
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for_port(process: subprocess.Popen[str], port: int, *, is_open: bool) -> None:
    until = time.monotonic() + WAIT_S
    while (connection := connect(port)) is not None or is_open:
        if connection is not None:
            connection.close()
            if is_open:
                return
        assert process.poll() is None, "the server ended by itself"
        assert time.monotonic() < until, f"the port is not {'open' if is_open else 'closed'}"
        time.sleep(0.02)


def connect(port: int) -> socket.socket | None:
    """A connection, or None where nobody listens."""
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    except ConnectionError:
        return None


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    answer = b""
    while more := connection.recv(65_536):
        answer += more
    return answer


def test_sigterm_with_a_request_under_way_ends_with_0_once_it_is_answered(
    live_home: Path, tmp_path: Path
):
    with serving(live_home, tmp_path / "home") as (process, port):
        connection = connect(port)
        assert connection is not None
        with closing(connection):
            connection.sendall(HEAD)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")  # It waits for the body.
            process.send_signal(signal.SIGTERM)
            wait_for_port(process, port, is_open=False)
            connection.sendall(BODY)
            assert read_all(connection).startswith(b"HTTP/1.1 202 ")
        assert process.wait(WAIT_S) == 0
        assert process.communicate()[0] == "closed\n"


def test_an_idle_server_ends_with_0_though_it_is_told_twice(live_home: Path, tmp_path: Path):
    with serving(live_home, tmp_path / "home") as (process, _):
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
        assert process.communicate()[0] == "closed\n"


def test_ctrl_c_is_still_an_interruption(live_home: Path, tmp_path: Path):
    with serving(live_home, tmp_path / "home") as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        assert process.communicate()[0] == "interrupted\nclosed\n"
