"""The rows of a snapshot as training reads them: chats, labels, and what the loss corrects for."""

# N rows

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.chat import Chat, chat_of

TURN_EDGES = ((0, "1"), (2, "2-3"), (5, "4-6"), (11, "7-12"))
"""Last turn (from 0) of each slice of conversation depth, and its name; later ones are "13+"."""


class ExampleSource(Protocol):
    """What training needs of a snapshot: its name, its signal, and its rows."""

    @property
    def hash(self) -> str: ...

    @property
    def signal(self) -> str: ...

    def examples(self, split: str | None = None) -> pa.Table: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows of one split, column by column, in the snapshot's order."""

    split: str
    chats: list[Chat]
    """The conversation so far and the reply as its last turn."""
    labels: npt.NDArray[np.float64]
    """1.0 where the signal was on, else 0.0."""
    user_ids: list[str]
    kappas: npt.NDArray[np.float64]
    """Rate in (0, 1] at which negatives of this row's stratum were kept."""
    weights: npt.NDArray[np.float64]
    arrived: npt.NDArray[np.float64]
    """Share in (0, 1] of the signal's reactions that come by each row's age: of as many loves as
    are predicted, so many are expected to be seen."""
    user_offsets: npt.NDArray[np.float64]
    """The user's own tendency, in logits: used by the loss, dropped when scoring."""
    lengths: npt.NDArray[np.float64]
    """Characters of the reply."""
    segments: Mapping[str, list[str]]
    """Slices to report on: name of the slice to its value on each row."""

    def __len__(self) -> int:
        return len(self.chats)

    def num_positives(self) -> int:
        return int(self.labels.sum())

    def user_numbers(self) -> npt.NDArray[np.int64]:
        """Each row's user as a number from 0, in order of first appearance."""
        return numbered(self.user_ids)

    def prompt_numbers(self) -> npt.NDArray[np.int64]:
        """The same of each row's prompt: the turns before the reply."""
        return numbered([json.dumps(chat[:-1]) for chat in self.chats])


def read_examples(
    source: ExampleSource, split: str, half: Literal["all", "a", "b"] = "all"
) -> Examples:
    """The rows of one split, and of one half of the users if asked.

    Raises ValueError where a label is missing altogether: nothing could be fitted or measured.
    """
    table = source.examples(split)
    if half != "all":
        table = table.filter(pc.equal(table["half"], half))
    columns = table.to_pydict()
    labels = np.array(columns["label"], dtype=np.float64)
    if not 0 < labels.sum() < len(labels):
        raise ValueError(
            f"split {split!r} (users: {half}) of snapshot {source.hash} needs rows of both labels, "
            f"it has {int(labels.sum())} positives in {len(labels)} rows"
        )
    lengths = np.array(columns["response_chars"], dtype=np.float64)
    return Examples(
        split=split,
        chats=[
            chat_of(json.loads(messages), response)
            for messages, response in zip(columns["messages"], columns["response"], strict=True)
        ],
        labels=labels,
        user_ids=columns["user_id"],
        kappas=np.array(columns["kappa"], dtype=np.float64),
        weights=np.array(columns["weight"], dtype=np.float64),
        arrived=np.array(columns["arrived"], dtype=np.float64),
        user_offsets=np.array(columns["user_offset"], dtype=np.float64),
        lengths=lengths,
        segments={
            "policy": [policy or "unnamed" for policy in columns["policy"]],
            "turn": [_turn_slice(turn) for turn in columns["turn"]],
            "length": _length_slices(lengths),
        },
    )


def numbered(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Each name as a number from 0, in order of first appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _turn_slice(turn: int) -> str:
    return next((name for last, name in TURN_EDGES if turn <= last), "13+")


def _length_slices(lengths: npt.NDArray[np.float64]) -> list[str]:
    """Thirds by the reply's length."""
    short, long = np.quantile(lengths, [1 / 3, 2 / 3])
    return ["short" if n <= short else "long" if n > long else "middle" for n in lengths]
