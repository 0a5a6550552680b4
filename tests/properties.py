"""How long properties are searched: an eighth of their examples in `make test`, all in `test-long`.

The short search draws the same examples at every run. The long one draws others each time, and a
failure prints the line (`@reproduce_failure`) that makes it happen again.
"""

from hypothesis import settings

FULL = 100
"""Examples of the long profile where a test names no number: Hypothesis's own default."""
SHORT = 12
FEWEST = 3
"""Of the short profile, however dear an example is."""


def register_profiles() -> None:
    """Make both profiles known and load the short one; `--hypothesis-profile long` is the other."""
    settings.register_profile(
        "short", max_examples=SHORT, derandomize=True, database=None, deadline=None, print_blob=True
    )
    settings.register_profile("long", max_examples=FULL, deadline=None, print_blob=True)
    settings.load_profile("short")


def examples(number: int) -> int:
    """So many in the long profile; its share of them in the one that is loaded."""
    return max(FEWEST, number * settings.default.max_examples // FULL)
