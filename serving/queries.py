"""What may be asked of the platform over HTTP beside chats: features, scores, models, status."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
import torch
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from models.chat import Chat
from models.errors import ModelsError
from models.versions import Version
from serving.context import AppContext, LoveScorer
from serving.errors import BadRequest, NoSuchResource, NotReady, TooLarge, seen
from serving.middleware import ignored_fields, read_request, require_key
from serving.schemas import ScoreRequest
from serving.status import StatusBoard
from streams.errors import Unavailable
from streams.rules import ID_ALLOWED, is_id

OWNER = "rluf"


def query_routes(context: AppContext, board: StatusBoard) -> APIRouter:
    """Give the routes."""
    router = APIRouter()
    router.include_router(_model_routes(context))
    router.include_router(_feature_routes(context))
    scoring = asyncio.Lock()

    @router.post(
        "/v1/score",
    )
    async def score(request: Request) -> Response:
        """Give the calibrated P[Love] of the assistant's last turn in each chat.

        A chat longer than the model reads is scored without its start, or the reply's end, and says
        so.
        """
        require_key(request, context.config.api_keys)
        asked = await read_request(request, ScoreRequest, context.config)
        chats = [[turn.read() for turn in chat] for chat in asked.chats]
        _check_number(chats, context.config.score_chats_max)
        turns = [_last_of_assistant(chat, index) for index, chat in enumerate(chats)]
        heard = [chat[: turn + 1] for chat, turn in zip(chats, turns, strict=True)]
        after = [
            f"chats[{index}][{turn + 1}]"
            for index, turn in enumerate(turns)
            if turn + 1 < len(chats[index])
        ]
        warnings = ignored_fields(request, asked, after, context.config)
        async with scoring:  # One at a time: a reward model fills the cores by itself.
            scores = await asyncio.to_thread(_score, context.scorer, heard)
        if scores is None:
            raise NotReady(
                "no P[Love] model is registered yet",
                code="no_reward_model",
                retry_after_s=context.config.retry_after_s,
            )
        rows = [{**row, "turn": turn} for row, turn in zip(scores, turns, strict=True)]
        headers = {"x-rluf-warnings": "; ".join(warnings)} if warnings else {}
        return _json({"object": "list", "scores": rows}, headers)

    @router.get("/v1/status")
    async def status(request: Request) -> Response:
        """Tell everything that the page shows."""
        require_key(request, context.config.api_keys)
        return Response(
            await board.read(),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )

    return router


def _model_routes(context: AppContext) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models")
    async def models(request: Request) -> Response:
        """List the model and its versions, as OpenAI does."""
        require_key(request, context.config.api_keys)
        versions = await _in_thread(
            context, lambda: context.registry.versions(context.config.model)
        )
        rows = [_model_row(f"{v.name}@v{v.number}", v) for v in versions]
        if versions:
            rows.insert(0, _model_row(context.config.model, versions[0]))
        return _json({"object": "list", "data": rows})

    @router.get("/v1/models/{model:path}")
    async def model(request: Request, model: str) -> Response:
        """Give one model: its name alone, with a version (chat@v12) or with an alias."""
        require_key(request, context.config.api_keys)
        if model == context.config.model:
            versions = await _in_thread(context, lambda: context.registry.versions(model))
            if versions:
                return _json(_model_row(model, versions[0]))
        version = await context.engine.find(model)
        return _json(_model_row(model, version))

    return router


def _feature_routes(context: AppContext) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/features/users/{user_id:path}")
    async def user_features(request: Request, user_id: str) -> Response:
        """Give the online features of a user, by the client's id or the pseudonym it has here."""
        require_key(request, context.config.api_keys)
        _check_entity(user_id)
        is_stored = request.query_params.get("as_stored", "").lower() in ("true", "1")
        stored = user_id if is_stored else context.find_user(user_id)
        found = await _read_features(context, users=[stored])
        row = found.get("users", {}).get(stored)
        return _json({"user_id": user_id, "features": _known(row, user_id)})

    @router.get("/v1/features/policies/{policy:path}")
    async def policy_features(request: Request, policy: str) -> Response:
        """Give the online features of a policy version: chat@12 or chat@v12."""
        require_key(request, context.config.api_keys)
        _check_entity(policy)
        name, _, number = policy.partition("@")
        ref = f"{name}@{number.removeprefix('v')}" if number else name
        found = await _read_features(context, policies=[ref])
        row = found.get("policies", {}).get(ref)
        return _json({"policy": ref, "features": _known(row, ref)})

    return router


async def _read_features(
    context: AppContext, *, users: Sequence[str] = (), policies: Sequence[str] = ()
) -> Mapping[str, Mapping[str, Mapping[str, object]]]:
    try:
        return await asyncio.to_thread(context.online, context.root, users=users, policies=policies)
    except Unavailable as error:
        raise NotReady(str(error), retry_after_s=context.config.retry_after_s) from error


def _known(row: Mapping[str, object] | None, entity: str) -> Mapping[str, object]:
    if not row or all(value is None for value in row.values()):
        raise NoSuchResource(
            f"nothing is known of {entity!r} yet: no response was shown", code="unknown_entity"
        )
    return row


def _check_entity(entity: str) -> None:
    if not is_id(entity):
        raise BadRequest(f"an id {ID_ALLOWED}, got {seen(entity)}", code="invalid_value")


def _check_number(chats: Sequence[Chat], chats_max: int) -> None:
    if len(chats) > chats_max:
        raise TooLarge(
            f"at most {chats_max} chats are scored in one call, got {len(chats)}",
            param="chats",
            code="too_many_chats",
        )


def _last_of_assistant(chat: Chat, index: int) -> int:
    """Give the place of the turn that is to be scored. Raises BadRequest where there is none."""
    places = [place for place, turn in enumerate(chat) if turn["role"] == "assistant"]
    if not places:
        raise BadRequest(
            f"chats[{index}] must have a turn of the assistant, which is to be scored, got "
            f"{len(chat)} of others",
            param=f"chats[{index}]",
            code="invalid_value",
        )
    return places[-1]


def _score(
    find: Callable[[], LoveScorer | None], chats: Sequence[Chat]
) -> list[dict[str, float | bool]] | None:
    """In a thread: the row of each chat; None where there is no model."""
    model = find()
    if model is None:
        return None
    scored = model.score(chats)
    logits_N = scored.logits_N.double()
    columns = (
        torch.sigmoid(logits_N).tolist(), logits_N.tolist(), scored.prompts_cut, scored.replies_cut,
    )  # fmt: skip
    names = ("p_love", "logit", "prompt_cut", "reply_cut")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


async def _in_thread(context: AppContext, ask: Callable[[], list[Version]]) -> list[Version]:
    try:
        return await asyncio.to_thread(ask)
    except ModelsError as error:
        raise NotReady(str(error), retry_after_s=context.config.retry_after_s) from error


def _model_row(name: str, version: Version) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": OWNER,
    }


def _json(body: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)
