"""P[Love] beside what it must not fall behind: on simulated users, and on public sets of real ones.

    python -m benchmarks.plove                     # writes benchmarks/results/plove.json
    python -m benchmarks.plove --sets diasafety topicalchat --rows 3000 --table

Every model of a set learns from the same rows and is measured on the same rows of other groups
(users, questions or conversations, as the set has them), each with an interval over those groups.
`one mean` is what P[Love] read before: prompt and reply in one mean of layers 1 and 2. `reply` and
`apart` read the reply's mean, and prompt's and reply's; `apart, all layers` is the default.
`within` is the chance that of two replies to one prompt the better one scores higher: on the
simulator by the sealed probabilities of replies made to one prompt, else by the labels.

A set whose file is not at hand (`--data`, by default ../shared/data) is left out, and says so. The
simulator's seeds are not those that anything was tuned on (101).
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.chat import Chat, chat_of
from models.reward import Features, RewardModel
from training.baseline import PARTS, Bags
from training.examples import Examples, numbered
from training.label_loss import natural_logit
from training.probe import HeadTask, fit_head, label_task, pair_task
from training.reward_metrics import (
    Floats,
    Interval,
    Scored,
    percentile_interval,
    user_draws,
    weighted_auroc,
    weighted_concordance,
)

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "plove.json"
DATA = ROOT.parents[1] / "shared" / "data"
SEEDS = (11, 12, 13)
EVAL_SHARE = 0.4
DRAWS = 300
SIMULATED_LOVES = (110, 277)
SIMULATED_USERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure of one model on one set."""

    set: str
    model: str
    metric: str
    """"auroc", or "accuracy" of pairs."""
    value: float
    low: float
    high: float
    within: float | None
    """Concordance within a prompt; None where the set has no two replies to one."""
    num_train: int
    num_eval: int
    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A set of replies with what came of each."""

    chats: Sequence[Chat]
    labels: Floats
    groups: Sequence[str]
    """Rows of one group lie on one side."""
    max_tokens: int = 128
    sizes: Sequence[int | None] = (None,)
    """Positives to learn from, in turn; None takes all."""
    rivals: Sequence[Sequence[Chat]] = ()
    """Several replies to one prompt each, of groups measured on."""
    rival_chances: Sequence[Sequence[float]] = ()
    """The true chance of each."""


Lines = list[dict[str, Any]]


def simulated(seed: int) -> Labelled:
    """What simulated users heard and loved, and for some prompts other replies with their truth.

    The simulator writes it as a file: it stands alone, and nobody imports it.
    """
    with tempfile.TemporaryDirectory(prefix="rluf-plove-") as folder:
        path = Path(folder) / "rows.jsonl"
        command = ["--users", str(SIMULATED_USERS), "--seed", str(seed), "--out", str(path)]
        subprocess.run([sys.executable, "-m", "simulator.rehearse", *command], check=True)
        lines: Lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    contested = [line for line in lines if line["rivals"] and not teaches(line["group"], seed)]
    return Labelled(
        chats=[chat_of(line["messages"], line["response"]) for line in lines],
        labels=np.array([float(line["love"]) for line in lines]),
        groups=[line["group"] for line in lines],
        sizes=SIMULATED_LOVES,
        max_tokens=64,
        rivals=[
            [chat_of(line["messages"], rival["response"]) for rival in line["rivals"]]
            for line in contested
        ],
        rival_chances=[[rival["p_text"] for rival in line["rivals"]] for line in contested],
    )


def teaches(group: str, seed: int) -> bool:
    """Whether a group teaches; the others are measured on."""
    return Random(f"{seed}/{group}").random() >= EVAL_SHARE


def labelled(lines: Lines, label: Callable[[dict[str, Any]], bool | None]) -> Labelled:
    """A set of rows with prompt, response and group; those whose label is None are left out."""
    kept = [(line, found) for line in lines if (found := label(line)) is not None]
    return Labelled(
        chats=[chat_of(turns_of(line), line["response"]) for line, _ in kept],
        labels=np.array([float(found) for _, found in kept]),
        groups=[line["group"] for line, _ in kept],
    )


def turns_of(line: Mapping[str, Any]) -> Chat:
    """The turns before the response."""
    turns = [{"role": t["role"], "content": t["text"]} for t in line.get("context") or ()]
    return turns or (chat_of(line["prompt"]) if line.get("prompt") else [])


LABELLED: Mapping[str, tuple[str, Callable[[Lines], Labelled]]] = {
    "topicalchat": ("love/love_topicalchat", lambda x: labelled(x, lambda r: bool(r["love"]))),
    "diasafety": ("safety/labels_diasafety", lambda x: labelled(x, lambda r: bool(r["unsafe"]))),
    "counselchat": (
        "love/love_counselchat",
        lambda x: labelled(x, lambda r: r["love_count"] > 0),
    ),
    "stackexchange": (
        "love/love_stackexchange",
        lambda x: labelled(x, lambda r: r["up"] > r["down"] + 2),
    ),
    "convai2": (
        "love/love_convai2",
        lambda x: labelled(x, lambda r: r["reaction"] == "like" if r["reaction"] else None),
    ),
}
"""By name of the set: its file, and what is loved in it."""
PAIRS = {
    "helpful pairs": "helpful/pairs_hh",
    "harmless pairs": "safety/pairs_hh_harmless",
    "pandalm pairs": "helpful/pairs_pandalm",
}


class Contest:
    """The models, on one encoder that reads each text once for all of them."""

    def __init__(self, max_tokens: int) -> None:
        self.reward = RewardModel.from_pretrained("minilm", max_tokens=max_tokens)
        model = self.reward.pooled
        assert model is not None
        self.separator = model.config.separator_id
        self.width = int(model.encoder.config.hidden_size)

    def read(self, chats: Sequence[Chat]) -> dict[str, Features]:
        """What each model reads of the chats."""
        ids = self.reward.encode(chats)
        found = self.reward.features(ids)
        prompt = torch.zeros(len(found.values_UF), 1)
        for row, text in zip(ids, found.text_N.tolist(), strict=True):
            prompt[text] = (row.index(self.separator) + 1) / len(row)
        parts = found.values_UF.reshape(
            -1, found.values_UF.shape[1] // self.width, self.width
        ).unbind(1)
        one_mean = [
            prompt * parts[2 * level] + (1 - prompt) * parts[2 * level + 1] for level in (0, 1)
        ]
        width = self.width
        pair = torch.tensor([True, False]).repeat_interleave(width)
        return {
            name: Features(values_UF=values, text_N=found.text_N, is_prompt_F=is_prompt)
            for name, values, is_prompt in (
                ("one mean", torch.cat(one_mean, 1), torch.zeros(2 * width) > 0),
                ("reply", torch.cat([parts[1], parts[3]], 1), torch.zeros(2 * width) > 0),
                ("apart", torch.cat(parts[:4], 1), pair.repeat(2)),
                ("apart, all layers", found.values_UF, found.is_prompt_F),
            )
        }


def try_labels(name: str, data: Labelled, seed: int) -> Iterator[Row]:
    """Every model on a set of labels; each text is read once for all sizes."""
    learns = np.array([teaches(group, seed) for group in data.groups])
    train, aside = np.flatnonzero(learns), np.flatnonzero(~learns)
    most = max((size for size in data.sizes if size is not None), default=None)
    if most is not None:
        train = train[np.cumsum(data.labels[train]) <= most]
    held_out = examples_of(data, aside)
    rivals = [chat for chats in data.rivals for chat in chats]
    started = time.monotonic()
    chats = [data.chats[row] for row in train.tolist()] + held_out.chats + rivals
    read = Contest(data.max_tokens).read(chats)
    read_s = time.monotonic() - started
    for size in data.sizes:
        few = train if size is None else train[np.cumsum(data.labels[train]) <= size]
        rows = examples_of(data, few)
        named = name if size is None else f"{name}, {size} loves"
        for model, found, seconds in scores_of(rows, held_out, rivals, read, len(train)):
            scored = Scored(
                logits=found[: len(aside)],
                labels=held_out.labels,
                users=held_out.user_numbers(),
                prompts=held_out.prompt_numbers(),
                lengths=held_out.lengths,
            )
            ones = np.ones((1, len(aside)))
            within = weighted_concordance(scored.logits, scored.labels, scored.prompts, ones)[0]
            if rivals:
                within = truth_concordance(found[len(aside) :], data.rival_chances)
            value, (low, high) = auroc_of(scored, seed)
            yield Row(
                set=named, model=model, metric="auroc", value=value, low=low, high=high,
                within=None if np.isnan(within) else round(float(within), 4),
                num_train=len(few), num_eval=len(aside),
                seconds=round(seconds + (read_s if model in read else 0.0), 2),
                peak_mb=peak_mb(),
            )  # fmt: skip


def scores_of(
    rows: Examples,
    held_out: Examples,
    rivals: list[Chat],
    read: Mapping[str, Features],
    num_read: int,
) -> Iterator[tuple[str, Floats, float]]:
    """Each model's scores of the held-out rows and of the rivals, and the seconds of its fit."""
    for model, features in read.items():
        started = time.monotonic()
        head = fit_head(task_of(features, rows))
        logits_U = features.values_UF @ head.weight_F + head.bias
        found = logits_U[features.text_N[num_read:]].double().numpy()
        yield model, found, time.monotonic() - started
    for model, parts in {"TF-IDF, one bag": ("all",), **PARTS}.items():
        started = time.monotonic()
        bags = Bags(rows, parts)
        found = bags.logits(held_out)
        if rivals:
            found = np.r_[found, bags.logits(replace(held_out, chats=rivals))]
        yield model, found, time.monotonic() - started


def try_pairs(name: str, lines: Lines, seed: int) -> Iterator[Row]:
    """Every model on a set of pairs."""
    lines = [line for line in lines if line["preferred"] in ("a", "b")]
    other = {"a": "b", "b": "a"}
    chats = [
        chat_of(turns_of(line), line[f"response_{which(line['preferred'])}"])
        for which in (str, other.get)
        for line in lines
    ]
    learns = np.array([teaches(line["group"], seed) for line in lines])
    train, aside = np.flatnonzero(learns), np.flatnonzero(~learns)
    groups = numbered([lines[row]["group"] for row in aside])
    prompts = torch.tensor(numbered([lines[row]["group"] for row in train]))
    longer = np.array([len(chat[-1]["content"]) for chat in chats])
    margins: dict[str, tuple[Floats, float]] = {
        "the longer": ((longer[: len(lines)] - longer[len(lines) :]).astype(np.float64), 0.0)
    }
    started = time.monotonic()
    for model, features in Contest(128).read(chats).items():
        first, second = features.text_N.chunk(2)
        picked = torch.cat([first[torch.tensor(train)], second[torch.tensor(train)]])
        head = fit_head(pair_task(replace(features, text_N=picked), prompts))
        logits_U = features.values_UF @ head.weight_F
        margins[model] = (
            (logits_U[first] - logits_U[second]).double().numpy(),
            time.monotonic() - started,
        )
    for model, (found, seconds) in margins.items():
        wins = np.where(found == 0, 0.5, found > 0)[aside]
        value, (low, high) = mean_of(wins, groups, seed)
        yield Row(
            set=name, model=model, metric="accuracy", value=value, low=low, high=high,
            within=value, num_train=len(train), num_eval=len(aside), seconds=round(seconds, 2),
            peak_mb=peak_mb(),
        )  # fmt: skip


def examples_of(data: Labelled, rows: npt.NDArray[np.int64]) -> Examples:
    """Rows of a set as training reads them; nothing is thinned."""
    chats = [data.chats[row] for row in rows.tolist()]
    ones = np.ones(len(rows))
    return Examples(
        split="", chats=chats, labels=data.labels[rows], user_ids=[data.groups[r] for r in rows],
        kappas=ones, weights=ones, arrived=ones, user_offsets=0 * ones,
        lengths=np.array([float(len(chat[-1]["content"])) for chat in chats]), segments={},
    )  # fmt: skip


def task_of(features: Features, rows: Examples) -> HeadTask:
    """Learn the labels of the first rows of those that were read."""
    columns = [
        torch.tensor(column, dtype=torch.float32)
        for column in (rows.labels, rows.kappas, rows.user_offsets, rows.weights)
    ]
    return label_task(
        replace(features, text_N=features.text_N[: len(rows)]),
        *columns,
        users_N=torch.tensor(rows.user_numbers()),
        start_logit=natural_logit(rows),
    )


def truth_concordance(scores: Floats, chances: Sequence[Sequence[float]]) -> float:
    """Chance that of two replies to one prompt, one loved and one not, the loved one scores higher,
    by their true chances."""
    right = total = 0.0
    start = 0
    for row in chances:
        p_K, s_K = np.array(row), scores[start : start + len(row)]
        start += len(row)
        pairs_KK = p_K[:, None] * (1 - p_K)
        np.fill_diagonal(pairs_KK, 0.0)
        ahead_KK = (s_K[:, None] > s_K) + 0.5 * (s_K[:, None] == s_K)
        right, total = right + float((pairs_KK * ahead_KK).sum()), total + float(pairs_KK.sum())
    return right / total


def auroc_of(scored: Scored, seed: int) -> tuple[float, Interval]:
    """AUROC with its interval over groups."""
    ones = np.ones((1, len(scored.labels)))
    draws = [
        weighted_auroc(scored.logits, scored.labels, counts_BU[:, scored.users])
        for counts_BU in user_draws(int(scored.users.max()) + 1, DRAWS, seed)
    ]
    value = float(weighted_auroc(scored.logits, scored.labels, ones)[0])
    return round(value, 4), rounded(percentile_interval(np.concatenate(draws)))


def mean_of(values: Floats, groups: npt.NDArray[np.int64], seed: int) -> tuple[float, Interval]:
    """A mean with its interval over groups."""
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    draws = [(b @ sums) / (b @ counts) for b in user_draws(len(sums), DRAWS, seed)]
    return round(float(values.mean()), 4), rounded(percentile_interval(np.concatenate(draws)))


def rounded(ends: Interval) -> Interval:
    """Four digits."""
    return round(ends[0], 4), round(ends[1], 4)


def peak_mb() -> float:
    """Most memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)


def lines_of(path: Path, most: int, seed: int) -> Lines:
    """The rows of a file, or of some whole groups, about as many as asked for."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    groups = sorted({line["group"] for line in lines})
    Random(seed).shuffle(groups)
    kept = set(groups[: max(1, round(len(groups) * min(1.0, most / len(lines))))])
    return [line for line in lines if line["group"] in kept]


def run(sets: Iterable[str], seeds: Sequence[int], data: Path, most: int) -> Iterator[Row]:
    """Every set that is at hand; says how far it is, and what is left out."""
    for name in sets:
        if name == "simulator":
            for seed in seeds:
                yield from try_labels(f"simulator {seed}", simulated(seed), seed)
            continue
        file, is_pairs = (PAIRS[name], True) if name in PAIRS else (LABELLED[name][0], False)
        path = data / f"{file}.dev.jsonl.gz"
        if not path.exists():
            print(f"{name}: left out, {path} is not there", file=sys.stderr, flush=True)
            continue
        lines = lines_of(path, most, seeds[0])
        if is_pairs:
            yield from try_pairs(name, lines, seeds[0])
        else:
            yield from try_labels(name, LABELLED[name][1](lines), seeds[0])


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| set | model | | 95 % | within a prompt | rows |", "|---|---|---|---|---|---|"]
    for row in rows:
        within = "–" if row.within is None else f"{row.within:.3f}"
        lines.append(
            f"| {row.set} | {row.model} | {row.value:.3f} | {row.low:.3f}-{row.high:.3f} |"
            f" {within} | {row.num_train:,} / {row.num_eval:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run it from the command line."""
    names = ["simulator", *LABELLED, *PAIRS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the public sets")
    parser.add_argument("--rows", type=int, default=10**9, help="rows of each set at most")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows are written")
    parser.add_argument("--table", action="store_true", help="print them as a table as well")
    options = parser.parse_args()
    rows = []
    for row in run(options.sets, options.seeds, options.data, options.rows):
        print(f"{row.set}, {row.model}: {row.value:.3f}", file=sys.stderr, flush=True)
        rows.append(row)
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    if options.table:
        print(table(rows))


if __name__ == "__main__":
    main()
