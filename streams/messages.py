"""One reading of a conversation's messages, as clients of chat APIs write them.

A fact keeps role and text of each message; what is no text stays as text that a person can read:

- `content` may be text, null or absent (no text), or a list of parts. Texts of parts are joined;
  what is no text leaves a marker: `[image]`, `[audio]`, `[file]`, or the part's type in brackets.
  A model's thinking leaves none: nobody was told it.
- Where there is no content, `parts` are read instead (Gemini, Vercel's AI SDK).
- Calls of tools follow the text, one a line: `[tool_call] get_weather({"city":"Oslo"})`.
- A refusal is the text that the user saw.
- A participant's or tool's `name` stands before the text: `Ada: hello`.
- Other words for a role (ROLES) are read as that role, whatever the case.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from streams.events import Message

Content: TypeAlias = str | list[Any] | dict[str, Any] | None
"""Text, parts, or one part alone."""

ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "model", "bot", "gpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
"""Words for roles: OpenAI's old and new, LangChain's, Gemini's and ShareGPT's. Others stay."""
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of parts that hold text: of the chat API, and of OpenAI's responses."""
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
THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of parts that nobody was told: Anthropic's and Vercel's."""


def read_message(
    role: str,
    content: Content,
    *,
    name: str | None = None,
    refusal: str | None = None,
    audio: Mapping[str, Any] | None = None,
    tool_calls: list[Any] | None = None,
    function_call: Mapping[str, Any] | None = None,
    parts: list[Any] | None = None,
) -> Message:
    """Give the message as it is stored and as a policy reads it."""
    lines = [
        text_of(parts if content is None else content),
        refusal or "",
        "[audio]" if audio else "",
    ]
    lines += [_call(call) for call in tool_calls or ()]
    lines += [_call(function_call)] if function_call else []
    text = "\n".join(line for line in lines if line)
    role = ROLES.get(role.strip().lower(), role)
    return Message(role=role, content=f"{name}: {text}" if name else text)


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
    kind = part.get("type")
    if kind in THOUGHTS:
        return ""
    for key in ("text", "refusal"):
        told = part.get(key)
        told = told.get("value") if isinstance(told, dict) else told  # OpenAI's assistants.
        if isinstance(told, str):
            return told
    if kind == "tool_use":
        return f"\n{_call(part)}"
    if kind == "tool_result":
        return _json(part.get("content", "")) if _is_deep(part) else text_of(part.get("content"))
    if not isinstance(kind, str) or not kind:
        return _json(part)
    if kind in TEXT_PARTS or kind == "refusal":
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
