"""Which settings are secrets, and how they look where settings are shown.

A dial that is a secret says so where it is declared: `field(default="", repr=False,
metadata=SECRET)`. A URL may hold a password among what may be seen: that part alone is hidden.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

SECRET: Mapping[str, bool] = {"secret": True}
"""Metadata of a field that must never be printed."""
HIDDEN = "***"
USER_INFO = re.compile(r"(?<=://)[^/?#\s]*@")
"""Where a URL holds a name and password. Up to the last @: a password may hold others."""
QUERY = re.compile(r"([?&;][^=&\s]*(?:password|passwd|secret|token|api_?key)=)[^&\s]*", re.I)
"""Where a query may hold a secret."""


def without_secrets(text: str) -> str:
    """The text with the secrets hidden that stand in URLs in it; the name of a user stays."""

    def hide(found: re.Match[str]) -> str:
        name, colon, _password = found.group().rpartition("@")[0].partition(":")
        return f"{name}:{HIDDEN}@" if colon else f"{HIDDEN}@"

    return QUERY.sub(rf"\g<1>{HIDDEN}", USER_INFO.sub(hide, text))


def is_secret(field: dataclasses.Field[Any]) -> bool:
    """Whether what stands in this field must never be printed."""
    return bool(field.metadata.get("secret"))


def hidden(value: object) -> Any:
    """What is shown of a secret: whether it is set, and of several how many."""
    if isinstance(value, list | tuple):
        return [HIDDEN for _ in value]
    return HIDDEN if value else value
