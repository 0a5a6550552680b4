"""One chat request that was understood, whatever form its answer takes: whole or in pieces."""

from dataclasses import dataclass

from serving.batcher import Ask
from serving.desk import Desk
from serving.errors import refused_event
from serving.exposure import Seen, choice_id, shown_of
from serving.lineup import Assignment
from serving.schemas import ChatRequest
from streams.errors import BadEvent
from streams.events import Shown

FINGERPRINT_CHARS = 12
FIELDS = {
    "data.conversation_id": "metadata.conversation_id",
    "data.surface": "metadata.surface",
    "data.language": "metadata.language",
    "data.messages": "messages",
    "data.user_id": "user",
    "data.user_aliases": "user",
    "data.response_aliases": "metadata",
}
"""A field of the exposure to the field of the request that it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was asked, and who answers it."""

    asked: ChatRequest
    assignment: Assignment
    ask: Ask
    response_id: str
    user_id: str
    """Empty where nobody in particular asks."""
    created: int
    """Unix seconds."""
    warnings: tuple[str, ...]

    @property
    def model(self) -> str:
        """The version that answers, in the API's spelling."""
        version = self.assignment.version
        return f"{version.name}@v{version.number}"

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and template: all of them lie in the artifact."""
        return f"fp_{self.assignment.version.artifact_hash[:FINGERPRINT_CHARS]}"

    def headers(self, recorded: str) -> dict[str, str]:
        """Give the answer's own headers."""
        headers = {
            "x-rluf-policy": self.assignment.version.ref,
            "x-rluf-arm": self.assignment.arm.encode("ascii", "backslashreplace").decode(),
            "x-rluf-recorded": recorded,
        }
        if self.ask.num_choices > 1:
            ids = [choice_id(self.response_id, i) for i in range(self.ask.num_choices)]
            headers["x-rluf-response-ids"] = ",".join(ids)
        if self.warnings:
            headers["x-rluf-warnings"] = "; ".join(self.warnings)
        return headers


def check_recordable(desk: Desk, exchange: Exchange) -> None:
    """Refuse, before anything is generated, what could not be recorded for the client's own fault.

    Raises BadRequest or TooLarge. What only the answer decides, `record_exposure` finds out.
    """
    nothing = Seen(index=exchange.ask.num_choices - 1, text="", logprob=None, is_whole=True)
    try:
        desk.recorder.check(_exposure(desk, exchange, nothing))
    except BadEvent as error:
        field = "data.messages" if error.reason == "too_large" else error.field
        param = FIELDS.get(field.partition("[")[0])
        if param is not None:
            raise refused_event(error, param=param) from None


async def record_exposure(desk: Desk, exchange: Exchange, seen: Seen) -> bool:
    """Have it recorded that the user saw this; False where the broker does not say that it was."""
    try:
        return await desk.recorder.record(_exposure(desk, exchange, seen))
    except BadEvent:
        return False  # Too large for the log. The recorder has counted it; the user still answers.


def _exposure(desk: Desk, exchange: Exchange, seen: Seen) -> Shown:
    return shown_of(
        exchange.asked,
        seen,
        exchange.assignment,
        response_id=exchange.response_id,
        user_id=exchange.user_id,
        source=desk.config.source,
        now=desk.now(),
    )


def count_reply(desk: Desk, exchange: Exchange, finish_reason: str) -> None:
    """Count one reply that a user got."""
    assignment = exchange.assignment
    desk.meters.replies.labels(assignment.version.ref, assignment.arm, finish_reason).inc()


def usage_of(desk: Desk, prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Count the tokens, and give them in OpenAI's words."""
    desk.meters.tokens.labels("prompt").inc(prompt_tokens)
    desk.meters.tokens.labels("completion").inc(completion_tokens)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
