"""What a name and a text may be in the registry: one set of rules, whichever way they come in.

Names of arms, experiments and gates go into response headers, labels of meters, events and pages;
texts into a database, of which PostgreSQL takes no NUL and no encoding takes half a character.
"""

from sqlalchemy.exc import DontWrapMixin

NAME_CHARS_MAX = 128
"""Under the 256 of the event contract, and of use in a table on a page."""
TEXT_CHARS_MAX = 10_000
"""Longest reason for a change."""
NUMBER_MAX = 2**31 - 1
"""The largest whole number that a column of the registry holds."""
SEEN_CHARS_MAX = 80


class BadText(ValueError, DontWrapMixin):
    """A text or number that no registry can hold; SQLAlchemy passes it on as it is."""


def check_name(what: str, name: str, *, may_be_empty: bool = False) -> None:
    """Raises ValueError unless it is a short line of printable characters, not blank."""
    if name == "" and may_be_empty:
        return
    if not name.isprintable() or name.isspace() or not 0 < len(name) <= NAME_CHARS_MAX:
        raise ValueError(
            f"{what} must be 1 to {NAME_CHARS_MAX} printable characters in one line, got "
            f"{seen(name)}"
        )


def check_text(what: str, text: str) -> None:
    """Raises ValueError unless it is a text of some lines that any database holds."""
    check_storable(text)
    if len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"{what} must have at most {TEXT_CHARS_MAX} characters, got {len(text)}")
    if not all(char.isprintable() or char in "\n\r\t" for char in text):
        raise ValueError(f"{what} must be printable text, got {seen(text)}")


def check_storable(text: str) -> None:
    """Raises BadText for a NUL or half a surrogate pair."""
    if "\x00" in text:
        raise BadText(f"a text may not hold NUL, got {seen(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadText(f"a text must be whole characters, got {seen(text)}") from None


def at_most(limit: int | None) -> int | None:
    """Give a number of rows that both databases take. Raises ValueError for less than none."""
    if limit is not None and limit < 0:
        raise ValueError(f"a limit must be at least 0, got {limit}")
    return None if limit is None else min(limit, NUMBER_MAX)


def seen(text: str) -> str:
    """Show a refused text: its beginning, in ASCII."""
    shown = ascii(text[:SEEN_CHARS_MAX])
    return shown if len(text) <= SEEN_CHARS_MAX else f"{shown} and {len(text)} characters in all"
