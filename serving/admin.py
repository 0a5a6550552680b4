"""What an operator may change over HTTP. Without a configured admin key none of this exists.

Every change goes into the registry's append-only history with its reason and who made it; the key
itself is never written down, only its fingerprint.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models import live
from models.arms import Arm
from models.errors import ModelsError
from models.errors import NotFound as NotRegistered
from serving.context import AppContext
from serving.errors import ApiError, InConflict, NoSuchResource, NotReady, Unprocessable
from serving.middleware import key_unit, read_request, require_key
from serving.schemas import AliasRequest, ArmsRequest, ErasureRequest, ReasonRequest
from streams.events import Erasure, new_id

OVERRIDDEN: tuple[live.Refusal, ...] = ("refused_by_gate", "no_control")
"""Refusals that an operator may override."""
Result = TypeVar("Result")


def admin_routes(context: AppContext) -> APIRouter:
    """Give the routes under /v1/admin."""
    router = APIRouter(prefix="/v1/admin")

    @router.put("/models/{name}/aliases/{alias}")
    async def move_alias(request: Request, name: str, alias: str) -> Response:
        """Promote a version to champion, or point another alias to it."""
        who = _operator(context, request)
        asked = await read_request(request, AliasRequest, context.config)
        return await _change(
            context,
            lambda: live.move_alias(
                context.registry,
                name,
                alias,
                asked.version,
                expected=asked.expected,
                who=who,
                why=asked.why,
                force=asked.override,
            ),
            expected=asked.expected,
        )

    @router.put("/models/{name}/arms")
    async def start_experiment(request: Request, name: str) -> Response:
        """Divide the users over versions."""
        who = _operator(context, request)
        asked = await read_request(request, ArmsRequest, context.config)
        arms = [Arm(name=a.name, version=a.version, share=a.share) for a in asked.arms]
        return await _change(
            context,
            lambda: live.start_experiment(
                context.registry,
                name,
                arms,
                experiment=asked.experiment,
                who=who,
                why=asked.why,
                force=asked.override,
            ),
        )

    @router.post("/models/{name}/experiment/stop")
    async def stop_experiment(request: Request, name: str) -> Response:
        """Give every user the champion again."""
        who = _operator(context, request)
        asked = await read_request(request, ReasonRequest, context.config)
        return await _change(
            context, lambda: live.stop_experiment(context.registry, name, who=who, why=asked.why)
        )

    @router.post("/models/{name}/rollback")
    async def rollback(request: Request, name: str) -> Response:
        """Give every user the champion of before."""
        who = _operator(context, request)
        asked = await read_request(request, ReasonRequest, context.config)
        return await _change(
            context, lambda: live.rollback(context.registry, name, who=who, why=asked.why)
        )

    @router.post("/erasures", status_code=202)
    async def erase(request: Request) -> Response:
        """Have everything of a user's forgotten; 202 once the broker has the request."""
        _operator(context, request)
        asked = await read_request(request, ErasureRequest, context.config)
        now = context.now()
        event = Erasure(
            id=new_id(),
            source=context.config.source,
            user_id=asked.user_id if asked.as_stored else context.find_user(asked.user_id),
            occurred_at=now,
            known_at=now,
        )
        if not await context.recorder.record(event):
            raise NotReady(
                "the broker did not acknowledge the erasure; send it again",
                code="not_recorded",
                retry_after_s=context.config.retry_after_s,
            )
        return _json({"erasure_id": event.id}, status=202)

    return router


def _operator(context: AppContext, request: Request) -> str:
    """Give the operator's name in the history. Raises Unauthorised."""
    require_key(request, context.config.admin_keys)
    return f"admin {key_unit(request)}"


async def _change(
    context: AppContext, change: Callable[[], live.Decision], *, expected: int | None = None
) -> Response:
    """Change what is live and serve it at once. A refusal is a 409 with the decision's reasons."""
    decision = await _ask(context, change)
    if decision.refusal is not None:
        hint = "; send override: true to insist" if decision.refusal in OVERRIDDEN else ""
        moved = decision.refusal == "moved_meanwhile"
        raise InConflict(
            f"{decision.action}: {'; '.join(decision.reasons)}{hint}",
            code=decision.refusal,
            extra={"expected": expected, "found": decision.found} if moved else None,
        )
    await context.engine.refresh()
    return _json(decision)


async def _ask(context: AppContext, ask: Callable[[], Result]) -> Result:
    """Ask the registry in a thread; its faults become answers."""
    try:
        return await asyncio.to_thread(ask)
    except ModelsError as error:
        raise _answer_to(error, context.config.retry_after_s) from error
    except ValueError as error:
        raise Unprocessable(str(error), code="invalid_value") from error


def _answer_to(error: ModelsError, retry_after_s: int) -> ApiError:
    if isinstance(error, NotRegistered):
        return NoSuchResource(str(error), code="not_registered")
    return NotReady(str(error), retry_after_s=retry_after_s)


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
