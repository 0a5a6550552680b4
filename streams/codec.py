"""Bytes to events and back: the event contract, as CloudEvents 1.0.

Structured mode carries the whole event as JSON in the value; binary mode carries the attributes in
`ce_*` headers and only `data` in the value (CloudEvents Kafka protocol binding 1.0, section 3).
Both are read; we write structured. We deviate from CloudEvents in that `time` is required, because
a reaction without the time of the tap cannot be ordered against its removal.

Where JSON repeats a key the last one counts, as in most parsers. Offsets of times become UTC.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streams.config import StreamsConfig
from streams.errors import BadEvent
from streams.events import Action, Erasure, Event, GuardRuling, Message, Reaction, Shown
from streams.kafka_binding import STRUCTURED_HEADER, Headers, structured
from streams.messages import read_message
from streams.rejections import bad_event_of, seen
from streams.rules import ID_ALLOWED, is_id
from streams.signals import KNOWN, SIGNALS, signal_of
from streams.times import read_time
from streams.wire import (
    DATA_FIELDS,
    ENVELOPE_FIELDS,
    ERASURE_TYPE,
    LENIENT,
    MESSAGE_FIELDS,
    REACTION_TYPE,
    SHOWN_TYPE,
    STRICT,
    UNTYPED,
    VERDICT_TYPE,
    MessageWire,
    ReactionData,
    ShownData,
    StrictShownData,
    VerdictData,
    Wire,
)

DEFAULTS = StreamsConfig()

_SHOWN_IDS = ("data.response_id", "data.conversation_id", "data.policy")
_WHOLE_NUMBERS = ("turn", "rule_version")
_NAME_OF_SIGNAL = {name: name for name in SIGNALS}
_ENCODER = msgspec.json.Encoder()


def decode(
    value: bytes | None,
    headers: Headers = (),
    *,
    known_at: datetime,
    config: StreamsConfig = DEFAULTS,
) -> Event:
    """The event that one Kafka record holds, whose timestamp is `known_at`.

    Raises BadEvent, and nothing else, whatever the bytes.
    """
    return decode_counting(value, headers, known_at=known_at, config=config)[0]


def decode_counting(
    value: bytes | None,
    headers: Headers = (),
    *,
    known_at: datetime,
    config: StreamsConfig = DEFAULTS,
) -> tuple[Event, int]:
    """Like `decode`, with the number of unknown fields that were ignored."""
    if not value:
        raise BadEvent("empty_value", "saw no bytes; a record must hold one event")
    if len(value) > config.event_bytes_max:
        raise BadEvent(
            "too_large", f"saw {len(value)} bytes; at most {config.event_bytes_max} are allowed"
        )
    if headers and headers[0] != STRUCTURED_HEADER:
        value = structured(value, headers)
    num_unknown = 0
    try:
        wire = STRICT.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wire, num_unknown = _decode_leniently(value)
    return _event_of(wire, known_at, config), num_unknown


def encode(event: Event) -> bytes:
    """One event as structured CloudEvents JSON: a Kafka value, or a line of a .jsonl file.

    `known_at` is not in it: that is the timestamp that the log gives the record.
    """
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": TYPE_OF[type(event)],
        "time": event.occurred_at.astimezone(UTC),
    }
    if isinstance(event, Erasure | GuardRuling):
        envelope |= {"subject": event.user_id, "datacontenttype": "application/json"}
        data = _erasure_data(event) if isinstance(event, Erasure) else _verdict_data(event)
    else:
        envelope |= {
            "subject": event.response_id,
            "partitionkey": event.response_id,
            "datacontenttype": "application/json",
        }
        data = _shown_data(event) if isinstance(event, Shown) else _reaction_data(event)
    return _ENCODER.encode(envelope | {"data": data})


def encode_checked(event: Event, config: StreamsConfig) -> bytes:
    """The same, once the worker's own reading has taken it: what is acknowledged becomes a fact.

    `event.known_at` is the door's clock; the log's may be behind it by CLOCK_MARGIN_S. Raises
    BadEvent.
    """
    try:
        value = encode(event)
    except UnicodeEncodeError as error:
        raise bad_event_of(error, b"") from None
    decode(value, known_at=event.known_at, config=config)
    ahead = event.occurred_at - event.known_at
    if ahead > timedelta(seconds=config.door_skew_s_max):
        raise BadEvent(
            "absurd_time",
            f"saw {event.occurred_at.isoformat()}; allowed is up to {config.door_skew_s_max} s"
            f" after {event.known_at.isoformat()}",
            "time",
        )
    return value


def key_of(event: Event) -> bytes:
    """The Kafka key: the response id, so that an exposure and its reactions share a partition; of
    what concerns a user as a whole, the user id."""
    if isinstance(event, Erasure | GuardRuling):
        return event.user_id.encode()
    return event.response_id.encode()


def topic_of(event: Event, config: StreamsConfig) -> str:
    """The topic that this event travels on."""
    if isinstance(event, Reaction):
        return config.reactions_topic
    if isinstance(event, Shown):
        return config.shown_topic
    return config.erasures_topic if isinstance(event, Erasure) else config.verdicts_topic


TYPE_OF: dict[type[Event], str] = {
    Shown: SHOWN_TYPE,
    Reaction: REACTION_TYPE,
    Erasure: ERASURE_TYPE,
    GuardRuling: VERDICT_TYPE,
}


def _event_of(wire: Wire, known_at: datetime, config: StreamsConfig) -> Event:
    """The fact that a decoded wire shape tells. Raises BadEvent on what types cannot express."""
    occurred_at = wire.time
    if occurred_at.tzinfo is not UTC:
        occurred_at = _to_utc(occurred_at)
    if not config.oldest <= occurred_at <= known_at:
        _check_time(occurred_at, known_at, config)
    data = wire.data
    event_id, source, user_id = wire.id, wire.source, data.user_id
    if event_id.isspace() or source.isspace() or user_id.isspace():
        _check_ids({"id": event_id, "source": source, "data.user_id": user_id})
    if isinstance(data, ReactionData):
        response_id = data.response_id
        if response_id.isspace():
            _check_ids({"data.response_id": response_id})
        return Reaction(
            id=event_id,
            source=source,
            response_id=response_id,
            user_id=user_id,
            signal=_NAME_OF_SIGNAL.get(data.signal) or _signal_of(data.signal, config),
            action=data.action,
            network=data.network or "",
            occurred_at=occurred_at,
            known_at=known_at,
        )
    if isinstance(data, ShownData):
        return _shown_of(event_id, source, data, occurred_at, known_at)
    if isinstance(data, VerdictData):
        return GuardRuling(
            id=event_id,
            source=source,
            user_id=user_id,
            response_id=data.response_id or "",
            action=data.action,
            rule=data.rule,
            rule_version=data.rule_version,
            evidence=data.evidence or "{}",
            since=_to_utc(data.since),
            occurred_at=occurred_at,
            known_at=known_at,
        )
    return Erasure(
        id=event_id, source=source, user_id=user_id, occurred_at=occurred_at, known_at=known_at
    )


def _signal_of(text: str, config: StreamsConfig) -> str:
    signal = signal_of(text, config.signal_aliases)
    if signal is None:
        raise BadEvent(
            "unknown_signal",
            f"saw {seen(text)}; allowed are {KNOWN}",
            "data.signal",
        )
    return signal


def _check_time(occurred_at: datetime, known_at: datetime, config: StreamsConfig) -> None:
    """Raises BadEvent unless the event happened at a time that a sound clock may show."""
    skew = timedelta(seconds=config.clock_skew_s_max)
    if occurred_at < config.oldest or occurred_at - known_at > skew:
        raise BadEvent(
            "absurd_time",
            f"saw {occurred_at.isoformat()}; allowed is from {config.oldest.isoformat()} to "
            f"{config.clock_skew_s_max} s after the log's {known_at.isoformat()}",
            "time",
        )


def _shown_of(
    event_id: str, source: str, shown: ShownData, occurred_at: datetime, known_at: datetime
) -> Shown:
    user_aliases, response_aliases = shown.user_aliases or (), shown.response_aliases or ()
    ids = shown.response_id, shown.conversation_id, shown.policy
    if ids[0].isspace() or ids[1].isspace() or ids[2].isspace():
        _check_ids(dict(zip(_SHOWN_IDS, ids, strict=True)))
    if user_aliases or response_aliases:
        for name, aliases in ("user", user_aliases), ("response", response_aliases):
            _check_ids({f"data.{name}_aliases[{i}]": alias for i, alias in enumerate(aliases)})
    return Shown(
        id=event_id,
        source=source,
        response_id=shown.response_id,
        conversation_id=shown.conversation_id,
        user_id=shown.user_id,
        turn=shown.turn or 0,
        messages=_messages_of(shown),
        response=shown.response,
        policy=shown.policy,
        experiment=shown.experiment or "",
        arm=shown.arm or "",
        propensity=1.0 if shown.propensity is None else shown.propensity,
        surface=shown.surface or "",
        language=shown.language or "",
        learnable=shown.learnable is not False,
        logprob=shown.logprob,
        user_aliases=user_aliases,
        response_aliases=response_aliases,
        client_id=shown.client_id or "",
        occurred_at=occurred_at,
        known_at=known_at,
    )


def message_of(wire: MessageWire) -> Message:
    """The message that a client wrote in its way, as it is stored."""
    return read_message(
        wire.role,
        wire.content,
        name=wire.name,
        refusal=wire.refusal,
        audio=wire.audio,
        tool_calls=wire.tool_calls,
        function_call=wire.function_call,
        parts=wire.parts,
    )


def _messages_of(shown: ShownData) -> tuple[Message, ...]:
    if isinstance(shown, StrictShownData):
        return tuple([Message(role=m.role, content=m.content) for m in shown.messages or ()])
    return tuple([message_of(m) for m in shown.messages or ()])


def _check_ids(ids: Mapping[str, str]) -> None:
    """Raises BadEvent for an id that shows nothing; their lengths were checked by their types."""
    for field, value in ids.items():
        if not is_id(value):
            raise BadEvent("empty_id", f"saw {seen(value)} for {field}; it {ID_ALLOWED}", field)


def _to_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise _beyond_calendar(time.isoformat()) from None


def _beyond_calendar(text: str) -> BadEvent:
    return BadEvent("absurd_time", f"saw {text}; it lies outside the calendar in UTC")


def _decode_leniently(value: bytes) -> tuple[Wire, int]:
    """A second try after the strict one failed, for what others write.

    Returns the event and how many fields were ignored. Raises BadEvent.
    """
    try:
        event = UNTYPED.decode(value)
        if isinstance(event, dict) and event.get("data_base64") is not None:
            event["data"] = _data_of_base64(event)
            del event["data_base64"]
            value = _ENCODER.encode(event)
        if _made_whole(event):
            value = _ENCODER.encode(event)
        try:
            wire = LENIENT.decode(value)
        except msgspec.ValidationError as error:
            if "RFC3339" not in str(error):
                raise
            wire = LENIENT.decode(_with_plain_times(value))
        return wire, _num_unknown_fields(event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_event_of(error, value) from None


def _made_whole(event: object) -> bool:
    """Write whole numbers that came as 3.0 as 3, and say whether there was one.

    JSON knows one kind of number, and by JSON Schema both are integers.
    """
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(data, dict):
        return False
    floats = {
        name: int(value)
        for name in _WHOLE_NUMBERS
        if isinstance(value := data.get(name), float) and value.is_integer() and abs(value) < 2**53
    }
    data.update(floats)
    return bool(floats)


def _data_of_base64(event: dict[str, Any]) -> object:
    """What `data_base64` holds: the JSON text of our data, from senders that take it for bytes.

    Raises BadEvent, and msgspec's errors for what is no JSON.
    """
    told = event["data_base64"]
    if "data" in event:
        raise BadEvent("bad_value", "saw data and data_base64; give one of them", "data_base64")
    try:
        return UNTYPED.decode(base64.b64decode(told, validate=True))
    except (TypeError, ValueError) as error:
        if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
            raise
        raise BadEvent(
            "bad_value", f"saw {seen(str(told))}; data_base64 must be base64 of JSON", "data_base64"
        ) from None


def _with_plain_times(value: bytes) -> bytes:
    """The same event with times that msgspec reads: it knows no leap second. Raises BadEvent."""
    event = UNTYPED.decode(value)
    for holder, name in ((event, "time"), (event["data"], "since")):
        if isinstance(text := holder.get(name), str):
            try:
                holder[name] = read_time(text)
            except ValueError as error:
                raise BadEvent("bad_value", f"{name} {error}; saw {seen(text)}", name) from None
            except OverflowError:
                raise _beyond_calendar(text) from None
    return _ENCODER.encode(event)


def _num_unknown_fields(envelope: dict[str, Any]) -> int:
    """How many fields of a structured event, valid otherwise, the contract does not know."""
    data = envelope["data"]
    num_unknown = len(envelope.keys() - ENVELOPE_FIELDS)
    num_unknown += len(data.keys() - DATA_FIELDS[envelope["type"]])
    # Elsewhere `messages` is itself unknown, and may be anything.
    messages = (data.get("messages") or ()) if envelope["type"] == SHOWN_TYPE else ()
    return num_unknown + sum(len(message.keys() - MESSAGE_FIELDS) for message in messages)


def _shown_data(event: Shown) -> dict[str, object]:
    data: dict[str, object] = {
        "response_id": event.response_id,
        "conversation_id": event.conversation_id,
        "user_id": event.user_id,
        "turn": event.turn,
        "messages": event.messages,
        "response": event.response,
        "policy": event.policy,
        "experiment": event.experiment,
        "arm": event.arm,
        "propensity": event.propensity,
        "surface": event.surface,
        "language": event.language,
        "learnable": event.learnable,
    }
    optional: dict[str, object] = {
        "logprob": event.logprob,
        "user_aliases": event.user_aliases or None,
        "response_aliases": event.response_aliases or None,
        "client_id": event.client_id or None,
    }
    return data | {name: value for name, value in optional.items() if value is not None}


def _reaction_data(event: Reaction) -> dict[str, object]:
    action: Action = event.action
    data: dict[str, object] = {
        "response_id": event.response_id,
        "user_id": event.user_id,
        "signal": event.signal,
        "action": action,
    }
    return data | {"network": event.network} if event.network else data


def _erasure_data(event: Erasure) -> dict[str, object]:
    return {"user_id": event.user_id}


def _verdict_data(event: GuardRuling) -> dict[str, object]:
    return {
        "user_id": event.user_id,
        "response_id": event.response_id,
        "action": event.action,
        "rule": event.rule,
        "rule_version": event.rule_version,
        "evidence": event.evidence,
        "since": event.since.astimezone(UTC),
    }
