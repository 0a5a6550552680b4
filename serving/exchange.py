"""One request that was understood, whatever its shape and whatever form its answer takes."""

from dataclasses import dataclass

from serving.batcher import Ask
from serving.callers import Caller
from serving.context import AppContext
from serving.errors import refused_event
from serving.exposure import Seen, choice_id, shown_of
from serving.headers import safe_headers
from serving.lineup import Assignment
from serving.wanted import Wanted
from streams.errors import BadEvent
from streams.events import Shown

FINGERPRINT_CHARS = 12
FIELDS = {
    "data.conversation_id": "metadata.conversation_id",
    "data.surface": "metadata.surface",
    "data.language": "metadata.language",
    "data.user_id": "user",
    "data.user_aliases": "user",
    "data.response_aliases": "metadata.message_id",
}
"""A field of the exposure to the field of the request that it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was asked, and who answers it."""

    wanted: Wanted
    assignment: Assignment
    asks: tuple[Ask, ...]
    """One for each prompt; the choices of the first come first."""
    response_id: str
    caller: Caller
    not_learned: str
    """Why nothing may be learned from it, since no person asked; empty: it may."""
    created: int
    """Unix seconds."""
    warnings: tuple[str, ...]
    feedback_token: str = ""

    @property
    def model(self) -> str:
        """The version that answers, in the API's spelling."""
        version = self.assignment.version
        return f"{version.name}@v{version.number}"

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and template: all of them lie in the artifact."""
        return f"fp_{self.assignment.version.artifact_hash[:FINGERPRINT_CHARS]}"

    @property
    def num_choices(self) -> int:
        """How many answers are given, all prompts together."""
        return self.wanted.num_choices * len(self.asks)

    def ask_of(self, index: int) -> Ask:
        """Give the ask that a choice answers."""
        return self.asks[index // self.wanted.num_choices]

    def headers(self, recorded: str) -> dict[str, str]:
        """Give the answer's own headers."""
        headers = {
            # Gateways that rename an answer in its body mostly pass its headers on.
            "x-rluf-response-id": self.response_id,
            "x-rluf-policy": self.assignment.version.ref,
            "x-rluf-arm": self.assignment.arm,
            "x-rluf-recorded": recorded,
        }
        if self.num_choices > 1:
            ids = [choice_id(self.response_id, i) for i in range(self.num_choices)]
            headers["x-rluf-response-ids"] = ",".join(ids)
        if self.feedback_token:
            headers["x-rluf-feedback-token"] = self.feedback_token
        if self.warnings:
            headers["x-rluf-warnings"] = "; ".join(self.warnings)
        return safe_headers(headers)


def check_recordable(context: AppContext, exchange: Exchange) -> None:
    """Refuse, before anything is generated, what could not be recorded for the client's own fault.

    Raises BadRequest or TooLarge. What only the answer decides, `record_exposure` finds out.
    """
    for index in range(exchange.num_choices):
        nothing = Seen(index=index, text="", logprob=None, is_whole=True)
        try:
            context.recorder.check(_exposure(context, exchange, nothing))
        except BadEvent as error:
            is_prompt = error.reason == "too_large" or error.field.startswith("data.messages")
            param = FIELDS.get(error.field.partition("[")[0])
            param = exchange.wanted.param if is_prompt else param
            if param is not None:
                raise refused_event(error, param=param) from None


async def record_exposure(context: AppContext, exchange: Exchange, seen: Seen) -> bool:
    """Have it recorded that the user saw this; False where the broker does not say that it was."""
    event = _exposure(context, exchange, seen)
    if not event.learnable:
        kept = "left" if not seen.is_whole else "store"
        context.meters.not_learned.labels(exchange.not_learned or kept).inc()
    try:
        is_recorded = await context.recorder.record(event)
    except BadEvent:
        return False  # Too large for the log. The recorder has counted it; the user still answers.
    context.recent.note(event, is_recorded=is_recorded)
    return is_recorded


def _exposure(context: AppContext, exchange: Exchange, seen: Seen) -> Shown:
    return shown_of(
        exchange.wanted,
        exchange.ask_of(seen.index).chat,
        seen,
        exchange.assignment,
        response_id=exchange.response_id,
        caller=exchange.caller,
        is_answer=not exchange.not_learned,
        source=context.config.source,
        now=context.now(),
    )


def count_reply(context: AppContext, exchange: Exchange, finish_reason: str) -> None:
    """Count one reply that a user got."""
    assignment = exchange.assignment
    context.meters.replies.labels(assignment.version.ref, assignment.arm, finish_reason).inc()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int

    def count(self, context: AppContext) -> None:
        context.meters.tokens.labels("prompt").inc(self.prompt_tokens)
        context.meters.tokens.labels("completion").inc(self.completion_tokens)

    def as_chat(self) -> dict[str, int]:
        """Give them in the words of chat completions and completions."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
