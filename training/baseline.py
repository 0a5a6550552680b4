"""The baselines that a reward model must not fall behind: TF-IDF and logistic regression.

"tfidf" reads reply and prompt as bags of their own; "prompt_only" reads the prompt alone, so what
it reaches is known before anybody answers, and says nothing of which answer is loved. Same rows,
same calibration, same measures; so a difference is a difference of models.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.chat import render_turns, split_reply
from training.config import RewardConfig
from training.examples import Examples
from training.reward_metrics import Comparison, Scored, compare_scores

NGRAMS = (1, 2)
DOCUMENTS_MIN = 2
"""Texts that an n-gram must occur in."""
ITERATIONS_MAX = 1_000
PARTS = {"tfidf": ("reply", "prompt"), "prompt_only": ("prompt",)}
"""What each baseline reads."""


def measure_baselines(
    train: Examples, held_out: Examples, scored: Scored, config: RewardConfig
) -> dict[str, Comparison]:
    """Each baseline beside a reward model's scores of the held-out rows."""
    return {
        name: compare_scores(
            scored,
            replace(scored, logits=Bags(train, parts).logits(held_out)),
            bootstrap_samples=config.bootstrap_samples,
            seed=config.seed,
        )
        for name, parts in PARTS.items()
    }


class Bags:
    """Logistic regression on the words of some parts of each chat, a bag a part: of "prompt",
    "reply", or "all" in one."""

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
    if part == "all":
        return [render_turns(chat) for chat in examples.chats]
    split = [split_reply(chat) for chat in examples.chats]
    return [reply if part == "reply" else render_turns(turns) for turns, reply in split]
