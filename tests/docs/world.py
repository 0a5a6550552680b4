"""Where the snippets of README and docs are run: a folder that looks like a reader's checkout, with
a small home that has lived, and broker, worker and API on it."""

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from models.artifacts import Artifact
from models.registry import Registry
from rluf.settings import load_settings
from streams.codec import encode
from streams.events import Reaction, Shown
from tests.end_to_end.test_up import Up
from tests.features.histories import reaction, shown, store_all
from tests.rluf.command import environment
from tests.rluf.small_home import make_home, settings_of, write_inputs
from tests.verdicts import said
from tests.waiting import WAIT_S, wait_for

ROOT = Path(__file__).parents[2]
READY = "ready: the page and the API are at"
PROGRAMS = ("kcat", "jq", "curl", "nginx")
ENDED = (0, 130)
"""Exit codes of a clean end after Ctrl-C."""
OWN_HOME = "RLUF_HOME", "RLUF_MODELS__REGISTRY_URL"
"""Settings that a snippet may give itself; then the world's are not in force."""


@dataclass(slots=True)
class World:
    """The folder, what runs in it, and by what the reader's names are replaced."""

    folder: Path
    inputs: Path
    url: str = ""
    brokers: str = ""
    response_id: str = ""
    num_folders: int = 0

    @property
    def home(self) -> Path:
        """As the default is: `runs` in the folder where the reader stands."""
        return self.folder / "runs"

    def new_folder(self) -> str:
        """A path where nothing lies yet."""
        self.num_folders += 1
        return str(self.folder / f"new-{self.num_folders}")

    def ours(self, text: str) -> str:
        """A snippet with what this machine has for what only the reader has (SUBSTITUTES)."""
        for theirs, ours in SUBSTITUTES.items():
            if theirs in text:
                text = text.replace(theirs, ours(self))
        return text

    def run(self, script: str, *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a script in bash, as the reader would."""
        given = settings_of(self.inputs)
        if not any(f"{name}=" in script for name in OWN_HOME):
            given["RLUF_HOME"] = str(self.home)
        shell = environment(self.home, given)
        if "RLUF_HOME" not in given:
            del shell["RLUF_HOME"]
        shell["PATH"] = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{shell['PATH']}"
        shell["PYTHONPATH"] = str(ROOT)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=cwd or self.folder,
            env=shell,
            capture_output=True,
            text=True,
            timeout=2 * WAIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )


SUBSTITUTES: dict[str, Callable[[World], str]] = {
    # A cluster, a database and ports of the reader's own.
    "kafka-1:9092,kafka-2:9092": lambda world: world.brokers,
    "RLUF_STREAMS__REPLICATION=3": lambda world: "RLUF_STREAMS__REPLICATION=1",
    "postgresql+psycopg://rluf@db/rluf": lambda world: f"sqlite:///{world.new_folder()}.db",
    "http://127.0.0.1:8000": lambda world: world.url,
    # Files and folders of the reader's own.
    "/models/my-model": lambda world: str(world.inputs / "policy"),
    "/data/helpfulness.jsonl": lambda world: str(world.inputs / "helpfulness.jsonl"),
    "/data/safety.jsonl": lambda world: str(world.inputs / "safety.jsonl"),
    "/data/again": World.new_folder,
    "/tmp/again": World.new_folder,
    "/data/rluf": World.new_folder,
    "/srv/registry.db": lambda world: f"{world.new_folder()}.db",
    # What a reader fills in.
    "chatcmpl-…": lambda world: world.response_id,
    "erase USER": lambda world: "erase u-7",
    '"MESSAGE"': lambda world: f'"{world.response_id}"',
    "$KEY": lambda world: "none",
    ".venv/bin/": lambda world: "",
    # Without it curl ends with 0 whatever was answered.
    "curl ": lambda world: "curl -sS --fail-with-body ",
}
"""What a snippet says and only its reader has, and what stands for it here."""


@contextmanager
def running(home: Path, *options: str, settings: Mapping[str, str]) -> Iterator[Up]:
    """`rluf up` on a home, from when it is ready; ended with Ctrl-C."""
    up = Up(home, *options, settings=settings)
    try:
        up.says(READY)
        yield up
    finally:
        code = up.interrupt()
    assert code in ENDED, up.said


@contextmanager
def living(folder: Path) -> Iterator[World]:
    """A world in `folder`, with everything running."""
    inputs = write_inputs(folder / "inputs")
    world = World(folder=folder, inputs=inputs)
    make_home(world.home, inputs)
    store_all(world.home, _of_an_experiment())
    _add_versions(world.home, inputs)
    _write_files(folder)
    settings = settings_of(inputs) | {"RLUF_SERVING__PORT": "0"}
    with running(world.home, "--no-scheduler", settings=settings) as up:
        state = up.state()
        world.url, world.brokers = str(state["url"]), str(state["brokers"])
        wait_for(lambda: _is_ready(world.url), "the API serves a version")
        world.response_id = _ask(world.url)
        yield world


def _add_versions(home: Path, inputs: Path) -> None:
    """chat@2 and chat@3, which the gates passed, beside chat@1, which is live."""
    settings = load_settings([], {"RLUF_HOME": str(home)})
    registry = Registry(settings.models.registry_url, root=settings.home)
    first = registry.version("chat", 1)
    for number in (2, 3):
        registry.register(
            "chat",
            artifact=Artifact(hash=first.artifact_hash, path=first.artifact_path),
            kind="policy",
            config_hash=str(number) * 64,
            snapshot_hash=None,
        )
        registry.record_verdict("chat", number, said("policy"))
    registry.close()


def _of_an_experiment() -> list[Shown | Reaction]:
    """What forty users were shown in the experiment that the pages speak of, and who loved it."""
    events: list[Shown | Reaction] = []
    for number in range(40):
        arm, version = ("control", 1) if number % 2 else ("moderate", 3)
        told = {"experiment": "nov-1", "arm": arm, "propensity": 0.5, "policy": f"chat@{version}"}
        events.append(shown(f"e{number}", f"e-user{number}", number, **told))
        if number % 3 == 0:
            events.append(reaction(f"e{number}", "add", number + 20, user_id=f"e-user{number}"))
    return events


def _write_files(folder: Path) -> None:
    """The commands by their names, and the event files that the pages speak of."""
    (folder / "bin").mkdir()
    rluf = folder / "bin" / "rluf"
    rluf.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rluf "$@"\n')
    rluf.chmod(0o755)
    lines = b"".join(encode(reaction(f"r{n}", "add", n, user_id=f"u{n}")) + b"\n" for n in range(5))
    (folder / "reactions.jsonl").write_bytes(lines)
    (folder / "events.jsonl.gz").write_bytes(gzip.compress(lines))


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=WAIT_S).status_code == 200
    except httpx.TransportError:
        return False


def _ask(url: str) -> str:
    """Have u-9 answered; gives the answer's id."""
    chat = {"model": "chat", "messages": [{"role": "user", "content": "tell me"}], "user": "u-9"}
    said = httpx.post(f"{url}/v1/chat/completions", json=chat, timeout=WAIT_S)
    return str(said.json()["id"])


def missing_programs(text: str) -> list[str]:
    """Programs of the reader's that a script names and this machine lacks."""
    return [
        name
        for name in ("kcat", "jq", "curl", "nginx")
        if _names(text, name) and not shutil.which(name)
    ]


def _names(text: str, program: str) -> bool:
    return re.search(rf"(^|[|(\s]){program} ", text) is not None
