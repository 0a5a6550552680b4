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

from models.arms import Arm
from models.errors import Conflict, ModelsError
from models.errors import NotFound as NotRegistered
from serving.desk import Desk
from serving.doorway import key_unit, read_request, require_key
from serving.errors import ApiError, InConflict, NotFound, NotReady, Unprocessable
from serving.lineup import CHAMPION
from serving.schemas import AliasRequest, ArmsRequest, ErasureRequest
from streams.events import Erasure, new_id

GUARDED = (CHAMPION, "challenger")
"""Aliases that put a version before users: not for one that a gate refused, unless overridden."""
Result = TypeVar("Result")


def admin_routes(desk: Desk) -> APIRouter:
    """Give the routes under /v1/admin."""
    router = APIRouter(prefix="/v1/admin")

    @router.put("/models/{name}/aliases/{alias}")
    async def move_alias(request: Request, name: str, alias: str) -> Response:
        """Point an alias to a version, if it is where the caller believes."""
        who = _operator(desk, request)
        asked = await read_request(request, AliasRequest, desk.config)
        await _require_model(desk, name)
        number = asked.version
        if number == asked.expected:
            raise InConflict(
                f"alias {alias!r} would move from {asked.expected} to {number}, which is no move",
                param="version",
                code="no_move",
            )
        if number is not None and alias in GUARDED and not asked.override:
            await _refuse_if_refused(desk, name, number)
        move = await _ask(
            desk,
            lambda: desk.registry.move_alias(
                name,
                alias,
                number,
                expected=asked.expected,
                why=f"{asked.why} (override)" if asked.override else asked.why,
                who=who,
            ),
        )
        await desk.engine.refresh()
        return _json(move)

    @router.put("/models/{name}/arms")
    async def set_arms(request: Request, name: str) -> Response:
        """Divide the users anew."""
        who = _operator(desk, request)
        asked = await read_request(request, ArmsRequest, desk.config)
        await _require_model(desk, name)
        arms = [Arm(name=a.name, version=a.version, share=a.share) for a in asked.arms]
        if not asked.override:
            for number in {arm.version for arm in arms} - await _live_versions(desk, name):
                await _refuse_if_refused(desk, name, number)
        made = await _ask(
            desk,
            lambda: desk.registry.set_arms(
                name,
                arms,
                experiment=asked.experiment,
                why=f"{asked.why} (override)" if asked.override else asked.why,
                who=who,
            ),
        )
        await desk.engine.refresh()
        return _json(made)

    @router.post("/erasures", status_code=202)
    async def erase(request: Request) -> Response:
        """Have everything of a user's forgotten; 202 once the broker has the request."""
        _operator(desk, request)
        asked = await read_request(request, ErasureRequest, desk.config)
        now = desk.now()
        event = Erasure(
            id=new_id(),
            source=desk.config.source,
            user_id=asked.user_id if asked.as_stored else desk.find_user(asked.user_id),
            occurred_at=now,
            known_at=now,
        )
        if not await desk.recorder.record(event):
            raise NotReady(
                "the broker did not acknowledge the erasure; send it again",
                code="not_recorded",
                retry_after_s=desk.config.retry_after_s,
            )
        return _json({"erasure_id": event.id}, status=202)

    return router


def _operator(desk: Desk, request: Request) -> str:
    """Give the operator's name in the history. Raises Unauthorised."""
    require_key(request, desk.config.admin_keys)
    return f"admin {key_unit(request)}"


async def _require_model(desk: Desk, name: str) -> None:
    """Raise NotFound where nothing of the name is registered, before the body is weighed."""
    if not await _ask(desk, lambda: desk.registry.versions(name)):
        raise NotFound(f"nothing is registered as {name!r}", code="not_registered")


async def _live_versions(desk: Desk, name: str) -> set[int]:
    """Give the versions that users have already: they may stay whatever a later verdict says."""
    division = await _ask(desk, lambda: desk.registry.arms(name))
    return {arm.version for arm in division.arms}


async def _refuse_if_refused(desk: Desk, name: str, number: int) -> None:
    """Raise InConflict where the last verdict of any gate on the version is a refusal."""
    rows = await _ask(desk, lambda: desk.registry.verdicts(name, number))
    last = {row.gate: row for row in sorted(rows, key=lambda row: row.id)}
    refused = [row for row in last.values() if not row.passed]
    if refused:
        reasons = "; ".join(f"{row.gate}: {', '.join(row.reasons)}" for row in refused)
        raise InConflict(
            f"{name}@{number} was refused ({reasons}); send override: true to insist",
            code="refused_by_gate",
        )


async def _ask(desk: Desk, ask: Callable[[], Result]) -> Result:
    """Ask the registry in a thread; its faults become answers."""
    try:
        return await asyncio.to_thread(ask)
    except ModelsError as error:
        raise _answer_to(error, desk.config.retry_after_s) from error
    except ValueError as error:
        raise Unprocessable(str(error), code="invalid_value") from error


def _answer_to(error: ModelsError, retry_after_s: int) -> ApiError:
    if isinstance(error, NotRegistered):
        return NotFound(str(error), code="not_registered")
    if isinstance(error, Conflict):
        extra = {"expected": error.expected, "found": error.found}
        return InConflict(str(error), code="moved_meanwhile", extra=extra)
    return NotReady(str(error), retry_after_s=retry_after_s)


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
