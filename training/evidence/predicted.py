"""How much love a message lets expect, before anybody has answered it.

For the experiment's CUPED: a prediction that no arm can have touched takes chance out of a lift. It
reads prompts alone, by words and word pairs, and is fitted on what was known before.
"""

import json
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from features.snapshot import Snapshot
from models.chat import Chat
from training.evidence.clustered import Floats

PROMPTS_MIN = 3
"""Prompts that a word has to occur in; a rarer one says something of one user only."""


def predict_love(snapshot: Snapshot, prompts: Sequence[Chat]) -> Floats:
    """Log odds of love by the user's last message, up to a constant: the odds of thinned examples
    are not those of life, but they rank alike."""
    rows = snapshot.examples("train")
    known = [_last(json.loads(text)) for text in rows["messages"].to_pylist()]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=min(PROMPTS_MIN, len(known)))
    model = make_pipeline(words, LogisticRegression(max_iter=1000))
    model.fit(known, rows["label"].to_numpy())
    told = model.decision_function([_last(prompt) for prompt in prompts])
    return np.asarray(told, dtype=np.float64)


def _last(prompt: Chat) -> str:
    return next((turn["content"] for turn in reversed(prompt) if turn["role"] == "user"), "")
