"""When a crontab line falls: the five times of crontab(5), read by its letter.

cronsim computes the times as Debian's cron does, daylight saving included. It also takes lines that
crontab(5) has not (seconds, `L`, `#`, steps from a single number); those are refused here, since
another cron would run them at other times or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""The special strings of crontab(5) but @reboot, which names no time."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

Field: TypeAlias = tuple[str, int, int, tuple[str, ...]]

FIELDS: tuple[Field, ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, DAYS),
)
"""Name, lowest, highest, names of the values from the lowest on. 0 and 7 are Sunday."""

ITEM = re.compile(
    r"(?:\*|(?P<low>[0-9]+|[a-z]+)(?:-(?P<high>[0-9]+|[a-z]+))?)(?:/(?P<step>[0-9]+))?"
)
ASSIGNMENT = re.compile(r"[A-Z_]+\s*=")
AN_ORDINARY_DAY = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Crontab:
    """A line that was checked; see read_crontab."""

    times: str
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime:
        """When the line falls first after the moment, in UTC.

        A time that the spring change of the clock skips is made up for right after it; one that the
        autumn change repeats falls once, unless minute or hour is an asterisk (cron(8)).
        """
        for at in CronSim(self.times, moment.astimezone(self.zone)):
            found = at.astimezone(UTC)
            if found > moment:  # In a repeated hour cronsim begins with its first passing.
                return found
        raise ValueError(f"{self.times!r} does not fall in the 50 years after {moment.isoformat()}")


def read_crontab(line: str, zone: str = "UTC") -> Crontab:
    """Read the five times of a crontab line. Raises ValueError naming what is seen and allowed."""
    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"no time zone is named {zone!r}; allowed are such as Europe/Berlin"
        ) from None
    text = line.strip(" \t")
    if text.startswith("@"):
        if text not in MACROS:
            raise ValueError(f"{line!r}: allowed are {', '.join(MACROS)}{_why_not(text)}")
        return Crontab(MACROS[text], found)
    if ASSIGNMENT.match(text):
        raise ValueError(f"{line!r} sets a variable; the zone is a setting of its own")
    if any(sign in text for sign in "\r\n"):
        raise ValueError(f"{line!r} has a line break; allowed is one line")
    fields = re.split(r"[ \t]+", text)
    if len(fields) != len(FIELDS):
        raise ValueError(
            f"{line!r} has {len(fields)} fields; allowed are five (minute, hour, day of month,"
            " month, day of week) without seconds, user or command"
        )
    for field, value in zip(FIELDS, fields, strict=True):
        for item in value.split(","):
            _check(line, field, item)
    crontab = Crontab(" ".join(fields), found)
    try:
        crontab.next_after(AN_ORDINARY_DAY)
    except (CronSimError, ValueError):
        raise ValueError(f"{line!r} never falls: no month of it has such a day") from None
    return crontab


def _check(line: str, field: Field, item: str) -> None:
    """Raises ValueError unless the item is one that crontab(5) has for the field."""
    name, lowest, highest, names = field
    match = ITEM.fullmatch(item.lower())
    if match is None:
        raise ValueError(
            f"{line!r}: {item!r} is no {name}; allowed are *, N, N-M, */STEP and N-M/STEP"
            f" between {lowest} and {highest}{', or names such as ' + names[1] if names else ''}"
        )
    ends = []
    for end in (match["low"], match["high"]):
        if end is None:
            continue
        number = int(end) if end.isdigit() else lowest + names.index(end) if end in names else None
        if number is None or not lowest <= number <= highest:
            known = f" or {'-'.join((names[0], names[-1]))}" if names else ""
            raise ValueError(
                f"{line!r}: {end!r} is no {name}; allowed are {lowest} to {highest}{known}"
            )
        ends.append(number)
    if len(ends) == 2 and ends[0] > ends[1]:
        raise ValueError(f"{line!r}: the range {item!r} of {name} ends before it begins")
    if match["step"] is not None:
        if len(ends) == 1:
            raise ValueError(f"{line!r}: the step of {item!r} follows neither a range nor *")
        if int(match["step"]) == 0:
            raise ValueError(f"{line!r}: a step is 1 or more, not that of {item!r}")


def _why_not(text: str) -> str:
    if text == "@reboot":
        return "; a scheduler that starts again is no reason for a turn"
    return ""
