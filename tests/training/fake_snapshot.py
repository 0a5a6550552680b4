"""Snapshots for tests of reward models: a made-up world in which we know what is loved, and why."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.examples import EXAMPLES

LOVED = ("kind", "warm", "sunny", "gentle")
PLAIN = ("kettle", "water", "spoon", "table", "boil", "wait", "cup", "lid")
WORDS = (*LOVED, *PLAIN, "Bye", "Sending", "love", "Take", "care", "sending", "hugs", "how", "why")
"""All that is said here."""
LOGIT_PLAIN, LOGIT_LOVED = -2.5, 1.5
"""Logits of love of a reply without and with a word of LOVED: 7.6 % and 82 %."""
LOVED_SHARE = 0.3
START = datetime(2026, 3, 1, tzinfo=UTC)
SPLIT_ROWS = {"train": 600, "calibration": 300, "eval": 400}
ROWS_OF_A_USER = 8


@dataclass(frozen=True)
class FakeSnapshot:
    """Frozen rows under a given name: what training needs of a snapshot."""

    table: pa.Table
    hash: str = "made-up"
    signal: str = "love"

    def examples(self, split: str | None = None) -> pa.Table:
        """The rows, or those of one split."""
        return (
            self.table if split is None else self.table.filter(pc.equal(self.table["split"], split))
        )

    def with_columns(self, **columns: Any) -> "FakeSnapshot":
        """The same rows with these columns in place of theirs."""
        table = self.table
        for name, values in columns.items():
            field = EXAMPLES.field(name)
            index = table.column_names.index(name)
            table = table.set_column(index, field, pa.array(values, field.type))
        return replace(self, table=table)

    def column(self, name: str) -> np.ndarray:
        """One column of all rows."""
        return np.array(self.table[name].to_pylist())


def make_snapshot(
    *, seed: int = 0, kappa: float = 1.0, split_rows: Mapping[str, int] = SPLIT_ROWS
) -> FakeSnapshot:
    """Replies of three to seven words, loved for a word of LOVED.

    Negatives of the train split are kept at rate `kappa`.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for split, num_rows in split_rows.items():
        while sum(row["split"] == split for row in rows) < num_rows:
            row = _row(rng, split, len(rows))
            is_thinned = split == "train" and kappa < 1
            if is_thinned and not row["label"] and rng.random() >= kappa:
                continue
            rows.append(row | {"kappa": kappa if is_thinned else 1.0})
    return FakeSnapshot(pa.Table.from_pylist(rows, schema=EXAMPLES))


def _row(rng: np.random.Generator, split: str, number: int) -> dict[str, Any]:
    words = rng.choice(PLAIN, size=rng.integers(3, 8)).tolist()
    is_loved = rng.random() < LOVED_SHARE
    if is_loved:
        words[rng.integers(len(words))] = str(rng.choice(LOVED))
    logit = LOGIT_LOVED if is_loved else LOGIT_PLAIN
    user = f"{split}-{number // ROWS_OF_A_USER}"
    return {
        "response_id": f"r{number}",
        "user_id": user,
        "conversation_id": f"c-{user}",
        "turn": number % ROWS_OF_A_USER,
        "messages": json.dumps([{"role": "user", "content": str(rng.choice(["how", "why"]))}]),
        "response": " ".join(words),
        "policy": "chat@1",
        "arm": "champion",
        "shown_at": START + timedelta(minutes=number),
        "label": int(rng.random() < 1 / (1 + np.exp(-logit))),
        "split": split,
        "half": "ab"[number // ROWS_OF_A_USER % 2],
        "weight": 1.0,
        "age_s": 86_400.0,
        "arrived": 1.0,
        "user_offset": 0.0,
        "prompt_chars": 3,
        "response_chars": len(" ".join(words)),
    }
