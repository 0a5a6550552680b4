"""The shape of a topic: what users ask about and what a concrete answer to it says."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Segment: TypeAlias = Literal["advice", "support", "role-play", "chat", "homework"]
Mode: TypeAlias = Literal["instruct", "tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """One thing that users want within a topic."""

    key: str
    """What it is about, as a noun phrase without choices."""
    asks: tuple[str, ...]
    """Templates of first messages: whole sentences."""
    steps: tuple[str, ...]
    """Templates of concrete answers: clauses without a full stop, imperative or narrating."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A subject with its aspects; an answer to one aspect is a near miss for the others."""

    name: str
    segment: Segment
    mode: Mode
    """"instruct": steps are imperatives; "tell": steps are whole statements."""
    subject: str
    """How users refer to it, as a noun phrase."""
    wish: str
    """Template of a good wish for the end of a conversation about it, without a full stop."""
    questions: tuple[str, ...]
    """Templates of questions that an assistant asks to go on."""
    aspects: tuple[Aspect, ...]
