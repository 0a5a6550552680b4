"""A generated log of users' reactions with everything that goes wrong on the way to a broker.

The same seed gives the same file, byte for byte: the story takes place at a fixed time in the past.
Of the records, DUPLICATES are sent again under the same (source, id), MALFORMED are no events,
LATE of the events tell of a tap up to a month ago; all are shuffled within WINDOW places, and for
some stretches the producers' clocks jump hours back. All content is made up here.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.chaos import malformed
from tests.chaos.lines import Line, iso

DUPLICATES = 0.10
MALFORMED = 0.01
LATE = 0.05
LATE_S_MIN, LATE_S_MAX = 3_600, 30 * 86_400
WINDOW = 400
"""Places within which records are shuffled; 400 at STEP are 200 s, less than clocks may differ."""
START = datetime(2025, 11, 3, 20, 0, tzinfo=UTC)
"""Four hours before midnight, so that a long story touches several days."""
STEP = timedelta(milliseconds=500)
"""Between two records, by the clock of the producers."""
JUMP_SHARE = 0.05
"""Records of one stretch in which the clock is behind."""
SKEW = timedelta(seconds=300)
"""How far ahead of the record's timestamp an event may claim to have happened."""
AHEAD = 0.01
"""Events whose clock is ahead by less than SKEW."""
RESEND_PLACES = 50_000
"""A duplicate comes up to so many places after the first."""
USERS_PER_EVENT = 0.05

TEXTS = {
    "love": ("love", "❤️", "🥰", "<3", " LOVE "),
    "like": ("like", "👍", "👍🏽", "+1"),
    "dislike": ("dislike", "👎", "-1"),
    "continue": ("continue",),
    "regenerate": ("regenerate",),
}
"""How clients spell a signal."""
OPTIONS = tuple(TEXTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """One thing that happened, before it is an event."""

    topic: str
    response: str
    user: str
    after_s: float
    """Seconds after the exposure."""
    signal: str = ""
    action: str = ""
    learnable: bool = True


Plot = Callable[[random.Random, str, str], list[Tap]]


def _tap(response: str, user: str, after_s: float, signal: str, action: str) -> Tap:
    return Tap(
        topic="reactions",
        response=response,
        user=user,
        after_s=after_s,
        signal=signal,
        action=action,
    )


def _shown(response: str, user: str, *, learnable: bool = True) -> Tap:
    return Tap(topic="shown", response=response, user=user, after_s=0.0, learnable=learnable)


def _plot(*steps: tuple[float, str], is_shown: bool = True, num_shown: int = 1) -> Plot:
    """The same signal added (+) and removed (-) at these seconds after the exposure."""

    def taps(random_: random.Random, response: str, user: str) -> list[Tap]:
        signal = random_.choice(OPTIONS)
        actions = {"+": "add", "-": "remove"}
        shown = [_shown(response, user)] * num_shown if is_shown else []
        return shown + [_tap(response, user, at, signal, actions[what]) for at, what in steps]

    return taps


def _changed(random_: random.Random, response: str, user: str) -> list[Tap]:
    """Love, then dislike; half of the clients take the love back."""
    taps = [_tap(response, user, 5, "love", "add"), _tap(response, user, 60, "dislike", "add")]
    if random_.random() < 0.5:
        taps.append(_tap(response, user, 60, "love", "remove"))
    return [_shown(response, user), *taps]


def _others(random_: random.Random, response: str, user: str) -> list[Tap]:
    """A reaction by somebody else than the one who was shown it."""
    return [_shown(response, user), _tap(response, f"{user}-other", 9, "like", "add")]


def _unlearnable(random_: random.Random, response: str, user: str) -> list[Tap]:
    taps = _plot((8, "+"))(random_, response, user)
    return [_shown(response, user, learnable=False), *taps[1:]]


PLOTS: Sequence[tuple[float, str, Plot]] = (
    (30, "silent", _plot()),
    (30, "added", _plot((6, "+"))),
    (6, "taken back", _plot((6, "+"), (40, "-"))),
    (4, "mistap", _plot((6, "+"), (9.5, "-"))),
    (2, "just no mistap", _plot((6, "+"), (16, "-"))),
    (2, "just a mistap", _plot((6, "+"), (15.999999, "-"))),
    (5, "added again", _plot((6, "+"), (40, "-"), (90, "+"))),
    (2, "added again by mistake", _plot((6, "+"), (40, "-"), (90, "+"), (92, "-"))),
    (3, "tie", _plot((6, "+"), (6, "-"))),
    (4, "the same tap twice", _plot((6, "+"), (6, "+"))),
    (2, "removed, never added", _plot((6, "-"))),
    (3, "before its exposure", _plot((-3, "+"))),
    (4, "changed", _changed),
    (2, "another user", _others),
    (2, "not to learn from", _unlearnable),
    (2, "shown twice", _plot((6, "+"), num_shown=2)),
    (3, "dangling", _plot((6, "+"), is_shown=False)),
    (1, "dangling and taken back", _plot((6, "+"), (40, "-"), is_shown=False)),
)
"""(weight, name, what happens) to one response."""


def story(num: int, seed: int, *, num_jumps: int = 3) -> Iterator[Line]:
    """`num` records in the order in which they are to be sent."""
    random_ = random.Random(seed)
    num_malformed = max(1, round(MALFORMED * num))
    num_duplicates = round(DUPLICATES * num)
    taps = _taps(num - num_malformed - num_duplicates, random_)
    reasons = malformed.reasons(num_malformed, random_)
    behind = _jumps(num, num_jumps, random_)
    first: dict[int, Line] = {}
    for place, (kind, index) in enumerate(_order(len(taps), num_duplicates, reasons, random_)):
        known_at = START + place * STEP - behind(place)
        if kind == "malformed":
            yield _malformed(index, reasons[index], known_at, random_)
        elif index not in first:
            first[index] = _event(index, *taps[index], known_at, behind(place), random_)
            yield first[index]
        else:
            yield _again(first[index], known_at)


def _taps(num: int, random_: random.Random) -> list[tuple[Tap, float]]:
    """`num` taps, each with the place in the story at which its exposure happens."""
    weights = [weight for weight, _, _ in PLOTS]
    num_users = max(4, int(num * USERS_PER_EVENT))
    taps: list[tuple[Tap, float]] = []
    number = 0
    while len(taps) < num:
        (_, _, plot) = random_.choices(PLOTS, weights)[0]
        user = f"u-{random_.randrange(num_users)}"
        told = plot(random_, f"resp-{number}", user)
        at = float(len(taps))
        taps += [(tap, at) for tap in told]
        number += 1
    return taps[:num]


def _order(
    num_taps: int, num_duplicates: int, reasons: Sequence[str], random_: random.Random
) -> list[tuple[str, int]]:
    """(kind, index) in the order of sending: shuffled, and some events a second or third time."""
    num = num_taps + num_duplicates + len(reasons)
    stretch = num / num_taps
    keyed: list[tuple[float, str, int]] = []
    for index in range(num_taps):
        keyed.append((index * stretch + random_.uniform(0, WINDOW), "event", index))
    for _ in range(num_duplicates):
        index = random_.randrange(num_taps)
        after = random_.choice((1.0, 20.0, float(WINDOW), min(num / 2, float(RESEND_PLACES))))
        keyed.append((index * stretch + WINDOW + random_.uniform(0, after), "event", index))
    for index in range(len(reasons)):
        keyed.append((random_.uniform(0, num), "malformed", index))
    return [(kind, index) for _, kind, index in sorted(keyed)]


def _jumps(num: int, num_jumps: int, random_: random.Random) -> Callable[[int], timedelta]:
    """How far the producers' clock is behind at a place."""
    stretches: list[tuple[int, int, timedelta]] = []
    for jump in range(num_jumps):
        begin = int(num * (jump + random_.uniform(0.3, 0.7)) / num_jumps)
        end = begin + max(1, int(num * JUMP_SHARE))
        stretches.append((begin, end, timedelta(seconds=random_.randrange(3_600, 10 * 3_600))))

    def behind(place: int) -> timedelta:
        return next((by for begin, end, by in stretches if begin <= place < end), timedelta(0))

    return behind


def _event(
    index: int,
    tap: Tap,
    at: float,
    known_at: datetime,
    behind: timedelta,
    random_: random.Random,
) -> Line:
    """The record that tells of a tap for the first time."""
    happened = START + at * STEP - timedelta(seconds=100) + timedelta(seconds=tap.after_s)
    chance = random_.random()
    if chance < LATE:
        happened -= timedelta(seconds=random_.randrange(LATE_S_MIN, LATE_S_MAX))
    elif chance < LATE + AHEAD:
        happened = known_at + timedelta(seconds=random_.randrange(1, 300))
    if happened > known_at + SKEW:
        happened -= behind  # The clock of the user's device jumps with that of the producer.
    happened = min(happened, known_at + SKEW)
    data: dict[str, object] = {"response_id": tap.response, "user_id": tap.user}
    if tap.topic == "shown":
        data |= {
            "conversation_id": f"c-{tap.response}",
            "messages": [{"role": "user", "content": f"Made-up question {index}"}],
            "response": f"Made-up answer {index}",
            "policy": "made-up@1",
            "learnable": tap.learnable,
        }
    else:
        data |= {"signal": random_.choice(TEXTS[tap.signal]), "action": tap.action}
    event = {
        "specversion": "1.0",
        "id": f"e-{index}",
        "source": f"/chaos/{index % 3}",
        "type": "rluf.response.shown.v1" if tap.topic == "shown" else "rluf.reaction.v1",
        "time": iso(happened),
        "subject": tap.response,
        "partitionkey": tap.response,
        "datacontenttype": "application/json",
        "data": data,
    }
    return Line(
        topic="shown" if tap.topic == "shown" else "reactions",
        key=tap.response,
        value=json.dumps(event, ensure_ascii=False).encode(),
        at_ms=_ms(known_at),
        what="event",
    )


def _again(line: Line, known_at: datetime) -> Line:
    """The same event once more; never by a clock so far behind that it would be refused."""
    told = datetime.fromisoformat(json.loads(line.value)["time"])
    at_ms = _ms(max(known_at, told))
    return Line(topic=line.topic, key=line.key, value=line.value, at_ms=at_ms, what="duplicate")


def _malformed(index: int, reason: str, known_at: datetime, random_: random.Random) -> Line:
    value, headers = random_.choice(malformed.KINDS[reason])(index, known_at)
    return Line(
        topic="shown" if random_.random() < 0.3 else "reactions",
        key=f"bad-{index}",
        value=value,
        at_ms=_ms(known_at),
        what="malformed",
        reason=reason,
        headers=headers,
    )


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
