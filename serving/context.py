"""What the handlers of one running API share."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from starlette.requests import Request

from models.chat import Chat
from models.registry import Registry
from models.scores import ScoredChats
from serving.config import ServingConfig
from serving.engine import Engine
from serving.meters import Meters
from serving.pseudonyms import Pseudonyms
from serving.recent import Recent
from serving.recorder import Recorder
from serving.tokens import FeedbackTokens
from streams.config import StreamsConfig


class LoveScorer(Protocol):
    """What we need of models.reward.RewardModel."""

    def score(self, chats: Sequence[Chat]) -> ScoredChats: ...


class OnlineFeatures(Protocol):
    """features.online.online_features; called in threads."""

    def __call__(
        self, root: Path, *, users: Sequence[str] = (), policies: Sequence[str] = ()
    ) -> Mapping[str, Mapping[str, Mapping[str, object]]]: ...


FindScorer: TypeAlias = Callable[[], LoveScorer | None]
Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """Everything that a handler may need."""

    config: ServingConfig
    streams: StreamsConfig
    root: Path
    registry: Registry
    engine: Engine
    recorder: Recorder
    meters: Meters
    scorer: FindScorer
    online: OnlineFeatures
    now: Clock
    pseudonyms: Pseudonyms | None
    """None stores ids as clients send them."""
    tokens: FeedbackTokens | None
    """None gives and takes no feedback tokens."""
    recent: Recent
    """What this process has recorded lately."""
    background: set["asyncio.Task[object]"] = field(default_factory=set)
    """Work that outlives its request; waited for at the end."""

    def user(self, user_id: str) -> str:
        """Give what is stored of a client's user id."""
        return self.pseudonyms.user(user_id) if self.pseudonyms else user_id

    def find_user(self, user_id: str) -> str:
        """The same for an operator's question, which may name a pseudonym."""
        return self.pseudonyms.find(user_id) if self.pseudonyms else user_id

    def network(self, request: Request) -> str:
        """Give the pseudonym of the network that a request came from; empty where not known.

        Of several addresses in the header the last counts: the one our own proxy appended. What
        is before it a client can make up.
        """
        if not self.config.network_header or self.pseudonyms is None:
            return ""
        told = request.headers.get(self.config.network_header, "")
        return self.pseudonyms.network(told.rpartition(",")[2])

    def later(self, work: Coroutine[object, object, object]) -> None:
        """Do something after the request; asyncio keeps no reference to a task, so we do."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def finish_background(self, limit_s: float) -> None:
        """Wait for what was left to do later, but not for ever."""
        if self.background:
            await asyncio.wait(set(self.background), timeout=limit_s)
