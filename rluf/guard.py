"""`rluf guard`: see what is quarantined and why, and overrule it.

A person's ruling travels through the log like the guard's own, so a replay has it, and nothing is
ever deleted: what was quarantined, released and by whom stays on record.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from features.config import FeaturesConfig
from features.guarding import facts_for_guard
from features.offline import OFFLINE_STORES
from features.views import connect_store, query
from rluf.settings import Settings
from streams.errors import Unavailable
from streams.events import PERSON, GuardAction, GuardRuling, new_id
from streams.guard.rulings import find_violations
from streams.kafka.producer import Producer

ACK_WAIT_S = 30.0
START = datetime(1970, 1, 1, tzinfo=UTC)
SOURCE = "/operator"


def list_quarantined(settings: Settings) -> list[dict[str, Any]]:
    """What stands: user, response (empty: all of theirs), rule, since when, evidence, reactions."""
    rows: list[dict[str, Any]] = query(
        settings.home,
        """
        SELECT
            user_id, response_id, rule, since, quarantined_at, evidence,
            (SELECT count(*) FROM reactions AS each
             WHERE each.user_id = quarantine.user_id AND each.occurred_at >= since
                AND quarantine.response_id IN ('', each.response_id)) AS reactions
        FROM quarantine ORDER BY quarantined_at DESC, user_id, response_id""",
    ).to_pylist()
    return rows


def check(settings: Settings) -> list[dict[str, Any]]:
    """What the rules, as they are set now, find in all facts; changes nothing."""
    features: FeaturesConfig = settings.features
    store = OFFLINE_STORES[features.offline_store](features)
    with connect_store(store, root=settings.home, as_of=None) as connection:
        reactions, shown = facts_for_guard(connection, START, settings.guard)
    return [
        {
            "user_id": finding.user_id,
            "response_id": finding.response_id,
            "rule": finding.rule,
            "since": finding.since,
            "evidence": json.dumps(dict(finding.evidence)),
        }
        for finding in find_violations(reactions, shown, settings.guard)
    ]


def overrule(
    settings: Settings, user_id: str, action: GuardAction, *, response_id: str, who: str, why: str
) -> dict[str, Any]:
    """Quarantine or release a user by hand; returns once the broker has it.

    A release without a response overrules every rule. `settings` name the brokers. Raises
    BadEvent for an id that cannot be one, and Unavailable.
    """
    now = datetime.now(UTC)
    ruling = GuardRuling(
        id=new_id(),
        source=SOURCE,
        user_id=user_id,
        response_id=response_id,
        action=action,
        rule=PERSON,
        rule_version=1,
        evidence=json.dumps({"who": who, "why": why}, ensure_ascii=False),
        since=START,
        occurred_at=now,
        known_at=now,
    )
    with Producer(settings.streams) as producer:
        try:
            place = producer.send(ruling).result(ACK_WAIT_S)
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {ACK_WAIT_S:.0f} s") from None
    return {"verdict": ruling.id, "action": action, "user_id": user_id, "offset": place.offset}
