"""The kinds of facts as columns: what lies in the store, and what its views show."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec
import pyarrow as pa

from streams.events import DeadLetter, Erasure, GuardRuling, Reaction, Shown

FactKind: TypeAlias = Literal["shown", "reactions", "erasures", "verdicts", "dead_letters"]
Fact: TypeAlias = Shown | Reaction | Erasure | GuardRuling | DeadLetter

VERSION = b"3"
"""Version of these columns, kept in every file's metadata under VERSION_KEY. Files of version 1
lack `network` of a reaction, files before version 3 the aliases and `client_id` of an exposure;
whoever reads takes what a file lacks for NULL."""
VERSION_KEY = b"rluf.version"

TIME = pa.timestamp("us", "UTC")
"""Microseconds: DuckDB refuses to compare them with nanoseconds, and events hold no finer ones."""
NAMES = pa.list_(pa.string())

_COLUMNS: dict[FactKind, dict[str, pa.DataType]] = {
    "shown": {
        "id": pa.string(),
        "source": pa.string(),
        "response_id": pa.string(),
        "conversation_id": pa.string(),
        "user_id": pa.string(),
        "turn": pa.int32(),
        "messages": pa.string(),  # JSON list of {role, content}
        "response": pa.string(),
        "policy": pa.string(),
        "experiment": pa.string(),
        "arm": pa.string(),
        "propensity": pa.float64(),
        "surface": pa.string(),
        "language": pa.string(),
        "learnable": pa.bool_(),
        "logprob": pa.float64(),
        "user_aliases": NAMES,  # NULL: none
        "response_aliases": NAMES,  # NULL: none
        "client_id": pa.string(),
        "occurred_at": TIME,
        "known_at": TIME,
    },
    "reactions": {
        "id": pa.string(),
        "source": pa.string(),
        "response_id": pa.string(),
        "user_id": pa.string(),
        "signal": pa.string(),
        "action": pa.string(),
        "network": pa.string(),
        "occurred_at": TIME,
        "known_at": TIME,
    },
    "erasures": {
        "id": pa.string(),
        "source": pa.string(),
        "user_id": pa.string(),
        "occurred_at": TIME,
        "known_at": TIME,
    },
    "verdicts": {
        "id": pa.string(),
        "source": pa.string(),
        "user_id": pa.string(),
        "response_id": pa.string(),  # "": every reaction of the user
        "action": pa.string(),
        "rule": pa.string(),
        "rule_version": pa.int32(),
        "evidence": pa.string(),  # JSON object
        "since": TIME,
        "occurred_at": TIME,
        "known_at": TIME,
    },
    "dead_letters": {
        "topic": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "reason": pa.string(),
        "detail": pa.string(),
        "key": pa.binary(),
        "value": pa.binary(),
        "known_at": TIME,
    },
}
SCHEMAS: Mapping[FactKind, pa.Schema] = MappingProxyType(
    {
        kind: pa.schema(list(columns.items()), metadata={VERSION_KEY: VERSION})
        for kind, columns in _COLUMNS.items()
    }
)
"""Columns of each kind of fact, in their order."""

SQL_TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.string(): "VARCHAR",
        pa.binary(): "BLOB",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
        TIME: "TIMESTAMPTZ",
        NAMES: "VARCHAR[]",
    }
)


def to_table(kind: FactKind, facts: Sequence[Fact]) -> pa.Table:
    """The facts, all of one kind, as columns in the same order."""
    schema = SCHEMAS[kind]
    columns = [
        pa.array(list(map(_getter(kind, field.name), facts)), type=field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def empty_sql(kind: FactKind) -> str:
    """A SELECT with the columns of `kind` and no rows."""
    columns = ", ".join(
        f'NULL::{SQL_TYPES[field.type]} AS "{field.name}"' for field in SCHEMAS[kind]
    )
    return f"SELECT {columns} WHERE false"


def _getter(kind: FactKind, column: str) -> Callable[[Fact], object]:
    get = attrgetter(column)
    if column == "messages":
        encode = msgspec.json.Encoder().encode
        return lambda fact: encode(get(fact))
    if SCHEMAS[kind].field(column).type == NAMES:
        return lambda fact: get(fact) or None
    return get
