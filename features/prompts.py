"""What users ask: the newest prompts, as often as they come, for a policy to practise on.

Unlike a snapshot's examples these are neither thinned nor drawn by what came of them: a policy
meets what users will ask next, whether or not anybody loved an answer to it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from features.config import FeaturesConfig
from features.guarding import look
from features.offline import OFFLINE_STORES
from features.pending import apply_verdicts
from features.quarantine import distrusted_sql
from features.views import connect_store
from streams.guard.rules import GuardConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What one user asked."""

    user_id: str
    messages: str
    """JSON list of {role, content}: the conversation up to the reply."""


def newest_prompts(
    config: FeaturesConfig,
    *,
    as_of: datetime,
    limit: int,
    without: Collection[str],
    guard: GuardConfig | None = None,
) -> list[Prompt]:
    """At most `limit` prompts known at `as_of`, the newest first.

    Prompts of the users in `without`, of those whom the guard distrusts, and those that may not be
    learned from are left out. Several answers to one message count as one prompt.
    """
    store = OFFLINE_STORES[config.offline_store](config)
    with connect_store(store, root=config.root, as_of=as_of) as connection:
        if guard is not None:
            apply_verdicts(connection, look(connection, config, guard, now=as_of))
        connection.register("held_out", pa.table({"user_id": pa.array(without, pa.string())}))
        rows = connection.sql(
            f"""
            WITH asked AS (
                SELECT
                    user_id, conversation_id, turn, messages, response_id, occurred_at,
                    bool_and(learnable) OVER (PARTITION BY response_id) AS may_learn
                FROM shown)
            SELECT user_id, messages
            FROM asked ANTI JOIN held_out USING (user_id)
            WHERE may_learn AND messages <> '[]' AND NOT {distrusted_sql("asked", "occurred_at")}
            GROUP BY user_id, conversation_id, turn, messages
            ORDER BY max(occurred_at) DESC, min(response_id)
            LIMIT {limit}"""
        ).fetchall()
    return [Prompt(user_id=user, messages=messages) for user, messages in rows]
