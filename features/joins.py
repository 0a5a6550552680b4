"""How reactions meet their exposures: what an operator sees of the join.

Labels are a fold over facts, asked for when somebody needs them: no process waits for the other
half of a pair, and none is ever given up. What a joiner would count is therefore asked of the
store: of the reactions that became known within WINDOW, how many have their exposure there, however
old it is. Quarantined reactions count too: this is about what arrived, not about what it is worth.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from features.once import folded_once_sql
from features.views import time_sql

logger = logging.getLogger(__name__)

WINDOW = timedelta(hours=24)
"""How far back `known_at` of what is counted lies: a day, so that no hour of it weighs more."""
PERCENTILES = (50, 90, 99)
"""Of the delay from an exposure to a tap on it."""
EVENTS_MAX = 2_000_000
"""Events in the window above which only one response in two, three, ... is looked at: a million
take some 120 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joins:
    """How the reactions and exposures that became known within WINDOW before `at` have met.

    Each event of that time counts once. Where `one_in` is above 1, the numbers are estimates.
    """

    at: datetime
    one_in: int
    """One response in so many was looked at; numbers are multiplied by it."""
    num_matched_reactions: int
    """Reactions, added or taken back, whose response was shown."""
    num_dangling_reactions: int
    """Reactions to a response of which no exposure is known (yet)."""
    num_matched_exposures: int
    """Responses shown to which there is a reaction in the same window."""
    num_unmatched_exposures: int
    """Responses shown to which there is none (yet); not those that may not be learned from."""
    delay_s: Mapping[int, float]
    """From the first exposure to a tap that adds a signal, by percentile; empty where there is
    none. Negative where the clock that stamped the tap is behind."""


def measure_joins(
    connection: duckdb.DuckDBPyConnection, now: datetime, *, events_max: int = EVENTS_MAX
) -> Joins:
    """Ask a connection of features.views; `now` is aware. Raises duckdb.Error.

    A response is taken or left with all its events, by the hash of its id. Ids are held as 64 bits:
    two of a million are taken for one in one look of some 37 million.
    """
    is_recent = f"known_at >= {time_sql(now - WINDOW)}"
    ((num_events,),) = connection.sql(
        f"SELECT (SELECT count(*) FROM raw_reactions WHERE {is_recent})"
        f" + (SELECT count(*) FROM raw_shown WHERE {is_recent})"
    ).fetchall()
    one_in = max(1, -(-num_events // events_max))
    is_taken = f"hash(response_id) % {one_in} = 0"
    # Within the window: to know of copies that are older, everything would have to be looked at.
    taps = folded_once_sql(
        "reactions", f"(SELECT * FROM raw_reactions WHERE {is_recent} AND {is_taken})"
    )
    ((matched, dangling, reacted, silent, delays_s),) = connection.sql(f"""
        WITH taps AS MATERIALIZED (
            SELECT hash(response_id) AS response, action = 'add' AS is_add, occurred_at
            FROM ({taps})),
        tapped AS MATERIALIZED (SELECT DISTINCT response FROM taps),
        exposures AS MATERIALIZED (
            SELECT
                hash(response_id) AS response,
                min(occurred_at) AS shown_at,
                bool_or({is_recent}) AS is_recent,
                bool_and(learnable) AS may_learn
            FROM raw_shown
            WHERE {is_taken} AND ({is_recent} OR hash(response_id) IN (FROM tapped))
            GROUP BY ALL)
        SELECT
            count(shown_at),
            count(*) FILTER (shown_at IS NULL),
            (SELECT count(*) FROM exposures SEMI JOIN tapped USING (response) WHERE is_recent),
            (SELECT count(*) FROM exposures ANTI JOIN tapped USING (response)
                WHERE is_recent AND may_learn),
            quantile_cont(
                (epoch_us(taps.occurred_at) - epoch_us(shown_at)) / 1e6,
                {[percentile / 100 for percentile in PERCENTILES]}
            ) FILTER (is_add AND shown_at IS NOT NULL)
        FROM taps LEFT JOIN exposures USING (response)""").fetchall()
    return Joins(
        at=now,
        one_in=one_in,
        num_matched_reactions=matched * one_in,
        num_dangling_reactions=dangling * one_in,
        num_matched_exposures=reacted * one_in,
        num_unmatched_exposures=silent * one_in,
        delay_s={} if delays_s is None else dict(zip(PERCENTILES, delays_s, strict=True)),
    )


class JoinMeters(Collector):
    """The last look of this process as gauges, replaced as a whole; none has a value before it.

    A look covers the whole store, whoever took it: of several workers, take one's values.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers itself, as prometheus_client's own meters do."""
        self._joins: Joins | None = None
        registry.register(self)

    def look(self, connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
        """Measure and show; where the store cannot be asked, show nothing rather than the past."""
        try:
            self._joins = measure_joins(connection, now)
        except duckdb.Error:
            self._joins = None
            logger.exception("joins not measured")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give every family; samples are in them once somebody looked."""
        joins = self._joins
        matched = _gauge("matched_reactions", "Reactions of the last 24 h whose exposure is known")
        dangling = _gauge("dangling_reactions", "Reactions of the last 24 h without an exposure")
        reacted = _gauge("matched_exposures", "Responses shown in the last 24 h with a reaction")
        silent = _gauge("unmatched_exposures", "Responses shown in the last 24 h without one")
        delay = _gauge(
            "delay_seconds", "From a response's exposure to a tap, of the last 24 h", "percentile"
        )
        looked = _gauge("look_timestamp_seconds", "When this process last looked, in Unix time")
        if joins is not None:
            matched.add_metric([], joins.num_matched_reactions)
            dangling.add_metric([], joins.num_dangling_reactions)
            reacted.add_metric([], joins.num_matched_exposures)
            silent.add_metric([], joins.num_unmatched_exposures)
            for percentile, delay_s in joins.delay_s.items():
                delay.add_metric([str(percentile)], delay_s)
            looked.add_metric([], joins.at.timestamp())
        yield from (matched, dangling, reacted, silent, delay, looked)


def _gauge(name: str, means: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"rluf_join_{name}", means, labels=labels)


METERS = JoinMeters(REGISTRY)
"""Of this process, like the meters of streams/meters.py."""
