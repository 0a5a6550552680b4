"""A real server in a thread, on a free port chosen by the operating system."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving.app import ApiDependencies
from serving.server import make_server
from tests.waiting import WAIT_S, wait_for


@contextmanager
def running(room: ApiDependencies) -> Iterator[str]:
    """Serve the room; gives its base URL."""
    server = make_server(room)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive())
            assert server.started, "the server did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
            assert not thread.is_alive(), "the server did not stop"
