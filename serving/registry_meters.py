"""What the registry holds, as meters beside those of this process.

The registry is asked in a thread when somebody scrapes, at most every REST_S, and never waited for
longer than WAIT_S: one that is away or slow leaves /metrics as it is, with the values of the last
look. They are the same from every API, so of several take one's.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from models.errors import ModelsError
from models.figures import RegistryFigures, read_standing
from models.registry import Registry
from serving.meters import Meters

logger = logging.getLogger(__name__)

REST_S = 5.0
"""Between two looks, in seconds; after a slow one REST times as long as it took."""
REST = 9.0
WAIT_S = 1.0
"""The longest that a scrape waits for a look, in seconds: scrapers give up after ten."""


class RegistryMeters(Collector):
    """The last look at the registry, as metric families."""

    def __init__(
        self, registry: Registry, meters: Meters, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`meters` knows when which arms began to serve, and gets the durations of rollbacks."""
        self._registry = registry
        self._meters = meters
        self._clock = clock
        self._standing: RegistryFigures | None = None
        self._is_up = False
        self._next_at_s = clock()
        self._looking: asyncio.Task[None] | None = None
        self._families = CollectorRegistry()
        self._families.register(self)

    async def refresh(self) -> None:
        """Look anew where the last look is old; return when that is done, or after WAIT_S."""
        if self._looking is None or self._looking.done():
            if self._clock() < self._next_at_s:
                return
            self._looking = asyncio.create_task(asyncio.to_thread(self.look), name="rluf-standing")
        await asyncio.wait({self._looking}, timeout=WAIT_S)

    def look(self) -> None:
        """Ask the registry now; it is down until it has answered."""
        self._is_up, started_s = False, self._clock()
        try:
            standing = read_standing(self._registry)
        except ModelsError as fault:
            logger.warning("registry not read for meters", extra={"cause": str(fault)})
        else:
            self._standing, self._is_up = standing, True
            self._meters.time_rollbacks(standing.rollbacks)
        finally:
            now_s = self._clock()
            self._next_at_s = now_s + max(REST_S, REST * (now_s - started_s))

    def collect(self) -> Iterator[Metric]:
        """Give every family; before the first look without samples, but for rluf_registry_up."""
        up = GaugeMetricFamily("rluf_registry_up", "1 where the registry answered the last look")
        up.add_metric([], float(self._is_up))
        aliases = GaugeMetricFamily(
            "rluf_registry_alias_info",
            "1 for each alias of the registry, at the version it points to",
            labels=["name", "version", "alias"],
        )
        ece = GaugeMetricFamily(
            "rluf_reward_model_ece_ratio",
            "Expected calibration error of the reward models in use, on their evaluation split",
            labels=["name", "version"],
        )
        kl = GaugeMetricFamily(
            "rluf_policy_kl_nats",
            "KL divergence per reply of the champion from the production it was trained from",
            labels=["name", "version"],
        )
        decisions = CounterMetricFamily(
            "rluf_promotion_decisions",
            "Verdicts of gates in the registry",
            labels=["result", "gate"],
        )
        if (standing := self._standing) is not None:
            for place in standing.places:
                aliases.add_metric([place.name, f"v{place.number}", place.alias], 1)
            for place, value in standing.ece.items():
                ece.add_metric([place.name, f"v{place.number}"], value)
            for place, value in standing.kl_nats.items():
                kl.add_metric([place.name, f"v{place.number}"], value)
            for (gate, ruling), count in sorted(standing.decisions.items()):
                decisions.add_metric([ruling, gate], count)
        yield from (up, aliases, ece, kl, decisions)

    def text(self) -> bytes:
        """Render the last look in Prometheus' text format."""
        return generate_latest(self._families)
