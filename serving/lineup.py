"""Which versions are live and loaded, kept in step with the registry.

Once a second the registry is asked for the live arms. New versions are loaded in a thread beside
the ones that serve, and the whole set is exchanged at once when all of it is ready. A request
holds the voice it was given, so a swap drops nobody, and the old weights go when the last one is
answered. A version that cannot be loaded changes nothing: the last good arms go on, and the
problem is told by /readyz and /v1/status.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from models.arms import ArmSet
from models.errors import ModelsError
from models.errors import NotFound as NotRegistered
from models.live import CHAMPION
from models.versions import Version
from serving.arms import ArmShare, choose
from serving.config import ServingConfig
from serving.errors import NoSuchResource, NotReady
from serving.meters import Meters
from serving.voice import Voice

logger = logging.getLogger(__name__)

PINNED = "pinned"
"""The arm of a request that names its version."""
MODEL = re.compile(
    r"(?:models:/)?(?P<name>[a-z0-9][a-z0-9._-]*)(?:[@/](?:v?(?P<number>[0-9]{1,9})|(?P<alias>\w+)))?"
)
"""chat · chat@v12 · chat@12 · chat@champion · models:/chat/12 · models:/chat@champion"""

NAME_SHOWN = 80

LoadVoice: TypeAlias = Callable[[Version], Voice]


class VersionSource(Protocol):
    """What we need of the registry. Called in threads; may be slow or fail."""

    def arms(self, name: str) -> ArmSet: ...
    def version(self, name: str, ref: int | str) -> Version: ...
    def versions(self, name: str | None = None) -> list[Version]: ...
    def alias(self, name: str, alias: str) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which version answers a request, and with what probability it was chosen."""

    version: Version
    voice: Voice
    experiment: str
    arm: str
    propensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveArm:
    """An arm that serves."""

    name: str
    share: float
    version: Version
    voice: Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The arms that serve; replaced as a whole, never changed."""

    experiment: str
    revision: int
    arms: tuple[LiveArm, ...]
    is_whole: bool
    """False where an arm of the registry's set is missing: shares are then spread over the rest,
    and the experiment is left unnamed, so that no analysis takes these users for assigned."""

    def assign(self, unit: str) -> Assignment:
        shares = [ArmShare(name=arm.name, share=arm.share) for arm in self.arms]
        arm = self.arms[choose(self.experiment, shares, unit)]
        return Assignment(
            version=arm.version,
            voice=arm.voice,
            experiment=self.experiment if self.is_whole else "",
            arm=arm.name,
            propensity=arm.share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedArm:
    """One arm as the registry wants it."""

    name: str
    number: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A version that could not be loaded."""

    number: int
    why: str
    at_s: float
    """On the event loop's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the registry wants to be live."""

    experiment: str
    revision: int
    arms: tuple[WantedArm, ...]


Loaded: TypeAlias = tuple[Version, Voice]


class Lineup:
    """Loads what the registry says, and says who answers."""

    def __init__(
        self, registry: VersionSource, load: LoadVoice, config: ServingConfig, meters: Meters
    ) -> None:
        self._registry = registry
        self._load = load
        self._config = config
        self._meters = meters
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rluf-load")
        self._pinned: OrderedDict[int, asyncio.Task[Loaded]] = OrderedDict()
        self._failures: dict[int, Failure] = {}
        self._registry_problem = ""
        self._task: asyncio.Task[None] | None = None
        self.live: Live | None = None
        self.target: Target | None = None

    async def start(self) -> None:
        """Load the live arms once, then keep watching."""
        await self.refresh()
        self._task = asyncio.create_task(self._watch(), name="rluf-lineup")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def problems(self) -> list[str]:
        """Say what keeps the live arms from being what the registry wants."""
        found = [self._registry_problem] if self._registry_problem else []
        return found + [
            f"{self._config.model}@v{f.number}: {f.why}" for f in self._failures.values()
        ]

    def failure_of(self, number: int) -> str:
        """Say why a wanted version does not serve; empty where it does."""
        failure = self._failures.get(number)
        return failure.why if failure is not None else ""

    async def refresh(self) -> None:
        """Compare with the registry once; load what is missing and swap."""
        try:
            target = await asyncio.to_thread(self._ask_registry)
        except ModelsError as error:
            self._registry_problem = str(error)
            return
        self._registry_problem = "" if target.arms else f"{self._config.model} has no live version"
        wanted = {arm.number for arm in target.arms}
        self._failures = {n: f for n, f in self._failures.items() if n in wanted}
        if target == self.target and not self._failures:
            return
        loaded = self._loaded()
        for number in sorted(wanted - loaded.keys()):
            if self._may_try(number, is_new=target != self.target):
                await self._try(number, loaded)
        self.target = target
        self._swap(target, loaded)

    async def resolve(self, model: str, unit: str) -> Assignment:
        """Say which version answers a request for `model` by `unit`.

        Raises NoSuchResource (model_not_found), or NotReady where nothing is loaded.
        """
        named = MODEL.fullmatch(model)
        if named is None or named["name"] != self._config.model:
            raise self._no_such(model)
        if named["number"] is None and named["alias"] is None:
            if self.live is None:
                raise NotReady(
                    "no version is live yet: " + "; ".join(self.problems() or ["still loading"]),
                    code="no_live_version",
                    retry_after_s=self._config.retry_after_s,
                )
            return self.live.assign(unit)
        version, voice = await self._pin(await self.find(model))
        return Assignment(version=version, voice=voice, experiment="", arm=PINNED, propensity=1.0)

    async def find(self, model: str) -> Version:
        """Give the version that a name with a number or an alias stands for.

        Raises NoSuchResource.
        """
        named = MODEL.fullmatch(model)
        if named is None or named["name"] != self._config.model:
            raise self._no_such(model)
        ref = int(named["number"]) if named["number"] is not None else named["alias"]
        try:
            return await asyncio.to_thread(
                self._registry.version, named["name"], CHAMPION if ref is None else ref
            )
        except NotRegistered as error:
            raise self._no_such(model, str(error)) from None
        except ModelsError as error:
            raise NotReady(str(error), retry_after_s=self._config.retry_after_s) from error

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._config.poll_interval_s)
            await self.refresh()

    def _ask_registry(self) -> Target:
        """In a thread: the arms that are set, or else the champion alone."""
        name = self._config.model
        found = self._registry.arms(name)
        if found.arms:
            arms = tuple(
                WantedArm(name=arm.name, number=arm.version, share=arm.share) for arm in found.arms
            )
            return Target(experiment=found.experiment, revision=found.revision, arms=arms)
        champion = self._registry.alias(name, CHAMPION)
        if champion is None:
            return Target(experiment="", revision=0, arms=())
        alone = WantedArm(name=CHAMPION, number=champion, share=1.0)
        return Target(experiment="", revision=0, arms=(alone,))

    def _loaded(self) -> dict[int, Loaded]:
        loaded = {
            number: task.result()
            for number, task in self._pinned.items()
            if task.done() and not task.cancelled() and task.exception() is None
        }
        if self.live is not None:
            loaded |= {arm.version.number: (arm.version, arm.voice) for arm in self.live.arms}
        return loaded

    def _may_try(self, number: int, *, is_new: bool) -> bool:
        failure = self._failures.get(number)
        if failure is None or is_new:
            return True
        age_s = asyncio.get_running_loop().time() - failure.at_s
        return age_s >= self._config.reload_interval_s

    async def _try(self, number: int, loaded: dict[int, Loaded]) -> None:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, self._load_number, number)
        await asyncio.wait({work})
        error = work.exception()
        if error is None:
            loaded[number] = work.result()
            self._failures.pop(number, None)
            return
        self._meters.load_failures.inc()
        self._failures[number] = Failure(number=number, why=str(error), at_s=loop.time())
        logger.error("version not loaded", extra={"version": number}, exc_info=error)

    def _load_number(self, number: int) -> Loaded:
        """In the loading thread."""
        version = self._registry.version(self._config.model, number)
        return version, self._load(version)

    def _swap(self, target: Target, loaded: dict[int, Loaded]) -> None:
        arms = [arm for arm in target.arms if arm.number in loaded]
        is_whole = all(arm.number in loaded for arm in target.arms if arm.share > 0)
        total = sum(arm.share for arm in arms)
        if total == 0 or (not is_whole and self.live is not None):
            return  # The last good arms go on.
        live = Live(
            experiment=target.experiment,
            revision=target.revision,
            arms=tuple(
                LiveArm(
                    name=arm.name,
                    share=arm.share / total,
                    version=loaded[arm.number][0],
                    voice=loaded[arm.number][1],
                )
                for arm in arms
            ),
            is_whole=is_whole,
        )
        if live == self.live:
            return
        self.live = live
        self._meters.swaps.inc()
        self._meters.show(
            [(arm.version.name, f"v{arm.version.number}", arm.name) for arm in live.arms]
        )
        logger.info(
            "arms swapped",
            extra={"revision": live.revision, "arms": [(a.name, a.share) for a in live.arms]},
        )

    async def _pin(self, version: Version) -> Loaded:
        """Give a loaded version beside the live ones, loading it if need be."""
        number = version.number
        if self.live is not None:
            for arm in self.live.arms:
                if arm.version.number == number:
                    return arm.version, arm.voice
        task = self._pinned.get(number)
        if task is None:
            task = asyncio.create_task(self._load_pinned(number))
            self._pinned[number] = task
        self._pinned.move_to_end(number)
        while len(self._pinned) > self._config.pinned_max:
            self._pinned.popitem(last=False)
        await asyncio.wait({task})
        error = task.exception()
        if error is None:
            return task.result()
        self._pinned.pop(number, None)
        raise NotReady(
            f"{self._config.model}@v{number} could not be loaded: {error}",
            code="model_not_loadable",
            retry_after_s=self._config.retry_after_s,
        )

    async def _load_pinned(self, number: int) -> Loaded:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._load_number, number
        )

    def _no_such(self, model: str, why: str = "") -> NoSuchResource:
        return NoSuchResource(
            f"The model {model[:NAME_SHOWN]!r} does not exist"
            + (f": {why}" if why else f"; ask for {self._config.model!r} or one of its versions,")
            + ("" if why else f" such as {self._config.model}@v1 (GET /v1/models lists them)"),
            param="model",
            code="model_not_found",
        )
