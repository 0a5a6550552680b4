"""The baselines that a reward model must not fall behind: TF-IDF and logistic regression.

"tfidf" reads reply and prompt as bags of their own; "prompt_only" reads the prompt alone, so what
it reaches is known before anybody answers, and says nothing of which answer is loved. Same rows,
same calibration, same measures; so a difference is a difference of models.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.chat import render_turns, split_reply
from training.config import RewardConfig
from training.examples import Examples, ExampleSource, read_examples
from training.reward_metrics import Comparison, Scored, compare_scores
from training.reward_report import RewardReport, fit_calibration, measure_examples

NGRAMS = (1, 2)
DOCUMENTS_MIN = 2
"""Texts that an n-gram must occur in."""
ITERATIONS_MAX = 1_000
PARTS = {"tfidf": ("reply", "prompt"), "prompt_only": ("prompt",)}
"""What each baseline reads."""


def fit_tfidf(snapshot: ExampleSource, config: RewardConfig) -> RewardReport:
    """Fit on the train split, calibrate and measure like `fit_reward`; nothing is written.

    Only the dials that concern rows, calibration and intervals are used. Raises ValueError where a
    split lacks one of the labels.
    """
    train = read_examples(snapshot, "train", config.half)
    calibration = read_examples(snapshot, "calibration")
    held_out = read_examples(snapshot, "eval")
    started = time.monotonic()
    model = _Bags(train, PARTS["tfidf"])
    fitted = fit_calibration(
        config.calibration, model.logits(calibration), calibration, float(train.kappas.mean())
    )
    seconds = {"train": time.monotonic() - started}
    scored, metrics = measure_examples(
        fitted.apply(model.logits(held_out)),
        held_out,
        bootstrap_samples=config.bootstrap_samples,
        seed=config.seed,
    )
    return RewardReport(
        kind="tfidf",
        signal=snapshot.signal,
        snapshot_hash=snapshot.hash,
        num_train=len(train),
        num_train_positives=train.num_positives(),
        num_calibration=len(calibration),
        num_calibration_positives=calibration.num_positives(),
        metrics=metrics,
        calibration=fitted,
        scored=scored,
        seconds=seconds,
    )


def measure_baselines(
    train: Examples, held_out: Examples, scored: Scored, config: RewardConfig
) -> dict[str, Comparison]:
    """Each baseline beside a reward model's scores of the held-out rows."""
    return {
        name: compare_scores(
            scored,
            replace(scored, logits=_Bags(train, parts).logits(held_out)),
            bootstrap_samples=config.bootstrap_samples,
            seed=config.seed,
        )
        for name, parts in PARTS.items()
    }


class _Bags:
    """Logistic regression on the words of some parts of each chat, a bag a part."""

    def __init__(self, train: Examples, parts: Sequence[str]) -> None:
        self.bags: dict[str, TfidfVectorizer] = {}
        for part in parts:
            bag = TfidfVectorizer(ngram_range=NGRAMS, min_df=DOCUMENTS_MIN, sublinear_tf=True)
            try:
                self.bags[part] = bag.fit(_texts(train, part))
            except ValueError:  # No word in two texts: this part says nothing.
                continue
        self.model: LogisticRegression | None = None
        if self.bags:
            self.model = LogisticRegression(max_iter=ITERATIONS_MAX)
            self.model.fit(self._words(train), train.labels, sample_weight=train.weights)

    def logits(self, examples: Examples) -> npt.NDArray[np.float64]:
        """Raw scores, logits_N; all the same where there were no words to learn from."""
        if self.model is None:
            return np.zeros(len(examples))
        return np.asarray(self.model.decision_function(self._words(examples)), dtype=np.float64)

    def _words(self, examples: Examples) -> csr_matrix:
        words = [bag.transform(_texts(examples, part)) for part, bag in self.bags.items()]
        return hstack(words, format="csr")


def _texts(examples: Examples, part: str) -> list[str]:
    split = [split_reply(chat) for chat in examples.chats]
    return [reply if part == "reply" else render_turns(turns) for turns, reply in split]
