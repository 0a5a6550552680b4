"""From a request and its reply to the event that says who saw what, and how likely that was."""

import math
from dataclasses import dataclass
from datetime import datetime

from models.chat import Chat
from serving.callers import Caller
from serving.errors import BadRequest
from serving.lineup import Assignment
from serving.pseudonyms import ANONYMOUS
from serving.wanted import Wanted
from streams.events import Message, Shown, new_id
from streams.rules import TURN_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a user saw of one choice."""

    index: int
    text: str
    logprob: float | None
    """Of the whole text; None where it was cut, for a part's probability is not known."""
    is_whole: bool
    """False where the user left before the end: stored, so that no reaction dangles, and never
    learned from, because the policy did not mean to end there."""


def choice_id(response_id: str, index: int) -> str:
    """Give the id that reactions to a choice name; the first choice's is the response's own."""
    return response_id if index == 0 else f"{response_id}-{index}"


def shown_of(
    wanted: Wanted,
    prompt: Chat,
    seen: Seen,
    assignment: Assignment,
    *,
    response_id: str,
    caller: Caller,
    is_answer: bool,
    source: str,
    now: datetime,
) -> Shown:
    """Give the event."""
    metadata = wanted.metadata
    own_id = choice_id(response_id, seen.index)
    logprob = seen.logprob
    return Shown(
        id=new_id(),
        source=source,
        response_id=own_id,
        conversation_id=metadata.get("conversation_id") or caller.conversation_id or response_id,
        user_id=caller.user_id or ANONYMOUS,
        turn=_turn(prompt, metadata.get("turn", "")),
        messages=tuple(Message(role=t["role"], content=t["content"]) for t in prompt),
        response=seen.text,
        policy=assignment.version.ref,
        experiment=assignment.experiment,
        arm=assignment.arm,
        propensity=assignment.propensity,
        surface=metadata.get("surface", ""),
        language=metadata.get("language", ""),
        learnable=wanted.is_stored and seen.is_whole and is_answer,
        logprob=min(logprob, 0.0) if logprob is not None and math.isfinite(logprob) else None,
        user_aliases=caller.aliases,
        response_aliases=(choice_id(caller.message_id, seen.index),) if caller.message_id else (),
        client_id=caller.client_id,
        occurred_at=now,
        known_at=now,
    )


def _turn(prompt: Chat, told: str) -> int:
    """Give the response's position: what the client says, else the replies that came before.

    Raises BadRequest for what is no position.
    """
    if told:
        if not (told.isascii() and told.isdigit()) or int(told) > TURN_MAX:
            raise BadRequest(
                f"metadata.turn must be a whole number from 0 to {TURN_MAX}, got {told[:80]!r}",
                param="metadata.turn",
                code="invalid_value",
            )
        return int(told)
    return sum(turn["role"] == "assistant" for turn in prompt)
