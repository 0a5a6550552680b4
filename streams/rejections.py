"""Why a value was refused: msgspec's messages turned into our closed list of reasons.

The patterns below are those of msgspec 0.22; tests/streams/test_codec.py holds one hostile value
for each, so that a new version with other words is noticed.
"""

import re

from streams.errors import BadEvent

SEEN_CHARS_MAX = 80
"""How much of an offending text a detail repeats, in characters."""


def bad_event_of(error: Exception, value: bytes) -> BadEvent:
    """The BadEvent that says what msgspec found wrong with `value`."""
    message = str(error)
    if isinstance(error, RecursionError):
        return BadEvent("too_deep", "saw nesting beyond the interpreter's limit")
    if isinstance(error, UnicodeError):
        return BadEvent("invalid_utf8", f"{_shortened(message)} in a text of the event")
    for pattern, reason in _REASON_OF_MESSAGE:
        if pattern.search(message):
            path = _PATH.search(message)
            field = path["field"] if path else ""
            return BadEvent(reason, f"{_shortened(message)}{_hint(reason)}", field)
    return BadEvent("malformed_json", f"{_shortened(message)}; saw {seen(value)}")


def seen(value: str | bytes) -> str:
    """What was seen, quoted, escaped and cut to a length that is fit for a log."""
    head = value[: SEEN_CHARS_MAX + 1]
    text = head.decode("utf-8", "backslashreplace") if isinstance(head, bytes) else head
    return ascii(_shortened(text))


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SEEN_CHARS_MAX * 2 else text[: SEEN_CHARS_MAX * 2] + "..."


def _hint(reason: str) -> str:
    return _HINTS.get(reason, "")


_HINTS = {
    "unknown_type": "; allowed are rluf.response.shown.v1, rluf.reaction.v1, "
    "rluf.subject.erased.v1 and rluf.guard.verdict.v1",
    "unknown_action": "; allowed are add and remove, of a verdict quarantine and release",
}

_PATH = re.compile(r" - at `\$\.(?P<field>[^`]+)`$")
_ID_PATHS = r"(?:id|source|data\.(?:response_id|conversation_id|user_id|policy))"

# The first that matches counts; what none matches is malformed JSON.
_REASON_OF_MESSAGE = tuple(
    (re.compile(pattern, re.DOTALL), reason)
    for pattern, reason in (
        (r"^Object missing required field", "missing_field"),
        (r"^Expected `object`, got `\w+`$", "not_an_object"),
        (r"^Invalid value .* - at `\$\.type`$", "unknown_type"),
        (r"^Invalid enum value .* - at `\$\.data\.action`$", "unknown_action"),
        (rf"^Expected `str` of length >= 1 - at `\$\.{_ID_PATHS}`$", "empty_id"),
        (r"^Number out of range", "bad_value"),
        (r"^Invalid (?:value|enum value|RFC3339)", "bad_value"),
        (r"^Expected `datetime` with a timezone", "bad_value"),
        (r"^Expected `(?:str|array|object)` of length", "bad_value"),
        (r"^Expected `(?:int|float)(?: \| null)?` [<>]", "bad_value"),
        (r"^Expected ", "wrong_type"),
    )
)
