"""What was true all along: opened at the end, for the report.

The ceiling of any P[Love] is how well the true probabilities themselves rank the labels: they too
miss the draw of the reaction. `auroc_user` knows the user; `auroc_text` only what text can tell.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.ledger import read_lines
from simulator.live import truth_of
from simulator.rehearse import rehearse

BOOTSTRAP_SAMPLES = 300
Row = Mapping[str, object]


def open_sealed(ledger: Path, sealed: Path) -> dict[str, object]:
    """The report over one live run; labels are folded from the acknowledged calls."""
    loved = net_loves(read_lines(ledger))
    shown = {line["response_id"] for line in read_lines(ledger) if line["kind"] == "shown"}
    rows = [row for row in read_lines(sealed) if row["response_id"] in shown]
    labels = [row["response_id"] in loved for row in rows]
    return report(rows, labels)


def open_rehearsal(num_users: int, seed: int) -> dict[str, object]:
    """The same over users who talk with the grammar's own baseline: the natural rates."""
    rows: list[Row] = []
    for conversation, heard in rehearse(num_users, seed):
        user = conversation.user
        rows.append(
            {
                "model": "grammar baseline",
                "user_id": user.id,
                "conversation_id": conversation.id,
                **truth_of(user, heard),
            }
        )
    return report(rows, [bool(row["is_loved"]) for row in rows])


def net_loves(lines: Iterable[Row]) -> set[object]:
    """Responses whose love is on at the end: each was added and not removed after that."""
    on: set[object] = set()
    for line in lines:
        if line["kind"] == "feedback" and line["signal"] == "love":
            if line["action"] == "add":
                on.add(line["response_id"])
            else:
                on.discard(line["response_id"])
    return on


def report(rows: Sequence[Row], labels: Sequence[bool]) -> dict[str, object]:
    """Ceilings over all rows, and the sealed means of each model that answered.

    Raises ValueError where there are no rows.
    """
    if not rows:
        raise ValueError("no replies to report on: the sealed file and the ledger share none")
    loved = np.array(labels, dtype=bool)
    users = np.array([str(row["user_id"]) for row in rows])
    by_model: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_model[str(row["model"])].append(number)
    return {
        "replies": len(rows),
        "users": len(set(users)),
        "love_rate": _rounded(loved.mean()),
        "hostile_user_share": _share_of_users(rows, "is_hostile"),
        "ceilings": {
            name: _auroc_with_interval(_column(rows, column), loved, users)
            for name, column in (("auroc_user", "p_user"), ("auroc_text", "p_text"))
        },
        "models": {
            model: _means([rows[i] for i in numbers], loved[numbers])
            for model, numbers in sorted(by_model.items())
        },
    }


def auroc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties counting half; NaN without both."""
    num_positive = int(labels.sum())
    num_negative = len(labels) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(count)
    mean_rank = last_rank - (count - 1) / 2
    rank_sum = float(mean_rank[place][labels].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def _auroc_with_interval(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], users: NDArray[np.str_]
) -> dict[str, float]:
    """AUROC with its 95 % interval over draws of users."""
    dice = np.random.default_rng(0)
    _, owner = np.unique(users, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    rows_of = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    draws = []
    for _ in range(BOOTSTRAP_SAMPLES):
        chosen = dice.integers(0, len(rows_of), len(rows_of))
        numbers = np.concatenate([rows_of[number] for number in chosen])
        draws.append(auroc(scores[numbers], labels[numbers]))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    value = auroc(scores, labels)
    return {"value": _rounded(value), "low": _rounded(low), "high": _rounded(high)}


def _means(rows: Sequence[Row], loved: NDArray[np.bool_]) -> dict[str, object]:
    """Sealed means of one model's replies."""
    farewell = np.array([row["intent"] == "farewell" for row in rows])
    mischief = np.array([row["intent"] == "mischief" for row in rows])
    closes = _column(rows, "closer") > 0
    p_love = _column(rows, "p_love")
    conversations = {row["conversation_id"] for row in rows}
    return {
        "replies": len(rows),
        "love_rate": _rounded(loved.mean()),
        "p_love": _rounded(p_love.mean()),
        "p_love_error": _rounded(p_love.std() / np.sqrt(len(rows))),
        "p_text": _rounded(_column(rows, "p_text").mean()),
        "utility": _rounded(_column(rows, "utility").mean()),
        "warmth": _rounded(_column(rows, "warmth").mean()),
        "help": _rounded(_column(rows, "help").mean()),
        "words": _rounded(_column(rows, "num_words").mean()),
        "unprompted_closer_rate": _rate(closes, ~farewell),
        "farewell_closer_rate": _rate(closes, farewell),
        "unsafe_on_mischief_rate": _rate(_column(rows, "is_unsafe") > 0, mischief),
        "unsafe_elsewhere_rate": _rate(_column(rows, "is_unsafe") > 0, ~mischief),
        "turns_per_conversation": _rounded(len(rows) / len(conversations)),
    }


def _column(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _share_of_users(rows: Sequence[Row], name: str) -> float:
    of_user = {row["user_id"]: bool(row[name]) for row in rows}
    return _rounded(sum(of_user.values()) / len(of_user))


def _rate(is_so: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return _rounded(is_so[among].mean()) if among.any() else None


def _rounded(value: float) -> float:
    return round(float(value), 4)
