"""The shapes of our events on the wire, as msgspec decodes and checks them in one pass.

Each shape exists twice: a strict one for what we write ourselves, and the one it extends, which
takes what others write: unknown fields, and messages of any form (streams/messages.py). Decoding
tries the strict one first, since that is how it learns, at no cost, that there is nothing unknown
to count (msgspec reports nothing about fields that it skips), and no message to be put into words.

Null in an optional field is the same as leaving it out.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from streams.events import Action, GuardAction
from streams.rules import ALIASES_MAX, EVIDENCE_CHARS_MAX, ID_CHARS_MAX, NAME_CHARS_MAX, TURN_MAX

SHOWN_TYPE = "rluf.response.shown.v1"
REACTION_TYPE = "rluf.reaction.v1"
ERASURE_TYPE = "rluf.subject.erased.v1"
VERDICT_TYPE = "rluf.guard.verdict.v1"

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=ID_CHARS_MAX)]
Aliases: TypeAlias = Annotated[tuple[Id, ...], Meta(max_length=ALIASES_MAX)]
Name: TypeAlias = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
AwareTime: TypeAlias = Annotated[datetime, Meta(tz=True)]
Propensity: TypeAlias = Annotated[float, Meta(gt=0.0, le=1.0)]
Logprob: TypeAlias = Annotated[float, Meta(le=0.0)]
Turn: TypeAlias = Annotated[int, Meta(ge=0, le=TURN_MAX)]


class MessageWire(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message as clients of chat APIs write it; streams/messages.py makes text of it."""

    role: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    content: str | list[Any] | dict[str, Any] | None = None
    name: str | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    tool_calls: list[Any] | None = None
    function_call: dict[str, Any] | None = None
    tool_call_id: str | None = None
    parts: list[Any] | None = None


class ShownData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    response_id: Id
    conversation_id: Id
    user_id: Id
    turn: Turn | None = None
    messages: tuple[MessageWire, ...] | None = ()
    response: str
    policy: Id
    experiment: Name | None = None
    arm: Name | None = None
    propensity: Propensity | None = None
    surface: Name | None = None
    language: Name | None = None
    learnable: bool | None = None
    logprob: Logprob | None = None
    user_aliases: Aliases | None = None
    response_aliases: Aliases | None = None
    client_id: Annotated[str, Meta(max_length=ID_CHARS_MAX)] | None = None


class ReactionData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    response_id: Id
    user_id: Id
    signal: Name
    action: Action
    network: Name | None = None


class VerdictData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    user_id: Id
    response_id: Annotated[str, Meta(max_length=ID_CHARS_MAX)] | None = None
    action: GuardAction
    rule: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    rule_version: Turn
    evidence: Annotated[str, Meta(max_length=EVIDENCE_CHARS_MAX)] | None = None
    since: AwareTime


class ErasureData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    user_id: Id


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """The attributes of CloudEvents 1.0 that we know; `time` is `occurred_at`."""

    specversion: Literal["1.0"]
    id: Id
    source: Id
    time: AwareTime
    subject: str | None = None
    partitionkey: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None


class ShownWire(Envelope, frozen=True, kw_only=True, gc=False, tag=SHOWN_TYPE):
    data: ShownData


class ReactionWire(Envelope, frozen=True, kw_only=True, gc=False, tag=REACTION_TYPE):
    data: ReactionData


class ErasureWire(Envelope, frozen=True, kw_only=True, gc=False, tag=ERASURE_TYPE):
    data: ErasureData


class VerdictWire(Envelope, frozen=True, kw_only=True, gc=False, tag=VERDICT_TYPE):
    data: VerdictData


class StrictMessage(MessageWire, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """One that is stored as it stands."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    name: None = None
    refusal: None = None
    audio: None = None
    tool_calls: None = None
    function_call: None = None
    tool_call_id: None = None
    parts: None = None


class StrictShownData(ShownData, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    messages: tuple[StrictMessage, ...] | None = ()


class StrictReactionData(
    ReactionData, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True
):
    pass


class StrictErasureData(
    ErasureData, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True
):
    pass


class StrictVerdictData(
    VerdictData, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True
):
    pass


class StrictShown(
    ShownWire, frozen=True, kw_only=True, gc=False, tag=SHOWN_TYPE, forbid_unknown_fields=True
):
    data: StrictShownData


class StrictReaction(
    ReactionWire, frozen=True, kw_only=True, gc=False, tag=REACTION_TYPE, forbid_unknown_fields=True
):
    data: StrictReactionData


class StrictErasure(
    ErasureWire, frozen=True, kw_only=True, gc=False, tag=ERASURE_TYPE, forbid_unknown_fields=True
):
    data: StrictErasureData


class StrictVerdict(
    VerdictWire, frozen=True, kw_only=True, gc=False, tag=VERDICT_TYPE, forbid_unknown_fields=True
):
    data: StrictVerdictData


Wire: TypeAlias = ShownWire | ReactionWire | ErasureWire | VerdictWire

STRICT: msgspec.json.Decoder[Wire] = msgspec.json.Decoder(
    StrictShown | StrictReaction | StrictErasure | StrictVerdict
)
LENIENT: msgspec.json.Decoder[Wire] = msgspec.json.Decoder(
    ShownWire | ReactionWire | ErasureWire | VerdictWire
)
UNTYPED: msgspec.json.Decoder[Any] = msgspec.json.Decoder()

Data: TypeAlias = ShownData | ReactionData | ErasureData | VerdictData

DATA_TYPES: dict[str, type[Data]] = {
    SHOWN_TYPE: ShownData,
    REACTION_TYPE: ReactionData,
    ERASURE_TYPE: ErasureData,
    VERDICT_TYPE: VerdictData,
}
ENVELOPE_FIELDS = frozenset({"type", *ShownWire.__struct_fields__})
DATA_FIELDS = {name: frozenset(cls.__struct_fields__) for name, cls in DATA_TYPES.items()}
MESSAGE_FIELDS = frozenset(MessageWire.__struct_fields__)
