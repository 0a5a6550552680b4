"""The two faults that cross rooms, and every reason for which an event can be refused.

BadEvent      the event itself is at fault: dead-letter it, never retry
Unavailable   something that we need is down: retry, do not commit, drop nothing
"""

REASONS: dict[str, str] = {
    "malformed_json": "the value is not one complete JSON text",
    "invalid_utf8": "text holds bytes that are not UTF-8",
    "too_deep": "JSON is nested deeper than we follow",
    "empty_value": "the record has no value: a tombstone or zero bytes",
    "too_large": "the value holds more bytes than StreamsConfig.event_bytes_max",
    "not_an_object": "the JSON text is not an object",
    "bad_headers": "binary-mode CloudEvents headers are missing, repeated or unreadable",
    "missing_field": "a required field is absent",
    "wrong_type": "a field holds another JSON type than the contract says",
    "empty_id": "an id is empty or blank",
    "bad_value": "a field has the right type and a value outside its range",
    "unknown_type": "the CloudEvents type is not one of ours",
    "unknown_signal": "the signal is neither a row of SIGNALS nor one of their emoji",
    "unknown_action": "the action is neither add nor remove",
    "absurd_time": "a time lies before StreamsConfig.oldest or further ahead than clocks differ",
    "erased_subject": "the event belongs to a user who asked to be forgotten",
}
"""Name of the reason (it is the label of rluf_events_rejected_total) to what it means."""


class BadEvent(Exception):
    """This event can never be taken in: dead-letter it with its reason, never retry it."""

    def __init__(self, reason: str, detail: str, field: str = "") -> None:
        """`reason` is a key of REASONS; `detail` says what was seen and what is allowed; `field`
        is the path of the field at fault, such as `data.turn`, if it is one field's fault."""
        assert reason in REASONS, f"{reason!r} is not in streams.errors.REASONS"
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.field = field


class Unavailable(Exception):
    """Something outside is down or full for now: retry later and do not commit."""


class Refused(Unavailable):
    """It answers and will not have us as we are (TLS, password, rights): trying again is no use
    before somebody has changed a setting, there or here; the text says which."""


class CannotStart(Exception):
    """Our own broker cannot be started; the text says what is missing and what to do about it."""
