"""Accounts that move together: who reacted with whom, how often, and who hangs together.

No pair of accounts is looked at that never met: neighbours in time within a group are counted.
"""

import numpy as np
import numpy.typing as npt

from streams.guard.facts import Longs


def pairs_of(
    group: Longs, user: Longs, at: Longs, *, delta_us: int, neighbours_max: int
) -> tuple[Longs, Longs, Longs]:
    """Pairs of users (first, second, in how many groups) that were in one group within delta.

    Each row is held against at most `neighbours_max` rows after it, so that a crowd costs its
    size times that, never its square.
    """
    if not len(group):
        return _none(), _none(), _none()
    order = np.lexsort((user, at, group))
    group, user, at = group[order], user[order], at[order]
    _, inverse, sizes = np.unique(group, return_inverse=True, return_counts=True)
    keep = sizes[inverse] > 1
    group, user, at = group[keep], user[keep], at[keep]
    firsts, seconds, groups = [_none()], [_none()], [_none()]
    rows = np.arange(len(group), dtype=np.int64)
    for step in range(1, neighbours_max + 1):
        rows = rows[rows + step < len(group)]
        other = rows + step
        rows = rows[(group[rows] == group[other]) & (at[other] - at[rows] <= delta_us)]
        if not len(rows):
            break
        mine, theirs = user[rows], user[rows + step]
        firsts.append(np.minimum(mine, theirs))
        seconds.append(np.maximum(mine, theirs))
        groups.append(group[rows])
    met = np.stack((np.concatenate(firsts), np.concatenate(seconds), np.concatenate(groups)))
    met = met[:, met[0] != met[1]]
    if not met.shape[1]:
        return _none(), _none(), _none()
    met = _distinct(met)
    is_new = np.ones(met.shape[1], np.bool_)
    is_new[1:] = (met[0, 1:] != met[0, :-1]) | (met[1, 1:] != met[1, :-1])
    starts = np.flatnonzero(is_new)
    times = np.diff(np.append(starts, met.shape[1])).astype(np.int64)
    return met[0, starts], met[1, starts], times


def components(first: Longs, second: Longs) -> list[list[int]]:
    """The connected sets of users, each sorted, in order of their smallest."""
    if not len(first):
        return []
    # Here: most looks find no pair, and a worker that needs no SciPy is 34 MB smaller.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    users, place = np.unique(np.concatenate((first, second)), return_inverse=True)
    rows, columns = place[: len(first)], place[len(first) :]
    met = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(users), len(users)))
    num_sets, label = connected_components(met, directed=False)
    sets = [users[label == each].tolist() for each in range(num_sets)]
    return sorted(sets)


def _distinct(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sorted distinct columns of a (3, N) array."""
    rows = rows[:, np.lexsort((rows[2], rows[1], rows[0]))]
    is_new = np.ones(rows.shape[1], np.bool_)
    is_new[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
    return rows[:, is_new]


def _none() -> Longs:
    return np.zeros(0, np.int64)
