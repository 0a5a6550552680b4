"""Goal: a line falls when crontab(5) and cron(8) say so, and any other line is refused by name.

Method: known dates; and lines drawn at random, whose times are compared with those of a clock that
is watched minute by minute, written from the two manual pages and sharing nothing with the code.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rluf.turn.crontab import MACROS, read_crontab

FRIDAY = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def falls(line: str, after: datetime, times: int, zone: str = "UTC") -> list[str]:
    """The first times after the moment, as the clock on the wall of the zone shows them."""
    crontab, found = read_crontab(line, zone), []
    for _ in range(times):
        after = crontab.next_after(after)
        found.append(after.astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("0 3 * * 5", "Fri 2026-12-04 03:00"),
        ("0 3 * * fri", "Fri 2026-12-04 03:00"),
        ("0 3 * * FRI", "Fri 2026-12-04 03:00"),
        ("0 3 * * 0", "Sun 2026-11-29 03:00"),
        ("0 3 * * 7", "Sun 2026-11-29 03:00"),
        ("0 3 * * 5-7", "Sat 2026-11-28 03:00"),
        ("0 3 13 * fri", "Fri 2026-12-04 03:00"),
        ("0 3 29 * 3", "Sun 2026-11-29 03:00"),
        ("0 3 */2 * mon", "Mon 2026-12-07 03:00"),
        ("0 3 13 * */7", "Sun 2026-12-13 03:00"),
        ("0 0 31 * *", "Thu 2026-12-31 00:00"),
        ("0 0 29 2 *", "Tue 2028-02-29 00:00"),
        ("0 0 30 2 1", "Mon 2027-02-01 00:00"),
        ("0 0 1 JAN *", "Fri 2027-01-01 00:00"),
        ("0 0 1 feb,Mar *", "Mon 2027-02-01 00:00"),
        ("0 3 * * mon-wed", "Mon 2026-11-30 03:00"),
        (" \t0   3\t* * 1 ", "Mon 2026-11-30 03:00"),
        ("00 08 * * *", "Sat 2026-11-28 08:00"),
        ("10-30/10 12 * * *", "Fri 2026-11-27 12:10"),
        ("*/7,3 * * * *", "Fri 2026-11-27 12:03"),
        ("*/90 * * * *", "Fri 2026-11-27 13:00"),
        ("* * * * *", "Fri 2026-11-27 12:01"),
        ("@yearly", "Fri 2027-01-01 00:00"),
        ("@annually", "Fri 2027-01-01 00:00"),
        ("@monthly", "Tue 2026-12-01 00:00"),
        ("@weekly", "Sun 2026-11-29 00:00"),
        ("@daily", "Sat 2026-11-28 00:00"),
        ("@midnight", "Sat 2026-11-28 00:00"),
        ("@hourly", "Fri 2026-11-27 13:00"),
    ],
)
def test_a_line_falls_first_when_the_manual_page_says(line, first):
    assert falls(line, FRIDAY, 1) == [f"{first} +0000"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "has 1 fields; allowed are five"),
        ("0 3 * *", "has 4 fields"),
        ("0 0 3 * * *", "has 6 fields; allowed are five .* without seconds, user or command"),
        ("0 3 * * * rluf refresh", "has 7 fields"),
        ("0 3 * * *\n0 4 * * *", "line break"),
        ("TZ=UTC 0 3 * * *", "sets a variable"),
        ("CRON_TZ = UTC", "sets a variable"),
        ("@reboot", "allowed are @yearly.*starts again"),
        ("@Daily", "allowed are @yearly"),
        ("@every 5m", "allowed are @yearly"),
        ("60 * * * *", "'60' is no minute; allowed are 0 to 59"),
        ("* 24 * * *", "'24' is no hour; allowed are 0 to 23"),
        ("* * 0 * *", "'0' is no day of month; allowed are 1 to 31"),
        ("* * 32 * *", "'32' is no day of month"),
        ("* * * 0 *", "'0' is no month; allowed are 1 to 12 or jan-dec"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of week; allowed are 0 to 7 or sun-sat"),
        ("* * * friday *", "'friday' is no month"),
        ("* * * * friday", "'friday' is no day of week"),
        ("* mon * * *", "'mon' is no hour"),
        ("* * L * *", "no day of month"),
        ("* * 15W * *", "no day of month"),
        ("* * ? * 1", "no day of month"),
        ("* * * * 5L", "no day of week"),
        ("* * * * 5#2", "no day of week"),
        ("H 3 * * *", "no minute"),
        ("0~30 3 * * *", "no minute"),
        ("-5 3 * * *", "no minute"),
        ("+5 3 * * *", "no minute"),
        ("1.5 3 * * *", "no minute"),
        ("٣ 3 * * *", "no minute"),
        ("% 3 * * *", "no minute"),
        ("1, 3 * * *", "no minute"),
        (",1 3 * * *", "no minute"),
        ("*-5 3 * * *", "no minute"),
        ("1-5-7 3 * * *", "no minute"),
        ("*/2/2 3 * * *", "no minute"),
        ("*/ 3 * * *", "no minute"),
        ("5/10 3 * * *", "step of '5/10' follows neither a range nor"),
        ("*/0 3 * * *", "a step is 1 or more"),
        ("30-10 3 * * *", "'30-10' of minute ends before it begins"),
        ("0 3 * * fri-sun", "'fri-sun' of day of week ends before it begins"),
        ("0 0 31 2 *", "never falls"),
        ("0 0 30 2 *", "never falls"),
        ("0 0 31 4,6,9,11 *", "never falls"),
        ("0 0 30 2 */2", "never falls"),
    ],
)
def test_any_other_line_is_refused_with_what_is_allowed(line, said):
    with pytest.raises(ValueError, match=said):
        read_crontab(line)


def test_a_zone_that_is_not_known_is_refused():
    for zone in ("Mars/Olympus", "", "../etc", "UTC\0"):
        with pytest.raises(ValueError, match="no time zone is named"):
            read_crontab("@daily", zone)


def test_a_time_that_the_spring_change_skips_is_made_up_for_and_one_repeated_in_autumn_falls_once():
    berlin = "Europe/Berlin"
    spring = datetime(2027, 3, 27, 12, 0, tzinfo=UTC)
    assert falls("30 2 * * *", spring, 2, berlin) == [
        "Sun 2027-03-28 03:00 +0200",
        "Mon 2027-03-29 02:30 +0200",
    ]
    autumn = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    assert falls("30 2 * * *", autumn, 2, berlin) == [
        "Sun 2026-10-25 02:30 +0200",
        "Mon 2026-10-26 02:30 +0100",
    ]
    assert falls("30 * * * *", datetime(2026, 10, 25, 0, 0, tzinfo=UTC), 2, berlin) == [
        "Sun 2026-10-25 02:30 +0200",
        "Sun 2026-10-25 02:30 +0100",
    ]


def test_asked_within_the_repeated_hour_the_line_does_not_fall_in_the_past():
    after = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time.
    assert falls("30 2 * * *", after, 1, "Europe/Berlin") == ["Mon 2026-10-26 02:30 +0100"]


# The oracle: a clock on the wall, watched minute by minute.


def set_of(field: str, low: int, high: int, names: list[str]) -> set[int]:
    def value(word: str) -> int:
        return names.index(word.lower()) + low if word.lower() in names else int(word)

    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start = low if first == "*" else value(first)
        end = high if first == "*" else value(last or first)
        found |= {n for n in range(start, end + 1) if (n - start) % int(step or 1) == 0}
    return found


def is_hit(line: str, wall: datetime) -> bool:
    minute, hour, day, month, weekday = line.split()
    if wall.minute not in set_of(minute, 0, 59, []) or wall.hour not in set_of(hour, 0, 23, []):
        return False
    if wall.month not in set_of(month, 1, 12, MONTHS):
        return False
    is_day = wall.day in set_of(day, 1, 31, [])
    is_weekday = wall.isoweekday() % 7 in {n % 7 for n in set_of(weekday, 0, 7, DAYS)}
    if day.startswith("*") or weekday.startswith("*"):
        return is_day and is_weekday
    return is_day or is_weekday


def watched(line: str, start: datetime, minutes: int, zone: ZoneInfo) -> Iterator[datetime]:
    """Every time after the start at which cron(8) runs the line."""
    has_wildcard = any(field.startswith("*") for field in line.split()[:2])
    now, wall = start, start.astimezone(zone).replace(tzinfo=None)
    furthest = wall
    for _ in range(minutes):
        now += MINUTE
        wall = now.astimezone(zone).replace(tzinfo=None)
        if has_wildcard:
            due = is_hit(line, wall)
        else:
            passed = int((wall - furthest) / MINUTE)  # 0 or less within repeated time.
            due = any(is_hit(line, furthest + k * MINUTE) for k in range(1, passed + 1))
        furthest = max(furthest, wall)
        if due:
            yield now


@st.composite
def fields(draw, low: int, high: int, names: list[str]) -> str:
    def value(number: int) -> str:
        is_named = names and number - low < len(names) and draw(st.booleans())
        return names[number - low] if is_named else str(number)

    parts = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["star", "star", "one", "range"]))
        start = draw(st.integers(low, high))
        end = draw(st.integers(start, high))
        span = {"star": "*", "one": value(start), "range": f"{start}-{end}"}[kind]
        if kind != "one" and draw(st.booleans()):
            span += f"/{draw(st.integers(1, high + 2))}"
        parts.append(span)
    return ",".join(parts)


LINES = st.tuples(
    fields(0, 59, []),
    fields(0, 23, []),
    fields(1, 31, []),
    fields(1, 12, MONTHS),
    fields(0, 7, DAYS),
).map(" ".join)


@settings(max_examples=60)
@given(
    line=LINES,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    start=st.sampled_from(
        [
            datetime(2027, 3, 12, 22, 0, tzinfo=UTC),
            datetime(2027, 3, 27, 3, 11, tzinfo=UTC),
            datetime(2026, 10, 3, 5, 0, tzinfo=UTC),
            datetime(2026, 10, 24, 20, 5, tzinfo=UTC),
            datetime(2028, 2, 28, 12, 30, tzinfo=UTC),
            datetime(2026, 12, 30, 23, 59, tzinfo=UTC),
        ]
    ),
)
def test_it_falls_when_the_watched_clock_falls(line, zone, start):
    try:
        crontab = read_crontab(line, zone)
    except ValueError as fault:
        if "never falls" not in str(fault):
            raise
        return
    minutes = 3 * 24 * 60
    expected = list(watched(line, start, minutes, ZoneInfo(zone)))
    found, after = [], start
    while (after := crontab.next_after(after)) <= start + minutes * MINUTE:
        found.append(after)
    assert found == expected


def test_the_special_strings_are_read_as_the_lines_that_the_manual_page_gives():
    for name, line in MACROS.items():
        assert falls(name, FRIDAY, 3) == falls(line, FRIDAY, 3)
