"""Goal: whatever copies of events there are, all that is folded from facts says the same.

Method: hypothesis draws facts whose ids come from a small pool, so that many are copies with
another time, another meaning or another user; some users are erased or quarantined. They are
appended in any order over several files, pushed now and then, and merged or not. Labels, tallies,
online rows and the rows as of every moment at which something happened must all be those of a plain
loop over the events, each taken once as it was first known. Feast costs half a second to open: the
many examples read the SQL that it is given, fewer go through Feast itself.
"""

import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.config import FeaturesConfig
from features.history import COUNTS, current_sql, history_sql
from features.online import features_as_of, join_history, online_features
from features.repair import repair_online
from features.store import FactStore
from features.tallies import Tallies, tallies_path
from features.views import connect
from streams.events import Erasure, Event, Reaction, Shown
from streams.reactions import ReactionState, fold
from tests.features.histories import at, erasure, facts_of, reaction, shown, verdict

USERS, RESPONSES, POLICIES = ("u1", "u2"), ("r1", "r2", "r3"), ("chat@1", "chat@2")
SECONDS = st.sampled_from((0, 5, 9, 15, 20, 60, 4000))
KNOWN = st.sampled_from((0, 1, 10, 30, 5000, 100_000)).map(at)
WEEK = timedelta(days=7)
"""How long an exposure may be answered with some signal."""
ID = st.sampled_from(("e1", "e2", "e3", "e4", "e5"))
SOURCE = st.sampled_from(("/a", "/b"))


@st.composite
def facts(draw: st.DrawFn) -> Event:
    """A fact of any kind; its id says nothing of what it says."""
    user_id, seconds = draw(st.sampled_from(USERS)), draw(SECONDS)
    response_id = draw(st.sampled_from(RESPONSES))
    kind = draw(st.sampled_from(("shown", "shown", "reaction", "reaction", "reaction", "other")))
    fields: dict[str, object] = {"known_at": draw(KNOWN), "id": draw(ID), "source": draw(SOURCE)}
    if kind == "shown":
        policy = draw(st.sampled_from(POLICIES))
        learnable = draw(st.sampled_from((True, True, True, False)))
        return shown(response_id, user_id, seconds, policy=policy, learnable=learnable, **fields)
    if kind == "reaction":
        signal = draw(st.sampled_from(("love", "dislike")))
        action = draw(st.sampled_from(("add", "add", "remove")))
        return reaction(response_id, action, seconds, user_id=user_id, signal=signal, **fields)
    if draw(st.booleans()):
        return msgspec.structs.replace(erasure(user_id, seconds), known_at=fields["known_at"])
    ruling = draw(st.sampled_from(("quarantine", "quarantine", "release")))
    return verdict(user_id, ruling, seconds, since=draw(SECONDS), **fields)


HISTORIES = st.lists(facts(), min_size=3, max_size=25)


def first_copies(events: Sequence[Event]) -> list[Shown | Reaction]:
    """Each exposure and reaction that was not erased, once, as it was first known."""
    erased: dict[str, datetime] = {}
    for event in events:
        if isinstance(event, Erasure):
            erased[event.user_id] = max(erased.get(event.user_id, at(-1)), event.occurred_at)
    copies = [
        event
        for event in events
        if isinstance(event, Shown | Reaction)
        and not event.occurred_at <= erased.get(event.user_id, at(-1))
    ]
    first: dict[tuple[object, ...], Shown | Reaction] = {}
    for event in sorted(copies, key=told_apart):
        first.setdefault((type(event), event.user_id, event.source, event.id), event)
    return list(first.values())


def told_apart(event: Shown | Reaction) -> tuple[object, ...]:
    """What orders copies: when they were known, then what they say."""
    if isinstance(event, Shown):
        said: tuple[object, ...] = (event.policy, event.learnable)
    else:
        said = (event.signal, event.action)
    return event.known_at, event.occurred_at, event.response_id, *said


def states(events: Sequence[Shown | Reaction]) -> dict[tuple[str, str, str], ReactionState]:
    """The fold of the reactions among these events."""
    found: dict[tuple[str, str, str], ReactionState] = {}
    for event in events:
        if isinstance(event, Reaction):
            key = event.response_id, event.user_id, event.signal
            found[key] = fold(found.get(key, ReactionState()), event)
    return found


def is_covered(event: Reaction, standing: Sequence[tuple[str, str, datetime]]) -> bool:
    return any(
        user == event.user_id and response in ("", event.response_id) and since <= event.occurred_at
        for user, response, since in standing
    )


def counts(
    events: Sequence[Shown | Reaction], key: str, until: datetime
) -> dict[str, dict[str, int]]:
    """What stands of each user or policy at a time, by a loop over all events."""
    exposed: dict[tuple[str, str], list[Shown]] = {}
    for event in events:
        if isinstance(event, Shown):
            exposed.setdefault((event.response_id, event.user_id), []).append(event)
    standing = states([e for e in events if isinstance(e, Shown) or e.occurred_at <= until])
    found: dict[str, dict[str, int]] = {}
    for (response_id, user_id), reports in exposed.items():
        shown_at = min(report.occurred_at for report in reports)
        if shown_at > until or not all(report.learnable for report in reports):
            continue
        policies = {report.policy for report in reports if report.occurred_at == shown_at}
        name = user_id if key == "user_id" else "|".join(sorted(policies))
        row = found.setdefault(name, dict.fromkeys(COUNTS, 0))
        row["num_shown"] += 1
        for signal in ("love", "dislike"):
            state = standing.get((response_id, user_id, signal), ReactionState())
            row[f"num_{signal}"] += state.is_on()
    return found


def is_told_apart(events: Sequence[Shown | Reaction]) -> bool:
    """Whether no two reports of one exposure at one instant differ by their policy."""
    seen: dict[tuple[object, ...], set[str]] = {}
    for event in events:
        if isinstance(event, Shown):
            place = event.response_id, event.user_id, event.occurred_at
            seen.setdefault(place, set()).add(event.policy)
    return all(len(policies) == 1 for policies in seen.values())


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]], bool]:
    """A history, how it reaches the store, and whether files are merged in between."""
    events = draw(HISTORIES)
    order = draw(st.permutations([*events, *draw(st.lists(st.sampled_from(events), max_size=5))]))
    size = draw(st.integers(1, 10))
    return (
        events,
        [order[n : n + size] for n in range(0, len(order), size)],
        draw(st.booleans()),
    )


def counted_of(root: Path, events: Sequence[Event]) -> list[Shown | Reaction]:
    """The first copies without those reactions that a standing verdict covers."""
    with connect(root) as connection:
        standing = connection.sql("SELECT user_id, response_id, since FROM quarantine").fetchall()
    return [
        event
        for event in first_copies(events)
        if isinstance(event, Shown) or not is_covered(event, standing)
    ]


def that_count(root: Path, events: Sequence[Event]) -> list[Shown | Reaction]:
    """The same without the exposures that a standing verdict covers, answered or not."""
    with connect(root) as connection:
        standing = connection.sql("SELECT user_id, response_id, since FROM quarantine").fetchall()
    return [
        event
        for event in counted_of(root, events)
        if isinstance(event, Reaction) or not is_barred(event, standing)
    ]


def is_barred(event: Shown, standing: Sequence[tuple[str, str, datetime]]) -> bool:
    """Whether the exposure could still be answered when a ruling on its user began."""
    return any(
        user == event.user_id
        and (response == event.response_id or (not response and since <= event.occurred_at + WEEK))
        for user, response, since in standing
    )


def moments(events: Sequence[Shown | Reaction]) -> list[datetime]:
    return sorted({event.occurred_at for event in events})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(delivery=deliveries())
def test_labels_and_histories_are_those_of_each_event_once(delivery):
    events, portions, is_merged = delivery
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = FactStore(FeaturesConfig(root=root), clock=lambda: 0.0)
        for portion in portions:
            store.append(facts_of(portion))
            if is_merged:
                store.compact()
        counted, telling = counted_of(root, events), that_count(root, events)
        with connect(root) as connection:
            labels = connection.sql(
                "SELECT response_id, user_id, signal, value FROM labels"
                " WHERE added_at IS NOT NULL OR removed_at IS NOT NULL"
            ).fetchall()
            histories = {
                key: connection.sql(history_sql(key, strength=20.0, rate=0.05))
                .to_arrow_table()
                .to_pylist()
                for key in ("user_id", "policy")
            }
            current = {
                key: connection.sql(current_sql(key, strength=20.0, rate=0.05))
                .to_arrow_table()
                .to_pylist()
                for key in ("user_id", "policy")
            }
    assert sorted(labels) == sorted((*key, s.is_on()) for key, s in states(counted).items())
    keys = ("user_id", "policy") if is_told_apart(counted) else ("user_id",)
    for key in keys:
        for moment in moments(counted):
            rows: dict[str, dict[str, int]] = {}
            for row in histories[key]:
                if row["event_timestamp"] <= moment:  # In order of time: the latest stays.
                    rows[row[key]] = {name: row[name] for name in COUNTS}
            assert rows == counts(telling, key, moment)
        last = {row[key]: {name: row[name] for name in COUNTS} for row in current[key]}
        assert last == counts(telling, key, at(10**7))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(delivery=deliveries())
def test_online_rows_tallies_repair_and_feast_are_those_of_each_event_once(delivery):
    events, portions, is_merged = delivery
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        config = FeaturesConfig(root=root)
        store = FactStore(config, clock=lambda: 0.0)
        for portion in portions:
            store.append(facts_of(portion))
            store.push()
            if is_merged:
                store.compact()
        counted = that_count(root, events)
        expected = {key: counts(counted, key, at(10**7)) for key in ("user_id", "policy")}
        assert online(root) == expected["user_id"]
        if is_told_apart(counted):
            tallies = Tallies(tallies_path(root)).by_policy().to_pylist()
            found = {row["policy"]: {name: row[name] for name in COUNTS} for row in tallies}
            assert found == expected["policy"]
        at_all = [(user, moment) for user in USERS for moment in moments(counted)]
        if at_all:
            joined = joined_by_feast(config, at_all)
            for (user, moment), row in zip(at_all, joined, strict=True):
                assert row == counts(counted, "user_id", moment).get(user)
        repair_online(config)
        assert online(root) == expected["user_id"]


def online(root: Path) -> dict[str, dict[str, object]]:
    rows = online_features(root, users=USERS)["users"]
    return {
        user: {name: row[name] for name in COUNTS}
        for user, row in rows.items()
        if row["num_shown"] is not None
    }


def joined_by_feast(
    config: FeaturesConfig, wanted: Sequence[tuple[str, datetime]]
) -> list[dict[str, object] | None]:
    times = pa.array([moment for _, moment in wanted], pa.timestamp("us", "UTC"))
    entities = pa.table({"user_id": [user for user, _ in wanted], "event_timestamp": times})
    with connect(config.root) as connection:
        rows = join_history(
            config, connection, entities, [f"user_history:{name}" for name in COUNTS]
        ).to_pylist()
    return [
        None if row["num_shown"] is None else {name: row[name] for name in COUNTS} for row in rows
    ]


def test_a_keyed_retry_whose_id_was_forgotten_changes_nothing_anywhere(tmp_path):
    """Love, its removal, then the love once more under its id with the time of its arrival."""
    config = FeaturesConfig(root=tmp_path)
    store = FactStore(config, clock=lambda: 0.0)
    for event in (
        shown("r1"),
        reaction("r1", "add", 10, id="keyed"),
        reaction("r1", "remove", 40),
        reaction("r1", "add", 100_000, id="keyed"),
    ):
        store.append(facts_of([event]))
        store.push()
    row = online_features(tmp_path, users=["u"])["users"]["u"]
    assert (row["num_shown"], row["num_love"]) == (1, 0)
    (then,) = features_as_of(config, users=["u"], at=at(200_000))
    assert then["num_love"] == 0
    with connect(tmp_path) as connection:
        assert connection.sql("SELECT value FROM labels").fetchall() == [(False,)]
    repair_online(config)
    assert online_features(tmp_path, users=["u"])["users"]["u"]["num_love"] == 0


def test_a_copy_that_comes_later_changes_nothing_although_it_says_an_earlier_time(tmp_path):
    removal = reaction("r1", "remove", 60, id="keyed")
    earlier = reaction("r1", "remove", 2, id="keyed", known_at=at(9000))
    store = FactStore(FeaturesConfig(root=tmp_path))
    store.append(facts_of([shown("r1"), reaction("r1", "add", 10), removal, earlier]))
    with connect(tmp_path) as connection:
        assert connection.sql("SELECT value FROM labels").fetchall() == [(False,)]


def test_nobody_displaces_what_another_user_did_under_the_same_id(tmp_path):
    mine = reaction("r1", "add", 10, id="taken", user_id="u")
    theirs = reaction("r1", "add", 5, id="taken", user_id="mallory")
    store = FactStore(FeaturesConfig(root=tmp_path))
    store.append(facts_of([shown("r1"), theirs, mine]))
    with connect(tmp_path) as connection:
        found = connection.sql("SELECT user_id FROM labels WHERE value ORDER BY ALL").fetchall()
    assert found == [("mallory",), ("u",)]


def test_an_online_row_of_whom_nothing_may_be_learned_from_any_more_goes(tmp_path):
    store = FactStore(FeaturesConfig(root=tmp_path), clock=lambda: 0.0)
    store.append(facts_of([shown("r1"), shown("r2", "v")]))
    store.push()
    assert online_features(tmp_path, users=["u"])["users"]["u"]["num_shown"] == 1
    store.append(facts_of([shown("r1", id="again", seconds=5, learnable=False)]))
    store.push()
    found = online_features(tmp_path, users=["u", "v"], policies=["chat@1"])
    assert found["users"]["u"]["num_shown"] is None
    assert found["users"]["v"]["num_shown"] == found["policies"]["chat@1"]["num_shown"] == 1
