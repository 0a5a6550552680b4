"""What may be asked of us, and how a wrong request is explained.

Types are strict: a client that sends `"0.7"` for a temperature has a mistake that it wants to know
of. Unknown fields are kept apart, not refused, because OpenAI's interface grows faster than its
users' clients; `unknown_fields` names them for the warning or for strict mode.
"""

import codecs
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from models.chat import Chat
from serving.errors import SEEN_CHARS_MAX, BadRequest, seen
from serving.wanted import Wanted
from streams.messages import TEXT_PARTS, read_message, text_of
from streams.rules import ID_CHARS_MAX, NAME_CHARS_MAX, is_id

TOP_LOGPROBS_MAX = 20
"""OpenAI's limit, in both of its newer shapes."""
SEED_LIMIT = 2**63
NOT_TAKEN = "not_taken"
NOT_BLANK = r"[^\s\u001c-\u001f\u0085]"
"""Anything but white space as `str.isspace` has it, in the regular expressions of JSON Schema."""
UNION_MEMBERS = frozenset({"str", "bool", "int", "float"})
ALLOWED: Mapping[str, str] = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "literal_error": "one of {expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a collection of at least {min_length}",
    "too_long": "a collection of at most {max_length}",
    "string_too_short": "a string of at least {min_length} characters",
    "string_too_long": "a string of at most {max_length} characters",
}
"""Pydantic's error type to what is allowed, in a client's words; the rest keeps its own."""


def not_taken(why: str, *, param: str = "") -> PydanticCustomError:
    """Give the fault of a value that is well formed and not taken: why is a sentence of its own.

    `param` names the field where a check of several fields finds it.
    """
    return PydanticCustomError(NOT_TAKEN, "{why}", {"why": why, "param": param})


def _text_of_content(value: object) -> object:
    """Join the texts of parts; images, audio and files are not for these policies."""
    if value is None:
        return ""
    if isinstance(value, dict) and "type" in value:
        value = [value]  # One part alone.
    if not isinstance(value, list):
        return value
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        field = "text" if kind in TEXT_PARTS else kind
        known = isinstance(part, dict) and field in ("text", "refusal")
        if not known or not isinstance(part.get(field), str | None):
            raise not_taken(f'only parts of type "text" are allowed, got one of type {kind!r:.40}')
    return text_of(value)


def _not_blank(value: str) -> str:
    """An id that may be empty, which names nobody."""
    if value and not is_id(value):
        raise PydanticCustomError("blank_id", "an id that is not blank")
    return value


UserId = Annotated[
    str,
    Field(max_length=ID_CHARS_MAX, json_schema_extra={"pattern": rf"^$|{NOT_BLANK}"}),
    AfterValidator(_not_blank),
]


def whole_number(value: object) -> object:
    """Take 256.0 for 256, as OpenAI does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole: TypeAlias = Annotated[int, BeforeValidator(whole_number)]
# Limits come before the validator: behind it pydantic does not describe them.
Count: TypeAlias = Annotated[int, Field(ge=1), BeforeValidator(whole_number)]
TopLogprobs: TypeAlias = Annotated[
    int, Field(ge=0, le=TOP_LOGPROBS_MAX), BeforeValidator(whole_number)
]
Seed: TypeAlias = Annotated[
    int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT), BeforeValidator(whole_number)
]
TEXT_CONTENT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": kind},
                            kind: {"type": ["string", "null"]},
                        },
                        "required": ["type"],
                    }
                    for kind in ("text", "refusal")
                ]
            },
        },
        {"type": "null"},
    ]
}
"""A message's content, as a schema."""


class Turn(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str, BeforeValidator(_text_of_content), WithJsonSchema(TEXT_CONTENT)] = ""
    name: str | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    tool_calls: list[Any] | None = None
    function_call: dict[str, Any] | None = None

    def read(self) -> dict[str, str]:
        """Give the message as policies read it and as events keep it."""
        message = read_message(
            self.role,
            self.content,
            name=self.name,
            refusal=self.refusal,
            audio=self.audio,
            tool_calls=self.tool_calls,
            function_call=self.function_call,
        )
        return {"role": message.role, "content": message.content}


Metadata: TypeAlias = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool | None = None


class Asked(BaseModel):
    """A request that may hold fields we do not know."""

    model_config = ConfigDict(extra="allow", strict=True)

    def unknown_fields(self) -> list[str]:
        return sorted(self.model_extra or {})


class AnswerRequest(Asked, ABC):
    """What OpenAI's three ways to ask for an answer have in common."""

    model: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    safety_identifier: UserId | None = None
    user: UserId | None = None
    service_tier: str | None = None

    @abstractmethod
    def wanted(self) -> Wanted:
        """Give what is asked for."""

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class SampledRequest(AnswerRequest):
    """What chat completions and completions have in common beyond that."""

    n: Count | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    max_tokens: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    logit_bias: dict[str, Any] | None = None

    def stops(self) -> tuple[str, ...]:
        """Give the stop sequences; empty ones stop nothing."""
        asked = [self.stop] if isinstance(self.stop, str) else (self.stop or [])
        return tuple(text for text in asked if text)


class ChatRequest(SampledRequest):
    """OpenAI's chat completion request."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None

    def chat(self) -> Chat:
        """Give the conversation as policies read it."""
        return [turn.read() for turn in self.messages]

    def wanted(self) -> Wanted:
        """Give what is asked for. Of two limits of the length the smaller one holds."""
        limits = [n for n in (self.max_completion_tokens, self.max_tokens) if n is not None]
        return Wanted(
            model=self.model,
            prompts=(self.chat(),),
            param="messages",
            tokens_param="max_completion_tokens",
            max_tokens=min(limits, default=None),
            temperature=self.temperature,
            top_p=self.top_p,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            seed=self.seed,
            num_choices=self.n or 1,
            num_tries=self.n or 1,
            num_top=(self.top_logprobs or 0) if self.logprobs else None,
            stops=self.stops(),
            in_pieces=bool(self.stream),
            with_usage=self.with_usage,
            metadata=self.metadata or {},
            is_stored=self.store is not False,
        )


class FeedbackRequest(Asked):
    """A reaction of a user to a response; TensorZero's names for the same are taken too."""

    response_id: str | None = None
    inference_id: str | None = None
    episode_id: str | None = None
    signal: str | None = None
    metric_name: str | None = None
    action: str | None = None
    value: bool | int | float | str | None = None
    actor_id: str | None = None
    occurred_at: str | None = None
    surface: str | None = None
    tags: dict[str, Any] | None = None
    dryrun: bool | None = None


class ScoreRequest(Asked):
    """Chats, to be scored by P[Love] of the assistant's last turn in each."""

    chats: Annotated[list[Annotated[list[Turn], Field(min_length=1)]], Field(min_length=1)]


class ArmRequest(Asked):
    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
    version: Count
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ArmsRequest(Asked):
    """An experiment: a division of the users over versions."""

    experiment: Annotated[str, Field(max_length=NAME_CHARS_MAX)]
    arms: Annotated[list[ArmRequest], Field(min_length=1)]
    why: Annotated[str, Field(min_length=1)]
    override: bool = False


class AliasRequest(Asked):
    """A promotion (the alias champion) or a move of another alias; `expected` is where the caller
    believes that it points now."""

    version: Count | None
    expected: Count | None
    why: Annotated[str, Field(min_length=1)]
    override: bool = False


class ReasonRequest(Asked):
    """Why what is live is changed."""

    why: Annotated[str, Field(min_length=1)]


class ErasureRequest(Asked):
    """A user who asked to be forgotten."""

    user_id: Annotated[UserId, Field(min_length=1)]
    as_stored: bool = False
    """The id is not a client's: take it as events and files have it."""


def parse_json(body: bytes) -> dict[str, object]:
    """Read a body as a JSON object. Raises BadRequest saying where it stops being JSON.

    A key that comes twice is refused: whoever reads the body next may take the other value. A mark
    of byte order before it, as Windows writes it, says nothing (RFC 8259, 8.1).
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        value: object = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="keys")
        if not isinstance(value, dict):
            raise BadRequest(
                f"the body must be a JSON object, got {seen(value)}", code="invalid_json"
            )
        json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:SEEN_CHARS_MAX]!r} comes more than once in one object")
    return made


def explain(error: ValidationError) -> tuple[str, str]:
    """Give (message, field) of a refused request: what was seen and what is allowed."""
    faults = error.errors(include_url=False)
    first = _deepest(faults)
    field = _path_of(first)
    if first["type"] == "missing":
        return f"{field} is required", field
    if first["type"] == NOT_TAKEN:
        field = field or first["ctx"]["param"]
        return f"{field}: {first['msg']}", field
    # A union complains once for each of its members: say them all in one sentence.
    allowed = dict.fromkeys(_allowed(fault) for fault in faults if _path_of(fault) == field)
    return f"{field} must be {' or '.join(allowed)}, got {seen(first['input'])}", field


def _deepest(faults: list[ErrorDetails]) -> ErrorDetails:
    """Give the first fault, or what lies beneath it: of an array that holds a wrong element, the
    element is wrong and not that it is no string, which it may be too."""
    first = faults[0]
    for fault in faults:
        if _path_of(fault).startswith((f"{_path_of(first)}[", f"{_path_of(first)}.")):
            first = fault
    return first


def _path_of(fault: ErrorDetails) -> str:
    """Write a location as JSON paths are written, without Pydantic's names of union members."""
    path = ""
    for index, part in enumerate(fault["loc"]):
        if isinstance(part, int):
            path += f"[{part}]"
        elif index > 0 and (part in UNION_MEMBERS or "[" in part):
            continue
        else:
            name = part[:SEEN_CHARS_MAX]
            path += f".{name}" if path else name
    return path


def _allowed(fault: ErrorDetails) -> str:
    wording = ALLOWED.get(fault["type"])
    return wording.format(**fault.get("ctx", {})) if wording is not None else fault["msg"]
