"""What the API's description says of bodies that their types cannot say: the schemas of
/openapi.json that depend on settings, those of events, and those of answers.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from models.names import TEXT_CHARS_MAX
from serving.config import ServingConfig
from serving.schemas import NOT_BLANK
from streams.rules import ID_CHARS_MAX
from streams.schema import json_schemas
from streams.signals import SIGNALS
from streams.wire import REACTION_TYPE, SHOWN_TYPE

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/"
ID: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_CHARS_MAX,
    "pattern": NOT_BLANK,
}
NULL: Json = {"type": "null"}
TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}


def or_null(schema: Json) -> Json:
    return {"anyOf": [schema, NULL]}


def signal_schema(aliases: Mapping[str, str]) -> Json:
    """Give the schema of a signal: its names and spellings, and shortcodes in their colons."""
    words = [*SIGNALS, *(word for signal in SIGNALS.values() for word in signal.words)]
    emoji = [one for signal in SIGNALS.values() for one in signal.emoji]
    shortcodes = "|".join(map(re.escape, dict.fromkeys(words)))
    return {
        "description": "Case, skin tones and colons around a word do not matter.",
        "anyOf": [
            {"enum": [*dict.fromkeys([*words, *emoji, *aliases])]},
            {"type": "string", "pattern": f"^:({shortcodes}):$"},
        ],
    }


def feedback_schema(aliases: Mapping[str, str]) -> Json:
    """Give the schema of feedback: which answer, which signal, on or off."""
    signal = signal_schema(aliases)

    def one_of_two(first: str, second: str, schema: Json) -> Json:
        """The first counts; the second only where the first is not said."""
        return {
            "anyOf": [
                {"required": [first], "properties": {first: schema}},
                {"required": [second], "properties": {first: NULL, second: schema}},
            ]
        }

    return {
        "title": "FeedbackRequest",
        "description": (
            "A reaction of a user to a response; TensorZero's names for the same are taken too."
            " Where a feedback token or a trusted header names the response, the body need not."
        ),
        "type": "object",
        "properties": {
            **dict.fromkeys(
                ("response_id", "inference_id", "episode_id", "signal", "metric_name", "surface"),
                or_null(TEXT),
            ),
            "action": {"enum": ["add", "remove", None]},
            "value": {"type": ["boolean", "null"]},
            "actor_id": or_null(ID),
            "occurred_at": or_null({"type": "string", "format": "date-time"}),
            "tags": or_null({"type": "object"}),
            "dryrun": {"type": ["boolean", "null"]},
        },
        "allOf": [
            one_of_two("response_id", "inference_id", ID),
            one_of_two("signal", "metric_name", signal),
            {
                "anyOf": [
                    {"properties": {"action": NULL, "value": {"type": "boolean"}}},
                    _is_action("add", [True, None]),
                    _is_action("remove", [False, None]),
                ]
            },
        ],
    }


def _is_action(action: str, values: list[bool | None]) -> Json:
    return {
        "required": ["action"],
        "properties": {"action": {"const": action}, "value": {"enum": values}},
    }


def event_schemas(aliases: Mapping[str, str]) -> Json:
    """Give the schemas of the events that the API takes, from the event contract itself."""
    contract = json_schemas()
    made: Json = {}
    for name, kind in ("ShownEvent", SHOWN_TYPE), ("ReactionEvent", REACTION_TYPE):
        schema = {key: value for key, value in contract[kind].items() if key[0] != "$"}
        parts = {name: schema, **contract[kind]["$defs"]}
        made |= {part: _moved(body) for part, body in parts.items()}
    made["ReactionData"]["properties"]["signal"] = signal_schema(aliases)
    made["CloudEvent"] = {
        "description": "CloudEvents 1.0, structured mode; docs/events.md has the whole contract.",
        "oneOf": [{"$ref": SCHEMAS + name} for name in ("ShownEvent", "ReactionEvent")],
        "discriminator": {
            "propertyName": "type",
            "mapping": {
                SHOWN_TYPE: SCHEMAS + "ShownEvent",
                REACTION_TYPE: SCHEMAS + "ReactionEvent",
            },
        },
    }
    made["CloudEventBatch"] = {"type": "array", "items": {"$ref": SCHEMAS + "CloudEvent"}}
    return made


def _moved(node: Any) -> Any:
    """The same with references into the description, and ids that are not blank."""
    if isinstance(node, list):
        return [_moved(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "string" and node.get("maxLength") == ID_CHARS_MAX:
        return {**node, "pattern": NOT_BLANK} if node.get("minLength") else node
    return {
        key: value.replace("#/$defs/", SCHEMAS) if key == "$ref" else _moved(value)
        for key, value in node.items()
    }


def put_limits(schemas: Json, config: ServingConfig) -> None:
    """Put what depends on settings, or on several fields at once, into the schemas."""
    for name in ("ChatRequest", "CompletionRequest"):
        schemas[name]["properties"]["n"]["anyOf"][0]["maximum"] = config.choices_max
    schemas["ChatRequest"]["properties"]["messages"]["maxItems"] = config.messages_max
    schemas["CompletionRequest"]["anyOf"] = [
        {
            "properties": {
                "prompt": {"maxItems": num_prompts},
                "n": {"maximum": num_each},
                "best_of": {"maximum": num_each},
            }
        }
        for num_prompts, num_each in _rectangles(config.choices_max)
    ]
    chats = schemas["ScoreRequest"]["properties"]["chats"]
    chats["maxItems"] = config.score_chats_max
    chats["items"]["contains"] = {"properties": {"role": {"const": "assistant"}}}
    for name in ("AliasRequest", "ArmsRequest"):
        schemas[name]["properties"]["why"] |= {
            "maxLength": TEXT_CHARS_MAX,
            "pattern": NOT_BLANK,
        }


def _rectangles(area: int) -> Iterator[tuple[int, int]]:
    """The largest (prompts, answers to each) whose product is at most the area."""
    for num_prompts in range(1, area + 1):
        num_each = area // num_prompts
        if num_prompts == area // num_each:
            yield num_prompts, num_each


def object_of(required: Json, **optional: Json) -> Json:
    """Give the schema of an object that may have more fields than these."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
    }


def list_of(name: str) -> Json:
    return {"type": "array", "items": {"$ref": SCHEMAS + name}}


TOKENS_USED = object_of({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
ANSWERED: Json = {"id": TEXT, "created": COUNT, "model": TEXT, "usage": TOKENS_USED}
END: Json = {"enum": ["stop", "length"]}
ANSWERS: Json = {
    "ChatCompletion": object_of(
        {
            **ANSWERED,
            "object": {"const": "chat.completion"},
            "choices": {
                "type": "array",
                "minItems": 1,
                "items": object_of(
                    {
                        "index": COUNT,
                        "message": object_of({"role": {"const": "assistant"}, "content": TEXT}),
                        "finish_reason": END,
                        "logprobs": {"type": ["object", "null"]},
                    }
                ),
            },
        }
    ),
    "Completion": object_of(
        {
            **ANSWERED,
            "object": {"const": "text_completion"},
            "choices": {
                "type": "array",
                "minItems": 1,
                "items": object_of(
                    {
                        "index": COUNT,
                        "text": TEXT,
                        "finish_reason": END,
                        "logprobs": {"type": ["object", "null"]},
                    }
                ),
            },
        }
    ),
    "Response": object_of(
        {
            "id": TEXT,
            "object": {"const": "response"},
            "created_at": COUNT,
            "model": TEXT,
            "status": {"enum": ["completed", "incomplete"]},
            "output": {
                "type": "array",
                "items": object_of(
                    {
                        "id": TEXT,
                        "type": {"const": "message"},
                        "role": {"const": "assistant"},
                        "content": {
                            "type": "array",
                            "items": object_of({"type": {"const": "output_text"}, "text": TEXT}),
                        },
                    }
                ),
            },
            "usage": object_of(
                {"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}
            ),
        }
    ),
    "Model": object_of(
        {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT}
    ),
    "Models": object_of({"object": {"const": "list"}, "data": list_of("Model")}),
    "Feedback": object_of(
        {"feedback_id": TEXT, "retry_safe": {"type": "boolean"}}, dryrun={"const": True}
    ),
    "Score": object_of(
        {
            "p_love": {"type": "number", "minimum": 0, "maximum": 1},
            "logit": {"type": "number"},
            "turn": COUNT,
            "prompt_cut": {"type": "boolean"},
            "reply_cut": {"type": "boolean"},
        }
    ),
    "Scores": object_of({"object": {"const": "list"}, "scores": list_of("Score")}),
    "EventTaken": {
        "anyOf": [object_of({"id": TEXT}), object_of({"ids": {"type": "array", "items": TEXT}})]
    },
    "Erasure": object_of({"erasure_id": TEXT}),
    "Health": object_of({"status": {"const": "ok"}}),
    "Readiness": object_of(
        {
            "ready": {"type": "boolean"},
            "reasons": {"type": "array", "items": TEXT},
            "warnings": {"type": "array", "items": TEXT},
        }
    ),
}
"""Schemas of good answers: what clients may count on; more fields may come."""
ERRORS: Json = {
    "OpenAIError": object_of(
        {
            "error": object_of(
                {
                    "message": TEXT,
                    "type": TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                }
            )
        }
    ),
    "Problem": object_of(
        {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
        param=TEXT,
        code=TEXT,
    ),
}
