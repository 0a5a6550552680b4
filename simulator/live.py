"""Users at the API: all of them talk, react and leave, and every acknowledged call is noted.

A user's decisions depend on the seed, on the user and on the replies, not on the clock. Users are
served by a fixed number of slots; taps come later, on their own, as they do in life.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from simulator.client import Answer, Api, ApiGone, Refused, new_clients
from simulator.ledger import Lines, now_text
from simulator.users import Conversation, Heard, Tap, User

PROGRESS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """One run of live users."""

    url: str
    """Of the API, such as http://127.0.0.1:8000."""
    users: int
    """How many users come."""
    seed: int
    """Another seed is another crowd: other ids, other tastes."""
    ledger: Path | None
    """Where acknowledged calls go, one JSON line each."""
    sealed: Path | None = None
    """Where the truths go that a learner must not read."""
    concurrency: int = 32
    """Users who talk at the same time."""
    time_scale: float = 1.0
    """Factor on thinking and reaction times; true retractions wait their 10 s all the same."""
    give_up_s: float = 20.0
    """Stop after so long without an answer from the API."""


@dataclass(slots=True)
class Tally:
    """What was counted in a run."""

    users: int = 0
    conversations: int = 0
    turns: int = 0
    unrecorded: int = 0
    taps: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shown_by_model: Counter[str] = field(default_factory=Counter)
    loved_by_model: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Crowd:
    """The users of one run, on their way through the API."""

    config: LiveConfig
    api: Api
    ledger: Lines
    sealed: Lines
    tasks: asyncio.TaskGroup
    tally: Tally
    left: list[int]
    """Numbers of the users who have not come yet, the next one last."""

    async def fill_slot(self) -> None:
        """Serve users until none is left."""
        while self.left:
            user = User(
                seed=self.config.seed, number=self.left.pop(), time_scale=self.config.time_scale
            )
            for conversation in user.conversations():
                await self.talk(conversation)
                self.tally.conversations += 1
            self.tally.users += 1

    async def talk(self, conversation: Conversation) -> None:
        """One conversation to its end, or until the API refuses a message of it."""
        while conversation.speak() is not None:
            turn = conversation.turn
            try:
                answer = await self.api.chat(
                    messages=conversation.messages,
                    user=conversation.user.id,
                    conversation=conversation.id,
                    turn=turn,
                )
            except Refused as refusal:
                self.tally.refused[f"chat {refusal.status}"] += 1
                return
            heard = conversation.hear(answer.text)
            self.note_shown(conversation, turn, answer, heard)
            if heard.taps:
                self.tasks.create_task(self.tap(conversation.user, answer, heard.taps))
            if not conversation.is_over:
                await asyncio.sleep(conversation.thinking_s())

    def note_shown(
        self, conversation: Conversation, turn: int, answer: Answer, heard: Heard
    ) -> None:
        """Write down that a reply was shown, and the sealed truth of it."""
        user = conversation.user
        self.tally.turns += 1
        self.tally.unrecorded += not answer.is_recorded
        self.tally.shown_by_model[answer.model] += 1
        self.tally.loved_by_model[answer.model] += heard.is_loved
        self.ledger.write(
            {
                "kind": "shown",
                "response_id": answer.response_id,
                "user_id": user.id,
                "duplicate": False,
                "recorded": answer.is_recorded,
                "status": answer.status,
                "at": now_text(),
            }
        )
        self.sealed.write(
            {
                "response_id": answer.response_id,
                "user_id": user.id,
                "conversation_id": conversation.id,
                "turn": turn,
                "model": answer.model,
                **truth_of(user, heard),
            }
        )

    async def tap(self, user: User, answer: Answer, taps: tuple[Tap, ...]) -> None:
        """Touch the buttons of one reply, in order and in time."""
        shown_at = time.monotonic()
        for number, tap in enumerate(taps):
            await asyncio.sleep(max(0.0, shown_at + tap.delay_s - time.monotonic()))
            key = f"{answer.response_id}/{tap.signal}/{tap.action}/{number}"
            occurred_at = now_text()
            for is_duplicate in (False, True) if tap.is_resent else (False,):
                try:
                    feedback_id, status = await self.api.feedback(
                        response_id=answer.response_id,
                        user=user.id,
                        signal=tap.signal,
                        action=tap.action,
                        occurred_at=occurred_at,
                        key=key,
                    )
                except Refused as refusal:
                    self.tally.refused[f"feedback {refusal.status}"] += 1
                    return
                self.tally.resent += is_duplicate
                if not is_duplicate:
                    self.tally.taps[f"{tap.signal} {tap.action}"] += 1
                    self.tally.reasons[tap.reason] += 1
                self.ledger.write(
                    {
                        "kind": "feedback",
                        "response_id": answer.response_id,
                        "user_id": user.id,
                        "feedback_id": feedback_id,
                        "signal": tap.signal,
                        "action": tap.action,
                        "duplicate": is_duplicate,
                        "recorded": True,
                        "status": status,
                        "at": now_text(),
                    }
                )


def truth_of(user: User, heard: Heard) -> dict[str, object]:
    """What only the simulator knows of a reply."""
    said = heard.said
    return {
        "user_kind": user.taste.kind,
        "is_hostile": user.taste.is_hostile(),
        "segment": said.topic.segment,
        "topic": said.topic.name,
        "intent": said.intent,
        **asdict(heard.judgement),
        **{n: v for n, v in asdict(heard.reading).items() if n != "phrases"},
        "was_seen": heard.was_seen,
        "is_loved": heard.is_loved,
    }


async def live(config: LiveConfig, on_progress: Callable[[Tally], None]) -> dict[str, object]:
    """Let all users come and go; gives the summary.

    Raises ApiGone where the API stops answering; what was acknowledged is in the ledger by then.
    """
    started_at, cpu_at_start = time.monotonic(), time.thread_time()
    tally = Tally()
    with Lines(config.ledger) as ledger, Lines(config.sealed) as sealed:
        async with new_clients(config.url, config.concurrency) as clients:
            api = Api(url=config.url, clients=clients, give_up_s=config.give_up_s)
            ticker = asyncio.create_task(_tick(tally, on_progress))
            try:
                async with asyncio.TaskGroup() as tasks:
                    left = list(reversed(range(config.users)))
                    crowd = Crowd(
                        config=config,
                        api=api,
                        ledger=ledger,
                        sealed=sealed,
                        tasks=tasks,
                        left=left,
                        tally=tally,
                    )
                    for _ in range(min(config.concurrency, config.users)):
                        tasks.create_task(crowd.fill_slot())
            except BaseExceptionGroup as group:
                # Not `except*`: before Python 3.11.4 what is raised in it is wrapped in a group.
                gone, others = group.split(ApiGone)
                if gone is None or others is not None:
                    raise
                raise ApiGone(str(_first(gone))) from None
            finally:
                ticker.cancel()
    on_progress(tally)
    cpu_s = time.thread_time() - cpu_at_start
    return _summarise(config, tally, api, time.monotonic() - started_at, cpu_s)


async def _tick(tally: Tally, on_progress: Callable[[Tally], None]) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        on_progress(tally)


def _first(group: BaseExceptionGroup[ApiGone]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _summarise(
    config: LiveConfig, tally: Tally, api: Api, wall_s: float, cpu_s: float
) -> dict[str, object]:
    calls = tally.turns + sum(tally.taps.values()) + tally.resent
    p50, p95 = np.percentile(api.latencies_s, [50, 95]) if api.latencies_s else (0.0, 0.0)
    return {
        "seed": config.seed,
        "users": tally.users,
        "conversations": tally.conversations,
        "shown": tally.turns,
        "shown_unrecorded": tally.unrecorded,
        "feedback": dict(sorted(tally.taps.items())),
        "mistaps": tally.reasons["mistap"] // 2,
        "retractions": tally.reasons["retraction"],
        "resent": tally.resent,
        "calls_acknowledged": calls,
        "calls_refused": dict(sorted(tally.refused.items())),
        "retries": dict(sorted(api.retries.items())),
        "turns_per_conversation": round(tally.turns / max(1, tally.conversations), 3),
        "love_rate": round(sum(tally.loved_by_model.values()) / max(1, tally.turns), 4),
        "models": {
            model: {"shown": shown, "love_rate": round(tally.loved_by_model[model] / shown, 4)}
            for model, shown in sorted(tally.shown_by_model.items())
        },
        "chat_latency_ms": {"p50": round(1000 * p50, 1), "p95": round(1000 * p95, 1)},
        "wall_seconds": round(wall_s, 2),
        "cpu_ms_per_call": round(1000 * cpu_s / max(1, calls), 3),
    }
