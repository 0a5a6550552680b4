"""The facts that the guard looks at, as sets and in numbers.

Whatever order the rows came in and however often: rows are made distinct and sorted first, and ids
become positions in sorted lists, so every rule sees the same arrays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Longs = npt.NDArray[np.int64]

US_PER_S = 1_000_000
US_PER_HOUR = 3600 * US_PER_S
US_PER_DAY = 24 * US_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """Reactions that were added, sorted by time; parallel arrays of one length."""

    user: Longs
    response: Longs
    signal: Longs
    """Position in GuardFacts.signals."""
    network: Longs
    """Position in GuardFacts.networks; -1: unknown."""
    at: Longs
    """occurred_at in microseconds since 1970."""
    exposure: Longs
    """Row of Exposures that was praised by the user it was shown to; -1: none."""

    def where(self, keep: npt.NDArray[np.bool_] | Longs) -> "Taps":
        """The taps that a mask or positions choose."""
        return Taps(
            user=self.user[keep],
            response=self.response[keep],
            signal=self.signal[keep],
            network=self.network[keep],
            at=self.at[keep],
            exposure=self.exposure[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    """What was shown to whom, one row for each (response, user); parallel arrays."""

    user: Longs
    response: Longs
    at: Longs
    policy: pa.Array
    prompt: pa.Array
    text: pa.Array


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFacts:
    """All that the rules look at."""

    users: pa.Array
    responses: pa.Array
    signals: tuple[str, ...]
    networks: pa.Array
    taps: Taps
    """Every add; taps of one user may repeat on one response at another time."""
    firsts: Taps
    """The first add of each (response, user, signal)."""
    exposures: Exposures


def facts_of(reactions: pa.Table, shown: pa.Table, signals: tuple[str, ...]) -> GuardFacts:
    """Number the facts; rows without a user or of other signals than `signals` are left out."""
    reactions = _strings(reactions, ("response_id", "user_id", "signal", "action", "network"))
    is_add = pc.and_(
        pc.equal(reactions["action"], "add"),
        pc.is_in(reactions["signal"], value_set=pa.array(signals, pa.string())),
    )
    reactions = reactions.filter(pc.and_(is_add, pc.not_equal(reactions["user_id"], "")))
    shown = _strings(shown, ("response_id", "user_id", "policy", "prompt", "response"))
    shown = shown.filter(pc.not_equal(shown["user_id"], ""))
    users = _names(reactions["user_id"], shown["user_id"])
    responses = _names(reactions["response_id"], shown["response_id"])
    networks = _names(reactions["network"].filter(pc.not_equal(reactions["network"], "")))
    exposures = _exposures(shown, users, responses)
    taps = Taps(
        user=_index(reactions["user_id"], users),
        response=_index(reactions["response_id"], responses),
        signal=_index(reactions["signal"], pa.array(signals, pa.string())),
        network=_index(reactions["network"], networks),
        at=_times(reactions["occurred_at"]),
        exposure=np.full(reactions.num_rows, -1, np.int64),
    )
    # Of repeated rows the one with a known network comes first; then the repeats go.
    order = np.lexsort((-taps.network, taps.signal, taps.response, taps.user, taps.at))
    taps = taps.where(order)
    taps = taps.where(_is_new(taps.at, taps.user, taps.response, taps.signal))
    taps = _with_exposures(taps, exposures, len(users))
    by_pair = np.lexsort((taps.at, taps.signal, taps.response, taps.user))
    pairs = taps.where(by_pair)
    first = np.sort(by_pair[_is_new(pairs.user, pairs.response, pairs.signal)])
    return GuardFacts(
        users=users,
        responses=responses,
        signals=signals,
        networks=networks,
        taps=taps,
        firsts=taps.where(first),
        exposures=exposures,
    )


def starts_of(keys: Longs) -> Longs:
    """Where each run of equal keys begins, for every row of it; keys are sorted."""
    starts = np.flatnonzero(_is_new(keys))
    return np.repeat(starts, np.diff(np.append(starts, len(keys))))


def _exposures(shown: pa.Table, users: pa.Array, responses: pa.Array) -> Exposures:
    """The earliest exposure of each (response, user); among equals the first in the alphabet."""
    keys = ("user_id", "response_id", "occurred_at", "policy", "prompt", "response")
    if shown.num_rows:
        user = _index(shown["user_id"], users)
        response = _index(shown["response_id"], responses)
        at = _times(shown["occurred_at"])
        order = np.lexsort((at, response, user))
        is_new = _is_new(user[order], response[order])
        if not is_new.all():  # Only where rows repeat do their texts have to be compared.
            order = pc.sort_indices(shown, sort_keys=[(key, "ascending") for key in keys])
            order = order.to_numpy().astype(np.int64)
            is_new = _is_new(user[order], response[order])
        shown = shown.take(pa.array(order[is_new]))
    return Exposures(
        user=_index(shown["user_id"], users),
        response=_index(shown["response_id"], responses),
        at=_times(shown["occurred_at"]),
        policy=shown["policy"],
        prompt=shown["prompt"],
        text=shown["response"],
    )


def _with_exposures(taps: Taps, exposures: Exposures, num_users: int) -> Taps:
    keys = exposures.response * num_users + exposures.user
    if not len(keys):
        return taps
    order = np.argsort(keys, kind="stable")
    wanted = taps.response * num_users + taps.user
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    row = order[place]
    return Taps(
        user=taps.user,
        response=taps.response,
        signal=taps.signal,
        network=taps.network,
        at=taps.at,
        exposure=np.where(keys[row] == wanted, row, -1).astype(np.int64),
    )


def _is_new(*keys: Longs) -> npt.NDArray[np.bool_]:
    """True where a row of sorted keys differs from the row before."""
    is_new = np.zeros(len(keys[0]), np.bool_)
    is_new[:1] = True
    for key in keys:
        is_new[1:] |= key[1:] != key[:-1]
    return is_new


def _strings(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    for name in names:
        place = table.column_names.index(name)
        column = pc.fill_null(table[name].cast(pa.string()), "").combine_chunks()
        table = table.set_column(place, name, column)
    return table


def _names(*columns: pa.ChunkedArray) -> pa.Array:
    chunks = [chunk for column in columns for chunk in column.chunks]
    names = pc.unique(pa.chunked_array(chunks, pa.string()))
    return names.take(pc.sort_indices(names))


def _index(column: pa.ChunkedArray, names: pa.Array) -> Longs:
    places = pc.fill_null(pc.index_in(column, value_set=names), -1)
    return np.asarray(places.to_numpy(), np.int64)


def _times(column: pa.ChunkedArray) -> Longs:
    return np.asarray(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(), np.int64)
