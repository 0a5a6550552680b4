"""What happened: the facts that everything else is derived from.

All are frozen. Times are aware and UTC; every fact has two of them. `occurred_at` is when the user
did it, `known_at` is when our log received it (the Kafka record's timestamp). `(source, id)` names
an event: two with the same pair are one event sent twice.
"""

import os
import time
import uuid
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

Action: TypeAlias = Literal["add", "remove"]
GuardAction: TypeAlias = Literal["quarantine", "release"]


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One turn of a conversation before the response."""

    role: str
    """Who spoke, in OpenAI's words: system, user, assistant, tool, ..."""
    content: str


class Shown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """This response was shown to this user."""

    id: str
    source: str
    response_id: str
    conversation_id: str
    user_id: str
    turn: int = 0
    """Position of the response in its conversation, from 0."""
    messages: tuple[Message, ...] = ()
    """The conversation before the response; may be empty."""
    response: str
    policy: str
    """The version that wrote it, such as chat@12."""
    experiment: str = ""
    arm: str = ""
    propensity: float = 1.0
    """Probability, in (0, 1], with which this user was given this arm."""
    surface: str = ""
    language: str = ""
    learnable: bool = True
    """False: must never be learned from."""
    logprob: float | None = None
    """Log-probability of the response under the policy that wrote it, in nats, if known."""
    user_aliases: tuple[str, ...] = ()
    """Other names of this user: a reaction under one of them is the user's."""
    response_aliases: tuple[str, ...] = ()
    """Other names of this response, such as a front end's message id: a reaction may give one."""
    client_id: str = ""
    """Name of the API key that asked, if any: a reaction that comes by the same key and names no
    user is the user's. The same as `user_id` where the request named nobody."""
    occurred_at: datetime
    known_at: datetime


class Reaction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user put a signal on a response, or took it back."""

    id: str
    source: str
    response_id: str
    user_id: str
    signal: str
    """Name of a row of streams.signals.SIGNALS."""
    action: Action
    network: str = ""
    """Pseudonym of the network that the tap came from, if known; only the guard looks at it."""
    occurred_at: datetime
    known_at: datetime


class GuardRuling(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The guard, or a person, quarantined reactions of a user, or released them again.

    It changes no reaction: views leave quarantined ones out of the fold while it stands.
    """

    id: str
    source: str
    user_id: str
    response_id: str = ""
    """Only reactions to this response; empty: every reaction of the user from `since` on."""
    action: GuardAction
    rule: str
    """A key of streams.guard.rules.RULES, or streams.events.PERSON."""
    rule_version: int
    evidence: str = "{}"
    """What was seen and what is allowed, as a JSON object of numbers and names; no texts."""
    since: datetime
    """The first `occurred_at` that it covers."""
    occurred_at: datetime
    """When it was decided."""
    known_at: datetime


class Erasure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A user asked to be forgotten: nothing of theirs up to now may be used again."""

    id: str
    source: str
    user_id: str
    occurred_at: datetime
    known_at: datetime


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that is no event of ours: where it stood, why it was refused, its exact bytes."""

    topic: str
    partition: int
    offset: int
    reason: str
    """A key of streams.errors.REASONS."""
    detail: str
    key: bytes | None
    value: bytes
    known_at: datetime


Event: TypeAlias = Shown | Reaction | Erasure | GuardRuling

PERSON = "person"
"""The rule of a ruling that a person gave: it overrules all others on that user."""


def new_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): unique, and sorted by the millisecond it was made in."""
    random = int.from_bytes(os.urandom(10), "big")
    unix_ms = time.time_ns() // 1_000_000
    bits = (unix_ms & (1 << 48) - 1) << 80 | random & (1 << 80) - 1
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=bits))
