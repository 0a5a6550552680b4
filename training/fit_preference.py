"""A reward model from preferences: which of two replies to a prompt people found better.

Bradley-Terry: the chance that the chosen reply beats the rejected one is sigma(f(chosen) -
f(rejected)). An encoder's head is the best linear one of its states (training/probe.py);
fine-tuning, from there or of any other base, is TRL's RewardTrainer. The scores have no zero of
their own, so they are not calibrated to a probability; only differences on one prompt mean
anything.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from models.calibration import Calibration
from models.card import ModelCardFacts
from models.chat import Chat, chat_of
from models.lean import lean_imports
from models.reward import RewardModel, base_license, base_name
from training.config import PreferenceConfig
from training.evidence.clustered import mean_measure
from training.examples import numbered
from training.fit_reward import epochs_of
from training.frozen import freeze_lower
from training.optimizer import head_optimizer
from training.pairs import Pair, read_pairs
from training.probe import fit_head, pair_task
from training.reward_metrics import wilson_interval
from training.reward_report import Truncation

with lean_imports():
    from trl import RewardConfig as TrainerConfig
    from trl import RewardTrainer

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceReport:
    """A preference model's accuracy on prompts that it never saw."""

    accuracy: float
    """Share of held-out pairs whose chosen reply scores higher; ties count half."""
    accuracy_ci: tuple[float, float]
    """95 %, Wilson."""
    longer_accuracy: float
    """What "the longer reply wins" reaches on the same pairs: the shortcut to beat."""
    accuracy_over_length: float
    """Accuracy above that of "the longer wins" or "the shorter wins", whichever is the better."""
    accuracy_over_length_ci: tuple[float, float]
    """95 %, on the pairs of one prompt together."""
    margin: float
    """Mean difference of the two scores on the held-out pairs, logits."""
    num_train: int
    num_held_out: int
    truncation: Truncation
    """Of the replies of the held-out pairs."""

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self) | {
            "accuracy_ci": list(self.accuracy_ci),
            "accuracy_over_length_ci": list(self.accuracy_over_length_ci),
        }


class _QuietTrainer(RewardTrainer):  # type: ignore[misc]  # TRL has no type stubs.
    """TRL's trainer, which otherwise reports its use to the Hub."""

    def _send_telemetry(self) -> None:
        """Send nothing: telemetry is off by default here."""


class _Steps(TrainerCallback):
    """Tells the caller of each step."""

    def __init__(self, on_progress: Progress) -> None:
        self.on_progress = on_progress

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        self.on_progress("training", state.global_step, state.max_steps)


def fit_preference(
    pairs: Path,
    config: PreferenceConfig,
    out: Path,
    *,
    on_progress: Progress,
    half: Literal["all", "a", "b"] = "all",
) -> PreferenceReport:
    """Fit on most prompts, measure on the rest; writes the model's folder and report.json to `out`.

    `pairs` is a file of JSON lines as training/pairs.py reads them. Raises ValueError where a line
    is no JSON, or too few prompts are there to keep some aside.
    """
    found = [pair for pair in read_pairs(pairs).pairs if half in ("all", pair.half)]
    train, held_out = split_pairs(found, config.held_out_share, config.seed)
    reward = RewardModel.from_pretrained(
        config.base,
        max_tokens=config.max_tokens,
        num_layers=config.num_layers,
        seed=config.seed,
    )
    reward.calibration = Calibration()
    _train(reward, train, config, on_progress)
    reward.is_fitted = True
    reward.model.requires_grad_(True)
    reward.model.train(False)
    on_progress("measuring", 0, 1)
    report = measure_pairs(reward, held_out, num_train=len(train))
    reward.save(out, _card(report, config))
    text = json.dumps(report.to_json(), indent=2) + "\n"
    (out / REPORT_FILE).write_text(text, encoding="utf-8")
    on_progress("measuring", 1, 1)
    logger.info("preference model fitted", extra={"accuracy": report.accuracy})
    return report


def split_pairs(
    pairs: Sequence[Pair], held_out_share: float, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs kept aside, with no prompt on both sides."""
    prompts = sorted({json.dumps(pair.prompt) for pair in pairs})
    num_held_out = round(held_out_share * len(prompts))
    if not 0 < num_held_out < len(prompts):
        raise ValueError(f"{len(prompts)} prompts cannot be split at a share of {held_out_share}")
    order = np.random.default_rng(seed).permutation(len(prompts))
    aside = {prompts[index] for index in order[:num_held_out]}
    train = [pair for pair in pairs if json.dumps(pair.prompt) not in aside]
    held_out = [pair for pair in pairs if json.dumps(pair.prompt) in aside]
    return train, held_out


def measure_pairs(
    reward: RewardModel, pairs: Sequence[Pair], *, num_train: int
) -> PreferenceReport:
    """Accuracy on the pairs, beside that of preferring the longer reply."""
    spelled = reward.spell(_chats(pairs))
    chosen, rejected = reward.logits_of(spelled.ids).chunk(2)
    margins = (chosen - rejected).numpy().astype(np.float64)
    longer = _wins(np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs]))
    wins = float(_wins(margins).sum())
    by_length = longer if longer.mean() >= 0.5 else 1 - longer
    prompts = {json.dumps(pair.prompt): number for number, pair in enumerate(pairs)}
    over = mean_measure(
        "accuracy_over_length",
        _wins(margins) - by_length,
        np.array([prompts[json.dumps(pair.prompt)] for pair in pairs]),
        unit="ratio",
    )
    return PreferenceReport(
        accuracy=wins / len(pairs),
        accuracy_ci=wilson_interval(wins, len(pairs)),
        longer_accuracy=float(longer.mean()),
        accuracy_over_length=over.value,
        accuracy_over_length_ci=(over.low, over.high),
        margin=float(margins.mean()),
        num_train=num_train,
        num_held_out=len(pairs),
        truncation=Truncation.of(spelled),
    )


def _chats(pairs: Sequence[Pair]) -> list[Chat]:
    """The chosen replies with their prompts, then the rejected ones."""
    return [chat_of(pair.prompt, pair.chosen) for pair in pairs] + [
        chat_of(pair.prompt, pair.rejected) for pair in pairs
    ]


def _wins(margins: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray:
    return np.where(margins == 0, 0.5, margins > 0)


def _train(
    reward: RewardModel, pairs: Sequence[Pair], config: PreferenceConfig, on_progress: Progress
) -> None:
    epochs = epochs_of(config.epochs, reward)
    ids = reward.encode(_chats(pairs))
    if reward.pooled is not None:
        prompts_N = torch.tensor(numbered([json.dumps(pair.prompt) for pair in pairs]))
        features = reward.features(ids, lambda *done: on_progress("reading texts", *done))
        head = fit_head(pair_task(features, prompts_N))
        head.put_into(reward.pooled)
        logger.info("head fitted", extra={"ridge": head.ridge, "rows": len(pairs)})
    if epochs:
        _fine_tune(reward, ids, config, epochs, on_progress)


def _fine_tune(
    reward: RewardModel,
    ids: Sequence[Sequence[int]],
    config: PreferenceConfig,
    epochs: int,
    on_progress: Progress,
) -> None:
    """TRL's trainer over pairs of texts: the chosen ones in tokens, then the rejected ones."""
    freeze_lower(reward.model, config.frozen_layers)
    num_pairs = len(ids) // 2
    dataset = Dataset.from_dict({"chosen_ids": ids[:num_pairs], "rejected_ids": ids[num_pairs:]})
    on_cpu = reward.model.device.type == "cpu"
    with tempfile.TemporaryDirectory(prefix="rluf-trainer-") as scratch:
        settings = TrainerConfig(
            output_dir=scratch,
            num_train_epochs=epochs,
            per_device_train_batch_size=config.batch_size,
            seed=config.seed,
            max_length=None,
            # Both default to on in TRL; on a CPU bf16 is about 100 times slower than fp32.
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=on_cpu,
            dataloader_pin_memory=not on_cpu,
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = _QuietTrainer(
            model=reward.model,
            args=settings,
            train_dataset=dataset,
            processing_class=reward.tokenizer,
            callbacks=[_Steps(on_progress)],
            optimizers=head_optimizer(
                reward.model,
                lr_encoder=config.lr_encoder,
                lr_head=config.lr_head,
                weight_decay=config.weight_decay,
                steps=epochs * -(-num_pairs // config.batch_size),
            ),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _card(report: PreferenceReport, config: PreferenceConfig) -> ModelCardFacts:
    return ModelCardFacts(
        title="Reward model: preferred replies",
        summary=(
            "Scores the last reply of a chat, fitted on pairs of replies (Bradley-Terry). Only "
            "differences between replies to one prompt mean anything; there is no zero."
        ),
        base_model=base_name(config.base),
        license=base_license(config.base),
        pipeline_tag="text-classification",
        tags=("trl", "reward-trainer", "reward-model"),
        measures={"accuracy": report.accuracy, "longer_accuracy": report.longer_accuracy},
        dials={name: value for name, value in asdict(config).items() if name != "base"},
    )
