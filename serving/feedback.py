"""Feedback: a user's reaction to a response, acknowledged only when it is durable.

202 means that the broker has it. Everything short of that is an error with `retry-after`. Sending
it again is safe where the post names itself: with an Idempotency-Key it is the same event, and with
`occurred_at` another event of the same time, which the fold of reactions takes for the same tap. A
post with neither is timed when it arrives. Sent again after the user has changed their mind, it
cannot be told from a change back; so each answer says whether its post is safe to send again
(docs/decisions/0006-safe-retries.md).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.callers import trusted
from serving.context import AppContext
from serving.errors import BadRequest, Busy, InConflict, NotReady, Unprocessable, nearest, seen
from serving.idempotency import KeyMemory, event_id, fingerprint_of
from serving.middleware import bearer, ignored_fields, key_unit, read_request, require_key
from serving.pseudonyms import ANONYMOUS
from serving.schemas import FeedbackRequest
from serving.tokens import PREFIX, Grant
from streams.events import Action, Reaction, new_id
from streams.rules import ID_ALLOWED, is_id
from streams.signals import KNOWN, SIGNALS, signal_of
from streams.times import read_time

KEY_CHARS_MAX = 255
"""The draft leaves the length open; Stripe's limit."""
RESERVED = ("comment", "demonstration")
"""TensorZero's names for feedback in words, which is not a signal."""
NOT_STORED = ("surface", "tags")
"""Taken for compatibility; a reaction's event has no room for them."""
UNSAFE = (
    "it has neither an Idempotency-Key nor occurred_at: sent again after the user changed their"
    " mind, it would count as a new tap"
)
"""Why a post is not safe to send again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """Feedback that was understood."""

    response_id: str
    user_id: str
    """As it is stored."""
    signal: str
    action: Action
    occurred_at: datetime
    is_timed: bool
    """The client said when; otherwise it is the time of arrival."""
    is_dryrun: bool
    network: str
    """Pseudonym of the network that the tap came from; empty: not known."""
    fingerprint: str
    """Of what the client sent, before defaults: an absent time stays absent."""


def feedback_routes(context: AppContext) -> APIRouter:
    """Give POST /v1/feedback, and /feedback for TensorZero's clients."""
    router = APIRouter()
    config = context.config
    memory = KeyMemory(
        keys_max=config.idempotency_keys_max,
        window_s=config.idempotency_window_s,
        clock=time.monotonic,
    )
    handler = FeedbackHandler(context, memory)

    @router.post(
        "/v1/feedback",
        status_code=202,
    )
    @router.post("/feedback", status_code=202, include_in_schema=False)
    async def feedback(request: Request) -> Response:
        """Take a reaction to a response."""
        grant = _granted(context, request)
        asked = await read_request(request, FeedbackRequest, config)
        not_stored = [name for name in NOT_STORED if getattr(asked, name)]
        warnings = ignored_fields(request, asked, not_stored, config)
        message_id = trusted(request, config.message_header)
        actor = trusted(request, config.user_header) or key_unit(request) or ANONYMOUS
        said = understand(
            _named(asked, grant.response_id if grant else message_id),
            actor_default=grant.user_id if grant else context.user(actor),
            network=context.network(request),
            context=context,
        )
        if grant is not None:
            grant.require(said.response_id, said.user_id)
        key = read_key(request, is_required=config.idempotency_required)
        headers = {"x-rluf-warnings": "; ".join(warnings)} if warnings else {}
        return await handler.take(said, key, headers)

    return router


class FeedbackHandler:
    """Takes feedback once."""

    def __init__(self, context: AppContext, memory: KeyMemory) -> None:
        self._context = context
        self._memory = memory
        self._num_under_way = 0

    async def take(self, said: Feedback, key: str, headers: Mapping[str, str]) -> Response:
        """Have the reaction recorded, or replay the answer to the same call."""
        actor = said.user_id
        feedback_id = event_id(actor, key, said.fingerprint) if key else new_id()
        if key:
            said = self._as_first_sent(said, key)
        tap = self._reaction(said, feedback_id)
        prospect = self._context.recent.prospect(tap)
        is_safe = bool(key) or said.is_timed
        safety: dict[str, object] = {"retry_safe": is_safe}
        if said.is_dryrun:
            self._count(said, "dryrun")
            would = {"dryrun": True, **prospect.told(), **safety}
            return _answer(200, feedback_id, headers, would)
        if key and self._is_replay(said, key):
            self._count(said, "replayed")
            replayed = {**headers, "idempotency-replayed": "true"}
            return _answer(202, feedback_id, replayed, {**prospect.told(), **safety})
        self._make_sure_there_is_room()
        if key:
            self._memory.begin(actor, key, said.fingerprint, first_at=said.occurred_at)
        self._num_under_way += 1
        is_recorded = False
        try:
            is_recorded = await self._context.recorder.record(tap)
        finally:
            self._num_under_way -= 1
            if key:
                self._memory.finish(actor, key, is_recorded=is_recorded)
        if not is_recorded:
            self._count(said, "unavailable")
            time_told = said.occurred_at.isoformat()
            raise NotReady(
                "the broker did not acknowledge the feedback; send it again"
                + (", unchanged" if is_safe else f" with occurred_at {time_told}: {UNSAFE}"),
                code="not_recorded",
                retry_after_s=self._context.config.retry_after_s,
                extra={**safety, "occurred_at": time_told},
            )
        self._count(said, "recorded")
        prospect.count(self._context.meters)
        if not is_safe:
            self._context.meters.unsafe_retries.inc()
        return _answer(202, feedback_id, headers, {**prospect.told(), **safety})

    def _as_first_sent(self, said: Feedback, key: str) -> Feedback:
        """The same, at the time of the first call with this key, if that one failed here."""
        known = self._memory.find(said.user_id, key)
        if known is None or said.is_timed or known.fingerprint != said.fingerprint:
            return said
        return replace(said, occurred_at=known.first_at)

    def _reaction(self, said: Feedback, feedback_id: str) -> Reaction:
        return Reaction(
            id=feedback_id,
            source=self._context.config.source,
            response_id=said.response_id,
            user_id=said.user_id,
            signal=said.signal,
            action=said.action,
            network=said.network,
            occurred_at=said.occurred_at,
            known_at=self._context.now(),
        )

    def _is_replay(self, said: Feedback, key: str) -> bool:
        """Raises InConflict while the first call runs, Unprocessable for another payload."""
        known = self._memory.find(said.user_id, key)
        if known is None or known.has_failed:
            return False
        if known.fingerprint != said.fingerprint:
            self._count(said, "key_reused")
            raise Unprocessable(
                "this Idempotency-Key was used for another payload; use a new key for new feedback",
                param="Idempotency-Key",
                code="idempotency_key_reused",
            )
        if not known.is_done:
            self._count(said, "in_flight")
            raise InConflict(
                "the same feedback is being recorded right now",
                param="Idempotency-Key",
                code="idempotency_key_in_flight",
                retry_after_s=self._context.config.retry_after_s,
            )
        return True

    def _make_sure_there_is_room(self) -> None:
        config = self._context.config
        if self._num_under_way >= config.feedback_inflight_max:
            raise Busy(
                f"{config.feedback_inflight_max} feedback calls are under way already",
                code="too_many_under_way",
                retry_after_s=config.retry_after_s,
            )

    def _count(self, said: Feedback, result: str) -> None:
        self._context.meters.feedback.labels(said.signal, said.action, result).inc()


def understand(
    asked: FeedbackRequest, *, actor_default: str, network: str, context: AppContext
) -> Feedback:
    """Read what was meant. Raises BadRequest for what is missing, Unprocessable for bad values,
    InConflict for a time that a sound clock does not show."""
    response_id = _response_id(asked)
    actor = actor_default
    if asked.actor_id is not None:
        _check_id(asked.actor_id, "actor_id")
        actor = context.user(asked.actor_id)
    now = context.now()
    return Feedback(
        response_id=response_id,
        user_id=actor,
        signal=(signal := _signal(asked, context.streams.signal_aliases)),
        action=(action := _action(asked)),
        occurred_at=_occurred_at(asked, context, now),
        is_timed=asked.occurred_at is not None,
        is_dryrun=bool(asked.dryrun),
        network=network,
        fingerprint=fingerprint_of(response_id, actor, signal, action, asked.occurred_at or ""),
    )


def read_key(request: Request, *, is_required: bool) -> str:
    """Give the Idempotency-Key, without the quotes of a structured header; empty if there is none.

    Raises BadRequest where one is required or it cannot be one.
    """
    num_keys = len(request.headers.getlist("idempotency-key"))
    if num_keys > 1:
        raise BadRequest(
            f"at most one Idempotency-Key may be given, got {num_keys}",
            param="Idempotency-Key",
            code="invalid_value",
        )
    key = request.headers.get("idempotency-key", "").strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key and (is_required or "idempotency-key" in request.headers):
        raise BadRequest(
            "an Idempotency-Key header is required and must not be empty",
            param="Idempotency-Key",
            code="idempotency_key_missing",
        )
    if len(key) > KEY_CHARS_MAX:
        raise BadRequest(
            f"Idempotency-Key must have at most {KEY_CHARS_MAX} characters, got {len(key)}",
            param="Idempotency-Key",
            code="invalid_value",
        )
    return key


def _granted(context: AppContext, request: Request) -> Grant | None:
    """Give what the request's token allows, or None where its key lets it in. Raises
    Unauthorised."""
    key = bearer(request)
    if context.tokens is not None and key.startswith(PREFIX):
        return context.tokens.read(key, context.now())
    require_key(request, context.config.api_keys)
    return None


def _named(asked: FeedbackRequest, message_id: str) -> FeedbackRequest:
    """The same feedback, on the answer that token or header names where its body names none."""
    is_named = asked.response_id is not None or asked.inference_id is not None
    if not message_id or is_named or asked.episode_id is not None:
        return asked
    return asked.model_copy(update={"response_id": message_id})


def _response_id(asked: FeedbackRequest) -> str:
    if asked.episode_id is not None and asked.inference_id is None and asked.response_id is None:
        raise Unprocessable(
            "feedback on a whole episode is not supported; send it for a response_id",
            param="episode_id",
            code="unsupported_value",
        )
    response_id = asked.response_id if asked.response_id is not None else asked.inference_id
    if response_id is None:
        raise BadRequest(
            "response_id is required: the `id` of the chat completion",
            param="response_id",
            code="missing_field",
        )
    _check_id(response_id, "response_id")
    return response_id


def _check_id(value: str, field: str) -> None:
    if not is_id(value):
        raise Unprocessable(
            f"{field} {ID_ALLOWED}, got {seen(value)}", param=field, code="invalid_value"
        )


def _signal(asked: FeedbackRequest, aliases: Mapping[str, str]) -> str:
    field = "metric_name" if asked.signal is None and asked.metric_name is not None else "signal"
    told = asked.signal if asked.signal is not None else asked.metric_name
    if told is None:
        raise BadRequest(
            f"signal is required: {KNOWN}",
            param="signal",
            code="missing_field",
        )
    if told in RESERVED:
        raise Unprocessable(
            f"{told!r} is reserved for feedback in words, which is not supported",
            param=field,
            code="unsupported_value",
        )
    name = signal_of(told, aliases)
    if name is not None:
        return name
    close = nearest(told, list(SIGNALS))
    raise Unprocessable(
        f"unknown signal {seen(told)}"
        + (f", did you mean {close!r}?" if close else ";")
        + f" Allowed: {KNOWN}",
        param=field,
        code="unknown_signal",
        extra={
            "allowed": list(SIGNALS),
            "spellings": {s.name: [*s.words, *s.emoji] for s in SIGNALS.values()},
            **({"nearest": close} if close else {}),
        },
    )


def _action(asked: FeedbackRequest) -> Action:
    """Give add or remove; TensorZero's boolean `value` says the same."""
    if asked.value is not None and not isinstance(asked.value, bool):
        raise Unprocessable(
            f"value must be true or false: signals are on or off, got {seen(asked.value)}",
            param="value",
            code="invalid_value",
        )
    if asked.action is None and asked.value is None and "value" in asked.model_fields_set:
        raise Unprocessable(
            "value must be true or false, got null, which says neither; leave it out, or say"
            " action 'add' or 'remove'",
            param="value",
            code="invalid_value",
        )
    if asked.action is None:
        return "remove" if asked.value is False else "add"
    if asked.action != "add" and asked.action != "remove":
        close = nearest(asked.action, ["add", "remove"])
        raise Unprocessable(
            f"action must be 'add' or 'remove', got {seen(asked.action)}"
            + (f", did you mean {close!r}?" if close else ""),
            param="action",
            code="unknown_action",
            extra={"allowed": ["add", "remove"], **({"nearest": close} if close else {})},
        )
    if asked.value is not None and asked.value != (asked.action == "add"):
        raise Unprocessable(
            f"action {asked.action!r} and value {str(asked.value).lower()} contradict each other",
            param="value",
            code="invalid_value",
        )
    return "add" if asked.action == "add" else "remove"


def _occurred_at(asked: FeedbackRequest, context: AppContext, now: datetime) -> datetime:
    if asked.occurred_at is None:
        return now
    latest = now + timedelta(seconds=context.streams.door_skew_s_max)
    try:
        moment = read_time(asked.occurred_at)
    except ValueError as error:
        raise Unprocessable(
            f"occurred_at {error}, got {seen(asked.occurred_at)}",
            param="occurred_at",
            code="invalid_value",
        ) from None
    except OverflowError:
        moment = None
    if moment is None or not context.streams.oldest <= moment <= latest:
        raise InConflict(
            f"occurred_at must lie between {context.streams.oldest.isoformat()} and"
            f" {context.streams.door_skew_s_max} s from now, got {seen(asked.occurred_at)}",
            param="occurred_at",
            code="absurd_time",
        )
    return moment


def _answer(
    status: int,
    feedback_id: str,
    headers: Mapping[str, str],
    extra: Mapping[str, object],
) -> Response:
    return Response(
        msgspec.json.encode({"feedback_id": feedback_id, **extra}),
        status_code=status,
        headers=dict(headers),
        media_type="application/json",
    )
