"""Goal: what the guard leaves out does not depend on the outcome: the base rate of the rest is that
of honest users.

Method: worlds of honest users who love one reply in eight at random, with a brigade that praises
half of what it is shown, or with replies that the prompt dictated; the guard looks as before a
snapshot, and the rate of what counts is held against that of the honest alone, which is known.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from features.config import FeaturesConfig
from features.guarding import look
from features.pending import apply_verdicts
from features.views import connect
from streams.events import Event, Message, Reaction
from streams.guard.rules import GuardConfig
from tests.features.histories import at, reaction, shown, store_all

HOUR_S, DAY_S = 3600, 86_400
LOVE_RATE = 0.125
NUM_HONEST, NUM_BRIGADE, NUM_SHOWN, NUM_DAYS = 300, 12, 12, 6
TEXT = "One two three four five six seven eight nine and ten."
DICTATED = (Message(role="user", content=f"Please correct this text for me: {TEXT}"),)


def honest(draw: random.Random, *, dictated_share: float = 0.0) -> list[Event]:
    """Users who are shown replies now and then and love some, at one rate whatever the text."""
    events: list[Event] = []
    for user in range(NUM_HONEST):
        for number in range(NUM_SHOWN):
            name, seconds = f"h{user}-{number}", draw.uniform(0, NUM_DAYS * DAY_S)
            text = (
                {"response": TEXT, "messages": DICTATED} if draw.random() < dictated_share else {}
            )
            events.append(shown(name, f"h{user}", seconds, **text))
            if draw.random() < LOVE_RATE:
                events.append(reaction(name, "add", seconds + 30, user_id=f"h{user}"))
    return events


def brigade(draw: random.Random) -> list[Event]:
    """Accounts that look on for a day and then praise, together, half of what they are shown."""
    events: list[Event] = []
    for number in range(NUM_SHOWN):
        seconds = number * 9 * HOUR_S
        for user in range(NUM_BRIGADE):
            name = f"b{user}-{number}"
            told = (Message(role="user", content=f"Chant number {number}"),)
            events.append(shown(name, f"b{user}", seconds + user, messages=told))
            if number >= 3 and number % 2:
                events.append(reaction(name, "add", seconds + 40 + user, user_id=f"b{user}"))
    return events


def rates(root: Path, events: Sequence[Event]) -> tuple[float, float, set[str]]:
    """Love rate of everything that counts, without the guard and with it; who is left out."""
    store_all(root, events)
    sql = "SELECT avg(stands::INT) FROM folded_outcomes WHERE signal = 'love' AND counts"
    now = at((NUM_DAYS + 2) * DAY_S)
    with connect(root, now) as connection:
        ((before,),) = connection.sql(sql).fetchall()
        apply_verdicts(
            connection, look(connection, FeaturesConfig(root=root), GuardConfig(), now=now)
        )
        ((after,),) = connection.sql(sql).fetchall()
        out = connection.sql("SELECT DISTINCT user_id FROM exposed WHERE quarantined").fetchall()
    return before, after, {user for (user,) in out}


def known_rate(events: Sequence[Event]) -> float:
    """Of honest users, from what the world did."""
    num_loved = sum(isinstance(event, Reaction) for event in events)
    return num_loved / (len(events) - num_loved)


@pytest.mark.parametrize("seed", range(3))
def test_a_brigade_leaves_the_base_rate_of_the_honest(tmp_path: Path, seed: int) -> None:
    """The brigade is out as a whole, with what it was shown before its first praise and what it did
    not praise, and nobody else is: the rate is exactly that of the others."""
    draw = random.Random(seed)
    ours, theirs = honest(draw), brigade(draw)
    before, after, out = rates(tmp_path, [*ours, *theirs])
    assert before > known_rate(ours)
    assert out == {f"b{user}" for user in range(NUM_BRIGADE)}
    assert after == pytest.approx(known_rate(ours), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_dictated_replies_are_left_out_whether_or_not_they_were_loved(
    tmp_path: Path, seed: int
) -> None:
    """Two replies in five are dictated and loved as often as others. Leaving out the loved ones
    only would take the rate from 0.125 to 0.079. Tolerance: three standard errors of the rest,
    3 * sqrt(0.125 * 0.875 / 2,160) = 0.021.
    """
    events = honest(random.Random(10 + seed), dictated_share=0.4)
    before, after, _ = rates(tmp_path, events)
    assert before == pytest.approx(known_rate(events), abs=1e-12)
    assert after == pytest.approx(LOVE_RATE, abs=0.021)
    with connect(tmp_path) as connection:
        ((num_dictated,),) = connection.sql(
            f"SELECT count(*) FROM shown WHERE response = '{TEXT}'"
        ).fetchall()
    assert num_dictated > 1300
