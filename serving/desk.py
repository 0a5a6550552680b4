"""What the handlers of one running API share."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias

import torch

from models.chat import Chat
from models.registry import Registry
from serving.config import ServingConfig
from serving.engine import Engine
from serving.meters import Meters
from serving.recorder import Recorder
from streams.config import StreamsConfig


class Scorer(Protocol):
    """What we need of models.reward.RewardModel."""

    def calibrated_logits(self, chats: Sequence[Chat]) -> torch.Tensor: ...


class OnlineFeatures(Protocol):
    """features.online.online_features; called in threads."""

    def __call__(
        self, root: Path, *, users: Sequence[str] = (), policies: Sequence[str] = ()
    ) -> Mapping[str, Mapping[str, Mapping[str, object]]]: ...


FindScorer: TypeAlias = Callable[[], Scorer | None]
Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
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
    background: set["asyncio.Task[object]"] = field(default_factory=set)
    """Work that outlives its request; waited for at the end."""

    def later(self, work: Coroutine[object, object, object]) -> None:
        """Do something after the request; asyncio keeps no reference to a task, so we do."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def finish_background(self, limit_s: float) -> None:
        """Wait for what was left to do later, but not for ever."""
        if self.background:
            await asyncio.wait(set(self.background), timeout=limit_s)
