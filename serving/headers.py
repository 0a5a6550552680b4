"""Whatever reaches a response header passes here: printable ASCII, and never too long.

Names of arms, fields of requests and versions are other people's texts. A line break among them
would begin a header of its own, a letter beyond latin-1 would end the answer with an error, and a
long one would be refused by the proxy in front of us (nginx takes 8 KiB for all headers together).
"""

import re
from collections.abc import Mapping

HEADER_CHARS_MAX = 2_048
CUT = "..."
UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def header_text(value: str) -> str:
    """Give the value as one line of printable ASCII, the rest as escapes, cut where too long."""
    text = UNPRINTABLE.sub(_escape, value[: HEADER_CHARS_MAX + 1]).strip()
    return text if len(text) <= HEADER_CHARS_MAX else text[: HEADER_CHARS_MAX - len(CUT)] + CUT


def safe_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Give headers that any server can send."""
    return {name: header_text(value) for name, value in headers.items()}


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
