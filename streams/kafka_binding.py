"""CloudEvents over Kafka: a message in either mode, made structured so that one decoder checks it.

Binary mode has the attributes in `ce_` headers and only `data` in the value (Kafka protocol binding
for CloudEvents 1.0.2, section 3).
"""

from collections.abc import Sequence

import msgspec

from streams.errors import BadEvent
from streams.rejections import bad_event_of, seen
from streams.wire import UNTYPED

Headers = Sequence[tuple[str, bytes | None]]

STRUCTURED = "application/cloudevents+json"
STRUCTURED_HEADER = ("content-type", STRUCTURED.encode())
"""The one header of what we write ourselves."""
REQUIRED_ATTRIBUTES = ("specversion", "id", "source", "type", "time")
PREFIX = "ce_"
OTHER_PREFIX = {"ce_": "ce-", "ce-": "ce_"}
"""What attributes begin with in Kafka, to what they begin with over HTTP, and back."""


def structured(value: bytes, headers: Headers) -> bytes:
    """A Kafka message in structured mode, whichever mode it came in.

    Raises BadEvent for headers or data of which none can be made.
    """
    if says_structured(headers):
        return value
    names = [name.lower() for name, _ in headers]
    if not any(name.startswith(PREFIX) for name in names):
        if not _is_whole(value):
            refuse_names_of("ce-", names)
        return value
    attributes: dict[str, str] = {}
    content_type = b""
    for name, raw in headers:
        attribute = name.lower().removeprefix(PREFIX)
        if attribute == name.lower():
            content_type = (raw or b"") if attribute == "content-type" else content_type
            continue
        if attribute in attributes:
            raise bad_headers(f"saw {seen(name)} twice")
        if attribute in ("data", "data_base64"):
            raise bad_headers(f"saw {seen(name)}, where the value is the data")
        try:
            attributes[attribute] = (raw or b"").decode()
        except UnicodeDecodeError:
            raise bad_headers(f"saw {seen(name)} that is not UTF-8") from None
    if content_type:
        attributes.setdefault("datacontenttype", content_type.decode(errors="replace"))
    missing = [f"{PREFIX}{name}" for name in REQUIRED_ATTRIBUTES if name not in attributes]
    if missing:
        raise bad_headers(f"missed {', '.join(missing)}")
    try:
        return _ENCODER.encode(attributes | {"data": UNTYPED.decode(value)})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_event_of(error, value) from None


def says_structured(headers: Headers) -> bool:
    """Whether the content type says that the value is the whole event."""
    content_types = [v or b"" for name, v in headers if name.lower() == "content-type"]
    return any(v.strip().lower().startswith(STRUCTURED.encode()) for v in content_types)


def refuse_names_of(prefix: str, names: Sequence[str]) -> None:
    """Raise BadEvent where attributes bear the names of the other protocol's binding."""
    for attribute in REQUIRED_ATTRIBUTES:
        if f"{prefix}{attribute}" in names:
            right = OTHER_PREFIX[prefix]
            where = "in Kafka" if right == PREFIX else "over HTTP"
            raise bad_headers(f"saw {prefix}{attribute}, which is {right}{attribute} {where}")


def bad_headers(detail: str) -> BadEvent:
    """The BadEvent of a binary-mode event whose headers cannot be read."""
    allowed = (
        "binary mode needs specversion, id, source, type and time, once each, as headers that begin"
        " with ce_ in Kafka and with ce- over HTTP"
    )
    return BadEvent("bad_headers", f"{detail}; {allowed}")


def _is_whole(value: bytes) -> bool:
    """Whether a value is the whole event, whatever headers a bridge left beside it."""
    try:
        return "specversion" in UNTYPED.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return False


_ENCODER = msgspec.json.Encoder()
