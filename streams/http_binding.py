"""CloudEvents over HTTP: from a request's headers to those that a Kafka message would have.

Attributes stand in `ce-` headers instead of `ce_` ones, percent-encoded. The rest is the same, so
that `streams.codec` reads both. Source: HTTP Protocol Binding for CloudEvents 1.0.2, section 3.1.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from streams.kafka_binding import Headers, refuse_names_of, says_structured

PREFIX = "ce-"
ESCAPED = re.compile(r"\\(.)")


def kafka_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Give what of these (name, value) pairs tells of an event.

    Raises BadEvent where attributes have the names that they have in Kafka.
    """
    found: list[tuple[str, bytes | None]] = []
    others: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type":
            found.append((lower, value.encode()))
        elif lower.startswith(PREFIX):
            found.append((f"ce_{lower.removeprefix(PREFIX)}", _decoded(value)))
        else:
            others.append(lower)
    if not says_structured(found):
        refuse_names_of("ce_", others)
    return found


def _decoded(value: str) -> bytes:
    """A header's value: out of double quotes, if it has some, then percent-decoded once."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = ESCAPED.sub(r"\1", value[1:-1])
    return unquote_to_bytes(value)
