"""Find reactions that are no honest opinion: rules over the set of facts, and what they mean.

A rule names an account, a day of a user, or a response, never only what was praised of it: what is
left out may not depend on the outcome, or the twins that nobody praised would stay and teach that
such responses are not loved.

To add a rule, write a function of (GuardFacts, GuardConfig) and add a row to RULES. A rule without
its inputs (no exposures, no networks) finds nothing. Thresholds are data: the section [guard] of a
recipe. docs/guard.md says how to read and reverse a ruling.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.guard.facts import (
    US_PER_HOUR,
    US_PER_S,
    GuardFacts,
    Longs,
)
from streams.guard.graph import components, pairs_of
from streams.guard.hits import Hit, count_runs, days_of, first_seen, of_days, of_exposure, of_tap
from streams.guard.ranges import RANGES, check, check_pattern
from streams.guard.text import copied_share
from streams.signals import SIGNALS

PRAISE = tuple(sorted(signal.name for signal in SIGNALS.values() if signal.polarity > 0))
MAD_TO_SD = 1.4826
"""Standard deviation of a normal law over its median absolute deviation."""

LONG_PROMPT = 2
"""A prompt shorter than the share asked for, over this, cannot hold so much of the response."""
ALWAYS_SPREADS = 2
"""Robust deviations above the middle that still count as usual."""
ALWAYS_PEER_SHOWN_MIN = 5
"""Exposures from which a user's share says something about what is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """The dials of the guard."""

    rules: tuple[str, ...] = ()
    """The rules in force; empty: all of RULES."""
    user_cap: int = 100
    """Praise with one signal, of what was shown to one user in one UTC day, above which that day is
    left out."""
    always_shown_min: int = 25
    """Exposures below which nobody is said to praise everything."""
    always_share: float = 0.9
    """Share of exposures praised from which somebody may be said so."""
    always_p_max: float = 1e-5
    """Largest binomial tail, against what is usual for people here, that is a finding."""
    burst_taps: int = 15
    """Praised responses of one user within the burst's window that no hand can do."""
    burst_window_s: float = 10.0
    """That window, in seconds."""
    network_cap: int = 400
    """The same of one network, above which that day of its users is left out; raise it for a large
    campus."""
    together_delta_s: float = 60.0
    """Reactions nearer than this, in seconds, to one response or rare prompt are made together."""
    together_times: int = 4
    """How many times two accounts must have met."""
    together_share: float = 0.5
    """Share of the praise of both that these meetings are."""
    together_accounts: int = 4
    """Accounts that must hang together."""
    together_neighbours: int = 100
    """Later reactions that each is held against within the time: bounds the work."""
    together_prompt_users: int = 50
    """A prompt of more users than this is no sign of anything."""
    fresh_accounts: int = 20
    """New accounts in one hour whose first act is praise, below which there is no wave."""
    fresh_z: float = 6.0
    """Robust deviations above what is usual for an hour."""
    fresh_hours: int = 48
    """Hours that must have been seen; in the first 24 everybody looks new, and nobody is found."""
    fresh_share: float = 0.8
    """Of such a wave only accounts that praised at least this share of what they saw."""
    dictated_share: float = 0.8
    """Share of the response's word n-grams found in the user's prompt."""
    dictated_n: int = 3
    """Words in an n-gram."""
    dictated_words: int = 8
    """Words below which a response is too short to be looked at."""
    dictated_orders: str = (
        r"(?i)\b(repeat after me|(say|write|reply|answer|respond)( with)? exactly|"
        r"repeat (this|the following)|(say|reply|respond) (only|with only))\b"
    )
    """Prompts that order the reply's words (RE2); empty: none."""
    house_accounts: tuple[str, ...] = ()
    """Patterns (`*`, `?`) of the house's own user ids: their praise is self-praise."""
    begging: str = (
        r"(?i)\b((please|pls) (give|leave|tap|press|hit|send|add)|"
        r"(tap|press|hit|click|smash) (the|that)|don'?t forget to)\b"
        r"[^.!?\n]{0,40}(❤|👍|\b(heart|hearts|like|love|thumbs?[- ]up|upvote)\b)"
    )
    """Responses that ask for the reaction (RE2); empty: none."""

    def is_asked(self, rule: str) -> bool:
        """Whether the rule judges."""
        return not self.rules or rule in self.rules

    def __post_init__(self) -> None:
        unknown = set(self.rules) - set(RULES)
        if unknown:
            raise ValueError(f"guard.rules: {sorted(unknown)}; allowed are {sorted(RULES)}")
        for name, value in asdict(self).items():
            if name in RANGES:
                check(name, value)
        check_pattern("dictated_orders", self.dictated_orders)
        check_pattern("begging", self.begging)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way to tell praise that is no opinion."""

    name: str
    version: int
    means: str
    find: Callable[[GuardFacts, GuardConfig], Iterable[Hit]]


def user_cap(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """Days on which one user praised more with one signal than is believed: the whole day."""
    taps = facts.firsts
    day = days_of(facts, taps)
    order = np.lexsort((taps.signal, day, taps.user))
    user, day, signal = taps.user[order], day[order], taps.signal[order]
    starts, num = count_runs(user, day, signal)
    most: dict[tuple[int, int], int] = {}
    for start, praised in zip(starts.tolist(), num.tolist(), strict=True):
        if praised > config.user_cap:
            key = int(user[start]), int(day[start])
            most[key] = max(praised, most.get(key, 0))
    yield from of_days(facts, most, allowed=config.user_cap)


def network_cap(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """Days on which one network praised more than is believed: the whole day of its users.

    Of all who ever praised from it, not only of those who did on that day: else the users of such a
    day who praised would be left out, and those who did not would stay.
    """
    taps = facts.firsts.where(facts.firsts.network >= 0)
    day = days_of(facts, taps)
    order = np.lexsort((day, taps.network))
    network, day = taps.network[order], day[order]
    starts, num = count_runs(network, day)
    most: dict[tuple[int, int], int] = {}
    for start, praised in zip(starts.tolist(), num.tolist(), strict=True):
        if praised > config.network_cap:
            for user in np.unique(taps.user[taps.network == network[start]]).tolist():
                key = int(user), int(day[start])
                most[key] = max(praised, most.get(key, 0))
    yield from of_days(facts, most, allowed=config.network_cap)


def always(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """Users who praise nearly all they are shown, which is rare here."""
    num = len(facts.users)
    shown = np.bincount(facts.exposures.user, minlength=num)
    asked = np.flatnonzero(shown >= config.always_shown_min)
    peers = np.flatnonzero(shown >= ALWAYS_PEER_SHOWN_MIN)
    if not len(asked):
        return
    from scipy.special import bdtrc  # Here: it takes memory that a worker without peers spares.

    since = first_seen(facts)
    for signal, name in enumerate(facts.signals):
        is_one = (facts.firsts.signal == signal) & (facts.firsts.exposure >= 0)
        praised = np.bincount(facts.firsts.user[is_one], minlength=num)
        share = praised[asked] / shown[asked]
        # Attackers raise the upper half, so the spread is taken from the half below the middle.
        shares = praised[peers] / shown[peers]
        middle = float(np.median(shares))
        spread = MAD_TO_SD * float(np.median(middle - shares[shares <= middle]))
        usual = max(float(praised.sum() / shown.sum()), middle + ALWAYS_SPREADS * spread)
        for user in asked[share >= config.always_share].tolist():
            n, k = int(shown[user]), int(praised[user])
            tail = float(bdtrc(k - 1, n, min(usual, 1.0))) if k else 1.0  # P(X >= k)
            if tail <= config.always_p_max:
                seen: dict[str, str | int | float] = {"signal": name, "shown": n, "praised": k}
                seen |= {"usual": usual, "p": tail}
                yield Hit(user, -1, int(since[user]), seen)


def burst(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """Users who praised more responses within seconds than a hand can."""
    taps = facts.firsts
    order = np.lexsort((taps.response, taps.at, taps.user))
    taps = taps.where(order)
    taps = taps.where(
        np.append(True, np.diff(taps.user * len(facts.responses) + taps.response) != 0)[
            : len(order)
        ]
    )
    ahead = config.burst_taps - 1
    user, at = taps.user, taps.at
    if len(user) <= ahead:
        return
    span = at[ahead:] - at[:-ahead]
    is_hit = (user[ahead:] == user[:-ahead]) & (span <= config.burst_window_s * US_PER_S)
    seen: set[int] = set()
    for row in np.flatnonzero(is_hit).tolist():
        if int(user[row]) not in seen:
            seen.add(int(user[row]))
            numbers = {"taps": config.burst_taps, "seconds": float(span[row]) / US_PER_S}
            limits = {"allowed_seconds": config.burst_window_s}
            yield Hit(int(user[row]), -1, int(at[row]), numbers | limits)


def together(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """Accounts that praise the same things at the same moments, again and again."""
    by_response, by_prompt = facts.firsts, facts.firsts.where(facts.firsts.exposure >= 0)
    prompts = facts.exposures.prompt
    code = np.zeros(0, np.int64)
    if len(by_prompt.user):
        texts = pc.utf8_trim_whitespace(pc.utf8_lower(prompts))
        texts = pc.replace_substring_regex(texts, r"\s+", " ")
        names = pc.unique(texts)
        code = pc.index_in(texts, value_set=names).to_numpy().astype(np.int64)
        code = code[by_prompt.exposure]
        is_said = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)[by_prompt.exposure]
        pairs = np.unique(np.stack((code, by_prompt.user)), axis=1)
        users_of = np.bincount(pairs[0], minlength=len(names))
        rare = (users_of[code] <= config.together_prompt_users) & is_said
        by_prompt, code = by_prompt.where(rare), code[rare]
    edges_a, edges_b, met = [], [], np.zeros(len(facts.users), np.int64)
    activity = np.bincount(facts.firsts.user, minlength=len(facts.users))
    for taps, group in ((by_response, by_response.response), (by_prompt, code)):
        one, other, times = pairs_of(
            group,
            taps.user,
            taps.at,
            delta_us=int(config.together_delta_s * US_PER_S),
            neighbours_max=config.together_neighbours,
        )
        most = np.maximum(activity[one], activity[other]) if len(one) else one
        keep = (times >= config.together_times) & (times >= config.together_share * most)
        edges_a.append(one[keep])
        edges_b.append(other[keep])
        np.maximum.at(met, one[keep], times[keep])
        np.maximum.at(met, other[keep], times[keep])
    since = first_seen(facts)
    for members in components(np.concatenate(edges_a), np.concatenate(edges_b)):
        if len(members) >= config.together_accounts:
            for user in members:
                numbers = {"accounts": len(members), "met": int(met[user])}
                yield Hit(user, -1, int(since[user]), numbers | {"praise": int(activity[user])})


def fresh(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """A wave of new accounts that begin with praise, far above what is usual for an hour."""
    shown, taps = facts.exposures, facts.firsts
    if not len(shown.user) or not len(taps.user):
        return
    num = len(facts.users)
    begun = np.full(num, np.iinfo(np.int64).max)
    np.minimum.at(begun, shown.user, shown.at)
    first_praise = _first_praise(facts)
    # The first act is praise where it came within the hour and before a second exposure.
    is_later = shown.at > begun[shown.user]
    second = np.full(num, np.iinfo(np.int64).max)
    np.minimum.at(second, shown.user[is_later], shown.at[is_later])
    is_known = (begun != np.iinfo(np.int64).max) & (first_praise >= begun)
    is_first = is_known & (first_praise <= np.minimum(second, begun + US_PER_HOUR))
    hour0, hour1 = int(shown.at.min()) // US_PER_HOUR, int(shown.at.max()) // US_PER_HOUR
    if hour1 - hour0 + 1 < config.fresh_hours or hour1 - hour0 > 24 * 366 * 50:
        return
    hour = begun // US_PER_HOUR - hour0
    counts = np.bincount(hour[is_first], minlength=hour1 - hour0 + 1)
    usual = counts[24:]
    middle = float(np.median(usual))
    spread = max(MAD_TO_SD * float(np.median(np.abs(usual - middle))), math.sqrt(middle), 1.0)
    limit = max(config.fresh_accounts, middle + config.fresh_z * spread)
    rows = taps.exposure[taps.exposure >= 0]
    share = np.bincount(shown.user[np.unique(rows)], minlength=num) / np.maximum(
        np.bincount(shown.user, minlength=num), 1
    )
    is_wave = (counts >= limit) & (np.arange(len(counts)) >= 24)
    for user in np.flatnonzero(is_first & (share >= config.fresh_share)).tolist():
        if is_wave[hour[user]]:
            numbers = {"accounts": int(counts[hour[user]]), "usual": middle, "allowed": limit}
            yield Hit(user, -1, int(begun[user]), numbers)


def dictated(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """Responses whose words the user gave, or ordered, in the prompt; praised or not."""
    shown = facts.exposures
    rows = np.flatnonzero(pc.utf8_length(shown.text).to_numpy() > 0)
    if not len(rows):
        return
    prompts, texts = shown.prompt.take(pa.array(rows)), shown.text.take(pa.array(rows))
    # A prompt that holds most of a response cannot be much shorter than it.
    long = pc.utf8_length(prompts).to_numpy() >= (
        config.dictated_share * pc.utf8_length(texts).to_numpy() / LONG_PROMPT
    )
    ordered = np.zeros(len(rows), np.bool_)
    if config.dictated_orders:
        matches = pc.match_substring_regex(prompts, config.dictated_orders)
        ordered = matches.to_numpy(zero_copy_only=False)
    for place in np.flatnonzero(long | ordered).tolist():
        share = copied_share(
            prompts[place].as_py(),
            texts[place].as_py(),
            n=config.dictated_n,
            words_min=config.dictated_words,
        )
        if ordered[place] or share >= config.dictated_share:
            seen = {"copied": share, "allowed": config.dictated_share}
            yield of_exposure(facts, int(rows[place]), seen)


def self_praise(facts: GuardFacts, config: GuardConfig) -> Iterable[Hit]:
    """The house's own accounts and policies; responses that asked for praise, praised or not."""
    shown, taps = facts.exposures, facts.firsts
    policies = {name.partition("@")[0] for name in pc.unique(shown.policy).to_pylist()}
    policies |= set(pc.unique(shown.policy).to_pylist())
    since = first_seen(facts)
    for user in np.unique(np.concatenate((taps.user, shown.user))).tolist():
        name = facts.users[user].as_py()
        if name in policies or any(fnmatchcase(name, each) for each in config.house_accounts):
            yield Hit(user, -1, int(since[user]), {"account": "house"})
    if config.begging and len(shown.user):
        matches = pc.match_substring_regex(shown.text, config.begging)
        begs = np.flatnonzero(matches.to_numpy(zero_copy_only=False))
        for row in begs.tolist():
            yield of_exposure(facts, row, {"response": "asks for it"})
        asks = np.zeros(len(facts.responses), np.bool_)
        asks[shown.response[begs]] = True
        for row in np.flatnonzero(asks[taps.response] & (taps.exposure < 0)).tolist():
            yield of_tap(taps, row, {"response": "asks for it"})


RULES = {
    rule.name: rule
    for rule in (
        Rule(name="user_cap", version=2, means="more praise a day than is believed", find=user_cap),
        Rule(name="network_cap", version=2, means="too much of one network", find=network_cap),
        Rule(name="always", version=2, means="praises nearly everything shown", find=always),
        Rule(name="burst", version=1, means="faster than a hand", find=burst),
        Rule(name="together", version=2, means="accounts that move together", find=together),
        Rule(name="fresh", version=2, means="a wave of new accounts that praise", find=fresh),
        Rule(name="dictated", version=2, means="the prompt dictated the reply", find=dictated),
        Rule(name="self_praise", version=2, means="own accounts, or asked for", find=self_praise),
    )
}


def _first_praise(facts: GuardFacts) -> Longs:
    """When each user first praised, in microseconds; -1: never."""
    first = np.full(len(facts.users), -1, np.int64)
    first[facts.firsts.user[::-1]] = facts.firsts.at[::-1]  # Sorted by time: the first wins.
    return first
