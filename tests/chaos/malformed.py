"""Records that no worker may take in, each with the reason that the contract names for it.

All content is generated. Every record carries its number in its key, so that it can be found among
the dead letters whatever its bytes.
"""

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from tests.chaos.lines import Headers, iso

TOO_LARGE_BYTES = 1_000_100
"""A little above what the contract takes, which is 1,000,000."""
DEPTH = 100_000
"""Brackets of a text that no parser follows."""
BULKY = {"too_large": 12, "too_deep": 12}
"""The most records of these kinds in one story: each takes up to a megabyte."""

Raw = tuple[bytes, Headers]
Kind = Callable[[int, datetime], Raw]
"""(number of the record, its known time) to value and headers."""


def reaction(number: int, at: datetime, **changes: object) -> dict[str, object]:
    """A reaction as its JSON object; names that begin with `data__` change its data."""
    data: dict[str, object] = {
        "response_id": f"bad-r-{number}",
        "user_id": f"bad-u-{number}",
        "signal": "love",
        "action": "add",
    }
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": f"bad-{number}",
        "source": "/chaos",
        "type": "rluf.reaction.v1",
        "time": iso(at),
        "data": data,
    }
    for name, value in changes.items():
        target, key = (data, name[6:]) if name.startswith("data__") else (event, name)
        if value is None:
            del target[key]
        else:
            target[key] = value
    return event


def _raw(event: object, headers: Headers = ()) -> Raw:
    return json.dumps(event, ensure_ascii=False).encode(), headers


def _of(**changes: object) -> Kind:
    """A reaction with these changes; None leaves a field out."""
    return lambda number, at: _raw(reaction(number, at, **changes))


def _cut(number: int, at: datetime) -> Raw:
    value, headers = _raw(reaction(number, at))
    return value[:-7], headers


def _no_utf8(number: int, at: datetime) -> Raw:
    value, headers = _raw(reaction(number, at))
    return value.replace(b"bad-u-", b"bad\xff\xfeu-"), headers


def _deep(number: int, at: datetime) -> Raw:
    value, headers = _raw(reaction(number, at))
    return value[:-1] + b', "x": ' + b"[" * DEPTH + b"]" * DEPTH + b"}", headers


def _large(number: int, at: datetime) -> Raw:
    return _raw(reaction(number, at, data__signal="x" * TOO_LARGE_BYTES))


def _headless(number: int, at: datetime) -> Raw:
    """Binary mode without ce_id and ce_time."""
    headers = (("ce_specversion", "1.0"), ("ce_source", "/chaos"), ("ce_type", "rluf.reaction.v1"))
    return _raw(reaction(number, at)["data"], headers)


KINDS: Mapping[str, tuple[Kind, ...]] = {
    "malformed_json": (_cut, lambda number, _: (b"bad %d {" % number, ())),
    "invalid_utf8": (_no_utf8,),
    "too_deep": (_deep,),
    "empty_value": (lambda _number, _at: (b"", ()),),
    "too_large": (_large,),
    "not_an_object": (lambda number, _: _raw([number]), lambda number, _: _raw(number)),
    "bad_headers": (_headless,),
    "missing_field": (_of(id=None), _of(time=None), _of(data__user_id=None)),
    "wrong_type": (_of(id=7), _of(data__user_id=7), _of(data="love")),
    "empty_id": (_of(id=""), _of(data__user_id="  "), _of(data__response_id="")),
    "bad_value": (
        _of(time="2025-11-03T12:00:00"),
        _of(time="yesterday"),
        _of(specversion="0.3"),
        _of(data__user_id="u" * 513),
    ),
    "unknown_type": (_of(type="rluf.reaction.v9"),),
    "unknown_signal": (_of(data__signal="applause"), _of(data__signal="🍕")),
    "unknown_action": (_of(data__action="toggle"),),
    "absurd_time": (
        _of(time="1999-12-31T23:59:59Z"),
        lambda number, at: _raw(reaction(number, at, time=iso(at + timedelta(seconds=301)))),
        lambda number, at: _raw(reaction(number, at, time=iso(datetime(2999, 1, 1, tzinfo=UTC)))),
    ),
}
"""Reason to the kinds of records that have it."""


def reasons(num: int, random_: random.Random) -> list[str]:
    """A reason for each of `num` records: every reason in turn, bulky ones a few times only."""
    left = dict(BULKY)
    found: list[str] = []
    while len(found) < num:
        turn = [name for name in KINDS if left.get(name, 1) > 0]
        random_.shuffle(turn)
        for name in turn[: num - len(found)]:
            found.append(name)
            if name in left:
                left[name] -= 1
    return found
