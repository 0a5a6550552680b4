"""What came of each exposure, signal by signal: the one relation that every figure is made from.

    exposed      every exposure once: to whom, by which policy and arm, may it teach, who barred it
    exposures    those of them that count: learnable and not quarantined
    answers      the reactions to these that count: in time, not quarantined
    outcomes     exposure x signal: what stands, what was a mis-tap, how much has arrived by its age

"Loved" means one thing everywhere: an outcome of love that `counts` and `stands`. Examples, drift,
experiments, the page, the demo's report, online rows and their histories read these views. A label
(features/labels.py) is another thing: what a user says now, whenever they said it.

An exposure is quarantined as a whole, whether or not it was answered: leaving out praised replies
and keeping their twins that nobody praised would teach that such replies are never loved. A ruling
on a user's reactions from a moment on covers every exposure that could still be answered then.

F(age), the share of a signal's reactions that have arrived by an age, is measured on the stream:
Kaplan and Meier's (1958) estimate of the share of exposures answered by a delay, over the one at
the longest delay seen, an exposure without an answer being censored at its age.
"""

from features.labels import interval_sql, is_on_sql, latest_sql, mistap_sql, was_mistap_sql
from streams.signals import SIGNALS

WINDOW_MAX = max(signal.window for signal in SIGNALS.values())
"""An exposure may be answered with some signal for so long."""
ARRIVALS_MIN = 30
"""Reactions, of the exposures that are old enough to have one at a delay, below which F says
nothing at that delay: one more or less moves the estimate by 3 %."""


def exposed_sql(shown: str) -> str:
    """SELECT each exposure once, from a relation that holds each event once.

    An exposure that several events report stands as it was first; it is learnable where every
    report of it is. `quarantined_by` has the rules whose rulings cover it, as a sorted list.
    """
    return f"""
        WITH accounts AS (
            SELECT user_id, list({{'rule': rule, 'since': since}}) AS rulings
            FROM quarantine WHERE response_id = '' GROUP BY user_id),
        single AS (
            SELECT user_id, response_id, list(rule) AS rules
            FROM quarantine WHERE response_id <> '' GROUP BY user_id, response_id),
        reported AS (
            SELECT
                response_id, user_id,
                arg_min({{
                    'policy': policy, 'experiment': experiment, 'arm': arm, 'propensity': propensity
                }}, {first_report_sql()}) AS first,
                min(occurred_at) AS shown_at, min(known_at) AS known_at,
                bool_and(learnable) AS learnable
            FROM {shown}
            GROUP BY response_id, user_id)
        SELECT
            response_id, user_id, first.policy, first.experiment, first.arm, first.propensity,
            shown_at, known_at, learnable,
            list_sort(list_distinct(list_concat(
                coalesce(rules, []),
                coalesce(list_transform(
                    list_filter(
                        rulings,
                        lambda ruling: ruling.since <= shown_at + {interval_sql(WINDOW_MAX)}),
                    lambda ruling: ruling.rule), [])))) AS quarantined_by,
            len(quarantined_by) > 0 AS quarantined
        FROM reported
        LEFT JOIN accounts USING (user_id)
        LEFT JOIN single USING (user_id, response_id)"""


def exposures_sql(exposed: str = "exposed") -> str:
    """SELECT the exposures that count, whatever came of them."""
    return f"SELECT * FROM {exposed} WHERE learnable AND NOT quarantined"


def answers_sql(exposed: str = "exposures", counted: str = "counted") -> str:
    """SELECT the reactions that count, to exposures that do.

    What was added after the signal's window is left out; it may be taken back at any time.
    """
    return f"""
        SELECT each.*
        FROM {counted} AS each JOIN {exposed} AS exposed USING (response_id, user_id)
        WHERE {is_in_time_sql("each")}"""


def is_in_time_sql(reactions: str) -> str:
    """Whether a reaction joined with its exposure is no add that came after the window."""
    cases = " ".join(f"WHEN '{s.name}' THEN {interval_sql(s.window)}" for s in SIGNALS.values())
    window = f"(CASE {reactions}.signal {cases} ELSE INTERVAL 0 SECOND END)"
    return f"({reactions}.action <> 'add' OR {reactions}.occurred_at <= shown_at + {window})"


def folded_outcomes_sql(now: str) -> str:
    """SELECT exposure x signal with what came of it, as seen at `now` (SQL of a TIMESTAMPTZ).

    stands, mistap and taken_back are never NULL; of what is quarantined or not learnable they say
    what stood of the reactions that are not quarantined themselves. age_s is how long a reaction
    has had to come.
    """
    signals = ", ".join(f"('{name}')" for name in SIGNALS)
    return f"""
        WITH signals (signal) AS (VALUES {signals}),
        folded AS (
            SELECT
                response_id, user_id, signal,
                {latest_sql(adds="is_in_time")},
                bool_or(NOT is_in_time) AS came_late,
                max(known_at) FILTER (is_in_time) AS answer_known_at
            FROM (
                SELECT each.*, {is_in_time_sql("each")} AS is_in_time
                FROM counted AS each JOIN exposed USING (response_id, user_id))
            GROUP BY response_id, user_id, signal)
        SELECT
            response_id, user_id, signal, policy, experiment, arm, propensity,
            shown_at, known_at,
            greatest((epoch_us({now}) - epoch_us(shown_at)) / 1e6, 0) AS age_s,
            learnable, quarantined, quarantined_by,
            added_at, removed_at, answer_known_at,
            {is_on_sql()} AS stands,
            {was_mistap_sql(mistap_sql())} AS mistap,
            added_at IS NOT NULL AND NOT stands AS taken_back,
            added_at IS NULL AND coalesce(came_late, false) AS too_late,
            learnable AND NOT quarantined AND NOT mistap AS counts
        FROM exposed CROSS JOIN signals
        LEFT JOIN folded USING (response_id, user_id, signal)"""


def arrivals_sql(outcomes: str = "folded_outcomes") -> str:
    """SELECT signal, delay_s, arrived: the steps of F, by signal; none where too little was seen.

    `arrived` is the share of the signal's reactions that come by delay_s.
    """
    return f"""
        WITH observed AS (
            SELECT
                signal, stands,
                CASE WHEN stands
                    THEN least(greatest(
                        (epoch_us(added_at) - epoch_us(shown_at)) / 1e6, 0), age_s)
                    ELSE age_s END AS delay_s
            FROM {outcomes} WHERE counts),
        steps AS (
            SELECT signal, delay_s, count(*) FILTER (stands) AS num_came, count(*) AS num_left
            FROM observed GROUP BY signal, delay_s),
        risk AS (
            SELECT
                *,
                sum(num_left) OVER (PARTITION BY signal) AS num_exposed,
                sum(num_came) OVER (PARTITION BY signal) AS num_reactions,
                sum(num_left) OVER (PARTITION BY signal ORDER BY delay_s DESC) AS num_at_risk
            FROM steps),
        answered AS (
            SELECT
                signal, delay_s, num_came,
                1 - product(1 - num_came / num_at_risk) OVER (
                    PARTITION BY signal ORDER BY delay_s) AS share
            FROM risk
            WHERE num_at_risk * num_reactions >= {ARRIVALS_MIN} * num_exposed)
        SELECT signal, delay_s, share / max(share) OVER (PARTITION BY signal) AS arrived
        FROM answered
        QUALIFY num_came > 0 AND max(share) OVER (PARTITION BY signal) > 0"""


def outcomes_sql(outcomes: str = "folded_outcomes", arrivals: str = "arrivals") -> str:
    """SELECT the outcomes, each with `arrived`: the share of such reactions that its age has seen.

    NULL where too few reactions were seen to say.
    """
    return f"""
        SELECT
            each.*,
            CASE WHEN each.signal IN (SELECT signal FROM {arrivals})
                THEN coalesce(steps.arrived, 0) END AS arrived
        FROM {outcomes} AS each
        ASOF LEFT JOIN {arrivals} AS steps
        ON each.signal = steps.signal AND each.age_s >= steps.delay_s"""


def is_mature_sql(*, maturity_s: float, share: float) -> str:
    """Whether an outcome is old enough to be told from silence, never NULL."""
    return f"(age_s >= {maturity_s!r} AND coalesce(arrived, 1) >= {share!r})"


def first_report_sql() -> str:
    """A number that is least for the first of the events that report one exposure."""
    return f"(epoch_us(occurred_at)::HUGEINT * {2**64}::HUGEINT + hash(source, id))"
