"""The limits and the grammar of what stands in events, declared once.

The wire's shapes (streams/wire.py), the API's requests and the settings are made of these, so that
what a door acknowledges is what the worker takes. Lengths of texts are in characters.
"""

ID_CHARS_MAX = 512
"""Longest id taken in: ids are keys of tables and of Kafka's log."""
NAME_CHARS_MAX = 256
"""Longest role, signal, arm, experiment, surface or language taken in."""
TURN_MAX = 2**31 - 1
ALIASES_MAX = 16
"""Most other names of one user or response."""
EVIDENCE_CHARS_MAX = 4_096
"""Longest evidence of a verdict taken in."""

ID_ALLOWED = f"must have 1 to {ID_CHARS_MAX} characters and not be blank"


def is_id(text: str) -> bool:
    """Whether a text may be an id: neither empty, nor too long, nor of Unicode's white space."""
    return 0 < len(text) <= ID_CHARS_MAX and not text.isspace()
