"""What Feast's own tools find behind feature_store.yaml: the facts, read when asked, never written.

Feast's commands and SDK take a repository for theirs: they copy old rows over newer ones
(materialize), write what a caller gives (push), and delete what they find no definition of (apply,
teardown). Here all rows follow from facts. So what Feast reads of a past time is computed at that
moment by the fold that everything else uses, the online rows are those that the worker keeps, and
what would change or remove them is refused with what to do instead. Views that a user adds beside
ours are Feast's, as always.

Our own processes use Feast with its stock provider (features/definitions.py).
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.config import FeaturesConfig
from features.definitions import (
    DEFINITIONS_FILE,
    ENTITIES,
    LABELS,
    USER_HISTORY,
    VIEWS,
    apply_definitions,
    feast_folder,
    is_applied,
    missing_in,
    source_path,
)
from features.history import label_changes_sql
from features.lean import lean_imports
from features.offline import OFFLINE_STORES
from features.online import OnlinePusher, write_source
from features.tallies import Tallies, tallies_path
from features.views import connect_store, query
from files.durable import lock
from streams.signals import SIGNALS

with lean_imports():
    import ibis  # type: ignore[import-untyped]
    from feast import RepoConfig
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
    from feast.infra.online_stores.sqlite import SqliteOnlineStore
    from feast.infra.passthrough_provider import PassthroughProvider
    from feast.infra.registry.file import FileRegistryStore
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
    from feast.protos.feast.types.Value_pb2 import Value

AS_SENT = "__user_id_as_sent"
"""Column that keeps the ids of the caller while rows are joined by the stored ones."""
StoredUser = Callable[[str], str]
"""Gives how a user's id is stored; an id that is as it is stored stays."""


class FeastRefusal(ValueError):
    """Feast was asked to write or remove what follows from facts; the text says what to do."""


class FactsRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """Feast's registry file, in which ours are always found: what would lose them is refused."""

    def get_registry_proto(self) -> Registry:
        root = self._filepath.absolute().parents[1]
        if not is_applied(root):  # A home that moved, or whose registry somebody deleted.
            apply_definitions(root)
        found: Registry = super().get_registry_proto()
        return found

    def update_registry_proto(self, registry_proto: Registry) -> None:
        """Raises FeastRefusal, with nothing changed, where one of ours would be missing."""
        _refuse_loss(missing_in(registry_proto))
        with lock(self._filepath.absolute().parent / ".apply.lock"):
            super().update_registry_proto(registry_proto)

    def teardown(self) -> None:
        """Raises FeastRefusal."""
        _refuse_loss([*VIEWS, *ENTITIES])


class FactsOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Feast's offline store on DuckDB; our views' files are computed anew before each look.

    Whoever asks holds a lock meanwhile and gets rows, not a plan: later the files say other things.
    """

    def __init__(self, stored_user: StoredUser) -> None:
        self._stored_user = stored_user

    def get_historical_features(
        self,
        config: RepoConfig,
        feature_views: Sequence[Any],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **more: Any,
    ) -> Any:
        """Join to each row of `entity_df` what stood at its time.

        `entity_df` may be a SELECT over the views of features/views.py. Users may be named as
        clients do. Raises FeastRefusal without rows: there is no end to what could be asked.
        """
        if entity_df is None:
            raise FeastRefusal(
                "entity_df is None; need rows with event_timestamp and user_id, policy or"
                ' response_id, or a SELECT that gives them, such as "SELECT user_id,'
                ' occurred_at AS event_timestamp FROM shown"'
            )
        root = root_of(config)
        rows: pd.DataFrame = (
            query(root, entity_df).to_pandas() if isinstance(entity_df, str) else entity_df
        )
        with _fresh_sources(root, [view.name for view in feature_views]):
            stored = self._as_stored(root, rows)
            job = DuckDBOfflineStore.get_historical_features(
                config,
                list(feature_views),
                feature_refs,
                stored,
                registry,
                project,
                full_feature_names,
                **more,
            )
            job.table = ibis.memtable(_as_sent(job.table.to_pyarrow()))
        return job

    def pull_latest_from_table_or_query(self, **asked: Any) -> Any:
        return _rows(DuckDBOfflineStore.pull_latest_from_table_or_query, asked)

    def pull_all_from_table_or_query(self, **asked: Any) -> Any:
        return _rows(DuckDBOfflineStore.pull_all_from_table_or_query, asked)

    def _as_stored(self, root: Path, entities: pd.DataFrame) -> pd.DataFrame:
        """The rows with the ids of users as they are stored, and as they were sent beside."""
        if "user_id" not in entities.columns:
            return entities.copy()
        known = set(
            pq.read_table(source_path(root, USER_HISTORY), columns=["user_id"])["user_id"]
            .unique()
            .to_pylist()
        )
        sent = entities["user_id"]
        stored = {user: self._find(user, known) for user in sent.unique()}
        return entities.assign(**{"user_id": sent.map(stored), AS_SENT: sent})

    def _find(self, user: object, known: Collection[str]) -> object:
        """An id that has a history as it is stays as it is, as where no pseudonyms are made."""
        if not isinstance(user, str) or user in known:
            return user
        return self._stored_user(user)


class FactsOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """Feast's online store on SQLite; users may be named as clients do, labels come from facts."""

    def __init__(self, stored_user: StoredUser) -> None:
        super().__init__()
        self._stored_user = stored_user

    def online_read(
        self,
        config: RepoConfig,
        table: Any,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """The latest rows, in the order of the keys; (None, None) where nothing is known."""
        if table.name == LABELS:
            ids = [key.entity_values[0].string_val for key in entity_keys]
            found = _latest_labels(root_of(config), ids)
            return [found.get(each, (None, None)) for each in ids]
        rows = super().online_read(config, table, entity_keys, requested_features)
        if table.name != USER_HISTORY:
            return list(rows)
        unknown = [n for n, (_, values) in enumerate(rows) if values is None]
        stored = [self._stored_key(entity_keys[n]) for n in unknown]
        if unknown:
            found_rows = super().online_read(config, table, stored, requested_features)
            for n, row in zip(unknown, found_rows, strict=True):
                rows[n] = row
        return list(rows)

    def _stored_key(self, key: EntityKeyProto) -> EntityKeyProto:
        user_id = self._stored_user(key.entity_values[0].string_val)
        return EntityKeyProto(
            join_keys=list(key.join_keys), entity_values=[Value(string_val=user_id)]
        )


class FactsProvider(PassthroughProvider):  # type: ignore[misc]
    """Feast's provider, which reads our views from the facts and refuses to change them."""

    def stored_user(self, user_id: str) -> str:
        """How a user's id is stored; as it is, where a subclass knows no better."""
        return user_id

    @functools.cached_property
    def offline_store(self) -> FactsOfflineStore:
        return FactsOfflineStore(self.stored_user)

    @functools.cached_property
    def online_store(self) -> FactsOnlineStore:
        return FactsOnlineStore(self.stored_user)

    def materialize_single_feature_view(self, *args: Any, **asked: Any) -> None:
        """Bring the online rows up to the facts of now, whatever interval was asked for: older
        values never replace newer ones."""
        config: RepoConfig = asked.get("config", args[0] if args else None)
        view = asked.get("feature_view", args[1] if len(args) > 1 else None)
        if getattr(view, "name", "") not in VIEWS:
            super().materialize_single_feature_view(*args, **asked)
            return
        dials = config_of(root_of(config))
        OnlinePusher(dials, OFFLINE_STORES[dials.offline_store](dials)).push()

    def online_write_batch(self, config: RepoConfig, table: Any, *rest: Any, **more: Any) -> None:
        _refuse_write(table.name)
        super().online_write_batch(config, table, *rest, **more)

    def ingest_df(self, feature_view: Any, *rest: Any, **more: Any) -> None:
        _refuse_write(feature_view.name)
        super().ingest_df(feature_view, *rest, **more)

    async def ingest_df_async(self, feature_view: Any, *rest: Any, **more: Any) -> None:
        _refuse_write(feature_view.name)
        await super().ingest_df_async(feature_view, *rest, **more)

    def ingest_df_to_offline_store(self, feature_view: Any, table: pa.Table) -> None:
        _refuse_write(feature_view.name)
        super().ingest_df_to_offline_store(feature_view, table)

    def update_infra(
        self,
        project: str,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Raises FeastRefusal, with nothing changed, where a view or entity of ours would go."""
        gone = [each.name for each in tables_to_delete if each.name in VIEWS]
        gone += [each.name for each in entities_to_delete if each.name in ENTITIES]
        _refuse_loss(gone)
        super().update_infra(
            project, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial
        )

    def teardown_infra(self, *args: Any, **more: Any) -> None:
        """Raises FeastRefusal."""
        raise FeastRefusal(
            "this is the feature store of a running rluf; nothing was removed. To begin anew, stop"
            " rluf and delete this folder: it is computed again from the facts"
        )


def root_of(config: RepoConfig) -> Path:
    """The home whose feast folder holds the repository."""
    return Path(str(config.repo_path)).absolute().parent


def config_of(root: Path) -> FeaturesConfig:
    """The dials of the online rows that are there; defaults where none are."""
    config = FeaturesConfig(root=root)
    dials = Tallies(tallies_path(root)).dials() if tallies_path(root).is_file() else None
    if dials is None:
        return config
    return replace(config, prior_strength=dials[0], prior_rate=dials[1])


@contextmanager
def _fresh_sources(root: Path, names: Collection[str]) -> Iterator[None]:
    """While in it, the files of these of our views are those of the facts of now."""
    ours = [name for name in VIEWS if name in names]
    with lock(feast_folder(root) / ".sources.lock"):
        if ours:
            config = config_of(root)
            store = OFFLINE_STORES[config.offline_store](config)
            with connect_store(store, root=root, as_of=None) as connection:
                for view in ours:
                    write_source(config, connection, view)
        yield


def _rows(pull: Callable[..., Any], asked: Mapping[str, Any]) -> Any:
    """What a pull from a data source gives, already read."""
    name = str(asked["data_source"].name).removesuffix("_file")
    with _fresh_sources(root_of(asked["config"]), [name]):
        job = pull(**asked)
        job.table = ibis.memtable(job.table.to_pyarrow())
    return job


def _as_sent(rows: pa.Table) -> pa.Table:
    """The joined rows with the ids of users as they were sent."""
    if AS_SENT not in rows.column_names:
        return rows
    place = rows.column_names.index("user_id")
    return rows.set_column(place, "user_id", rows[AS_SENT]).drop_columns([AS_SENT])


def _latest_labels(
    root: Path, ids: Sequence[str]
) -> dict[str, tuple[datetime | None, dict[str, Value] | None]]:
    """The last change of each of these responses' labels, by response."""
    config = config_of(root)
    store = OFFLINE_STORES[config.offline_store](config)
    with connect_store(store, root=root, as_of=None) as connection:
        connection.register("wanted", pa.table({"response_id": pa.array(ids, pa.string())}))
        rows = connection.sql(
            f"SELECT * FROM ({label_changes_sql()}) SEMI JOIN wanted USING (response_id)"
            " QUALIFY row_number() OVER (PARTITION BY response_id"
            " ORDER BY event_timestamp DESC, created_timestamp DESC, user_id) = 1"
        ).to_arrow_table()
    return {
        row["response_id"]: (
            row["event_timestamp"].astimezone(UTC),
            {
                "user_id": Value(string_val=row["user_id"]),
                **{
                    name: Value() if row[name] is None else Value(bool_val=row[name])
                    for name in SIGNALS
                },
            },
        )
        for row in rows.to_pylist()
    }


def _refuse_loss(gone: Sequence[str]) -> None:
    if gone:
        raise FeastRefusal(
            f"this would delete {', '.join(gone)}, which rluf keeps; nothing was changed. Their"
            f" definitions are in {DEFINITIONS_FILE}, which rluf writes again when it is changed;"
            " put your own into files beside it"
        )


def _refuse_write(view: str) -> None:
    if view in VIEWS:
        raise FeastRefusal(
            f"rows of {view} are computed from events and cannot be written; nothing was changed."
            " Send the events (POST /v1/feedback, POST /v1/events or the topics)"
        )
