"""What we tell Feast: entities, views, services, and where their rows lie.

Everything is under <root>/feast: registry.db, online.db (SQLite) and sources/*.parquet, which are
written for Feast to join. Our own processes open it with Feast's stock provider. For Feast's own
tools there are feature_store.yaml, which names a provider that changes nothing of ours
(features/feast_repo.py), and rluf_definitions.py, so that `feast apply` finds what is there.
"""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from features.history import COUNTS, RATES
from features.lean import lean_imports
from features.tables import TIME
from files.durable import PARTIAL_AGE_S, lock, remove_partial, sync_folder, write_durably
from streams.signals import SIGNALS

with lean_imports():
    import feast
    from feast import (
        Entity,
        FeatureService,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        PushSource,
        RepoConfig,
        ValueType,
    )
    from feast.labeling import ConflictPolicy, LabelView
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.repo_config import RegistryConfig
    from feast.types import Bool, Float64, Int64, String, UnixTimestamp

TRAINING_SERVICE = "reward_training_v1"
SERVING_SERVICE = "serving_v1"
LABELS_SERVICE = "labels_v1"
SERVICES: Sequence[str] = (TRAINING_SERVICE, SERVING_SERVICE, LABELS_SERVICE)
USER_HISTORY = "user_history"
POLICY_STATS = "policy_stats"
LABELS = "labels"
VIEWS: Sequence[str] = (USER_HISTORY, POLICY_STATS, LABELS)
ENTITIES: Sequence[str] = ("user", "policy", "response")
FOREVER = timedelta(0)
"""Feast's way to say that a value holds until the next one: replayed logs are years old."""

STATISTICS: Sequence[str] = (*COUNTS, *RATES, "last_shown_at")
"""Features of user_history and of policy_stats."""

PROJECT = "rluf"
"""Feast puts it before the names of its tables."""

SETTINGS = f"""\
# Written by rluf at each change; edits are lost.
project: {PROJECT}
provider: rluf.feast_repo.HomeProvider
registry:
  registry_store_type: features.feast_repo.FactsRegistryStore
  path: registry.db
  cache_ttl_seconds: 0
offline_store:
  type: duckdb
online_store:
  type: sqlite
  path: online.db
entity_key_serialization_version: 3
auth:
  type: no_auth
"""
# A TTL of 0 seconds means that a process reads the registry once and never again.

STAMP = "applied.txt"
DEFINITIONS_FILE = "rluf_definitions.py"
DEFINITIONS = """\
# Written by rluf at each change; edits are lost. Put definitions of your own into files beside it.
from pathlib import Path

from features.definitions import definitions

(
    user,
    policy,
    response,
    user_history,
    policy_stats,
    labels,
    reward_training_v1,
    serving_v1,
    labels_v1,
) = definitions(Path(__file__).absolute().parents[1])
"""


def feast_folder(root: Path) -> Path:
    """Where all of Feast's files lie."""
    return root.absolute() / "feast"


def push_source(view: str) -> str:
    """Name of the source through which rows of a view are pushed."""
    return f"{view}_push"


def source_path(root: Path, view: str) -> Path:
    """The file that Feast reads a view's history from."""
    return feast_folder(root) / "sources" / f"{view}.parquet"


def source_schema(view: str) -> pa.Schema:
    """Columns of that file."""
    clocks = [("event_timestamp", TIME), ("created_timestamp", TIME)]
    if view == LABELS:
        values = [(name, pa.bool_()) for name in SIGNALS]
        return pa.schema([("response_id", pa.string()), ("user_id", pa.string()), *values, *clocks])
    key = "user_id" if view == USER_HISTORY else "policy"
    return pa.schema(
        [
            (key, pa.string()),
            *((name, pa.int64()) for name in COUNTS),
            *((name, pa.float64()) for name in RATES),
            ("last_shown_at", TIME),
            *clocks,
        ]
    )


def definitions(root: Path) -> list[object]:
    """All objects of the registry, for the files under `root`."""
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    policy = Entity(name="policy", join_keys=["policy"], value_type=ValueType.STRING)
    response = Entity(name="response", join_keys=["response_id"], value_type=ValueType.STRING)
    user_history = FeatureView(
        name=USER_HISTORY,
        description="What a user was shown and what they thought of it until then.",
        entities=[user],
        ttl=FOREVER,
        schema=[Field(name="user_id", dtype=String), *_statistics()],
        source=_source(root, USER_HISTORY),
    )
    policy_stats = FeatureView(
        name=POLICY_STATS,
        description="How often a policy was shown and what users thought of it until then.",
        entities=[policy],
        ttl=FOREVER,
        schema=[Field(name="policy", dtype=String), *_statistics()],
        source=_source(root, POLICY_STATS),
    )
    labels = LabelView(
        name=LABELS,
        description="Which signals stand on a response; the user who answered is the labeler.",
        entities=[response],
        ttl=FOREVER,
        schema=[
            Field(name="response_id", dtype=String),
            Field(name="user_id", dtype=String),
            *(Field(name=name, dtype=Bool) for name in SIGNALS),
        ],
        source=_source(root, LABELS),
        labeler_field="user_id",
        conflict_policy=ConflictPolicy.LAST_WRITE_WINS,
        reference_feature_view=USER_HISTORY,
    )
    return [
        user,
        policy,
        response,
        user_history,
        policy_stats,
        labels,
        FeatureService(name=TRAINING_SERVICE, features=[user_history[list(COUNTS)]]),
        FeatureService(name=SERVING_SERVICE, features=[user_history, policy_stats]),
        FeatureService(name=LABELS_SERVICE, features=[labels]),
    ]


def apply_definitions(root: Path) -> None:
    """Bring registry and online store to these definitions; does nothing where they are there.

    Raises OSError where the folder cannot be written.
    """
    folder = feast_folder(root)
    with lock(folder / ".apply.lock"):
        _apply(root, folder)


def open_feast(root: Path) -> FeatureStore:
    """Feast's own store over these definitions, its registry already read. Takes 0.5 s: keep it."""
    folder = feast_folder(root)
    with lock(folder / ".apply.lock"):
        _apply(root, folder)
        store = FeatureStore(config=_own_config(folder))
        store.refresh_registry()
    return store


def _own_config(folder: Path) -> RepoConfig:
    """What our processes use in place of feature_store.yaml: the same files, Feast's provider."""
    return RepoConfig(
        project=PROJECT,
        provider="local",
        registry=RegistryConfig(path=str(folder / "registry.db"), cache_ttl_seconds=0),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
        auth={"type": "no_auth"},
    )


def _apply(root: Path, folder: Path) -> None:
    if is_applied(root):
        return
    stamp = folder / STAMP
    # Removed first: if this process dies meanwhile, nothing counts as applied.
    stamp.unlink(missing_ok=True)
    remove_partial(folder, before_s=time.time() - PARTIAL_AGE_S)
    empty_sources(root)
    write_durably(folder / "feature_store.yaml", SETTINGS.encode())
    write_durably(folder / DEFINITIONS_FILE, DEFINITIONS.encode())
    _remove_torn(folder / "registry.db")
    store = FeatureStore(config=_own_config(folder))
    store.apply(definitions(root))
    database = sqlite3.connect(folder / "online.db")
    try:
        database.execute("PRAGMA journal_mode = WAL")  # Readers never wait for the pusher.
    finally:
        database.close()
    for name in ("registry.db", "online.db"):  # Feast syncs nothing.
        sync_folder(folder / name)
    write_durably(stamp, _stamp(root).encode())


def empty_sources(root: Path) -> None:
    """Have the files that Feast joins hold nothing: whoever asks has them written anew."""
    for view in VIEWS:
        sink = pa.BufferOutputStream()
        pq.write_table(source_schema(view).empty_table(), sink)
        write_durably(source_path(root, view), sink.getvalue())


def is_applied(root: Path) -> bool:
    """Whether these definitions were applied in this place and nobody took any of them away."""
    folder = feast_folder(root)
    texts = (
        (STAMP, _stamp(root)),
        ("feature_store.yaml", SETTINGS),
        (DEFINITIONS_FILE, DEFINITIONS),
    )
    for name, wanted in texts:
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != wanted:
            return False
    found = Registry()
    try:
        found.ParseFromString((folder / "registry.db").read_bytes())
    except (FileNotFoundError, DecodeError):
        return False
    return (folder / "online.db").is_file() and not missing_in(found)


def missing_in(registry: Registry) -> list[str]:
    """The names of ours that a registry does not hold."""
    found = {each.spec.name for each in (*registry.feature_views, *registry.label_views)}
    found |= {each.spec.name for each in (*registry.feature_services, *registry.entities)}
    found |= {each.name for each in registry.data_sources}
    sources = [name for view in VIEWS for name in (push_source(view), f"{view}_file")]
    return [n for n in (*VIEWS, *SERVICES, *ENTITIES, *sources) if n not in found]


def _remove_torn(registry: Path) -> None:
    """Delete a registry that Feast was killed in the middle of writing: it can only fail to read
    it, while without one it begins anew."""
    try:
        Registry().ParseFromString(registry.read_bytes())
    except FileNotFoundError:
        return
    except DecodeError:
        registry.unlink()


def _stamp(root: Path) -> str:
    """What the registry depends on: this file, the columns, Feast's version, the paths in it.

    The definitions themselves print their parts in another order in each process.
    """
    parts = [feast.__version__, str(feast_folder(root)), Path(__file__).read_text("utf-8")]
    parts += [str(source_schema(view)) for view in VIEWS]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _statistics() -> list[Field]:
    return [
        *(Field(name=name, dtype=Int64) for name in COUNTS),
        *(Field(name=name, dtype=Float64) for name in RATES),
        Field(name="last_shown_at", dtype=UnixTimestamp),
    ]


def _source(root: Path, view: str) -> PushSource:
    return PushSource(
        name=push_source(view),
        batch_source=FileSource(
            name=f"{view}_file",
            path=str(source_path(root, view)),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
