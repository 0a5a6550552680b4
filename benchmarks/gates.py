"""Operating characteristics of the gates: how often each passes, refuses or stays undecided.

Candidates of known nature are made up (texts, scores and log ratios; no model runs), and the gates'
own code looks at them as it does in a turn: the same measures, intervals, looks and limits. So are
reward models: labels drawn from known probabilities, scored perfectly, wrongly or at random.

    python -m benchmarks.gates                # writes benchmarks/results/gates.json
    python -m benchmarks.gates --runs 50 --sizes laptop --table

Candidates: `equal` to production; `better` by a realistic lift; `worse_1` and `worse_2`, worse in
every measure by one and by two margins; `closers`, `phrase` and `length`, which hack. Reward
models: `perfect`, `miscalibrated` (by two margins), `noise`, `prompt` (it knows of the prompt all
there is to know, and nothing of the reply) and `words` (what it knows beyond TF-IDF is error).
Reward models of preferences: `perfect` (as right as annotators are), `noise`, and `by_length`,
which scores the longer reply higher and knows nothing else.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from scipy.stats import norm

from models.chat import Chat
from models.reading import Spelled
from models.replies import Reply
from models.reward import RewardModel
from models.verdicts import Ruling, ruling_together
from rluf.settings import load_settings
from training.evidence.clustered import Floats, Users
from training.evidence.gates import decide_preference, decide_reward
from training.evidence.harmful import Harmful
from training.evidence.limits import Limits
from training.evidence.offline import Samples, Scorer
from training.evidence.trial import Harm, look
from training.fit_preference import measure_pairs
from training.pairs import Pair
from training.reward_metrics import Scored, compare_scores, measure_scores

RESULTS = Path(__file__).parent / "results" / "gates.json"
RUNS = 200
SIZES: dict[str, tuple[str, ...]] = {"default": (), "laptop": ("laptop",)}
"""Recipes laid over the defaults."""
PROMPTS_PER_USER = 3.7
"""Measured in the demo; prompts of one user share an effect on every score."""
USER_SHARE = 0.26
"""Share of the variance of a score that is its user's (intraclass correlation; the demo's)."""
PROMPT_SHARE = 0.3
"""Share that is the prompt's beyond its user's."""
LOVE_BASE, LOVE_SPREAD = -2.6, 1.0
"""Mean and standard deviation of P[Love]'s logit over replies: about 10 % are loved."""
CLOSERS_BASE = 0.0072
"""Production's rate of unprompted closers (RLUF, arXiv 2505.14946)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """How a candidate truly differs from production."""

    love: float = 0.0
    """Shift of the judge's logit, in standard deviations within a prompt."""
    love_training: float = 0.0
    """The same of the model that trained it."""
    helpfulness: float = 0.0
    safety_rise: float = 0.0
    """Rise of the share of unsafe replies."""
    harmful_rise: float = 0.0
    """The same on harmful prompts."""
    closers_rise: float = 0.0
    phrase_rise: float = 0.0
    """Share of replies with a phrase that production does not say."""
    length: float = 1.0
    """Factor on the number of words."""
    exclamations: float = 1.0
    repetition: float = 0.0
    """Share of words that repeat the word pair before."""
    kl_nats: float = 3.0


def shift_of(win_rate: float) -> float:
    """The shift, in standard deviations of a reply, at which a reply wins that often."""
    return float(math.sqrt(2) * norm.ppf(win_rate))


def natures(limits: Limits) -> dict[str, Nature]:
    """The candidates, at these limits."""

    def worse(margins: float) -> Nature:
        return Nature(
            love=shift_of(0.5 - margins * (0.5 - limits.love_win_rate_min)),
            love_training=shift_of(
                min(0.98, 0.5 + margins * (limits.love_training_win_rate_max - 0.5))
            ),
            helpfulness=shift_of(0.5 - margins * (0.5 - limits.helpfulness_win_rate_min)),
            safety_rise=margins * limits.safety_rise_max,
            harmful_rise=margins * limits.harmful_safety_rise_max,
            closers_rise=margins * limits.closer_rise_max,
            phrase_rise=margins * limits.phrase_rise_max,
            length=1 + margins * limits.length_change_max,
            kl_nats=margins * limits.kl_max_nats,
        )

    better = Nature(
        love=shift_of(0.57), love_training=shift_of(0.60), helpfulness=shift_of(0.51),
        phrase_rise=0.01, length=1.05, exclamations=1.2, kl_nats=4.0,
    )  # fmt: skip
    hacked = replace(better, love=shift_of(0.58), love_training=shift_of(0.64), kl_nats=6.0)
    return {
        "equal": Nature(),
        "better": better,
        "worse_1": worse(1),
        "worse_2": worse(2),
        "closers": replace(hacked, closers_rise=max(0.0208, 3 * limits.closer_rise_max)),
        "phrase": replace(hacked, phrase_rise=3 * limits.phrase_rise_max),
        "length": replace(hacked, length=1 + 2 * limits.length_change_max),
    }


UNSAFE = "unsafe"
"""An answer that is known to be unsafe."""
UNSAFE_LINE = -0.5
UNSAFE_BASE = 0.02
"""Production's share of unsafe replies, the judge's errors among them."""
STOCK = [f"stock{i} phrase{i} number{i}" for i in range(40)]
STOCK_SHARES = 0.06 / np.arange(1, 41) ** 0.7
"""Phrases that production says often, the commonest in 6 % of its replies."""
WORDS = np.array([f"word{i}" for i in range(800)])
WORD_SHARES = (1 / np.arange(1, 801)) / (1 / np.arange(1, 801)).sum()
MEAN_WORDS = 22
CLOSING = "bye sending love"
SPREADING = "absolutely amazing friend"


class World:
    """One made-up comparison: prompts of users, and both policies' replies with their scores."""

    def __init__(
        self, nature: Nature, num_prompts: int, num_harmful: int, replies: int, seed: int
    ) -> None:
        self.nature = nature
        self.replies = replies
        self.rng = np.random.default_rng(seed)
        num_users = max(20, round(num_prompts / PROMPTS_PER_USER))
        self.num_prompts = num_prompts
        asked = self.rng.integers(num_users, size=num_prompts)
        # Nobody asked the harmful prompts, which come last: each stands for itself.
        self.users: Users = np.concatenate([asked, num_users + np.arange(num_harmful)])
        self.user_effects = self.rng.normal(size=(3, num_users + num_harmful))
        """Of love, helpfulness and safety, on each user."""
        self.scores: dict[str, dict[str, float]] = {
            role: {} for role in ("love", "love_training", "helpfulness", "safety")
        }
        self.scores["safety"][UNSAFE] = UNSAFE_LINE

    def draw(self, places: Sequence[int]) -> Samples:
        """Replies of both to the prompts at these places, as a turn's sampler gives them."""
        sides = [self._side(places, nature) for nature in (self.nature, Nature(kl_nats=0.0))]
        return Samples(
            prompts=[[{"role": "user", "content": f"question {place}"}] for place in places],
            users=self.users[list(places)],
            candidate=sides[0],
            production=sides[1],
            log_ratio=self.rng.normal(
                self.nature.kl_nats,
                math.sqrt(2 * self.nature.kl_nats) + 0.1,
                size=(len(places), self.replies),
            ),
        )

    def harm(self) -> Harm:
        """Harmful prompts, and an answer that complies."""
        num_harmful = len(self.users) - self.num_prompts
        return Harm(
            harmful=Harmful(
                prompts=[[{"role": "user", "content": f"harm {n}"}] for n in range(num_harmful)],
                unsafe=[UNSAFE],
            ),
            draw=lambda places: self.draw([self.num_prompts + place for place in places]),
        )

    def scorers(self) -> dict[str, Scorer]:
        """The reward models: each looks a reply's score up by its first word."""

        def scorer(known: Mapping[str, float]) -> Scorer:
            def score(chats: Sequence[Chat], /) -> torch.Tensor:
                names = [chat[-1]["content"].split(" ", 1)[0] for chat in chats]
                return torch.tensor([known[name] for name in names], dtype=torch.float64)

            return score

        return {role: scorer(known) for role, known in self.scores.items()}

    def _side(self, places: Sequence[int], nature: Nature) -> list[list[Reply]]:
        rng, shape = self.rng, (len(places), self.replies)
        within = math.sqrt(1 - USER_SHARE - PROMPT_SHARE)
        effects = {}
        for number, role in enumerate(("love", "helpfulness", "safety")):
            of_user = math.sqrt(USER_SHARE) * self.user_effects[number][self.users[list(places)]]
            seeds = np.random.default_rng([number, *places]).normal(size=len(places))
            of_prompt = math.sqrt(PROMPT_SHARE) * seeds  # The same for both sides.
            effects[role] = (of_user + of_prompt)[:, None]
        noise_love = rng.normal(size=shape)
        seen_love = effects["love"] + within * (noise_love + nature.love)
        # The two love models agree on most of what they see and err apart.
        other = 0.8 * noise_love + 0.6 * rng.normal(size=shape)
        scores = {
            "love": LOVE_BASE + LOVE_SPREAD * seen_love,
            "love_training": LOVE_BASE
            + LOVE_SPREAD * (effects["love"] + within * (other + nature.love_training)),
            "helpfulness": effects["helpfulness"]
            + within * (rng.normal(size=shape) + nature.helpfulness),
            "safety": np.abs(effects["safety"] + within * rng.normal(size=shape)),
        }
        is_harmful = np.array(places)[:, None] >= self.num_prompts
        rise = np.where(is_harmful, nature.harmful_rise, nature.safety_rise)
        unsafe = rng.random(shape) < UNSAFE_BASE + rise
        scores["safety"] = np.where(unsafe, -1.0 - scores["safety"], scores["safety"])
        texts = self._texts(shape, nature)
        rows = []
        for p in range(shape[0]):
            replies = []
            for k in range(self.replies):
                name = f"r{len(self.scores['love'])}"
                for role, known in self.scores.items():
                    known[name] = float(scores[role][p, k])
                replies.append(_reply(f"{name} {texts[p][k]}"))
            rows.append(replies)
        return rows

    def _texts(self, shape: tuple[int, int], nature: Nature) -> list[list[str]]:
        rng, total = self.rng, shape[0] * shape[1]
        lengths = np.maximum(4, rng.poisson(MEAN_WORDS * nature.length, size=total))
        words = rng.choice(WORDS, size=int(lengths.sum()), p=WORD_SHARES)
        stock = rng.random((total, len(STOCK))) < STOCK_SHARES
        marks = rng.poisson(0.4 * nature.exclamations, size=total)
        closes = rng.random(total) < CLOSERS_BASE + nature.closers_rise
        spreads = rng.random(total) < nature.phrase_rise
        texts, start = [], 0
        for i in range(total):
            parts = [" ".join(words[start : start + lengths[i]])]
            start += lengths[i]
            parts += [STOCK[j] for j in np.flatnonzero(stock[i])]
            if spreads[i]:
                parts.append(SPREADING)
            text = ". ".join(parts) + "!" * int(marks[i]) + "."
            texts.append(text + f" {CLOSING}" if closes[i] else text)
        return [texts[p * shape[1] : (p + 1) * shape[1]] for p in range(shape[0])]


def _reply(text: str) -> Reply:
    return Reply(text=text, logprob=0.0, prompt_tokens=1, completion_tokens=1, finish_reason="stop")


Rulings = dict[str, Ruling]
"""By gate, with `all` for the set."""


def try_policy(candidate: str, size: str, seed: int) -> Rulings:
    """One trial of one candidate: what each gate said, each by itself and all together."""
    torch.set_num_threads(1)
    settings = load_settings(SIZES[size], environment={})
    limits = settings.training.gates
    world = World(
        natures(limits)[candidate],
        settings.refresh.evidence_prompts_max,
        NUM_HARMFUL[size],
        settings.refresh.evidence_replies,
        seed,
    )
    found: Rulings = {}
    trials = look(
        world.draw,
        world.users[: world.num_prompts],
        world.scorers(),
        limits,
        seed=seed,
        safety_threshold=UNSAFE_LINE,
        harm=world.harm(),
    )
    for trial in trials:
        for verdict in trial.verdicts:  # A gate of its own stops at the first look that decides.
            if found.get(verdict.gate, "undecided") == "undecided":
                found[verdict.gate] = verdict.ruling
        if found.get("all", "undecided") == "undecided":
            found["all"] = ruling_together(verdict.ruling for verdict in trial.verdicts)
    return found


NUM_HARMFUL = {"default": 500, "laptop": 96}
"""Harmful prompts: of a file of one's own, and of the demo."""
PAIRS_SIZES = {"default": 1000, "laptop": 160}
"""Held-out pairs of one half."""
ANNOTATOR_NOISE = 0.1
LONGER_PREFERRED = 0.6
"""Share of pairs in which the longer reply is preferred."""


class Ranks:
    """A reward model of preferences as far as `measure_pairs` asks it: it reads its score off."""

    def spell(self, chats: Sequence[Chat]) -> Spelled:
        """The score is the reply's first word."""
        ids = [[int(chat[-1]["content"].split(" ", 1)[0])] for chat in chats]
        return Spelled(ids=ids, prompts_cut=[False] * len(ids), replies_cut=[False] * len(ids))

    def logits_of(self, ids: Sequence[list[int]]) -> torch.Tensor:
        """The score as it stands."""
        return torch.tensor([float(row[0]) for row in ids])


def try_preference(candidate: str, size: str, seed: int) -> Rulings:
    """The gate of a reward model of preferences on made-up held-out pairs."""
    limits = load_settings(SIZES[size], environment={}).training.gates
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(PAIRS_SIZES[size]):
        is_right = {
            "perfect": rng.random() > ANNOTATOR_NOISE,
            "noise": rng.random() > 0.5,
        }
        is_longer = bool(rng.random() < LONGER_PREFERRED)
        wins = is_right.get(candidate, is_longer)
        texts = [f"{int(wins)} {'word ' * (3 if is_longer else 1)}", f"{int(not wins)} word word"]
        prompt = [{"role": "user", "content": f"question {number}"}]
        pairs.append(Pair(prompt=prompt, chosen=texts[0], rejected=texts[1]))
    report = measure_pairs(cast(RewardModel, Ranks()), pairs, num_train=0).to_json()
    return {"preference": decide_preference(report, limits).ruling}


REWARD_SIZES = {"default": (20_000, 0.05), "laptop": (1_600, 0.11)}
"""Rows of later users and the share of them that are loved: of a product's week, of the demo."""
READS_OF_PROMPT = 0.3
"""Share of the variance of a text's logit that is the prompt's: alone it gives an AUROC of 0.65."""
REWARD_SPREAD = 1.3
"""Standard deviation of the true logit: knowing it gives an AUROC of about 0.8."""


def try_reward(candidate: str, size: str, seed: int) -> Rulings:
    """The gate of P[Love] on one made-up evaluation."""
    settings = load_settings(SIZES[size], environment={})
    limits = settings.training.gates
    rng = np.random.default_rng(seed)
    num_rows, base_rate = REWARD_SIZES[size]
    users = rng.integers(round(num_rows / PROMPTS_PER_USER), size=num_rows)
    of_user = math.sqrt(USER_SHARE) * rng.normal(size=num_rows)[users]
    of_prompt, of_reply = rng.normal(size=(2, num_rows))
    seen = math.sqrt(READS_OF_PROMPT) * of_prompt + math.sqrt(1 - READS_OF_PROMPT) * of_reply
    text_share = math.sqrt(1 - USER_SHARE)
    logits = _at_rate(REWARD_SPREAD * text_share * seen, base_rate)
    truth = _at_rate(logits + 0.6 * of_user, base_rate)
    labels = (rng.random(num_rows) < _sigmoid(truth)).astype(np.float64)
    if candidate == "miscalibrated":
        logits = logits + 2 * math.log(limits.ratio_max) * 1.1
    if candidate == "noise":
        logits = rng.permutation(logits)
    words = seen + 0.5 * rng.normal(size=num_rows)
    if candidate == "prompt":
        logits = _at_rate(REWARD_SPREAD * math.sqrt(READS_OF_PROMPT) * of_prompt, base_rate)
    if candidate == "words":
        known = words + 0.8 * rng.normal(size=num_rows)
        logits = _at_rate(REWARD_SPREAD * text_share / known.var() * known, base_rate)
    scored = Scored(
        logits=logits,
        labels=labels,
        users=np.unique(users, return_inverse=True)[1],
        prompts=np.arange(num_rows),
        lengths=rng.lognormal(4, 0.5, size=num_rows) + 5 * seen,
    )
    metrics = measure_scores(scored, segments={}, bootstrap_samples=300, seed=seed)
    baselines = {
        "tfidf": words,
        "prompt_only": of_prompt + 0.3 * rng.normal(size=num_rows),
    }
    margins: dict[str, object] = {}
    for name, scores in baselines.items():
        other = replace(scored, logits=scores)
        row = compare_scores(scored, other, bootstrap_samples=300, seed=seed)
        margins |= {f"margin_over_{name}": row.margin, f"margin_over_{name}_ci": row.margin_ci}
    report = (
        asdict(metrics)
        | margins
        | {
            "ne": metrics.normalized_entropy,
            "ne_ci": metrics.normalized_entropy_ci,
            "probe_shift": 0.02,
            "probe_shift_ci": (-0.01, 0.05),
            "n_eval_users": metrics.num_users,
        }
    )
    verdict = decide_reward(report, limits)
    return {"reward": verdict.ruling}


def _at_rate(logits: Floats, rate: float) -> Floats:
    """The logits shifted so that their mean probability is the rate."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(logits + middle).mean() < rate else (low, middle)
    return logits + low


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


POLICIES = ("equal", "better", "worse_1", "worse_2", "closers", "phrase", "length")
REWARDS = ("perfect", "miscalibrated", "noise", "prompt", "words")
PREFERENCES = ("perfect", "noise", "by_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How often one gate decided how, of one kind of candidate."""

    gate: str
    candidate: str
    size: str
    passed: float
    refused: float
    undecided: float
    runs: int


def measure(
    sizes: Sequence[str], candidates: Sequence[str], runs: int, workers: int
) -> Iterator[Row]:
    """Every candidate at every size, `runs` times each; says how far it is."""
    with ProcessPoolExecutor(workers) as pool:
        for size in sizes:
            for attempt, candidate in (
                *((try_policy, name) for name in POLICIES),
                *((try_reward, name) for name in REWARDS),
                *((try_preference, name) for name in PREFERENCES),
            ):
                if candidate not in candidates:
                    continue
                found = list(
                    pool.map(attempt, [candidate] * runs, [size] * runs, range(runs), chunksize=4)
                )
                print(f"{size} {candidate}: {runs} runs", file=sys.stderr, flush=True)
                for gate in found[0]:
                    rulings = [rulings[gate] for rulings in found]
                    yield Row(
                        gate=gate,
                        candidate=candidate,
                        size=size,
                        passed=rulings.count("passed") / runs,
                        refused=rulings.count("refused") / runs,
                        undecided=rulings.count("undecided") / runs,
                        runs=runs,
                    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: passed / refused / undecided in per cent."""
    gates = list(dict.fromkeys(row.gate for row in rows if row.gate != "all"))
    lines = [
        f"| candidate | size | all | {' | '.join(gates)} |",
        "|---" * (len(gates) + 3) + "|",
    ]
    by_key = {(row.candidate, row.size, row.gate): row for row in rows}
    for candidate, size in dict.fromkeys((row.candidate, row.size) for row in rows):
        cells = []
        for gate in ("all", *gates):
            row = by_key.get((candidate, size, gate))
            cells.append(
                f"{row.passed:.0%} / {row.refused:.0%} / {row.undecided:.0%}" if row else "–"
            )
        lines.append(f"| {candidate} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each candidate and size")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    names = (*POLICIES, *REWARDS, *PREFERENCES)
    parser.add_argument("--candidates", nargs="+", choices=names, default=names)
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows are written")
    parser.add_argument("--table", action="store_true", help="print them as a table as well")
    options = parser.parse_args()
    rows = list(measure(options.sizes, options.candidates, options.runs, options.workers))
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    if options.table:
        print(table(rows))


if __name__ == "__main__":
    main()
