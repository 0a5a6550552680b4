"""One reading of a conversation's messages, as clients of chat APIs write them.

A fact keeps role and text of each message; what is no text stays as text that a person can read:

- `content` may be text, null or absent (no text), or a list of parts. Texts of parts are joined;
  what is no text leaves a marker: `[image]`, `[audio]`, `[file]`, or the part's type in brackets.
- Calls of tools follow the text, one a line: `[tool_call] get_weather({"city":"Oslo"})`.
- A refusal is the text that the user saw.
- A participant's or tool's `name` stands before the text: `Ada: hello`.
- The roles `developer` and `function` are the newer word for `system` and the older for `tool`.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from streams.events import Message

Content: TypeAlias = str | list[Any] | dict[str, Any] | None
"""Text, parts, or one part alone."""

ROLES = {"developer": "system", "function": "tool"}
CALL = "[tool_call]"
TYPE_CHARS_MAX = 64
"""How much of a part's type its marker repeats, in characters."""
MARKERS = {
    "image_url": "[image]",
    "input_image": "[image]",
    "image": "[image]",
    "input_audio": "[audio]",
    "audio": "[audio]",
    "input_file": "[file]",
    "file": "[file]",
    "document": "[file]",
}


def read_message(
    role: str,
    content: Content,
    *,
    name: str | None = None,
    refusal: str | None = None,
    audio: Mapping[str, Any] | None = None,
    tool_calls: list[Any] | None = None,
    function_call: Mapping[str, Any] | None = None,
) -> Message:
    """Give the message as it is stored and as a policy reads it."""
    lines = [text_of(content), refusal or "", "[audio]" if audio else ""]
    lines += [_call(call) for call in tool_calls or ()]
    lines += [_call(function_call)] if function_call else []
    text = "\n".join(line for line in lines if line)
    return Message(role=ROLES.get(role, role), content=f"{name}: {text}" if name else text)


def text_of(content: Content) -> str:
    """Give the text of a message's content, with markers for what is no text."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, dict):
        return _part(content)
    return "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return _json(part)
    for key in ("text", "refusal"):
        if isinstance(part.get(key), str):
            return str(part[key])
    kind = part.get("type")
    if kind == "tool_use":
        return f"\n{_call(part)}"
    if kind == "tool_result":
        return _json(part.get("content", "")) if _is_deep(part) else text_of(part.get("content"))
    if not isinstance(kind, str) or not kind:
        return _json(part)
    if kind in ("text", "refusal"):
        return ""  # A text part without its text.
    return MARKERS.get(kind, f"[{kind[:TYPE_CHARS_MAX]}]")


def _is_deep(part: Mapping[str, Any]) -> bool:
    """Whether a result holds results: nobody writes that, and reading it may never end."""
    content = part.get("content")
    parts = content if isinstance(content, list) else [content]
    return any(isinstance(each, dict) and "content" in each for each in parts)


def _call(call: Any) -> str:
    """A call of a tool as OpenAI, Anthropic and Ollama write it; what is none stays as JSON."""
    told = call if isinstance(call, Mapping) else {}
    inner = told.get("function", told.get("custom", told))
    inner = inner if isinstance(inner, Mapping) else {}
    name = inner.get("name")
    if not isinstance(name, str):
        return f"{CALL} {_json(call)}"
    given = inner.get("arguments", inner.get("input"))
    return f"{CALL} {name}({'' if given is None else _json(given)})"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
