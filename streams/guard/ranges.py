"""The allowed range of each dial of the guard, checked when settings are read."""

import pyarrow as pa
import pyarrow.compute as pc

SHARE = (0.0, 1.0)
COUNT_MAX = 1_000_000_000
"""More than anybody counts: beyond it a number is a slip of the pen."""
SECONDS_MAX = 366 * 86_400.0
HOURS_MAX = 366 * 24
WORDS_MAX = 10_000
"""Words of a very long response."""

RANGES: dict[str, tuple[float, float]] = {
    "user_cap": (1, COUNT_MAX),
    "always_shown_min": (1, COUNT_MAX),
    "always_share": SHARE,
    "always_p_max": SHARE,
    "burst_taps": (2, COUNT_MAX),
    "burst_window_s": (0.0, SECONDS_MAX),
    "network_cap": (1, COUNT_MAX),
    "together_delta_s": (0.0, SECONDS_MAX),
    "together_times": (1, COUNT_MAX),
    "together_share": SHARE,
    "together_accounts": (2, COUNT_MAX),
    "together_neighbours": (1, COUNT_MAX),
    "together_prompt_users": (1, COUNT_MAX),
    "fresh_accounts": (1, COUNT_MAX),
    "fresh_z": (0.0, COUNT_MAX),
    # The first 24 hours are no measure of what is usual, so at least one more has to be seen.
    "fresh_hours": (25, HOURS_MAX),
    "fresh_share": SHARE,
    "dictated_share": SHARE,
    "dictated_n": (1, WORDS_MAX),
    "dictated_words": (1, WORDS_MAX),
}
"""Smallest and largest value of each numeric dial, both allowed."""


def check(name: str, value: float) -> None:
    """Raise ValueError where a dial's value lies outside its range, or is no number."""
    low, high = RANGES[name]
    if not low <= value <= high:
        raise ValueError(f"guard.{name} is {value}; allowed are {low} to {high}")


def check_pattern(name: str, pattern: str) -> None:
    """Raise ValueError where a dial is no regular expression of RE2."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as fault:
        raise ValueError(f"guard.{name} is {pattern!r}; allowed is RE2 syntax: {fault}") from None
