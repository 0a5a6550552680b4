"""Goal: P[Love] comes out at natural prevalence, from text alone, and the same each time.

Method: a tiny random encoder is fitted on a made-up snapshot (`fake_snapshot.py`) in which a few
words are loved, and on the same snapshot with one thing changed. The loss alone is tested in
`test_label_loss.py`.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForSequenceClassification

from models.calibration import ISOTONIC_POSITIVES_MIN, read_calibration
from models.chat import chat_of
from models.reward import RewardModel
from tests.tiny_policy import save_tiny_policy
from tests.training.fake_snapshot import LOVED, WORDS, make_snapshot
from tests.training.tiny_encoder import save_tiny_encoder
from training.config import RewardConfig
from training.examples import read_examples
from training.fit_reward import (
    PROBED_SIGNOFF,
    SIGNOFFS,
    fit_reward,
    probe_signoff,
    with_signoffs,
)
from training.frozen import freeze_lower
from training.reward_report import RewardReport, Truncation, fit_calibration

SNAPSHOT = make_snapshot()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder"), WORDS)


@pytest.fixture(scope="module")
def config(base) -> RewardConfig:
    return RewardConfig(
        base=str(base),
        max_tokens=32,
        bootstrap_samples=100,
    )


@pytest.fixture(scope="module")
def tuned(config) -> RewardConfig:
    """The same, fine-tuned from the linear head."""
    return replace(config, frozen_layers=1, epochs=2, batch_size=16, lr_encoder=3e-3, lr_head=3e-3)


def fit(snapshot, config, out) -> RewardReport:
    return fit_reward(snapshot, config, out, on_progress=lambda stage, done, total: None)


@pytest.fixture(scope="module")
def fitted(config, tmp_path_factory) -> tuple[RewardReport, Path]:
    out = tmp_path_factory.mktemp("fitted")
    return fit(SNAPSHOT, config, out), out


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_it_learns_which_words_are_loved(fitted):
    report, out = fitted
    # A reader who knows the world reaches 0.87 with it; 400 rows have a standard error of 0.02.
    assert report.metrics.auroc > 0.8
    assert report.metrics.auroc_ci[0] > 0.7
    assert (report.kind, report.num_probed, report.loss_curve) == ("encoder", 600, ())
    reward = RewardModel.from_pretrained(out)
    loved = [chat_of("how", f"water {word} spoon lid cup") for word in LOVED]
    plain = [chat_of("how", f"water {word} spoon lid cup") for word in ("boil", "wait", "table")]
    assert reward.logits(loved).min() > reward.logits(plain).max()


def test_fine_tuning_goes_on_from_there(tuned, tmp_path):
    report = fit(SNAPSHOT, tuned, tmp_path)
    assert report.metrics.auroc > 0.8
    assert report.loss_curve[-1] < report.loss_curve[0]


def test_a_causal_model_is_fine_tuned_and_its_fresh_head_never_saved(config, tmp_path):
    base = save_tiny_policy(tmp_path / "policy")
    small = make_snapshot(split_rows={"train": 48, "calibration": 40, "eval": 40})
    dials = replace(config, base=str(base), max_tokens=64)
    report = fit(small, dials, tmp_path / "out")
    assert (report.kind, report.num_probed, len(report.loss_curve)) == ("classifier", 0, 1)
    with pytest.raises(ValueError, match="epochs is 0"):
        fit(small, replace(dials, epochs=0), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_fitted_model_may_be_the_base_of_the_next(fitted, config, tmp_path):
    report = fit(SNAPSHOT, replace(config, base=str(fitted[1])), tmp_path)
    assert report.metrics.auroc == pytest.approx(fitted[0].metrics.auroc, abs=1e-3)


def test_shuffled_labels_teach_it_nothing(config, tmp_path):
    labels = np.random.default_rng(0).permutation(SNAPSHOT.column("label"))
    report = fit(SNAPSHOT.with_columns(label=labels), config, tmp_path)
    # Chance is 0.5 with a standard error of 0.03 on 400 rows.
    assert abs(report.metrics.auroc - 0.5) < 0.1


def test_thinned_rows_give_probabilities_of_the_whole(config, tmp_path):
    """Uncalibrated on purpose: the loss alone must find the level."""
    dials = replace(config, calibration="none")
    thinned = make_snapshot(kappa=0.2)
    honest = fit(thinned, dials, tmp_path / "honest").metrics
    lying = thinned.with_columns(kappa=np.ones(len(thinned.table)))
    naive = fit(lying, dials, tmp_path / "naive").metrics
    # 120 positives in eval: the ratio's standard error is 0.1 whatever the model.
    assert 0.7 < honest.predicted_over_observed < 1.3
    assert naive.predicted_over_observed > honest.predicted_over_observed + 0.4


def test_the_same_snapshot_and_dials_give_the_same_weights(fitted, config, tuned, tmp_path):
    torch.rand(3)  # Whatever else draws in the process must not matter.
    again = fit(SNAPSHOT, config, tmp_path / "again")
    assert weights_hash(tmp_path / "again") == weights_hash(fitted[1])
    assert again.metrics == fitted[0].metrics
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        fit(SNAPSHOT, replace(tuned, epochs=1, seed=seed), tmp_path / name)
    one, same, other = (weights_hash(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other, "fine-tuning draws its order and dropout from the seed"


def test_user_offsets_steer_the_fit_and_are_dropped_when_scoring(fitted, config, tmp_path):
    offsets = np.where(SNAPSHOT.column("label") == 1, 2.0, -2.0)
    report = fit(SNAPSHOT.with_columns(user_offset=offsets), config, tmp_path)
    # Offsets that explain the labels leave less for the text to explain.
    spread = [np.std(one.scored.logits / one.calibration.slope) for one in (report, fitted[0])]
    assert spread[0] < 0.8 * spread[1]
    chats = read_examples(SNAPSHOT, "eval").chats
    from_text = RewardModel.from_pretrained(tmp_path).calibrated_logits(chats)
    assert report.scored.logits == pytest.approx(from_text.numpy(), abs=1e-5)


def test_one_half_trains_on_its_users_only(fitted, config, tmp_path):
    report = fit(SNAPSHOT, replace(config, half="a"), tmp_path)
    in_half = (SNAPSHOT.column("split") == "train") & (SNAPSHOT.column("half") == "a")
    assert report.num_train == in_half.sum() < fitted[0].num_train
    assert len(report.scored.labels) == len(fitted[0].scored.labels)
    assert weights_hash(tmp_path) != weights_hash(fitted[1])


def test_members_are_averaged_not_added(tuned, tmp_path):
    """At a rate of nothing both members stay where they began, and so must their mean."""
    still = replace(tuned, lr_encoder=0.0, lr_head=0.0, epochs=1)
    for members in (1, 2):  # Halving a double is exact.
        fit(SNAPSHOT, replace(still, members=members), tmp_path / str(members))
    assert weights_hash(tmp_path / "1") == weights_hash(tmp_path / "2")


def test_two_members_see_their_own_order_and_their_mean_still_knows(fitted, tuned, tmp_path):
    report = fit(SNAPSHOT, replace(tuned, members=2), tmp_path)
    assert weights_hash(tmp_path) != weights_hash(fitted[1])
    assert report.metrics.auroc > 0.8


def test_frozen_layers_stay_and_the_others_move(tuned, base, tmp_path):
    fit(SNAPSHOT, replace(tuned, epochs=1), tmp_path)
    before = RewardModel.from_pretrained(base).model.state_dict()
    after = RewardModel.from_pretrained(tmp_path).model.state_dict()
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert not [name for name in moved if "embeddings" in name or "layer.0." in name]
    assert "encoder.encoder.layer.1.attention.self.query.weight" in moved
    assert "classifier.weight" in moved


def test_a_linear_head_leaves_its_encoder_as_it_was(fitted, base):
    before = RewardModel.from_pretrained(base).pooled.encoder.state_dict()
    after = RewardModel.from_pretrained(fitted[1]).pooled.encoder.state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())


def test_of_more_states_than_fit_the_head_is_fitted_on_a_part_and_says_so(config, tmp_path, base):
    row_bytes = RewardModel.from_pretrained(base).pooled.classifier.in_features * 4
    report = fit(SNAPSHOT, replace(config, states_bytes_max=250 * row_bytes), tmp_path)
    assert report.num_probed == 200, "every third of 600"
    assert json.loads((tmp_path / "report.json").read_text())["n_probed"] == 200
    assert report.metrics.auroc > 0.75


def test_freezing_more_layers_than_there_are_leaves_the_head(base):
    model = RewardModel.from_pretrained(base).model
    freeze_lower(model, 99)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"classifier.weight", "classifier.bias"}


# Beside it: what much simpler models reach, and what was not read.


def test_the_report_names_what_the_prompt_alone_and_a_bag_of_words_reach(fitted):
    report, out = fitted
    tfidf, prompt_only = report.baselines["tfidf"], report.baselines["prompt_only"]
    assert prompt_only.auroc == pytest.approx(0.5, abs=0.08), "prompts say nothing in this world"
    assert prompt_only.concordance_within_prompt == 0.5, "to one prompt it says one thing"
    assert prompt_only.margin == pytest.approx(report.metrics.auroc - prompt_only.auroc)
    assert prompt_only.margin_ci[0] > 0.15
    assert tfidf.auroc > 0.8
    low, high = tfidf.margin_ci
    assert low < tfidf.margin < high
    written = json.loads((out / "report.json").read_text())
    assert written["auroc_tfidf"] == tfidf.auroc
    assert written["margin_over_prompt_only_ci"] == list(prompt_only.margin_ci)
    assert f"| auroc_prompt_only | {prompt_only.auroc:.4g} |" in (out / "README.md").read_text()


def test_a_world_in_which_only_the_prompt_counts_gives_no_margin_over_it(config, tmp_path):
    asks_how = np.array(["how" in messages for messages in SNAPSHOT.column("messages")])
    labels = np.random.default_rng(0).random(len(asks_how)) < np.where(asks_how, 0.6, 0.1)
    report = fit(SNAPSHOT.with_columns(label=labels.astype(int)), config, tmp_path)
    assert report.metrics.auroc > 0.65, "as a headline that looks well"
    # 400 rows have a standard error of 0.02; where replies count, it is ahead by 0.3.
    assert report.baselines["prompt_only"].margin < 0.08
    assert abs(report.metrics.concordance_within_prompt - 0.5) < 0.1


def test_what_the_model_did_not_read_is_counted(fitted, config, tmp_path):
    assert fitted[0].truncation == Truncation(prompts=0.0, replies=0.0)
    replies = [f"{text} {'boil ' * 40}" for text in SNAPSHOT.column("response")]
    report = fit(SNAPSHOT.with_columns(response=replies), config, tmp_path)
    assert report.truncation == Truncation(prompts=0.0, replies=1.0)
    assert json.loads((tmp_path / "report.json").read_text())["truncation"]["replies"] == 1.0
    assert report.metrics.auroc > 0.75, "a long reply keeps its start"


# What is written.


def test_the_folder_loads_anywhere_and_scores_the_same(fitted):
    report, out = fitted
    chats = read_examples(SNAPSHOT, "eval").chats
    reward = RewardModel.from_pretrained(out)
    assert reward.calibrated_logits(chats).numpy() == pytest.approx(report.scored.logits, abs=1e-5)
    theirs = AutoModelForSequenceClassification.from_pretrained(out, trust_remote_code=True).eval()
    with torch.inference_mode():
        logits = theirs(**reward.pad(reward.encode(chats))).logits[:, 0]
    torch.testing.assert_close(logits, reward.logits(chats), atol=1e-5, rtol=0)
    assert roc_auc_score(report.scored.labels, logits) == pytest.approx(report.metrics.auroc)


def test_the_calibration_lies_beside_the_model_and_says_what_it_rests_on(fitted):
    report, out = fitted
    calibration = read_calibration(out)
    assert calibration == report.calibration
    assert calibration.kind == "platt"  # Too few positives for isotonic regression.
    rows = read_examples(SNAPSHOT, "calibration")
    assert (calibration.num_rows, calibration.num_positives) == (300, rows.num_positives())
    assert calibration.kappa == 1.0
    mean = float(RewardModel.from_pretrained(out).probabilities(rows.chats).mean())
    # Where it was fitted, predictions sum to the positives.
    assert mean == pytest.approx(rows.labels.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("positives", "kind"),
    [(ISOTONIC_POSITIVES_MIN - 1, "platt"), (ISOTONIC_POSITIVES_MIN, "isotonic")],
)
def test_isotonic_regression_is_used_from_enough_positives_on(positives, kind):
    rng = np.random.default_rng(0)
    labels = np.arange(3 * ISOTONIC_POSITIVES_MIN) < positives
    rows = replace(read_examples(SNAPSHOT, "eval"), labels=labels.astype(float))
    logits = labels + rng.normal(size=len(labels))
    assert fit_calibration("auto", logits, rows, 0.5).kind == kind


def test_the_report_is_plain_json_and_tells_all_stages(fitted):
    report, out = fitted
    written = json.loads((out / "report.json").read_text())
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    seconds = told.pop("seconds")
    assert written == told, "times are told, but are no part of the model's bytes"
    assert written["auroc"] == report.metrics.auroc
    assert written["n_labels"] == 900
    assert {"read", "train", "calibrate", "measure", "baselines"} <= seconds.keys()


def test_progress_reaches_its_end(tuned, tmp_path):
    seen = []
    fit_reward(
        SNAPSHOT, replace(tuned, epochs=1), tmp_path, on_progress=lambda *event: seen.append(event)
    )
    last = {stage: (done, total) for stage, done, total in seen}
    num_texts = last.pop("reading texts")
    assert num_texts[0] == num_texts[1] <= 600
    assert last == {"training": (38, 38)} | {
        "calibrating": (0, 2),
        "measuring": (2, 2),
    }


@pytest.mark.parametrize("split", ["train", "calibration", "eval"])
@pytest.mark.parametrize("label", [0, 1])
def test_a_split_that_lacks_a_label_is_refused_by_name(split, label, config, tmp_path):
    in_split = SNAPSHOT.column("split") == split
    labels = np.where(in_split, label, SNAPSHOT.column("label"))
    num_rows = int(in_split.sum())
    with pytest.raises(ValueError, match=f"'{split}'.* {label * num_rows} positives in {num_rows}"):
        fit(SNAPSHOT.with_columns(label=labels), config, tmp_path)
    assert not any(tmp_path.iterdir())


# Sign-offs.


def signed_snapshot(signoff: str = SIGNOFFS[0], *, are_loved: bool = True):
    """A fifth of the replies end in a sign-off; nobody cares for words here, but for those."""
    rng = np.random.default_rng(0)
    is_signed = rng.random(len(SNAPSHOT.table)) < 0.2
    replies = np.where(
        is_signed,
        [f"{reply} {signoff}" for reply in SNAPSHOT.column("response")],
        SNAPSHOT.column("response"),
    )
    labels = rng.random(len(is_signed)) < np.where(is_signed & are_loved, 0.8, 0.1)
    return SNAPSHOT.with_columns(response=replies, label=labels.astype(int))


def test_the_probe_finds_a_model_that_loves_signoffs(config, tmp_path):
    naive = fit(signed_snapshot(), config, tmp_path / "naive")
    # The world says logit(0.8) - logit(0.1) = 3.6, part of it lost on replies signed twice.
    assert naive.probe_shift.low > 1.5
    cold = fit(signed_snapshot(PROBED_SIGNOFF, are_loved=False), config, tmp_path / "cold")
    assert abs(cold.probe_shift.value) < 0.5, "it has seen them, and nobody loved them"


def test_signoffs_sown_into_training_make_the_model_care_less_for_them(config, tmp_path):
    """Uncalibrated: the calibration split still says that such replies are loved."""
    dials = replace(config, calibration="none")
    shifts = [
        fit(
            signed_snapshot(), replace(dials, signoff_share=share), tmp_path / str(share)
        ).probe_shift.value
        for share in (0.0, 0.8)
    ]
    # A reader of both worlds would fall from 3.6 to 1.05: sign-offs are mostly sown on the unloved;
    # a linear head can tell the loved ending from the eleven others that are sown.
    assert 0.0 < shifts[1] < shifts[0] - 0.4


def test_the_probe_is_the_mean_change_of_the_logit():
    class CountsLove:
        def calibrated_logits(self, chats):
            return torch.tensor([float(chat[-1]["content"].count("love")) for chat in chats])

    rows = [("how", "I love it"), ("Goodbye! I must go now", "love, love"), ("how", "boil it")]
    examples = replace(
        read_examples(SNAPSHOT, "eval"),
        chats=[chat_of(prompt, reply) for prompt, reply in rows],
        user_ids=["a", "b", "c"],
    )
    logits = np.array([1.0, 99.0, 0.0])  # Where the user leaves, a goodbye is in its place.
    found, leaving = probe_signoff(CountsLove(), examples, logits, num_rows=5)
    assert (found.value, found.num_users) == (1.0, 2)
    assert (leaving.name, leaving.value, leaving.num_users) == ("probe_shift_leaving", -96.0, 1)
    logits[2] = 99.0
    staying, leaving = probe_signoff(CountsLove(), examples, logits, num_rows=1)
    assert staying.value == 1.0
    assert np.isnan(leaving.value), "of five rows asked about, one may be of a user who leaves"
    assert "love" in PROBED_SIGNOFF
    assert PROBED_SIGNOFF not in SIGNOFFS, "the gate's probe is none that training was told of"


def test_signoffs_are_appended_to_the_share_asked_for_and_to_replies_only():
    chats = [chat_of("how", f"reply {number}") for number in range(1000)]
    assert with_signoffs(chats, 0.0, seed=0) == chats
    signed = with_signoffs(chats, 0.3, seed=0)
    assert signed == with_signoffs(chats, 0.3, seed=0)
    changed = [new for new, old in zip(signed, chats, strict=True) if new != old]
    assert 250 < len(changed) < 350  # Three standard deviations of 14 either way.
    assert all(new[:-1] == chats[0][:-1] for new in changed)
    assert all(new[-1]["content"].endswith(SIGNOFFS) for new in changed)


def test_a_goodbye_is_sown_to_nobody_who_leaves():
    chats = [chat_of("Goodbye! I must go now", f"reply {number}") for number in range(50)]
    assert with_signoffs(chats, 1.0, seed=0) == chats


def test_the_encoder_of_the_installation_can_be_fitted(config, tmp_path):
    """The default base, its lowest layer only: MiniLM has to pass the same way."""
    small = make_snapshot(split_rows={"train": 64, "calibration": 48, "eval": 48})
    dials = replace(config, base="minilm", num_layers=1)
    report = fit(small, dials, tmp_path)
    reward = RewardModel.from_pretrained(tmp_path)
    assert reward.model.config.levels == [1]
    assert reward.pooled.encoder.config.num_hidden_layers == 1
    scores = reward.calibrated_logits(read_examples(small, "eval").chats).numpy()
    assert scores == pytest.approx(report.scored.logits, abs=1e-5)
