"""Runs the API in this process: uvicorn on one socket, drained on SIGTERM."""

import signal
from types import FrameType

import uvicorn

from serving.app import ApiDependencies, create_app

DRAIN_S = 20
"""How long requests that are under way may take once the process was told to stop, in seconds."""
KEEP_ALIVE_S = 75
"""Idle connections are kept this long: longer than most clients keep them, so that it is not the
server who closes a connection on which a request is just arriving."""


def make_server(given: ApiDependencies) -> uvicorn.Server:
    """Give a server for the given; uvloop and httptools are used where they are installed."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(given),
            host=given.config.host,
            port=given.config.port,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )


def serve(given: ApiDependencies) -> None:
    """Serve until told to stop; main thread only.

    Raises SystemExit(0) after SIGTERM: uvicorn drains and then raises the signal once more, which
    would end the process at once, before anybody could close what the given was made of.
    """
    before = signal.signal(signal.SIGTERM, _end)
    try:
        make_server(given).run()
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
