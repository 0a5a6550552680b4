"""The composition root: the one place where rooms are joined, and the environment is prepared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rluf.settings import BadSettings, Settings
from rluf.telemetry import configure_logging
from streams.rules import ID_ALLOWED, is_id

if TYPE_CHECKING:
    from models.registry import Registry
    from models.reward import RewardModel
    from streams.spans import Spans

PARENT_POLL_S = 1.0


def prepare(settings: Settings, *, log: bool = False, migrate_first: bool = False) -> Settings:
    """Make the home, keep libraries' caches inside it, and, if asked, log and migrate.

    Raises BadSettings where the home cannot be written, SchemaMismatch where its registry was lost.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.cache.mkdir(parents=True, exist_ok=True)
        probe = settings.home / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as fault:
        raise BadSettings(
            f"cannot write to {settings.home} ({fault.strerror}); free the disk, mend the"
            " permission, or set RLUF_HOME to another folder"
        ) from None
    for variable, value in {
        "HF_HOME": str(settings.cache / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # Ours are shown instead.
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "2",  # glibc keeps hundreds of megabytes in an arena for each thread.
        "FEAST_USAGE": "False",
    }.items():
        os.environ.setdefault(variable, value)
    if log:
        configure_logging(settings.log_level)
    if migrate_first:
        from models.migrate import migrate, require_not_lost

        require_not_lost(settings.models.registry_url, settings.home)
        migrate(settings.models.registry_url)
    return settings


def end_with(supervisor: int | None) -> None:
    """Drain and end this process once its parent is gone: nothing runs on unwatched."""
    if supervisor is None:
        return

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def open_registry(settings: Settings) -> Registry:
    """Give the registry of these settings."""
    from models.registry import Registry

    return Registry(settings.models.registry_url, root=settings.home)


def find_brokers(settings: Settings) -> Settings:
    """Give the settings with brokers: those named, else those of the running `rluf up`.

    Raises BadSettings for files of `streams.security` that cannot be used, and Unavailable.
    """
    from streams.kafka.security import require_usable

    try:
        require_usable(settings.streams.security)
    except ValueError as fault:
        raise BadSettings(f"streams.security: {fault}") from None
    if settings.streams.brokers:
        return settings
    from rluf.local import is_up, read_state
    from streams.errors import Unavailable

    state = read_state(settings.home)
    if state is None and is_up(settings.home):
        raise Unavailable(
            f"`rluf up` runs on {settings.home}, but {settings.home / 'up.json'} does not say where"
            " its broker is: it is not up yet, or the file is damaged; try again, set"
            " RLUF_STREAMS__BROKERS, or start `rluf up` again"
        )
    if state is None:
        raise Unavailable(
            f"no broker: nothing runs on {settings.home}; start `rluf up`, or set"
            " RLUF_STREAMS__BROKERS to a cluster"
        )
    return replace(settings, streams=replace(settings.streams, brokers=str(state["brokers"])))


def key_file(settings: Settings) -> Path:
    """Give where the key of the users' pseudonyms lies."""
    from serving.pseudonyms import KEY_FILE

    return Path(settings.serving.pseudonym_key or settings.home / KEY_FILE)


def stored_user(settings: Settings, user_id: str, *, as_stored: bool) -> str:
    """Give how a client's user id is stored: its pseudonym, where the API makes pseudonyms.

    Raises BadSettings for what is no id, and for a key that cannot be read, or that is gone though
    facts bear pseudonyms.
    """
    from serving.pseudonyms import USER, BadKey, Pseudonyms, read_key, require_not_lost

    if not is_id(user_id):
        raise BadSettings(f"a user's id {ID_ALLOWED}, got {user_id[:80]!r}")
    if as_stored or not settings.serving.pseudonymise:
        return user_id
    try:
        key = read_key(key_file(settings))
        if key is not None:
            return Pseudonyms(key).find(user_id)
        if not USER.fullmatch(user_id):  # As it is it would be nobody, and an erasure "clean".
            require_not_lost(key_file(settings), root=settings.home)
        return user_id
    except BadKey as fault:
        raise BadSettings(str(fault)) from None


def open_spans(settings: Settings, process: str) -> Spans | None:
    """Give what makes the spans of this process, or None where tracing is off."""
    from rluf.otel import tracing_in_force

    tracing = tracing_in_force(settings.tracing, os.environ)
    if not tracing.endpoint:
        return None
    from streams.spans import Spans

    return Spans(tracing, settings.streams, process=process)


def start_worker(settings: Settings, *, ready_file: Path | None, metrics_port: int | None) -> None:
    """Run the ingestion worker in this process until it is told to stop."""
    from features.store import FactStore
    from streams.worker import run_worker

    settings = find_brokers(settings)
    store = FactStore(settings.features)
    spans = open_spans(settings, "worker")
    try:
        run_worker(
            settings.streams,
            store,
            guard=lambda: store.judge(settings.guard),
            trace=None if spans is None else spans.wrote,
            metrics_port=metrics_port,
            ready_file=ready_file,
        )
    finally:
        if spans is not None:
            spans.close()


def start_api(settings: Settings) -> None:
    """Serve HTTP in this process until it is told to stop."""
    from rluf.local import require_free_port

    settings = find_brokers(settings)
    require_free_port(settings.serving.host, settings.serving.port)
    import torch

    from serving.app import ApiDependencies
    from serving.pseudonyms import BadKey, Pseudonyms, make_key
    from serving.server import serve
    from serving.tokens import KEY_FILE as FEEDBACK_KEY_FILE
    from serving.tokens import FeedbackTokens, make_keys
    from streams.kafka.producer import Producer
    from streams.kafka.topics import require_sender_rights

    torch.set_num_threads(1)
    try:
        is_on = settings.serving.pseudonymise
        key = make_key(key_file(settings), root=settings.home) if is_on else None
        pseudonyms = None if key is None else Pseudonyms(key)
        tokens = None
        if life_s := settings.serving.feedback_token_s:
            signers = Path(settings.serving.feedback_key or settings.home / FEEDBACK_KEY_FILE)
            tokens = FeedbackTokens(make_keys(signers), life_s=life_s)
    except BadKey as fault:
        raise BadSettings(str(fault)) from None
    producer = Producer(settings.streams)
    require_sender_rights(settings.streams)
    registry = open_registry(settings)
    spans = open_spans(settings, "api")
    room = ApiDependencies(
        config=settings.serving,
        streams=settings.streams,
        root=settings.home,
        registry=registry,
        producer=producer,
        scorer=RewardInUse(registry),
        pseudonyms=pseudonyms,
        tokens=tokens,
        tracing=spans,
    )
    try:
        serve(room)
    finally:
        producer.close()
        if spans is not None:
            spans.close()
        registry.close()


def start_scheduler(settings: Settings, recipes: Sequence[str]) -> None:
    """Start turns when they are due, each as its own process, until told to stop."""
    from rluf.turn.drift import LoopState
    from rluf.turn.scheduler import run_scheduler

    registry = open_registry(settings)

    def turn(why: str) -> int:
        command = [sys.executable, "-m", "rluf", "refresh", "--why", why]
        command += [part for recipe in recipes for part in ("--recipe", recipe)]
        return subprocess.run(command, check=False).returncode

    run_scheduler(settings.schedule, registry, read_state=LoopState(settings, registry), turn=turn)


def adopt_base_policy(settings: Settings, registry: Registry, say: Callable[[str], None]) -> None:
    """Register the base policy that the settings name, where no policy is live yet."""
    from models.live import CHAMPION

    refresh = settings.refresh
    if not refresh.base_policy or registry.alias(refresh.policy, CHAMPION) is not None:
        return
    from rluf.register import register_policy

    made = register_policy(
        settings, registry, refresh.base_policy, who="rluf refresh", why="the settings' base policy"
    )
    say(made.summary())


class RewardInUse:
    """P[Love] as its gates last passed it, loaded when first asked for and when it changes."""

    CHECK_S = 5.0

    def __init__(self, registry: Registry, name: str = "love") -> None:
        self._registry = registry
        self._name = name
        self._number: int | None = None
        self._model: RewardModel | None = None
        self._checked_at = -self.CHECK_S

    def __call__(self) -> RewardModel | None:
        """Give the model, or None where none has passed its gates yet."""
        from models.live import in_use
        from models.reward import RewardModel

        if time.monotonic() - self._checked_at < self.CHECK_S:
            return self._model
        self._checked_at = time.monotonic()
        version = in_use(self._registry, self._name)
        if version is not None and version.number != self._number:
            self._model = RewardModel.from_pretrained(self._registry.open_artifact(version))
            self._number = version.number
        return self._model


def read_online(
    settings: Settings, *, users: Sequence[str], policies: Sequence[str]
) -> list[dict[str, Any]]:
    """Give one row of online features per user and per policy version."""
    from features.online import online_features

    found = online_features(settings.home, users=users, policies=policies)
    return [
        {"kind": kind, "id": entity, "feature": name, "value": value}
        for kind, rows in found.items()
        for entity, row in rows.items()
        for name, value in row.items()
    ]


def read_as_of(settings: Settings, *, users: Sequence[str], at: datetime) -> list[dict[str, Any]]:
    """Give users' features as they were at a time."""
    from features.online import features_as_of

    return list(features_as_of(settings.features, users=users, at=at))


def compact_store(settings: Settings) -> Mapping[str, Any]:
    """Merge the store's small files and say how many there were and are."""
    from features.store import FactStore

    return FactStore(settings.features).compact()
