"""Which reactions are left out of the fold: the guard's rulings as SQL.

A ruling is a fact like any other. For one (rule, user, response) the latest quarantine and the
latest release are kept, and it stands where no release is later than the quarantine; as with
reactions, no order and no repetition matters. A person's release of a user overrules every rule
until a person quarantines that user again.
"""

from collections.abc import Callable

from streams.events import PERSON


def standing_sql(rulings: str, *, are_pardons_heard: bool = True) -> str:
    """SELECT the rulings that stand: whom and what they cover, by which rule, since when, and why.

    `response_id` is empty for a ruling on every reaction of the user from `since` on. Without
    pardons, a rule's ruling stands although a person overruled it: what the guard itself holds.
    """
    pardon = "AND user_id NOT IN (SELECT user_id FROM pardoned)" if are_pardons_heard else ""
    return f"""
        WITH ruled AS (
            SELECT
                *,
                max(occurred_at) FILTER (action = 'release') OVER (
                    PARTITION BY rule, user_id, response_id) AS released_at
            FROM {rulings}),
        pardoned AS (
            SELECT user_id
            FROM {rulings}
            WHERE rule = '{PERSON}' AND response_id = ''
            GROUP BY user_id
            HAVING max(occurred_at) FILTER (action = 'release')
                > coalesce(max(occurred_at) FILTER (action = 'quarantine'), '-infinity'))
        SELECT
            user_id, response_id, rule,
            max(rule_version) AS rule_version,
            min(since) AS since,
            max(occurred_at) AS quarantined_at,
            max_by(evidence, (occurred_at, evidence)) AS evidence
        FROM ruled
        WHERE action = 'quarantine'
            AND (released_at IS NULL OR occurred_at >= released_at)
            {pardon}
        GROUP BY user_id, response_id, rule
        ORDER BY user_id, response_id, rule"""


def distrusted_sql(relation: str, time: str) -> str:
    """Whether what `relation` (with user_id, response_id) says of `time` is quarantined."""
    return f"""EXISTS (
            SELECT 1 FROM quarantine
            WHERE quarantine.user_id = {relation}.user_id
                AND quarantine.response_id IN ('', {relation}.response_id)
                AND quarantine.since <= {relation}.{time})"""


def judged_sql(reactions: str) -> str:
    """A SELECT of reactions, each with whether it is `quarantined`."""
    flag = distrusted_sql("each", "occurred_at")
    return f"SELECT *, {flag} AS quarantined FROM ({reactions}) AS each"


def trusted_sql(reactions: str) -> str:
    """The same where nothing is quarantined, at no cost."""
    return f"SELECT *, false AS quarantined FROM ({reactions})"


def counted_sql(judged: Callable[[str], str], reactions: str = "folded_reactions") -> str:
    """A SELECT of the reactions that count: each event once, without the quarantined ones."""
    return (
        f"SELECT * EXCLUDE (quarantined) FROM ({judged(f'SELECT * FROM {reactions}')})"
        " WHERE NOT quarantined"
    )
