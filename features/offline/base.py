"""What we need of a place that keeps facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

import duckdb
import pyarrow as pa

from features.tables import FactKind
from streams.pipeline import Facts

Mark: TypeAlias = str
"""How far somebody has read the facts as they arrive; "" is the beginning. Opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What one compaction did."""

    num_merged: int
    """Files that were replaced by larger ones."""
    num_deleted: int
    """Files replaced earlier that are gone now."""
    num_files: int
    """Files that a reader sees now."""


class OfflineStore(Protocol):
    """Facts, appended and never changed; a row of features.offline.OFFLINE_STORES makes one.

    A fact may lie in it several times: whoever reads, removes duplicates (features/views.py).
    """

    def append(self, facts: Facts) -> None:
        """Keep the facts; they are durable when it returns.

        Raises streams.errors.Unavailable when it cannot; the same facts may then come again.
        """

    def scan(
        self, connection: duckdb.DuckDBPyConnection, kind: FactKind, *, as_of: datetime | None
    ) -> duckdb.DuckDBPyRelation:
        """All facts of a kind, with the columns of SCHEMAS[kind].

        With `as_of`, facts known later may be left out (to read less) or not.
        """

    def news(self, mark: Mark) -> tuple[Mapping[FactKind, pa.Table], Mark]:
        """Who is concerned by facts appended since `mark`, and the mark for the next time.

        Gives the user_id of shown, reactions, erasures and verdicts, not every fact's but every
        user's. At least once: they may come again.
        """

    def compact(self, *, files_min: int) -> Compaction:
        """Merge small files wherever there are at least `files_min`; readers never notice."""

    def erase(self) -> int:
        """Remove what users who asked to be forgotten had done until then; gives rows removed."""

    def folders(self) -> Sequence[Path]:
        """Folders of this machine that a reader must be able to read."""
