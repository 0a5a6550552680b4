"""One rluf for all suites: `rluf up` on a fresh home with a small registered policy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY = "suite-key"
ADMIN_KEY = "suite-admin-key"
PREFIX = "/assistant"
"""Path under which suites/clients/nginx_suite.py offers it; asked directly, it is not needed."""
READY_S = 300.0
STOP_S = 120.0
CONTEXT_TOKENS = 4_096
SETTINGS = {
    "RLUF_SERVING__PORT": "0",
    # As many as fit into CONTEXT_TOKENS: of those that do not, no schema can tell a client.
    "RLUF_SERVING__MESSAGES_MAX": "500",
    "RLUF_SERVING__ROOT_PATH": PREFIX,
    "RLUF_SERVING__API_KEYS": json.dumps([KEY]),
    "RLUF_SERVING__ADMIN_KEYS": json.dumps([ADMIN_KEY]),
    "RLUF_SERVING__USER_HEADER": "X-OpenWebUI-User-Id",
    "RLUF_SERVING__CONVERSATION_HEADER": "X-OpenWebUI-Chat-Id",
    "RLUF_SERVING__MESSAGE_HEADER": "X-OpenWebUI-Message-Id",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class NotUp(Exception):
    """rluf did not start; the text says where its logs are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running rluf."""

    url: str
    brokers: str
    home: Path
    settings: dict[str, str]


@contextmanager
def running(home: Path) -> Iterator[Server]:
    """Start it, give it when it answers chats, and stop it. Raises NotUp."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    cache = os.environ.get("RLUF_CACHE") or str(ROOT / "runs" / "cache")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RLUF_")}
    settings = {
        **SETTINGS,
        "RLUF_HOME": str(home),
        "RLUF_CACHE": cache,
        "RLUF_SERVING__WORKER_METRICS_URL": f"http://127.0.0.1:{_free_port()}/metrics",
    }
    environment = {**kept, **settings}
    _register(home, environment)
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rluf", "up", "--no-scheduler"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            state = _wait_ready(process, home)
            yield Server(
                url=str(state["url"]), brokers=str(state["brokers"]), home=home, settings=settings
            )
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _register(home: Path, environment: dict[str, str]) -> None:
    from tests.serving.tiny_policy import save_tiny_policy

    save_tiny_policy(home / "made", context_tokens=CONTEXT_TOKENS)
    done = subprocess.run(
        [sys.executable, "-m", "rluf", "register", str(home / "made"), "--why", "suites"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotUp(f"rluf register ended with {done.returncode}: {done.stderr[-2000:]}")
    _register_reward(home, environment)


def _register_reward(home: Path, environment: dict[str, str]) -> None:
    """Put a P[Love] in use that was fitted on nothing: enough for the shape of its answers."""
    from models.artifacts import store_artifact
    from models.card import ModelCardFacts
    from models.live import CHAMPION
    from models.reward import RewardModel
    from rluf.settings import load_settings
    from rluf.wiring import open_registry

    card = ModelCardFacts(
        title="Reward model of the suites",
        summary="Random weights in the head; it scores, and its scores mean nothing.",
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        pipeline_tag="text-classification",
    )
    reward = RewardModel.from_pretrained("minilm", num_layers=1, max_tokens=128)
    assert reward.pooled is not None
    reward.pooled.classifier.reset_parameters()
    reward.is_fitted = True
    reward.save(home / "scorer", card)
    registry = open_registry(load_settings((), environment))
    registry.register(
        "love",
        artifact=store_artifact(home, "love", home / "scorer"),
        kind="reward",
        config_hash="0" * 64,
        snapshot_hash=None,
    )
    registry.move_alias("love", CHAMPION, 1, expected=None, why="suites", who="suites")


def _wait_ready(process: subprocess.Popen[bytes], home: Path) -> dict[str, object]:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            state: dict[str, object] = json.loads((home / "up.json").read_text("utf-8"))
            with urllib.request.urlopen(f"{state['url']}/readyz", timeout=5):
                pass
            if "api: ready" in (home / "up.log").read_text("utf-8", "replace"):
                return state
        except (OSError, ValueError, urllib.error.URLError):
            pass
        time.sleep(0.2)
    end = (home / "up.log").read_text("utf-8", "replace")[-2000:]
    raise NotUp(f"`rluf up` is not ready; logs under {home}/logs; it said:\n{end}")
