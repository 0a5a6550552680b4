"""One name for all that the labels say: equal where they are equal, whatever the way there."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from features.views import connect

COLUMNS = (
    "response_id",
    "user_id",
    "signal",
    "value",
    "added_at",
    "removed_at",
    "mistap",
    "quarantined",
    "dangling",
)
"""What is digested of a label: all but `known_at`, which says when we heard, not what is true."""
ROWS_MAX = 10_000
"""Rows that are encoded at a time; it bounds memory."""


def labels_bytes(root: Path, as_of: datetime | None = None) -> Iterator[bytes]:
    """The labels of the store under `root`, one JSON list a line, sorted: the same bytes wherever
    the labels are the same. With `as_of` (aware), as known then."""
    encode = msgspec.json.Encoder().encode
    sql = f"SELECT {', '.join(COLUMNS)} FROM labels ORDER BY response_id, user_id, signal"
    with connect(root, as_of) as connection:
        for batch in connection.sql(sql).to_arrow_reader(ROWS_MAX):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            yield b"".join(encode(row) + b"\n" for row in rows)


def labels_digest(root: Path, as_of: datetime | None = None) -> str:
    """SHA-256, in hex, of `labels_bytes`."""
    digest = hashlib.sha256()
    for lines in labels_bytes(root, as_of):
        digest.update(lines)
    return digest.hexdigest()
