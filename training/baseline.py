"""The baseline that a reward model must not fall behind: TF-IDF and logistic regression.

Same rows, same calibration, same measures; so a difference is a difference of models.
"""

import time

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from models.chat import render_turns
from training.config import RewardConfig
from training.examples import Examples, ExampleSource, read_examples
from training.reward_report import RewardReport, fit_calibration, measure_examples

NGRAMS = (1, 2)
DOCUMENTS_MIN = 2
"""Texts that an n-gram must occur in."""
ITERATIONS_MAX = 1_000


def fit_tfidf(snapshot: ExampleSource, config: RewardConfig) -> RewardReport:
    """Fit on the train split, calibrate and measure like `fit_reward`; nothing is written.

    Only the dials that concern rows, calibration and intervals are used. Raises ValueError where a
    split lacks one of the labels.
    """
    train = read_examples(snapshot, "train", config.half)
    calibration = read_examples(snapshot, "calibration")
    held_out = read_examples(snapshot, "eval")
    started = time.monotonic()
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=NGRAMS, min_df=DOCUMENTS_MIN, sublinear_tf=True),
        LogisticRegression(max_iter=ITERATIONS_MAX),
    )
    pipeline.fit(_texts(train), train.labels, logisticregression__sample_weight=train.weights)
    fitted = fit_calibration(
        config.calibration, _logits(pipeline, calibration), calibration, float(train.kappas.mean())
    )
    seconds = {"train": time.monotonic() - started}
    scored, metrics = measure_examples(
        fitted.apply(_logits(pipeline, held_out)),
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


def _texts(examples: Examples) -> list[str]:
    return [render_turns(chat) for chat in examples.chats]


def _logits(
    pipeline: Pipeline, examples: Examples
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(pipeline.decision_function(_texts(examples)), dtype=np.float64)
