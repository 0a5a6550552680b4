"""Draw the examples that a model of one signal learns from.

An example is one response shown to one user; what came of it, features/outcomes.py says. Left out:
what may not be learned from, what is too young to say, what the guard quarantined, mis-taps and, if
asked, users who never used a button.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.config import FeaturesConfig
from features.outcomes import first_report_sql
from features.sampling import (
    Bools,
    Floats,
    Splits,
    Stratum,
    hash_share,
    split,
    thin_negatives,
    user_offsets,
)
from features.tables import TIME
from streams.events import Message
from streams.signals import Signal

EXAMPLES = pa.schema(
    [
        ("response_id", pa.string()),
        ("user_id", pa.string()),
        ("conversation_id", pa.string()),
        ("turn", pa.int32()),
        ("messages", pa.string()),  # JSON list of {role, content}: the conversation before
        ("response", pa.string()),
        ("policy", pa.string()),
        ("arm", pa.string()),
        ("shown_at", TIME),
        ("label", pa.int8()),  # 1: the signal stands
        ("split", pa.string()),  # train, calibration, eval
        ("half", pa.string()),  # a, b: by user, for models that must not share users
        ("kappa", pa.float64()),  # rate at which negatives like this row were kept; 1 if not train
        ("weight", pa.float64()),  # at most 1, less for users with many rows
        ("age_s", pa.float64()),  # time that a reaction had, at most the signal's window
        ("arrived", pa.float64()),  # share of reactions that come by that age; 1 if not measured
        ("user_offset", pa.float64()),  # logit of the user's earlier rate over everybody's
        ("prompt_chars", pa.int32()),
        ("response_chars", pa.int32()),
    ]
)
SPLITS = ("train", "calibration", "eval")
LENGTH_EDGES = (80, 320, 1280)
"""Lengths, in characters, that separate strata of responses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The exposures drawn, and how."""

    rows: pa.Table
    """Drawn exposures with label, split, half, kappa and weight."""
    splits: Splits
    strata: Sequence[Stratum]
    num_shown: int
    """Different exposures known, drawn or not."""
    left_out: Mapping[str, int]
    """By reason; each is counted once."""
    num_taken_back: int
    """Negatives that were positive for a while."""
    num_too_late: int
    """Exposures whose signal came after its window and counts for nothing."""
    num_missing: float
    """Loves of the rows drawn that are expected and have not come yet."""
    base_rate: float
    """Share of positives in the training split before negatives were thinned."""


def expose(
    connection: duckdb.DuckDBPyConnection, config: FeaturesConfig, signal: Signal
) -> pa.Table:
    """Each exposure once with what came of it, without its texts, sorted as EXAMPLES."""
    is_rater = {
        "shown": "true",
        "raters": "user_id IN (SELECT user_id FROM counted)",
    }[config.exposure]
    length = "length(response)"
    bucket = " + ".join(f"({length} >= {edge})::INTEGER" for edge in LENGTH_EDGES)
    return connection.sql(
        f"""
        WITH drawn_from AS (
            SELECT
                response_id, user_id, conversation_id, turn,
                concat_ws('/', surface, language, {bucket}) AS stratum, source, id
            FROM shown
            QUALIFY row_number() OVER (
                PARTITION BY response_id, user_id ORDER BY {first_report_sql()}) = 1)
        SELECT
            outcomes.*, conversation_id, turn, stratum, source, id,
            age_s < {config.maturity_s!r} AS is_young,
            coalesce(arrived < {config.maturity_share!r}, false) AS is_immature,
            {is_rater} AS is_rater
        FROM outcomes JOIN drawn_from USING (response_id, user_id)
        WHERE signal = '{signal.name}'
        ORDER BY shown_at, response_id, user_id"""
    ).to_arrow_table()


def draw(exposures: pa.Table, config: FeaturesConfig, signal: str) -> Draw:
    """Choose exposures and sides. Raises ValueError where too little is left."""
    stays = np.ones(exposures.num_rows, dtype=np.bool_)
    left_out: dict[str, int] = {}
    for reason, is_out in (
        ("not_learnable", ~_bools(exposures, "learnable")),
        ("young", _bools(exposures, "is_young")),
        ("immature", _bools(exposures, "is_immature")),
        ("quarantined", _bools(exposures, "quarantined")),
        ("mistap", _bools(exposures, "mistap")),
        ("never_rated", ~_bools(exposures, "is_rater")),
    ):
        left_out[reason] = int((stays & is_out).sum())
        stays &= ~is_out
    rows = exposures.filter(pa.array(stays))
    seen = f"{exposures.num_rows} exposures are known, {rows.num_rows} are left ({left_out})"
    if rows.num_rows == 0:
        raise ValueError(f"no examples of {signal!r}: {seen}")
    encoded = rows["user_id"].combine_chunks().dictionary_encode()
    users, user_of = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
    is_positive = _bools(rows, "stands")
    splits = split(
        users,
        user_of,
        rows["shown_at"].cast(pa.int64()).to_numpy(),
        eval_share=config.eval_share,
        calibration_share=config.calibration_share,
        seed=config.seed,
    )
    for name in SPLITS:
        in_split = splits.names == name
        num_positives, num_rows = int((in_split & is_positive).sum()), int(in_split.sum())
        if not 0 < num_positives < num_rows:
            raise ValueError(
                f"too few examples of {signal!r}: the {name} split has {num_positives} positives"
                f" and {num_rows - num_positives} negatives, needs at least one of each; {seen}"
            )
    kept, kappa, strata = _thin(rows, splits, is_positive, config)
    left_out["other_side_of_cut"] = int((splits.names == "").sum())
    left_out["thinned"] = int((splits.names != "").sum() - kept.sum())
    in_train = splits.names == "train"
    half = np.where(hash_share("half", config.seed, users) < 0.5, "a", "b")[user_of]
    weight = np.minimum(1.0, config.user_cap / np.bincount(user_of)[user_of])
    drawn = {
        "label": pa.array(is_positive.astype(np.int8)),
        "split": pa.array(splits.names.tolist()),
        "half": pa.array(half.tolist()),
        "kappa": pa.array(kappa),
        "weight": pa.array(weight),
    }
    for name, column in drawn.items():
        rows = rows.append_column(name, column)
    return Draw(
        rows=rows.filter(pa.array(kept)),
        splits=splits,
        strata=strata,
        num_shown=exposures.num_rows,
        left_out=left_out,
        num_taken_back=int((kept & _bools(rows, "taken_back")).sum()),
        num_too_late=int((kept & _bools(rows, "too_late")).sum()),
        num_missing=_missing(rows.filter(pa.array(kept))),
        base_rate=float(is_positive[in_train].mean()),
    )


def fill_in(
    connection: duckdb.DuckDBPyConnection,
    config: FeaturesConfig,
    signal: Signal,
    as_of: datetime,
    drawn: Draw,
) -> pa.Table:
    """Add texts, and what was known of the user before, to the drawn exposures."""
    # Here, because who only reads examples needs no Feast: 100 MB and a second in each process.
    from features.definitions import TRAINING_SERVICE
    from features.online import join_history

    rows = drawn.rows.append_column("row", pa.array(range(drawn.rows.num_rows), pa.int64()))
    connection.register("drawn", rows.select(["row", "source", "id"]))
    texts = connection.sql(
        "SELECT messages, response FROM drawn JOIN shown USING (source, id) ORDER BY row"
    ).to_arrow_table()
    connection.unregister("drawn")
    messages, responses = texts["messages"].to_pylist(), texts["response"].to_pylist()
    decode = msgspec.json.Decoder(list[Message]).decode
    # Feast joins at or before a time; what happened at the very moment of exposure is not history.
    entities = pa.table(
        {
            "user_id": rows["user_id"],
            "event_timestamp": pc.subtract(
                rows["shown_at"], pa.scalar(timedelta(microseconds=1), pa.duration("us"))
            ),
        }
    )
    past = join_history(config, connection, entities, TRAINING_SERVICE)
    age_s = (
        pc.subtract(pa.scalar(as_of.astimezone(UTC), TIME), rows["shown_at"])
        .cast(pa.int64())
        .to_numpy()
        / 1e6
    )
    added = {
        "messages": messages,
        "response": responses,
        "age_s": np.minimum(age_s, signal.window.total_seconds()),
        "arrived": rows["arrived"].fill_null(1.0).to_numpy(),
        "user_offset": user_offsets(
            past[f"num_{signal.name}"].fill_null(0).to_numpy(),
            past["num_shown"].fill_null(0).to_numpy(),
            p0=drawn.base_rate,
            strength=config.prior_strength,
        ),
        "prompt_chars": [sum(len(m.content) for m in decode(text)) for text in messages],
        "response_chars": [len(response) for response in responses],
    }
    columns = [
        pa.array(added[field.name], field.type)
        if field.name in added
        else rows[field.name].cast(field.type)
        for field in EXAMPLES
    ]
    return pa.Table.from_arrays(columns, schema=EXAMPLES)


def _thin(
    rows: pa.Table, splits: Splits, is_positive: Bools, config: FeaturesConfig
) -> tuple[Bools, Floats, list[Stratum]]:
    """Thin the negatives of the training split; the others stay at natural prevalence."""
    in_train = splits.names == "train"
    train = rows.filter(pa.array(in_train))
    names = [
        f"{r}:{u}"
        for r, u in zip(train["response_id"].to_pylist(), train["user_id"].to_pylist(), strict=True)
    ]
    kept_train, kappa_train, strata = thin_negatives(
        train["stratum"].to_pylist(),
        is_positive[in_train],
        hash_share("negatives", config.seed, names),
        positive_share=config.positive_share,
    )
    kept = splits.names != ""
    kept[in_train] = kept_train
    kappa = np.ones(rows.num_rows)
    kappa[in_train] = kappa_train
    return kept, kappa, strata


def _missing(rows: pa.Table) -> float:
    """Of n loves of an age by which a share F of them comes, n (1 - F) / F are still to come."""
    arrived = rows["arrived"].fill_null(1.0).to_numpy()
    came = arrived[_bools(rows, "stands") & (arrived > 0)]
    return float(np.sum((1.0 - came) / came))


def _bools(table: pa.Table, name: str) -> Bools:
    return np.asarray(table[name].to_numpy(), dtype=np.bool_)
