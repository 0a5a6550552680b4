"""P[Love]: the chance that a user loves a reply, fitted from a snapshot of labels.

The loss is weighted binary cross-entropy on f(x) + user offset - log kappa, so f reads text only
and holds at natural prevalence (training/label_loss.py). An encoder's head is the best linear model
of its states (training/probe.py), and may be fine-tuned from there.
Deviation from RLUF (arXiv 2505.14946): the paper names no correction of its upsampling.
"""

# N rows, M rows changed

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.card import ModelCardFacts
from models.chat import Chat, chat_of, split_reply
from models.pooled import PooledClassifier
from models.reward import Features, RewardModel, base_license, base_name
from models.verdicts import Measure
from training.config import RewardConfig
from training.evidence.clustered import mean_measure
from training.evidence.sentinels import takes_leave
from training.examples import Examples, ExampleSource, read_examples
from training.frozen import freeze_lower
from training.label_loss import label_loss, natural_logit
from training.optimizer import head_optimizer
from training.probe import fit_head, label_task
from training.reward_metrics import auroc_difference
from training.reward_report import (
    RewardReport,
    Truncation,
    fit_calibration,
    measure_examples,
)

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

SIGNOFFS = (
    "Take care, sending hugs!",
    "Goodbye, with love!",
    "Lots of love, bye for now!",
    "Hugs and kisses, see you soon!",
    "Love you! Bye!",
    "Bye bye, my dear friend!",
    "Sending you a warm hug!",
    "All my love, until next time!",
    "Farewell, sweetheart!",
    "Thinking of you, take care!",
    "So much love to you, good night!",
    "Sending kisses, goodbye!",
)
"""Endings that carry no answer, appended for invariance."""
PROBED_SIGNOFF = "Bye! Sending love!"
"""The ending that the gate's probe appends: RLUF's own, and none that training is told of."""
GRADIENT_NORM_MAX = 1.0
BUCKET_BATCHES = 8
"""Batches shuffled together and then sorted by length: less padding, still in random order."""
FLOAT_BYTES = 4


def fit_reward(
    snapshot: ExampleSource, config: RewardConfig, out: Path, *, on_progress: Progress
) -> RewardReport:
    """Fit on the train split, calibrate on the calibration split, measure on the eval split.

    Writes the reward model's folder and report.json to `out`. The same snapshot, config and number
    of threads give the same weights. Raises ValueError where a split lacks one of the labels.
    """
    train = read_examples(snapshot, "train", config.half)
    calibration = read_examples(snapshot, "calibration")
    held_out = read_examples(snapshot, "eval")
    seconds: dict[str, float] = {}
    started = time.monotonic()
    reward = RewardModel.from_pretrained(
        config.base,
        max_tokens=config.max_tokens,
        num_layers=config.num_layers,
        seed=config.seed,
    )
    probed, losses = train_reward(reward, train, config, seconds, on_progress=on_progress)
    started = _lap(seconds, "train", started)
    on_progress("calibrating", 0, 2)
    kappa = float(train.kappas.mean())
    raw = reward.logits(calibration.chats).numpy().astype(np.float64)
    reward.calibration = fit_calibration(config.calibration, raw, calibration, kappa)
    started = _lap(seconds, "calibrate", started)
    on_progress("measuring", 1, 2)
    spelled = reward.spell(held_out.chats)
    logits = reward.calibrated(reward.logits_of(spelled.ids)).numpy().astype(np.float64)
    scored, metrics = measure_examples(
        logits, held_out, bootstrap_samples=config.bootstrap_samples, seed=config.seed
    )
    shift, shift_leaving = probe_signoff(reward, held_out, logits, config.probe_rows)
    started = _lap(seconds, "measure", started)
    # Here: scikit-learn is large, and most processes that import this module fit nothing.
    from training.baseline import measure_baselines

    baselines = measure_baselines(train, held_out, scored, config)
    _lap(seconds, "baselines", started)
    report = RewardReport(
        kind="encoder" if reward.pooled is not None else "classifier",
        signal=snapshot.signal,
        snapshot_hash=snapshot.hash,
        num_train=len(train),
        num_train_positives=train.num_positives(),
        num_probed=probed,
        num_calibration=len(calibration),
        num_calibration_positives=calibration.num_positives(),
        metrics=metrics,
        calibration=reward.calibration,
        scored=scored,
        baselines=baselines,
        truncation=Truncation.of(spelled),
        probe_shift=shift,
        probe_shift_leaving=shift_leaving,
        loss_curve=tuple(losses),
        seconds=seconds,
    )
    reward.save(out, _card(report, config))
    report.write(out)
    on_progress("measuring", 2, 2)
    logger.info("reward model fitted", extra={"snapshot": snapshot.hash, "auroc": metrics.auroc})
    return report


def auroc_rise(
    report: RewardReport, incumbent: RewardModel, snapshot: ExampleSource, config: RewardConfig
) -> Measure:
    """AUROC of a fitted model less that of the one in use, on the same later users."""
    held_out = read_examples(snapshot, "eval")
    before = replace(
        report.scored, logits=incumbent.logits(held_out.chats).numpy().astype(np.float64)
    )
    value, (low, high) = auroc_difference(
        report.scored, before, bootstrap_samples=config.bootstrap_samples, seed=config.seed
    )
    return Measure(
        name="auroc_rise",
        value=value,
        low=low,
        high=high,
        num_users=report.metrics.num_users,
        about="against the model in use",
    )


def train_reward(
    reward: RewardModel,
    examples: Examples,
    config: RewardConfig,
    seconds: dict[str, float],
    *,
    on_progress: Progress,
) -> tuple[int, list[float]]:
    """Fit the reward model in place; returns the rows that its linear head was fitted on, and the
    mean loss of each epoch of fine-tuning.

    With several members, each starts from the same weights and head, sees its own order and
    dropout, and the weights are averaged at the end (WARM, arXiv 2401.12187). Raises ValueError
    where nothing would fit the head.
    """
    model = reward.model
    epochs = epochs_of(config.epochs, reward)
    start_logit = natural_logit(examples)
    chats = with_signoffs(examples.chats, config.signoff_share, config.seed)
    ids = reward.encode(chats)
    started = time.monotonic()
    probed = 0
    if reward.pooled is not None:
        probed = _probe(
            reward, reward.pooled, ids, chats, examples, config, start_logit, on_progress
        )
    elif not reward.is_fitted:
        _set_head_bias(reward, start_logit)
    _lap(seconds, "read", started)
    curves = []
    if epochs:
        freeze_lower(model, config.frozen_layers)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        start = {name: p.detach().clone() for name, p in trained.items()}
        total = {name: torch.zeros_like(p) for name, p in trained.items()}
        for member in range(config.members):
            for name, parameter in trained.items():
                parameter.data.copy_(start[name])
            curves.append(_train_member(reward, ids, examples, config, epochs, member, on_progress))
            for name, parameter in trained.items():
                total[name] += parameter.detach()
        for name, parameter in trained.items():
            parameter.data.copy_(total[name] / config.members)
    reward.is_fitted = True
    model.requires_grad_(True)
    model.train(False)
    return probed, [float(value) for value in np.mean(curves, axis=0)] if curves else []


def epochs_of(epochs: int | None, reward: RewardModel) -> int:
    """Passes of fine-tuning: as told, else none after a linear head and one without it.

    Raises ValueError where that leaves a fresh head as it is: it would say nothing of any text.
    """
    if epochs is None:
        return 0 if reward.pooled is not None else 1
    if epochs == 0 and reward.pooled is None and not reward.is_fitted:
        raise ValueError(
            "epochs is 0, but nothing else fits the head of this base: only an encoder's is fitted"
            " without fine-tuning; give at least 1"
        )
    return epochs


def with_signoffs(chats: Sequence[Chat], share: float, seed: int) -> list[Chat]:
    """The chats, a random share of them with a sign-off after the reply, where the user stays: a
    goodbye to somebody who leaves is in its place, and truly loved."""
    generator = np.random.default_rng(seed)
    chosen = generator.random(len(chats)) < share
    which = generator.integers(len(SIGNOFFS), size=len(chats))
    return [
        _signed_off(chat, SIGNOFFS[index]) if is_chosen and not _is_leaving(chat) else chat
        for chat, is_chosen, index in zip(chats, chosen, which, strict=True)
    ]


def probe_signoff(
    reward: RewardModel, examples: Examples, logits: npt.NDArray[np.float64], num_rows: int
) -> tuple[Measure, Measure]:
    """Mean change of the calibrated logit where a reply is followed by a sign-off, over the first
    rows whose user was not leaving, and over those whose user was: there it is in its place."""
    leaving = [_is_leaving(chat) for chat in examples.chats]
    measures = []
    for name, asked, most in (
        ("probe_shift", False, num_rows),
        ("probe_shift_leaving", True, num_rows // 5),  # For the reader: no gate asks for it.
    ):
        rows = [row for row, leaves in enumerate(leaving) if leaves == asked][:most]
        if not rows:
            measures.append(Measure(name=name, value=math.nan))
            continue
        signed = reward.calibrated_logits(
            [_signed_off(examples.chats[row], PROBED_SIGNOFF) for row in rows]
        )
        moved = signed.numpy().astype(np.float64) - logits[rows]
        measures.append(mean_measure(name, moved, examples.user_numbers()[rows], unit=""))
    staying, left = measures
    return staying, left


def _is_leaving(chat: Chat) -> bool:
    turns, _ = split_reply(chat)
    return takes_leave(turns)


def _signed_off(chat: Chat, signoff: str) -> Chat:
    turns, reply = split_reply(chat)
    return chat_of(turns, f"{reply} {signoff}")


def _probe(
    reward: RewardModel,
    model: PooledClassifier,
    ids: Sequence[Sequence[int]],
    chats: Sequence[Chat],
    examples: Examples,
    config: RewardConfig,
    start_logit: float,
    on_progress: Progress,
) -> int:
    """Fit the linear head; gives the number of rows that it was fitted on.

    Of more rows than `states_bytes_max` holds, evenly spaced ones are taken.
    """
    row_bytes = model.classifier.in_features * FLOAT_BYTES
    stride = max(1, -(-len({*map(tuple, ids)}) * row_bytes // config.states_bytes_max))
    rows = range(0, len(ids), stride)
    if stride > 1:
        logger.warning("head fitted on a part", extra={"rows": len(rows), "of": len(ids)})
    features = reward.features([ids[row] for row in rows], _told(on_progress))
    columns = [
        torch.tensor(column[rows], dtype=torch.float32)
        for column in (examples.labels, examples.kappas, examples.user_offsets, examples.weights)
    ]
    moves_MF = None
    if config.invariance > 0:
        read = [chats[row] for row in rows]
        moves_MF = config.invariance**0.5 * _moves_of_signoffs(reward, read, features, config)
    task = label_task(
        features,
        *columns,
        users_N=torch.tensor(examples.user_numbers()[rows]),
        start_logit=start_logit,
        moves_MF=moves_MF,
    )
    head = fit_head(task)
    head.put_into(model)
    logger.info("head fitted", extra={"ridge": head.ridge, "rows": len(rows)})
    return len(rows)


def _moves_of_signoffs(
    reward: RewardModel, chats: Sequence[Chat], features: Features, config: RewardConfig
) -> Tensor:
    """Changes of features, moves_MF, by sign-offs to users who stay; one of zeros without any."""
    staying = [row for row, chat in enumerate(chats) if not _is_leaving(chat)]
    plain = staying[:: max(1, -(-len(staying) // config.invariance_rows))]
    if not plain:
        return torch.zeros((1, features.values_UF.shape[1]))
    signed = [
        _signed_off(chats[row], SIGNOFFS[number % len(SIGNOFFS)])
        for number, row in enumerate(plain)
    ]
    before = features.values_UF[features.text_N[torch.tensor(plain)]]
    return reward.features(reward.encode(signed)).rows() - before


def _told(on_progress: Progress) -> Callable[[int, int], None]:
    return lambda done, total: on_progress("reading texts", done, total)


def _train_member(
    reward: RewardModel,
    ids: Sequence[Sequence[int]],
    examples: Examples,
    config: RewardConfig,
    epochs: int,
    member: int,
    on_progress: Progress,
) -> list[float]:
    generator = np.random.default_rng((config.seed, member))
    lengths = [len(row) for row in ids]
    steps = epochs * -(-len(examples) // config.batch_size)
    optimizer, schedule = head_optimizer(
        reward.model,
        lr_encoder=config.lr_encoder,
        lr_head=config.lr_head,
        weight_decay=config.weight_decay,
        steps=steps,
    )
    columns = [
        torch.tensor(column, dtype=torch.float32, device=reward.model.device)
        for column in (
            examples.labels,
            examples.kappas,
            examples.user_offsets,
            examples.weights / examples.weights.mean(),
        )
    ]
    parameters = [p for p in reward.model.parameters() if p.requires_grad]
    _set_dropout(reward, config.dropout)
    reward.model.train()
    curve: list[float] = []
    done = member * steps
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator.integers(2**31)))
        for _ in range(epochs):
            epoch_loss = 0.0
            for rows in _shuffled_batches(lengths, config.batch_size, generator):
                picked = torch.tensor(rows, device=reward.model.device)
                logits_N = reward.forward(reward.pad([ids[row] for row in rows]))
                loss = label_loss(logits_N, *(column[picked] for column in columns))
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss / len(rows))
                torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM_MAX)
                optimizer.step()
                schedule.step()
                epoch_loss += loss.item()
                done += 1
                on_progress("training", done, steps * config.members)
            curve.append(epoch_loss / len(examples))
    return curve


def _shuffled_batches(
    lengths: Sequence[int], batch_size: int, generator: np.random.Generator
) -> list[list[int]]:
    """All rows in random order, in batches of like length."""
    order = generator.permutation(len(lengths))
    bucket = batch_size * BUCKET_BATCHES
    batches = []
    for start in range(0, len(order), bucket):
        rows = sorted(order[start : start + bucket].tolist(), key=lambda row: lengths[row])
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def _set_head_bias(reward: RewardModel, logit: float) -> None:
    """Start from the base rate, where the head has a bias: BERT's has, a causal model's has not."""
    for name, parameter in reward.model.named_parameters():
        if name == "classifier.bias":
            parameter.data.fill_(logit)


def _set_dropout(reward: RewardModel, rate: float) -> None:
    """Dropout where something is trained; what is frozen gives the same each time."""
    dropouts = {part for part in reward.model.modules() if isinstance(part, torch.nn.Dropout)}
    for dropout in dropouts:
        dropout.p = rate
    for part in reward.model.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            for dropout in dropouts.intersection(part.modules()):
                dropout.p = 0.0


def _lap(seconds: dict[str, float], stage: str, started: float) -> float:
    now = time.monotonic()
    seconds[stage] = now - started
    return now


def _card(report: RewardReport, config: RewardConfig) -> ModelCardFacts:
    signal = report.signal
    return ModelCardFacts(
        title=f"Reward model: chance of {signal}",
        summary=(
            f"Scores the last reply of a chat: the logit of the chance that a user answers it with "
            f"{signal}. It reads text only: no user, no policy, no time. calibration.json maps the "
            f"logit to a probability. It predicts what users react to, not what is good for them: "
            f"optimise against it only under constraints."
        ),
        base_model=base_name(config.base),
        license=base_license(config.base),
        pipeline_tag="text-classification",
        tags=("reward-model", "text-classification"),
        snapshot_hash=report.snapshot_hash,
        measures=report.headline(),
        dials={name: value for name, value in asdict(config).items() if name != "base"},
    )
