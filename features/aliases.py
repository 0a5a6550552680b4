"""Whose reaction it is where it names its user or its response otherwise than the exposure does.

An exposure keeps every name of its user (`user_aliases`), every name of its response
(`response_aliases`) and the API key that asked (`client_id`). A reaction under any of them counts
as the user's on the response: the views resolve it, once, before anything is folded.

What names the exposure as it stands is never resolved to another one. Of several exposures that
share an alias the first that may be learned from counts: a front end's background calls bear the
id of the message that they are about.
"""

from __future__ import annotations

import duckdb

IS_NAMED_TWICE = (
    "(user_aliases IS NOT NULL OR response_aliases IS NOT NULL"
    " OR (client_id <> '' AND client_id <> user_id))"
)
"""Whether an exposure has more names than one. Files of older versions have NULL for all three."""


def make_resolved(connection: duckdb.DuckDBPyConnection, shown: str, reactions: str) -> None:
    """CREATE TABLE resolved and VIEW named_reactions, from relations of exposures and reactions.

    `resolved` has named_response, named_user, response_id, user_id: one row for each pair of names
    in a reaction that is not the exposure's own. The view has the reactions under their own names.
    """
    connection.execute(f"""
        CREATE TABLE resolved AS
        WITH named AS (
            SELECT
                response_id, user_id, client_id, user_aliases, response_aliases,
                learnable, occurred_at, source, id
            FROM {shown} AS shown WHERE {IS_NAMED_TWICE}),
        taps AS MATERIALIZED (
            SELECT DISTINCT response_id AS named_response, user_id AS named_user
            FROM {reactions} AS reactions
            WHERE EXISTS (SELECT 1 FROM named)),
        strays AS MATERIALIZED (
            SELECT * FROM taps ANTI JOIN {shown} AS shown
            ON named_response = response_id AND named_user = user_id),
        called AS (
            SELECT strays.*, named.* FROM strays JOIN named ON named_response = response_id
            UNION ALL
            SELECT strays.*, each.* EXCLUDE (alias)
            FROM strays JOIN (SELECT *, unnest(response_aliases) AS alias FROM named) AS each
            ON named_response = alias)
        SELECT named_response, named_user, response_id, user_id
        FROM called
        WHERE named_user IN (user_id, client_id) OR list_contains(user_aliases, named_user)
        QUALIFY row_number() OVER (
            PARTITION BY named_response, named_user
            ORDER BY NOT learnable, occurred_at, source, id) = 1""")
    (num_resolved,) = connection.sql("SELECT count(*) FROM resolved").fetchall()[0]
    if num_resolved == 0:
        sql = f"SELECT * FROM {reactions} AS reactions"
    else:
        sql = f"""
            SELECT
                each.* REPLACE (
                    coalesce(resolved.response_id, each.response_id) AS response_id,
                    coalesce(resolved.user_id, each.user_id) AS user_id)
            FROM {reactions} AS each LEFT JOIN resolved
            ON each.response_id = named_response AND each.user_id = named_user"""
    connection.execute(f"CREATE VIEW named_reactions AS {sql}")


def forgotten_sql(erasures: str, shown: str) -> str:
    """SELECT user_id, erased_at: who asked to be forgotten, under each of their names.

    An alias that several users have, such as a name that a front end gives to everybody, is no way
    from one to another. Nor is an API key.
    """
    return f"""
        WITH RECURSIVE links AS MATERIALIZED (
            SELECT alias, min(user_id) AS user_id
            FROM (
                SELECT DISTINCT user_id, unnest(user_aliases) AS alias
                FROM {shown} WHERE user_aliases IS NOT NULL)
            GROUP BY alias HAVING count(*) = 1),
        pairs AS MATERIALIZED (
            SELECT alias AS one, user_id AS other FROM links
            UNION ALL SELECT user_id, alias FROM links),
        forgotten AS (
            SELECT user_id, occurred_at FROM {erasures}
            UNION
            SELECT pairs.other, forgotten.occurred_at
            FROM forgotten JOIN pairs ON pairs.one = forgotten.user_id)
        SELECT user_id, max(occurred_at) AS erased_at FROM forgotten GROUP BY user_id"""


def names_of(connection: duckdb.DuckDBPyConnection, user_id: str) -> list[str]:
    """Every name under which facts of this user are stored, the given one first."""
    asked = "(SELECT ? AS user_id, now() AS occurred_at)"
    rows = connection.execute(
        f"SELECT user_id FROM ({forgotten_sql(asked, 'stored_shown')}) ORDER BY user_id", [user_id]
    ).fetchall()
    return [user_id, *(name for (name,) in rows if name != user_id)]
