"""Examples as known at a time, frozen under the hash of what they say.

    snapshots/<hash>/examples.parquet   EXAMPLES, sorted by shown_at, response_id, user_id
    snapshots/<hash>/manifest.json      what was taken, what was left out and why

The hash is that of the rows' values and of the dials: not of files, of the order or repetition of
events, of when we heard of them, or of the moment at which the snapshot was taken. Two moments
between which nothing was learned therefore name the same snapshot.

The guard looks first: what its rules find in the facts known at that time counts, also where its
verdict is no fact yet. So the examples follow from the facts, the dials and the guard's dials, and
not from when a worker last asked it. The guard's part stands in the manifest, beside the hash.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.config import FeaturesConfig
from features.examples import EXAMPLES, SPLITS, draw, expose, fill_in
from features.guarding import look
from features.offline import OFFLINE_STORES
from features.pending import apply_verdicts
from features.tables import TIME
from features.views import connect_store
from files.durable import (
    PARTIAL_AGE_S,
    PARTIAL_PREFIX,
    make_folder,
    remove_partial,
    sync_folder,
    write_all_durably,
)
from streams.events import GuardRuling, new_id
from streams.guard.rules import RULES, GuardConfig
from streams.signals import SIGNALS, Signal

logger = logging.getLogger(__name__)

VERSION = 2
"""Version of the examples' columns and of how they are drawn; part of the hash."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Frozen examples."""

    hash: str
    path: Path
    signal: str
    as_of: datetime
    """When these examples were first taken."""
    num_rows: int
    num_positives: int
    num_pending: int
    """Verdicts of the guard that counted then although they were no facts yet."""
    manifest: Mapping[str, Any]

    def examples(self, split: str | None = None) -> pa.Table:
        """The rows, or those of one split, with the columns of EXAMPLES."""
        if split is not None and split not in SPLITS:
            raise ValueError(f"split is {split!r}, must be one of {', '.join(SPLITS)}")
        chosen = None if split is None else [("split", "=", split)]
        return pq.read_table(self.path / "examples.parquet", filters=chosen)


def take_snapshot(
    config: FeaturesConfig, *, signal: str, as_of: datetime, guard: GuardConfig | None = None
) -> Snapshot:
    """Draw examples of a signal from the facts known at `as_of` and freeze them.

    What is drawn, and how, is said in features/examples.py and features/sampling.py. `guard` judges
    these facts first; without it, only verdicts that are facts count.
    Raises ValueError where a split would lack positives or negatives, saying what the store holds.
    """
    if signal not in SIGNALS:
        raise ValueError(f"signal is {signal!r}, must be one of {', '.join(SIGNALS)}")
    store = OFFLINE_STORES[config.offline_store](config)
    with connect_store(store, root=config.root, as_of=as_of) as connection:
        pending = () if guard is None else look(connection, config, guard, now=as_of)
        apply_verdicts(connection, pending)
        exposures = expose(connection, config, SIGNALS[signal])
        drawn = draw(exposures, config, signal)
        examples = fill_in(connection, config, SIGNALS[signal], as_of, drawn)
    settings = _settings(config, SIGNALS[signal])
    manifest = {
        "version": VERSION,
        "hash": _hash(examples, signal, settings),
        "signal": signal,
        "as_of": as_of.astimezone(UTC).isoformat(),
        "num_rows": examples.num_rows,
        "num_positives": pc.sum(examples["label"]).as_py(),
        "base_rate": drawn.base_rate,
        "splits": {name: _count(examples, name) for name in SPLITS},
        "cut_at": (EPOCH + timedelta(microseconds=drawn.splits.cut_us)).isoformat(),
        "shown_from": examples["shown_at"][0].as_py().isoformat(),
        "shown_to": examples["shown_at"][-1].as_py().isoformat(),
        "num_shown": drawn.num_shown,
        "left_out": drawn.left_out,
        "num_taken_back": drawn.num_taken_back,
        "num_too_late": drawn.num_too_late,
        "num_missing": round(drawn.num_missing, 3),
        "mature_from_s": _mature_from(exposures, config),
        "strata": [asdict(stratum) for stratum in drawn.strata],
        "settings": settings,
        "guard": None if guard is None else _look_of(config, guard, pending),
    }
    return _freeze(config.root.absolute() / "snapshots", examples, manifest)


def _mature_from(exposures: pa.Table, config: FeaturesConfig) -> float | None:
    """The age of the youngest exposure that is mature, in seconds; None where none is."""
    is_out = pc.or_(exposures["is_young"], exposures["is_immature"])
    youngest: float | None = pc.min(exposures.filter(pc.invert(is_out))["age_s"]).as_py()
    return None if youngest is None else round(youngest, 3)


def load_snapshot(path: Path) -> Snapshot:
    """Read a snapshot. Raises ValueError where its rows are not those that its hash names, or where
    it was taken by a program of another version."""
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    if manifest["version"] != VERSION:
        raise ValueError(
            f"{path} holds examples of version {manifest['version']}, this program reads {VERSION}:"
            f" take it anew, as of {manifest['as_of']}"
        )
    examples = pq.read_table(path / "examples.parquet")
    seen = _hash(examples, manifest["signal"], manifest["settings"])
    if seen != manifest["hash"]:
        raise ValueError(f"{path} was changed: it is named {manifest['hash']}, holds {seen}")
    return _snapshot(path, manifest)


def _freeze(folder: Path, examples: pa.Table, manifest: Mapping[str, Any]) -> Snapshot:
    """Put the snapshot in its place, whole; one that is there already stays."""
    place = folder / str(manifest["hash"])
    if not place.is_dir():
        make_folder(folder)
        remove_partial(folder, before_s=time.time() - PARTIAL_AGE_S)
        beside = folder / f"{PARTIAL_PREFIX}{new_id()}"
        sink = pa.BufferOutputStream()
        pq.write_table(examples, sink, compression="zstd")
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        write_all_durably(
            [
                (beside / "examples.parquet", sink.getvalue()),
                (beside / "manifest.json", text.encode()),
            ]
        )
        try:
            os.rename(beside, place)
        except OSError:
            if not place.is_dir():  # Another process was first with the same snapshot.
                raise
            shutil.rmtree(beside)
        sync_folder(folder)
        logger.info("snapshot taken", extra={"hash": manifest["hash"], "rows": examples.num_rows})
    return load_snapshot(place)


def _snapshot(path: Path, manifest: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        hash=manifest["hash"],
        path=path,
        signal=manifest["signal"],
        as_of=datetime.fromisoformat(manifest["as_of"]),
        num_rows=manifest["num_rows"],
        num_positives=manifest["num_positives"],
        num_pending=sum(_pending(manifest).values()),
        manifest=manifest,
    )


def _settings(config: FeaturesConfig, signal: Signal) -> dict[str, Any]:
    """The dials that the examples depend on."""
    return {
        "maturity_s": config.maturity_s,
        "maturity_share": config.maturity_share,
        "exposure": config.exposure,
        "eval_share": config.eval_share,
        "calibration_share": config.calibration_share,
        "positive_share": config.positive_share,
        "user_cap": config.user_cap,
        "prior_strength": config.prior_strength,
        "seed": config.seed,
        "window_s": signal.window.total_seconds(),
        "mistap_s": signal.mistap.total_seconds(),
    }


def _look_of(
    config: FeaturesConfig, guard: GuardConfig, pending: Sequence[GuardRuling]
) -> dict[str, Any]:
    """What the guard's look before this snapshot depends on, and what came of it; no user ids."""
    return {
        "pending": dict(sorted(Counter(f"{v.action} {v.rule}" for v in pending).items())),
        "rule_versions": {name: RULES[name].version for name in guard.rules or RULES},
        "window_s": config.guard_window_s,
        "facts_max": config.guard_facts_max,
        "settings": asdict(guard),
    }


def _pending(manifest: Mapping[str, Any]) -> Mapping[str, int]:
    """Verdicts by action and rule; none in snapshots from before the guard looked first."""
    guard = manifest.get("guard")
    counts: Mapping[str, int] = {} if guard is None else guard["pending"]
    return counts


def _hash(examples: pa.Table, signal: str, settings: Mapping[str, Any]) -> str:
    """SHA-256 of the values, column by column, whatever file or chunks they lie in."""
    digest = hashlib.sha256()
    head = {"version": VERSION, "signal": signal, "settings": settings}
    digest.update(json.dumps(head, sort_keys=True).encode())
    for field in EXAMPLES:
        column = examples[field.name].combine_chunks()
        digest.update(f"\n{field.name}:{field.type}:{len(column)}\n".encode())
        if pa.types.is_string(field.type):
            lengths = pc.binary_length(column).to_numpy().astype("<i4")
            digest.update(lengths.tobytes())
            digest.update("".join(column.to_pylist()).encode())
        elif field.type == TIME:
            digest.update(column.cast(pa.int64()).to_numpy().astype("<i8").tobytes())
        else:
            values = column.to_numpy()
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _count(examples: pa.Table, split: str) -> dict[str, int]:
    rows = examples.filter(pc.equal(examples["split"], split))
    return {
        "num_rows": rows.num_rows,
        "num_positives": pc.sum(rows["label"]).as_py() or 0,
        "num_users": pc.count_distinct(rows["user_id"]).as_py(),
    }
