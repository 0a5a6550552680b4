"""One JSON that tells how the platform is: what is live and why, how it is loved, what came in.

It is computed in a thread from the registry and the store, never on the event loop, at most once
at a time, and served again for a while: a page that asks every three seconds on every screen of
the office costs one computation.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import duckdb
import msgspec

from features.views import connect
from models.aliases import AliasMove
from models.arms import ArmSet
from models.errors import ModelsError
from models.live import CHAMPION
from models.verdict_rows import VerdictRow
from models.versions import Version
from serving.context import AppContext
from serving.errors import NotReady
from serving.facts import Naming, StoreFacts, read_facts
from serving.worker_meters import read_worker_meters

logger = logging.getLogger(__name__)

PATIENCE = 5
"""A status is served again for at least this many times as long as it took to compute."""
UNNAMED_MIN = 20
"""Fewer answers that name no user are no cause for a warning: somebody tried something out."""
LINEAGE_DEPTH = 8
"""Generations of a live version that are told; /v1/status is no archive."""

Json = dict[str, object]


class StatusBoard:
    """The current status, computed when somebody asks."""

    def __init__(self, context: AppContext, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._started_at = context.now()
        self._body = b""
        self._fresh_until_s = 0.0
        self._computing: asyncio.Task[bytes] | None = None

    async def read(self) -> bytes:
        """Give the status as JSON: the last one where it is fresh, or while a new one is computed.

        Raises whatever computing it raised.
        """
        if self._body and self._clock() < self._fresh_until_s:
            return self._body
        if self._computing is None or self._computing.done():
            self._computing = asyncio.create_task(self._compute(), name="rluf-status")
        if not self._body:
            return await asyncio.shield(self._computing)
        wait_s = self._context.config.status_cache_s
        done, _ = await asyncio.wait({self._computing}, timeout=wait_s)
        return self._computing.result() if done else self._body

    async def _compute(self) -> bytes:
        started = self._clock()
        service = service_state(self._context, self._started_at)
        body = await asyncio.to_thread(_whole, self._context, service)
        took_s = self._clock() - started
        keep_s = max(self._context.config.status_cache_s, PATIENCE * took_s)
        self._fresh_until_s = self._clock() + keep_s
        self._body = body
        return body


def readiness(context: AppContext) -> tuple[list[str], list[str]]:
    """Give (reasons not to be ready, warnings); both empty when all is well."""
    reasons = [context.recorder.problem] if context.recorder.problem else []
    problems = context.engine.problems()
    if context.engine.live is None:
        return [*reasons, *(problems or ["no version is loaded yet"])], []
    return reasons, problems


def service_state(context: AppContext, started_at: datetime) -> Json:
    """Give how this process is."""
    reasons, warnings = readiness(context)
    live = context.engine.live
    return {
        "is_ready": not reasons,
        "reasons": reasons,
        "warnings": warnings,
        "started_at": started_at,
        "serving": []
        if live is None
        else [
            {"arm": arm.name, "policy": arm.version.ref, "share": arm.share} for arm in live.arms
        ],
        "is_whole": live is not None and live.is_whole,
    }


def _whole(context: AppContext, service: Json) -> bytes:
    """In a thread: everything, as JSON. Raises NotReady where the facts cannot be read."""
    now = context.now()
    name = context.config.model
    try:
        record = _record(context, name)
    except ModelsError as error:
        service = {**service, "is_ready": False, "reasons": [str(error)]}
        record = {"registry_error": str(error)}
    facts = _read_store(context, now)
    service = {**service, "warnings": [*_listed(service["warnings"]), *warn_of(facts.naming)]}
    worker = read_worker_meters(context.config.worker_metrics_url)
    return msgspec.json.encode(
        {
            "generated_at": now,
            "model": name,
            "service": service,
            **record,
            **_facts(facts),
            "worker": worker,
        }
    )


def warn_of(naming: Naming) -> list[str]:
    """Warn where most answers name no user: then all who share a key, or have none, are one user,
    in one arm of an experiment, with one history and one vote."""
    if naming.num_unnamed < UNNAMED_MIN or 2 * naming.num_unnamed <= naming.num_shown:
        return []
    who = f"{naming.num_keys} API keys stand" if naming.num_keys > 1 else "one API key stands"
    return [
        f"{naming.num_unnamed:,} of {naming.num_shown:,} answers of the last 24 h name no user:"
        f" {who if naming.num_keys else 'nobody stands'} for all who ask. Send `user`, or set"
        " serving.user_header (docs/frontends.md)"
    ]


def _listed(found: object) -> list[object]:
    assert isinstance(found, list)
    return found


def _read_store(context: AppContext, now: datetime) -> StoreFacts:
    try:
        with connect(context.root) as connection:
            return read_facts(connection, now)
    except (duckdb.Error, OSError) as fault:
        raise NotReady(
            f"the facts under {context.root / 'store'} cannot be read: {fault}",
            code="store_unreadable",
            retry_after_s=context.config.retry_after_s,
        ) from fault


def _facts(facts: StoreFacts) -> Json:
    return {
        "love": facts.love,
        "funnel": facts.funnel,
        "signals": facts.signals,
        "dead_letters": facts.dead_letters,
        "activity": facts.activity,
        "naming": facts.naming,
        "freshness": {
            "last_shown_at": facts.last_shown_at,
            "last_reaction_at": facts.last_reaction_at,
        },
    }


def _record(context: AppContext, name: str) -> Json:
    """Read the registry: what should be live, what was decided, where it came from."""
    registry = context.registry
    versions = {version.number: version for version in registry.versions(name)}
    moves = registry.history(name)
    arm_sets = registry.arm_history(name)
    verdicts = sorted(registry.verdicts(), key=lambda row: row.id, reverse=True)
    aliases = registry.aliases(name)
    live = live_arms(arm_sets, moves, versions, aliases.get(CHAMPION))
    for arm in live:
        number = arm["number"]
        assert isinstance(number, int)
        arm["problem"] = context.engine.failure_of(number)
    shown = verdicts[: context.config.history_max]
    return {
        "experiment": arm_sets[-1].experiment if arm_sets else "",
        "revision": arm_sets[-1].revision if arm_sets else 0,
        "live": live,
        "aliases": aliases,
        "versions": [_version(version) for version in versions.values()],
        "verdicts": [_verdict(row) for row in shown],
        "history": history_rows(moves, arm_sets)[: context.config.history_max],
        "lineage": [
            _cut(registry.lineage(name, number), LINEAGE_DEPTH)
            for number in sorted({int(str(arm["number"])) for arm in live})
        ],
    }


def live_arms(
    arm_sets: Sequence[ArmSet],
    moves: Sequence[AliasMove],
    versions: Mapping[int, Version],
    champion: int | None,
) -> list[Json]:
    """Give what should be live: the last division of users, else the champion alone."""
    if arm_sets and arm_sets[-1].arms:
        last = arm_sets[-1]
        rows = []
        for arm in last.arms:
            since = _since(arm_sets, arm.name, arm.version)
            rows.append(
                {
                    "arm": arm.name,
                    "share": arm.share,
                    "since": since.set_at,
                    "why": since.why,
                    "who": since.who,
                    **_version(versions[arm.version]),
                }
            )
        return rows
    if champion is None:
        return []
    move = next(m for m in reversed(moves) if m.alias == CHAMPION)
    about = {"since": move.moved_at, "why": move.why, "who": move.who}
    return [{"arm": CHAMPION, "share": 1.0, **about, **_version(versions[champion])}]


def history_rows(moves: Sequence[AliasMove], arm_sets: Sequence[ArmSet]) -> list[Json]:
    """Give what was made live when, by whom and why, newest first."""
    rows: list[tuple[datetime, Json]] = [
        (
            move.moved_at,
            {
                "what": "alias",
                "at": move.moved_at,
                "alias": move.alias,
                "from": move.from_number,
                "to": move.to_number,
                "who": move.who,
                "why": move.why,
            },
        )
        for move in moves
    ]
    rows += [
        (
            arm_set.set_at,
            {
                "what": "arms",
                "at": arm_set.set_at,
                "experiment": arm_set.experiment,
                "arms": [
                    {"arm": arm.name, "number": arm.version, "share": arm.share}
                    for arm in arm_set.arms
                ],
                "who": arm_set.who,
                "why": arm_set.why,
            },
        )
        for arm_set in arm_sets
        if arm_set.set_at is not None
    ]
    return [row for _, row in sorted(rows, key=lambda item: item[0], reverse=True)]


def _since(arm_sets: Sequence[ArmSet], name: str, number: int) -> ArmSet:
    """Give the division from which on this arm has had this version without a break."""
    since = arm_sets[-1]
    for arm_set in reversed(arm_sets):
        if not any(arm.name == name and arm.version == number for arm in arm_set.arms):
            break
        since = arm_set
    return since


def _version(version: Version) -> Json:
    return {
        "policy": version.ref,
        "number": version.number,
        "recipe": version.recipe,
        "created_at": version.created_at,
        "artifact_hash": version.artifact_hash,
        "snapshot_hash": version.snapshot_hash,
        "config_hash": version.config_hash,
        "parents": [f"{name}@{number}" for name, number in version.parents],
    }


def _verdict(row: VerdictRow) -> Json:
    return {
        "policy": f"{row.name}@{row.number}",
        "gate": row.gate,
        "ruling": row.ruling,
        "reasons": row.reasons,
        "checks": [check.to_json() for check in row.checks],
        "informative": [measure.to_json() for measure in row.informative],
        "at": row.decided_at,
    }


def _cut(node: Json, depth: int) -> Json:
    """Keep this many generations of a lineage."""
    parents = node.get("parents")
    if not isinstance(parents, list):
        return node
    if depth == 0:
        return {**node, "parents": [], "cut": bool(parents)}
    return {**node, "parents": [_cut(parent, depth - 1) for parent in parents]}
