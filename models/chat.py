"""A conversation as the models see it, and the text of it where a model has no chat template."""

from collections.abc import Sequence
from typing import TypeAlias

Chat: TypeAlias = list[dict[str, str]]
"""Turns `{"role": "user" | "assistant" | "system", "content": text}`, oldest first.

Where a reply is scored, the last turn is the assistant's reply.
"""


def chat_of(prompt: Chat | str, reply: str | None = None) -> Chat:
    """The chat of a prompt (its turns, or one user's text) and, if given, the reply to it."""
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return turns if reply is None else [*turns, {"role": "assistant", "content": reply}]


def split_reply(chat: Chat) -> tuple[Chat, str]:
    """The turns before the last, and the text of the last turn.

    Raises ValueError where the chat is empty or does not end in the assistant's turn.
    """
    if not chat or chat[-1]["role"] != "assistant":
        last = chat[-1]["role"] if chat else "nothing"
        raise ValueError(f"a chat to score must end in the assistant's turn, this ends in {last!r}")
    return chat[:-1], chat[-1]["content"]


def render_turns(turns: Sequence[dict[str, str]]) -> str:
    """The turns as plain text, one a line, each after its role: for models without a template."""
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
