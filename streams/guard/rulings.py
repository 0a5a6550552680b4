"""Have the rules look at facts, and turn what they find into rulings: quarantines and releases."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from streams.events import GuardAction, GuardRuling
from streams.guard.facts import facts_of
from streams.guard.rules import PRAISE, RULES, GuardConfig

SOURCE = "/guard"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found of one user, or of one reaction of theirs."""

    rule: str
    version: int
    user_id: str
    response_id: str
    """Empty: every reaction of the user from `since` on."""
    since: datetime
    evidence: Mapping[str, str | int | float]
    """Numbers seen and limits; no texts."""


def find_violations(reactions: pa.Table, shown: pa.Table, config: GuardConfig) -> list[Finding]:
    """All findings, sorted: a function of the set of rows, whatever their order and repetition."""
    facts = facts_of(reactions, shown, PRAISE)
    best: dict[tuple[str, str, str], Finding] = {}
    for name in config.rules or tuple(RULES):
        rule = RULES[name]
        for hit in rule.find(facts, config):
            finding = Finding(
                rule=name,
                version=rule.version,
                user_id=facts.users[hit.user].as_py(),
                response_id="" if hit.response < 0 else facts.responses[hit.response].as_py(),
                since=EPOCH + timedelta(microseconds=hit.at),
                evidence=hit.evidence,
            )
            key = (finding.rule, finding.user_id, finding.response_id)
            if key not in best or finding.since < best[key].since:
                best[key] = finding
    return [best[key] for key in sorted(best)]


def changes(
    findings: Sequence[Finding],
    standing: Mapping[tuple[str, str, str], datetime],
    *,
    decided_at: datetime,
    window_start: datetime,
) -> list[GuardRuling]:
    """The rulings that turn what stands into what is found.

    What is found and does not stand, or stands from a later time on, is quarantined; what stands,
    began in the window that was looked at and is no longer found is released.
    """
    found = {(each.rule, each.user_id, each.response_id): each for each in findings}
    rulings = []
    for key in sorted(found):
        finding = found[key]
        if key not in standing or finding.since < standing[key]:
            numbers = json.dumps(dict(finding.evidence), sort_keys=True)
            rulings.append(
                _ruling(key, "quarantine", finding.version, numbers, finding.since, decided_at)
            )
    for key in sorted(set(standing) - set(found)):
        if standing[key] >= window_start:
            version = RULES[key[0]].version if key[0] in RULES else 0
            rulings.append(_ruling(key, "release", version, "{}", standing[key], decided_at))
    return rulings


def _ruling(
    key: tuple[str, str, str],
    action: GuardAction,
    version: int,
    evidence: str,
    since: datetime,
    decided_at: datetime,
) -> GuardRuling:
    parts = (*key, action, str(version), since.isoformat(), decided_at.isoformat())
    return GuardRuling(
        id=hashlib.sha256("\0".join(parts).encode()).hexdigest(),
        source=SOURCE,
        user_id=key[1],
        response_id=key[2],
        action=action,
        rule=key[0],
        rule_version=version,
        evidence=evidence,
        since=since,
        occurred_at=decided_at,
        known_at=decided_at,
    )
