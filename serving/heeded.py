"""What in a request is honoured here, field by field, at any depth; all else is named.

A reader (`Reader`) looks at a value and yields the paths of what in it asks for something that is
not done. The tables of such readers are below: one for each shape of request. A null asks for
nothing, wherever it stands.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from streams.messages import TEXT_PARTS

Reader: TypeAlias = Callable[[object, str], Iterator[str]]

NAME_CHARS_MAX = 64


def honoured(value: object, path: str) -> Iterator[str]:
    """Reads a field that is honoured whatever its value."""
    return iter(())


def only(*harmless: object) -> Reader:
    """Reads a field that is not honoured; the values `harmless` ask for nothing, so they pass."""

    def read(value: object, path: str) -> Iterator[str]:
        if value is not None and not any(_is_same(value, one) for one in harmless):
            yield path

    return read


def each(reader: Reader) -> Reader:
    """Every element of a list, or an object that stands alone; the rest is left to the schema."""

    def read(value: object, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            yield from reader(value, path)
        elif isinstance(value, list):
            for index, element in enumerate(value):
                yield from reader(element, f"{path}[{index}]")

    return read


def fields(known: Mapping[str, Reader]) -> Reader:
    """The fields of an object; those that are not known are not honoured."""
    not_known = only()

    def read(value: object, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for name, element in value.items():
                yield from known.get(name, not_known)(element, _join(path, name))

    return read


def beside(needed: str, name: str, reader: Reader) -> Reader:
    """A reader of objects whose field `name` does something only where `needed` is true in them."""

    def read(value: object, path: str) -> Iterator[str]:
        yield from reader(value, path)
        if isinstance(value, dict) and value.get(name) and not value.get(needed):
            yield _join(path, name)

    return read


def by_type(readers: Mapping[str, Reader]) -> Reader:
    """An object whose `type` says what it is; one of another type is not honoured as a whole."""

    def read(value: object, path: str) -> Iterator[str]:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind not in readers:
            yield path
        elif isinstance(kind, str):
            yield from readers[kind](value, path)

    return read


def _is_same(value: object, harmless: object) -> bool:
    return value == harmless and isinstance(value, bool) == isinstance(harmless, bool)


def _join(path: str, name: str) -> str:
    return f"{path}.{name[:NAME_CHARS_MAX]}" if path else name


TEXT_PART = fields(
    {"type": honoured, "text": honoured, "annotations": only([]), "logprobs": only([])}
)
REFUSAL_PART = fields({"type": honoured, "refusal": honoured})
CHAT_MESSAGE = fields(
    {
        "role": honoured,
        "content": each(by_type({**dict.fromkeys(TEXT_PARTS, TEXT_PART), "refusal": REFUSAL_PART})),
        "refusal": honoured,
        "annotations": only([]),
        "tool_calls": only([]),
        # What OpenAI's and others' SDKs send back of an answer, and what says nothing.
        "reasoning_content": only(""),
        "reasoning": only(""),
    }
)
COMMON: Mapping[str, Reader] = {
    "model": honoured,
    "temperature": honoured,
    "top_p": honoured,
    "stream": honoured,
    "stream_options": fields({"include_usage": honoured, "include_obfuscation": only(False)}),
    "metadata": honoured,
    "store": honoured,
    "safety_identifier": honoured,
    "user": honoured,
    "service_tier": only("auto", "default"),
    # Where OpenAI keeps a prompt between calls changes no answer.
    "prompt_cache_key": honoured,
    "prompt_cache_retention": honoured,
}
"""Fields that every shape has."""
SAMPLING: Mapping[str, Reader] = {
    "n": honoured,
    "stop": honoured,
    "max_tokens": honoured,
    "presence_penalty": honoured,
    "frequency_penalty": honoured,
    "seed": honoured,
    "logit_bias": only({}),
}
CHAT: Reader = beside(
    "logprobs",
    "top_logprobs",
    fields(
        {
            **COMMON,
            **SAMPLING,
            "messages": each(CHAT_MESSAGE),
            "max_completion_tokens": honoured,
            "logprobs": honoured,
            "top_logprobs": honoured,
            "response_format": only({"type": "text"}),
            "tools": only([]),
            "tool_choice": only("none", "auto"),
            "parallel_tool_calls": only(True, False),
            "functions": only([]),
            "function_call": only("none", "auto"),
            "modalities": only(["text"], []),
            "reasoning_effort": only("none"),
            "verbosity": only("medium"),
        }
    ),
)
COMPLETION: Reader = fields(
    {
        **COMMON,
        **SAMPLING,
        "prompt": honoured,
        "echo": honoured,
        "best_of": honoured,
        "logprobs": honoured,
        "suffix": honoured,
    }
)
INPUT_PARTS = each(
    by_type(
        {
            **dict.fromkeys(TEXT_PARTS, TEXT_PART),
            "refusal": REFUSAL_PART,
        }
    )
)
INPUT_MESSAGE = fields(
    {
        "type": honoured,
        "role": honoured,
        "content": INPUT_PARTS,
        "id": honoured,
        "status": honoured,
        "phase": honoured,
    }
)


def _input_item(value: object, path: str) -> Iterator[str]:
    """A message may leave its type away; items of other types are not honoured as a whole."""
    if isinstance(value, dict) and value.get("type", "message") != "message":
        yield path
    else:
        yield from INPUT_MESSAGE(value, path)


RESPONSE: Reader = fields(
    {
        **COMMON,
        "input": each(_input_item),
        "instructions": honoured,
        "max_output_tokens": honoured,
        "top_logprobs": honoured,
        "include": each(only("message.output_text.logprobs")),
        "truncation": only("disabled"),
        "tools": only([]),
        "tool_choice": only("none", "auto"),
        "parallel_tool_calls": only(True, False),
        "max_tool_calls": honoured,  # There are none: any limit is kept.
        "background": only(False),
        "reasoning": fields(
            {"effort": only("none"), "summary": only(), "generate_summary": only()}
        ),
        "text": fields({"format": only({"type": "text"}), "verbosity": only("medium")}),
        "previous_response_id": honoured,
        "conversation": honoured,
        "prompt": honoured,
    }
)
"""The last three are refused by the schema: they ask for what is kept at OpenAI."""
