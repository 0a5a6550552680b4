"""The one reading of times: RFC 3339, section 5.6, to an aware UTC datetime.

Every door reads times here: bodies, headers, options and settings. Events in our own form are read
by msgspec in the same pass as the rest, which gives the same instant for what both take
(tests/streams/test_times.py). Where RFC 3339 leaves room:

- `T` and `Z` may be small, and a space may stand for the `T` (its section 5.6, notes);
- fractions of a second have any length and are rounded to microseconds, halves up;
- an offset may lack its colon, as strftime's %z writes it; `-00:00` is UTC;
- a leap second (23:59:60 UTC at the end of a month) is the first second after it, as in Unix time.
"""

import re
from datetime import UTC, date, datetime, timedelta

RFC_3339 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<offset_hour>\d\d):?(?P<offset_minute>\d\d))",
    re.ASCII,
)
EXAMPLE = "2026-11-23T22:16:40.5+01:00"
ALLOWED = f"an RFC 3339 time with a zone, such as {EXAMPLE}"
LEAP = 60
ZONELESS = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?)?", re.ASCII)


def read_time(text: str) -> datetime:
    """Give the instant, in UTC. Raises ValueError for what is none, or lies outside the calendar.

    A sound text outside the calendar (year 1 to 9999, in UTC) raises OverflowError.
    """
    found = RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError(f"must be {ALLOWED}")
    hour, minute, second = (int(found[name]) for name in ("hour", "minute", "second"))
    offset_hour, offset_minute = int(found["offset_hour"] or 0), int(found["offset_minute"] or 0)
    if hour > 23 or minute > 59 or second > LEAP or offset_hour > 23 or offset_minute > 59:
        raise ValueError(f"must be {ALLOWED}: a field is out of its range")
    try:
        day = date.fromisoformat(found["date"])
    except ValueError:
        raise ValueError(f"must be {ALLOWED}: {found['date']} is no day") from None
    offset = timedelta(hours=offset_hour, minutes=offset_minute)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    since_midnight = timedelta(
        hours=hour, minutes=minute, seconds=second, microseconds=_microseconds(found["fraction"])
    )
    at = midnight + (since_midnight + (offset if found["sign"] == "-" else -offset))
    if second == LEAP and not _is_after_leap(at):
        raise ValueError(f"must be {ALLOWED}: second 60 is only at the end of a month, in UTC")
    return at


def read_time_utc(text: str) -> datetime:
    """The same for people: a date alone is its midnight, and a time without a zone is UTC."""
    stripped = text.strip()
    if ZONELESS.fullmatch(stripped):
        stripped = f"{stripped}T00:00:00Z" if len(stripped) == len("YYYY-MM-DD") else f"{stripped}Z"
    return read_time(stripped)


def _microseconds(fraction: str | None) -> int:
    if fraction is None:
        return 0
    return int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")


def _is_after_leap(at: datetime) -> bool:
    """Whether the second before began a month's last: there a leap second may be put in."""
    return at.day == 1 and at.hour == at.minute == at.second == 0
