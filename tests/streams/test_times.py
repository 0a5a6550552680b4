"""Goal: one grammar and one instant of a time, whatever the door.

Method: spellings that RFC 3339 allows and others, written by Hypothesis from their parts, against
the instant worked out from the parts, and against msgspec, which reads our own events.
"""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.times import read_time, read_time_utc

MSGSPEC = msgspec.json.Decoder(datetime)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """Times that RFC 3339 allows, and near misses."""
    part = st.integers(0, 62)
    fraction = draw(st.just("") | st.from_regex(r"\.[0-9]{1,20}", fullmatch=True))
    year = draw(st.integers(0, 9999))
    month, day = draw(st.integers(0, 13)), draw(st.integers(0, 32))
    hour = draw(st.integers(0, 25))
    zone = draw(
        st.sampled_from(["Z", "z", "", "+00:00", "-00:00", "+0130", "+23:59", "-24:00", "+01", "x"])
        | st.from_regex(r"[+-][0-9]{2}:?[0-9]{2}", fullmatch=True)
    )
    return (
        f"{year:04}-{month:02}-{day:02}{draw(st.sampled_from('Tt _'))}"
        f"{hour:02}:{draw(part):02}:{draw(part):02}{fraction}{zone}"
    )


def read(text: str) -> datetime | None:
    try:
        return read_time(text)
    except (ValueError, OverflowError):
        return None


def read_by_msgspec(text: str) -> datetime | None:
    try:
        at = MSGSPEC.decode(msgspec.json.encode(text))
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (msgspec.ValidationError, OverflowError):
        return None


@given(text=spellings() | st.text(max_size=30))
@example(text="0001-01-01T00:00:00+00:01")
@example(text="9999-12-31T23:59:59.9999999Z")
@example(text="2026-11-23T22:16:40+0100")
def test_what_msgspec_takes_is_the_same_instant_and_only_leap_seconds_are_more(text):
    at = read(text)
    if ":60" not in text or read_by_msgspec(text) is not None:
        assert read_by_msgspec(text) == at


@given(
    at=st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)),
    offset=st.integers(-1439, 1439),
)
def test_an_instant_written_in_any_zone_is_that_instant(at, offset):
    aware = at.replace(tzinfo=UTC)
    local = at + timedelta(minutes=offset)
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = f"{local.isoformat()}{sign}{minutes // 60:02}:{minutes % 60:02}"
    assert read_time(text) == aware
    assert read_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1990-12-31t23:59:60z", "1991-01-01T00:00:00"),
        ("1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00"),
        ("1990-12-31T23:59:60.25Z", "1991-01-01T00:00:00.250000"),
        ("2026-11-23 22:16:40.1234565Z", "2026-11-23T22:16:40.123457"),
        ("2026-11-23T22:16:40.12345649999Z", "2026-11-23T22:16:40.123456"),
        ("2026-11-23T22:16:59.9999999Z", "2026-11-23T22:17:00"),
        ("2026-11-23T22:16:40-00:00", "2026-11-23T22:16:40"),
    ],
)
def test_what_rfc_3339_leaves_open_is_decided(text, instant):
    assert read_time(text) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


NO_TIMES = [
    "",
    "now",
    "1700000000",
    "2026-11-23",
    "2026-11-23T22:16:40",
    "2026-11-23T22:16Z",
    "20261123T221640Z",
    "2026-11-23T22:16:60Z",
    "2026-11-23T24:00:00Z",
    "2026-11-23T22:16:40,5Z",
    "2026-02-30T00:00:00Z",
    "2026-11-23T22:16:40+01",
    "２026-11-23T22:16:40Z",
]


@pytest.mark.parametrize("text", NO_TIMES)
def test_the_rest_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="RFC 3339"):
        read_time(text)


def test_people_may_leave_out_zone_and_time():
    assert read_time_utc("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert read_time_utc(" 2026-11-23 22:16:40 ") == datetime(2026, 11, 23, 22, 16, 40, tzinfo=UTC)
    assert read_time_utc("2026-11-23T22:16:40+02:00").hour == 20
