"""The event contract as documents for others: JSON Schema of each event, AsyncAPI of the topics.

Both are made from the types that decode events (streams/wire.py), so they cannot say anything else.
What a schema cannot say (times within the clock's limits, ids that are blank, emoji for signals)
stands in docs/events.md.
"""

from typing import Any

import msgspec

from streams.config import StreamsConfig
from streams.errors import REASONS
from streams.kafka_binding import STRUCTURED
from streams.wire import (
    ERASURE_TYPE,
    REACTION_TYPE,
    SHOWN_TYPE,
    VERDICT_TYPE,
    Envelope,
    ErasureWire,
    ReactionWire,
    ShownWire,
    VerdictWire,
)

Document = dict[str, Any]
"""JSON."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI = "3.0.0"
CONTRACT_VERSION = "1.2.0"
"""Of the event contract: the second number grows with each field or type that is added."""

WIRES: dict[str, tuple[type[Envelope], str]] = {
    SHOWN_TYPE: (ShownWire, "A response was shown to a user."),
    REACTION_TYPE: (ReactionWire, "A user put a signal on a response, or took it back."),
    ERASURE_TYPE: (ErasureWire, "A user asked to be forgotten."),
    VERDICT_TYPE: (VerdictWire, "Reactions of a user were quarantined, or released."),
}
"""Wire shape and meaning of each event type."""


def json_schemas() -> dict[str, Document]:
    """JSON Schema of each event type: the whole CloudEvent in structured mode, unknown fields
    allowed."""
    schemas = {}
    for name, (wire, meaning) in WIRES.items():
        _, components = msgspec.json.schema_components([wire], ref_template="#/$defs/{name}")
        root = dict(components.pop(wire.__name__))
        schemas[name] = {
            "$schema": DIALECT,
            "$id": f"urn:rluf:schema:{name}",
            **root,
            "title": name,
            "description": meaning,
            "$defs": dict(sorted(components.items())),
        }
    return schemas


def asyncapi(config: StreamsConfig) -> Document:
    """The topics as an AsyncAPI document: what is on each, with which key, and who reads it."""
    events = {
        "shown": (config.shown_topic, SHOWN_TYPE, "the response id"),
        "reactions": (config.reactions_topic, REACTION_TYPE, "the response id"),
        "erasures": (config.erasures_topic, ERASURE_TYPE, "the user id"),
        "verdicts": (config.verdicts_topic, VERDICT_TYPE, "the user id"),
    }
    channels: Document = {
        name: {
            "address": topic,
            "description": f"{WIRES[kind][1]} The record's key is {key}.",
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "bindings": {"kafka": {"partitions": config.partitions}},
        }
        for name, (topic, kind, key) in events.items()
    }
    channels["dead_letters"] = {
        "address": config.dead_letters_topic,
        "description": "Records that are no events of ours: their bytes and key as they came.",
        "messages": {"dead_letters": {"$ref": "#/components/messages/dead_letters"}},
    }
    messages: Document = {
        name: {
            "name": kind,
            "contentType": STRUCTURED,
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": {"$ref": f"schemas/{kind}.json"},
            },
        }
        for name, (_, kind, _key) in events.items()
    }
    messages["dead_letters"] = {
        "name": "dead letter",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": ["reason", "topic", "partition", "offset"],
            "properties": {
                "reason": {"type": "string", "enum": sorted(REASONS)},
                "topic": {"type": "string"},
                "partition": {"type": "string"},
                "offset": {"type": "string"},
                "value_bytes": {
                    "type": "string",
                    "description": "Length of the value, where only its beginning is kept.",
                },
            },
        },
    }
    operations: Document = {
        f"ingest_{name}": {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}}
        for name in events
    }
    operations["refuse"] = {"action": "send", "channel": {"$ref": "#/channels/dead_letters"}}
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "rluf",
            "version": CONTRACT_VERSION,
            "description": "What the ingestion worker reads and writes; docs/events.md says more.",
        },
        "defaultContentType": STRUCTURED,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }
