"""The engine: who answers (lineup) and how replies are generated (batcher), as one thing.

The loaded weights are the only mutable state of this room that matters, and they live here.
"""

from collections.abc import AsyncGenerator

from models.replies import Reply
from models.versions import Version
from serving.batcher import Ask, Batcher, Made
from serving.config import ServingConfig
from serving.lineup import Assignment, Lineup, Live, LoadVoice, Target, VersionSource
from serving.meters import Meters
from serving.voice import Voice, VoiceLoader


class Engine:
    """Answers chats with the versions that the registry says are live."""

    def __init__(
        self,
        *,
        registry: VersionSource,
        load: LoadVoice,
        config: ServingConfig,
        meters: Meters,
    ) -> None:
        self._lineup = Lineup(registry, load, config, meters)
        self._batcher = Batcher(config, meters)

    async def start(self) -> None:
        """Load what is live and begin to answer, on the running event loop."""
        self._batcher.start()
        await self._lineup.start()

    async def stop(self) -> None:
        """Let what runs finish; refuse the rest."""
        await self._lineup.stop()
        await self._batcher.stop()

    @property
    def live(self) -> Live | None:
        """The arms that answer now; None where nothing is loaded."""
        return self._lineup.live

    @property
    def target(self) -> Target | None:
        """The arms that the registry wants."""
        return self._lineup.target

    def problems(self) -> list[str]:
        """Say what keeps the engine from being what the registry wants; empty if nothing."""
        fault = self._batcher.fault
        return [*([f"the engine died: {fault}"] if fault else []), *self._lineup.problems()]

    def failure_of(self, number: int) -> str:
        """Say why a wanted version does not serve; empty where it does."""
        return self._lineup.failure_of(number)

    async def resolve(self, model: str, unit: str) -> Assignment:
        """Say which version answers. Raises NotFound or NotReady."""
        return await self._lineup.resolve(model, unit)

    async def find(self, model: str) -> Version:
        """Give the version that a model's name stands for. Raises NotFound."""
        return await self._lineup.find(model)

    async def refresh(self) -> None:
        """Look at the registry now, not only at the next poll."""
        await self._lineup.refresh()

    async def reply(self, voice: Voice, ask: Ask) -> list[Reply]:
        """Give the replies asked for. Raises Busy, NotReady, ContextTooLong."""
        return await self._batcher.reply(voice, ask)

    def stream(self, voice: Voice, ask: Ask) -> AsyncGenerator[Made, None]:
        """Give Opened, pieces of text, then the reply. Raises as `reply`."""
        return self._batcher.stream(voice, ask)


def make_engine(*, registry: VersionSource, config: ServingConfig, meters: Meters) -> Engine:
    """Give an engine over the registry's policies, loaded in this process."""
    load = VoiceLoader(device=config.device)
    return Engine(registry=registry, load=load, config=config, meters=meters)
