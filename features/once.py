"""Each event once: the one relation that every view, label, count and history is made from.

An event is named by its (source, id) and the user it is of. Copies of it that say something else,
as a retry that was timed on arrival, change nothing: the copy that was known first counts, so that
what was known as of a time stays, and so that it does not matter whether the worker still
remembered the id (streams/dedup.py keeps the first as well). Copies known at the same instant are
told apart by what they say: no order of files or rows matters. The user is part of the name because
no client may displace what another user did, and forgetting one user may change nothing of others.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from features.tables import SCHEMAS, FactKind

KEY = ("user_id", "source", "id")
LETTER_KEY = ("topic", "partition", "offset", "known_at")
"""Of a dead letter. The record's time too: a topic made again under its name counts its offsets
from 0 again."""
DECIDING: Mapping[FactKind, Sequence[str]] = MappingProxyType(
    {
        "shown": (
            *("known_at", "occurred_at", "response_id", "policy", "learnable"),
            *("experiment", "arm", "propensity"),
        ),
        "reactions": ("known_at", "occurred_at", "response_id", "signal", "action", "network"),
        "erasures": ("known_at", "occurred_at"),
        "verdicts": ("known_at", "occurred_at", "response_id", "action", "rule", "rule_version"),
        "dead_letters": ("reason", "detail"),
    }
)
"""The columns that choose among copies, in this order, before all others. Folds read no others, so
that no text has to be read for them."""


def once_sql(kind: FactKind, relation: str) -> str:
    """SELECT each event of a relation of a kind once, with all its columns."""
    columns = SCHEMAS[kind].names
    key = LETTER_KEY if kind == "dead_letters" else KEY
    rest = [name for name in columns if name not in (*key, *DECIDING[kind])]
    order = [*_quoted(DECIDING[kind]), *([f"hash({', '.join(_quoted(rest))})"] if rest else [])]
    return _first_sql(relation, columns, key, order)


def folded_once_sql(kind: FactKind, relation: str, *, is_small: bool = False) -> str:
    """The same with those columns only that a fold reads: KEY and DECIDING.

    `is_small` takes one look through the relation and sorts it; otherwise it is looked through
    several times, and only what repeats is sorted.
    """
    order = _quoted(DECIDING[kind])
    columns = (*KEY, *DECIDING[kind])
    if is_small:
        return _sorted_sql(relation, columns, KEY, order)
    return _first_sql(relation, columns, KEY, order)


def _first_sql(
    relation: str, columns: Sequence[str], key: Sequence[str], order: Sequence[str]
) -> str:
    """The first row of each key. Rows hardly ever repeat: what does not is passed on as it is, and
    two keys that share a hash are both looked at in full."""
    hashed = f"hash({', '.join(_quoted(key))})"
    repeated = f"SELECT hashed FROM (SELECT {hashed} AS hashed FROM {relation})"
    repeated += " GROUP BY hashed HAVING count(*) > 1"
    some = f"(SELECT * FROM {relation} WHERE {hashed} IN (FROM repeated))"
    return f"""
        WITH repeated AS MATERIALIZED ({repeated})
        SELECT {", ".join(_quoted(columns))} FROM {relation}
        WHERE {hashed} NOT IN (FROM repeated)
        UNION ALL
        ({_sorted_sql(some, columns, key, order)})"""


def _sorted_sql(
    relation: str, columns: Sequence[str], key: Sequence[str], order: Sequence[str]
) -> str:
    return f"""
        SELECT {", ".join(_quoted(columns))} FROM {relation}
        QUALIFY row_number() OVER (
            PARTITION BY {", ".join(_quoted(key))} ORDER BY {", ".join(order)}) = 1"""


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]
