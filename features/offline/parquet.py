"""Facts in parquet files, one folder a day, that appear whole or not at all.

    store/reactions/date=2026-11-24/part-<id>.parquet          appended once, never changed
    store/reactions/date=2026-11-24/part-<id>.merged.parquet   many of them in one
    store/reactions/date=2026-11-24/part-<id>.merged.replaces  the names that it stands for

`date` is that of `known_at`, so an append touches one folder a kind, or two around midnight.
Merging writes the larger file first, then the list of those that it replaces; from then on readers
leave these out, and they are deleted when nobody can still be reading them. A reader that sees both
sees rows twice, which the views remove anyway; no reader ever misses a row.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.aliases import forgotten_sql, make_resolved
from features.config import FeaturesConfig
from features.offline.base import Compaction, Mark
from features.tables import SCHEMAS, SQL_TYPES, Fact, FactKind, empty_sql, to_table
from files.durable import (
    ERASE_PARTIAL_AGE_S,
    PARTIAL_AGE_S,
    lock,
    remove_partial,
    sync_folder,
    write_all_durably,
    written_durably,
)
from streams.errors import Unavailable
from streams.events import new_id
from streams.pipeline import Facts

PART = ".parquet"
MERGED = ".merged.parquet"
REPLACES = ".merged.replaces"
TIER_BYTES = (1 << 20, 16 << 20)
"""Files of like size are merged: those below the first, then those below the second. A row is thus
rewritten about twice, however many there are."""
MERGE_BYTES_MAX = 64 << 20
"""The most that is merged into one file, as compressed."""
PIECE_ROWS_MAX = 16_384
GROUP_ROWS_MIN = 131_072
GROUP_BYTES_MAX = 32 << 20
"""Rows that are read at a time, and rows or bytes that make one row group of a merged file: they
bound the memory that merging takes."""
MARK_MARGIN_S = 60.0
"""A file may appear this long after the time written in it: that of a slow sync."""
CODEC = "zstd"
Owners: TypeAlias = Mapping[tuple[str, str], str]
"""The user of an exposure, by the response and the user that a reaction names instead."""
_OF_USERS: tuple[FactKind, ...] = ("shown", "reactions", "verdicts")
BARE_ID_CHARS_MIN = 8
"""A shorter id is looked for in bytes only in quotes: "u1" stands in many a word."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """The files of one kind and day, at one look."""

    path: Path
    parts: frozenset[str]
    """Names of all finished files."""
    replaced: Mapping[str, frozenset[str]]
    """List of replaced files, by the name of the file that stands for them."""

    @property
    def visible(self) -> list[str]:
        """Names of the files that together hold every row once."""
        hidden = frozenset().union(*self.replaced.values())
        return sorted(self.parts - hidden)


class ParquetStore:
    """An OfflineStore in a folder. Any number of processes may append and read at once."""

    def __init__(self, config: FeaturesConfig, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970; tests set it."""
        self._root = config.root.absolute() / "store"
        self._grace_s = config.compact_grace_s
        self._clock = clock

    def append(self, facts: Facts) -> None:
        """Write one file per kind and day; all are synced before any can be seen."""
        batches: dict[FactKind, Sequence[Fact]] = {
            "shown": facts.shown,
            "reactions": facts.reactions,
            "erasures": facts.erasures,
            "verdicts": facts.verdicts,
            "dead_letters": facts.dead_letters,
        }
        files = [
            (self._root / kind / f"date={day.isoformat()}" / f"part-{new_id()}{PART}", data)
            for kind, batch in batches.items()
            if batch
            for day, data in _by_day(to_table(kind, batch))
        ]
        try:
            write_all_durably(files)
        except OSError as fault:
            raise Unavailable(_explain(fault, self._root)) from fault

    def scan(
        self, connection: duckdb.DuckDBPyConnection, kind: FactKind, *, as_of: datetime | None
    ) -> duckdb.DuckDBPyRelation:
        """Read the files that are there now; later ones are not seen by this relation."""
        last = None if as_of is None else f"date={as_of.astimezone(UTC).date().isoformat()}"
        paths = [
            str(folder.path / name)
            for folder in self._folders(kind)
            if last is None or folder.path.name <= last
            for name in folder.visible
        ]
        if not paths:
            return connection.sql(empty_sql(kind))
        found = connection.read_parquet(paths, hive_partitioning=False, union_by_name=True)
        missing = [field for field in SCHEMAS[kind] if field.name not in found.columns]
        nulls = [f'NULL::{SQL_TYPES[field.type]} AS "{field.name}"' for field in missing]
        return found.project(", ".join(["*", *nulls])) if nulls else found

    def news(self, mark: Mark) -> tuple[Mapping[FactKind, pa.Table], Mark]:
        """Read the files that appeared since, by their times and, for recent ones, their names."""
        seen = json.loads(mark or '{"until_ns": 0, "names": []}')
        until_ns, done = int(seen["until_ns"]), frozenset(seen["names"])
        next_until_ns = int((self._clock() - MARK_MARGIN_S) * 1e9)
        news: dict[FactKind, pa.Table] = {}
        recent: list[str] = []
        kinds: tuple[FactKind, ...] = ("shown", "reactions", "erasures", "verdicts")
        for kind in kinds:
            tables = []
            for folder in self._folders(kind):
                ages = {name: _mtime_ns(folder.path / name) for name in folder.parts}
                known = {name for name, ns in ages.items() if ns < until_ns or name in done}
                for name in sorted(folder.parts - known):
                    if not folder.replaced.get(name, frozenset(("",))) <= known:
                        columns = ["user_id", *(["response_id"] if kind == "reactions" else [])]
                        users = pq.read_table(folder.path / name, columns=columns)
                        tables.append(users.group_by(columns).aggregate([]))
                recent += [name for name, ns in ages.items() if ns >= next_until_ns]
            if tables:
                news[kind] = pa.concat_tables(tables)
        return news, json.dumps({"until_ns": max(until_ns, next_until_ns), "names": recent})

    def compact(self, *, files_min: int) -> Compaction:
        """Merge files of like size of the same day; one process at a time, the others pass."""
        with lock(self._root / ".compact.lock", wait=False) as is_ours:
            num_merged = num_deleted = 0
            for kind in SCHEMAS if is_ours else ():
                for folder in self._folders(kind):
                    num_deleted += self._sweep(folder, grace_s=self._grace_s)
                    for names in _alike(folder, files_min):
                        paths = [folder.path / name for name in names]
                        schema = pa.unify_schemas([pq.read_schema(path) for path in paths])
                        self._replace(folder.path, names, schema, _pieces(paths))
                        num_merged += len(names)
            num_files = sum(
                len(folder.visible) for kind in SCHEMAS for folder in self._folders(kind)
            )
        return Compaction(num_merged=num_merged, num_deleted=num_deleted, num_files=num_files)

    def erase(self) -> int:
        """Write files anew without these rows, and delete the old ones at once.

        A reader that had listed an old file may fail, and asks again. A crash anywhere leaves rows
        twice or files hidden; erasing again ends the same.
        """
        with lock(self._root / ".compact.lock"):
            until, owners = self._erased_until()
            num_removed = 0
            for kind in reversed(_OF_USERS) if until else ():  # Exposures tell whose a reaction is.
                num_rows = self._keep(kind, lambda rows: pc.invert(_is_erased(rows, until, owners)))
                num_removed += num_rows * (kind != "verdicts")
            needles = [needle for user_id in until for needle in needles_of(user_id)]
            if until:
                self._keep("dead_letters", lambda letters: _names_none(letters, needles))
            for kind in SCHEMAS if until else ():
                for each in self._folders(kind):
                    self._sweep(each, grace_s=0.0, partial_age_s=ERASE_PARTIAL_AGE_S)
        return num_removed

    def _erased_until(self) -> tuple[dict[str, datetime], Owners]:
        """Until when each user who asked for it is forgotten, by each of their names; and whose a
        reaction is that names its user or its response otherwise."""
        if not self._visible("erasures"):
            return {}, {}
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for kind in ("shown", "reactions", "erasures"):
                self.scan(connection, kind, as_of=None).create_view(f"stored_{kind}")
            until = connection.sql(forgotten_sql("stored_erasures", "stored_shown")).fetchall()
            make_resolved(connection, "stored_shown", "stored_reactions")
            owners = connection.sql(
                "SELECT named_response, named_user, user_id FROM resolved"
            ).fetchall()
        return dict(until), {(response, user): owner for response, user, owner in owners}

    def _keep(self, kind: FactKind, is_kept: Callable[[pa.Table], pa.Array]) -> int:
        """Write those files anew that hold other rows too; gives how many rows they lost."""
        num_removed = 0
        for path in self._visible(kind):
            num_lost = sum(pc.sum(pc.invert(is_kept(rows))).as_py() for rows in _pieces([path]))
            if num_lost:
                kept = (rows.filter(is_kept(rows)) for rows in _pieces([path]))
                self._replace(path.parent, [path.name], pq.read_schema(path), kept)
                num_removed += num_lost
        return num_removed

    def folders(self) -> Sequence[Path]:
        """The folder of the store."""
        return (self._root,)

    def _folders(self, kind: FactKind) -> list[_Folder]:
        try:
            days = sorted(entry.path for entry in os.scandir(self._root / kind) if entry.is_dir())
        except FileNotFoundError:
            return []
        return [_look(Path(day)) for day in days]

    def _visible(self, kind: FactKind) -> list[Path]:
        return [f.path / name for f in self._folders(kind) for name in f.visible]

    def _replace(
        self, folder: Path, names: Sequence[str], schema: pa.Schema, pieces: Iterable[pa.Table]
    ) -> None:
        """Put the rows of `pieces` in place of the files: first they appear, then the files are
        hidden. Columns that a piece lacks are NULL."""
        stem = f"part-{new_id()}"
        try:
            with (
                written_durably(folder / f"{stem}{MERGED}") as path,
                pq.ParquetWriter(path, schema, compression=CODEC) as writer,
            ):
                for rows in _gathered(pieces):
                    writer.write_table(_with_columns(rows, schema))
            write_all_durably([(folder / f"{stem}{REPLACES}", "\n".join(names).encode())])
        except OSError as fault:
            raise Unavailable(_explain(fault, self._root)) from fault

    def _sweep(
        self, folder: _Folder, *, grace_s: float, partial_age_s: float = PARTIAL_AGE_S
    ) -> int:
        """Delete what was replaced so long ago that nobody reads it, and what crashes left."""
        now_s = self._clock()
        num_deleted = 0
        for merged in sorted(folder.replaced):
            replaces = folder.path / (merged.removesuffix(MERGED) + REPLACES)
            if grace_s and _mtime_ns(replaces) / 1e9 > now_s - grace_s:
                continue
            for name in folder.replaced[merged] & folder.parts:
                (folder.path / name).unlink(missing_ok=True)
                num_deleted += 1
            sync_folder(folder.path)
            replaces.unlink(missing_ok=True)
        remove_partial(folder.path, before_s=now_s - partial_age_s)
        return num_deleted


def _look(folder: Path) -> _Folder:
    names = {entry.name for entry in os.scandir(folder)}
    parts = frozenset(n for n in names if n.endswith(PART) and not n.startswith("."))
    lists: dict[str, frozenset[str]] = {}
    for name in names:
        if name.endswith(REPLACES):
            try:
                replaced = (folder / name).read_text("utf-8").split("\n")
            except FileNotFoundError:
                continue
            lists[name.removesuffix(REPLACES) + MERGED] = frozenset(replaced)
    # A list counts only where what stands for its files was seen too, itself or merged further.
    hidden = frozenset().union(*lists.values())
    return _Folder(folder, parts, {m: r for m, r in lists.items() if m in parts or m in hidden})


def _alike(folder: _Folder, files_min: int) -> Iterable[list[str]]:
    """Groups of visible files to be merged, each of like size and bounded together."""
    sizes = {name: (folder.path / name).stat().st_size for name in folder.visible}
    low = 0
    for high in TIER_BYTES:
        group: list[str] = []
        total = 0
        tier = [name for name, size in sizes.items() if low <= size < high]
        low = high
        if len(tier) < files_min:
            continue
        for name in tier:
            if total + sizes[name] > MERGE_BYTES_MAX:
                yield group
                group, total = [], 0
            group.append(name)
            total += sizes[name]
        if len(group) > 1:
            yield group


def _pieces(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of the files, one after the other, some at a time."""
    for path in paths:
        with pq.ParquetFile(path, memory_map=False) as file:
            for batch in file.iter_batches(PIECE_ROWS_MAX, columns=columns):
                yield pa.Table.from_batches([batch])


def _gathered(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in larger tables, each fit for one row group."""
    group: list[pa.Table] = []
    num_rows = num_bytes = 0
    for rows in pieces:
        group.append(rows)
        num_rows += rows.num_rows
        num_bytes += rows.nbytes
        if num_rows >= GROUP_ROWS_MIN or num_bytes >= GROUP_BYTES_MAX:
            yield pa.concat_tables(group, promote_options="default")
            group = []
            num_rows = num_bytes = 0
    if group:
        yield pa.concat_tables(group, promote_options="default")


def _with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _by_day(table: pa.Table) -> Iterable[tuple[date, pa.Buffer]]:
    days = pc.cast(table["known_at"], pa.date32())
    for day in pc.unique(days):
        rows = table if pc.all(pc.equal(days, day)).as_py() else table.filter(pc.equal(days, day))
        yield day.as_py(), _serialize(rows)


def _serialize(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=CODEC)
    return sink.getvalue()


def needles_of(user_id: str) -> list[bytes]:
    """The bytes that name a user in a record: the id in quotes as JSON has it, and, if it is long
    enough to mean nothing else, bare."""
    quoted = {json.dumps(user_id), json.dumps(user_id, ensure_ascii=False)}
    bare = {text[1:-1] for text in quoted} if len(user_id) >= BARE_ID_CHARS_MIN else set()
    return sorted(text.encode() for text in quoted | bare)


def _names_none(letters: pa.Table, needles: Sequence[bytes]) -> pa.Array:
    """Whether each dead letter names none of these users, in its key, value or detail."""
    keys, values = letters["key"].to_pylist(), letters["value"].to_pylist()
    details = letters["detail"].to_pylist()
    return pa.array(
        [
            not any(
                needle in value or needle in detail.encode() or needle in b'"%s"' % (key or b"")
                for needle in needles
            )
            for key, value, detail in zip(keys, values, details, strict=True)
        ],
        pa.bool_(),
    )


def _is_erased(table: pa.Table, until: Mapping[str, datetime], owners: Owners) -> pa.Array:
    users, times = table["user_id"].to_pylist(), table["occurred_at"].to_pylist()
    responses = table["response_id"].to_pylist()
    return pa.array(
        [
            any(
                name in until and at <= until[name]
                for name in (user, owners.get((response, user), user))
            )
            for user, response, at in zip(users, responses, times, strict=True)
        ],
        pa.bool_(),
    )


def _mtime_ns(path: Path) -> int:
    """When the file was written; the end of time for one that is gone."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 1 << 63


def _explain(fault: OSError, root: Path) -> str:
    advice = {
        errno.ENOSPC: "free some space on its disk",
        errno.EDQUOT: "raise the quota or free some space",
        errno.EACCES: "give this user the right to write there",
        errno.EPERM: "give this user the right to write there",
        errno.EROFS: "mount its disk for writing",
        errno.EIO: "its disk fails; look at the system's log",
    }.get(fault.errno or 0, "see the system's log")
    return f"cannot write facts to {root}: {fault.strerror}; {advice}. Nothing was half written"
