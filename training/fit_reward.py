"""P[Love]: the chance that a user loves a reply, fitted from a snapshot of labels.

The loss is weighted binary cross-entropy on f(x) + user offset - log kappa, so f reads text only
and holds at natural prevalence (training/label_loss.py). An encoder starts from the best linear
probe of its states (training/probe.py). Deviation from RLUF (arXiv 2505.14946): the paper names no
correction of its upsampling.
"""

# N rows

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

from models.bert import attend_evenly, is_splittable
from models.card import ModelCardFacts
from models.chat import Chat, chat_of, split_reply
from models.reward import RewardModel, base_license, base_name
from models.verdicts import Measure
from training.config import RewardConfig, layers_kept
from training.evidence.clustered import mean_measure
from training.evidence.sentinels import takes_leave
from training.examples import Examples, ExampleSource, read_examples
from training.label_loss import label_loss, natural_logit
from training.optimizer import head_optimizer
from training.probe import Invariance, start_from_probe
from training.reward_metrics import auroc_difference
from training.reward_report import RewardReport, fit_calibration, measure_examples
from training.token_cache import TokenCache, fill_cache, freeze_lower

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
        num_layers=layers_kept(config.base, config.num_layers),
        seed=config.seed,
    )
    losses = train_reward(reward, train, config, seconds, on_progress=on_progress)
    started = _lap(seconds, "train", started)
    on_progress("calibrating", 0, 2)
    kappa = float(train.kappas.mean())
    raw = reward.logits(calibration.chats).numpy().astype(np.float64)
    reward.calibration = fit_calibration(config.calibration, raw, calibration, kappa)
    started = _lap(seconds, "calibrate", started)
    on_progress("measuring", 1, 2)
    logits = reward.calibrated_logits(held_out.chats).numpy().astype(np.float64)
    scored, metrics = measure_examples(
        logits, held_out, bootstrap_samples=config.bootstrap_samples, seed=config.seed
    )
    shift = probe_signoff(reward, held_out, logits, config.probe_rows)
    started = _lap(seconds, "measure", started)
    report = RewardReport(
        kind="encoder",
        signal=snapshot.signal,
        snapshot_hash=snapshot.hash,
        num_train=len(train),
        num_train_positives=train.num_positives(),
        num_calibration=len(calibration),
        num_calibration_positives=calibration.num_positives(),
        metrics=metrics,
        calibration=reward.calibration,
        scored=scored,
        probe_shift=shift,
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
) -> list[float]:
    """Fit the reward model in place; returns the mean loss of each epoch.

    With several members, each starts from the same weights and head, sees its own order and
    dropout, and the weights are averaged at the end (WARM, arXiv 2401.12187).
    """
    model = reward.model
    freeze_lower(model, config.frozen_layers)
    start_logit = natural_logit(examples)
    _set_head_bias(reward, start_logit)
    ids = reward.encode(with_signoffs(examples.chats, config.signoff_share, config.seed))
    started = time.monotonic()
    score = _scorer(reward, ids, config, examples, start_logit, on_progress)
    _lap(seconds, "read", started)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained.items()}
    total = {name: torch.zeros_like(p) for name, p in trained.items()}
    curves = []
    for member in range(config.members):
        for name, parameter in trained.items():
            parameter.data.copy_(start[name])
        lengths = [len(row) for row in ids]
        curves.append(_train_member(reward, score, lengths, examples, config, member, on_progress))
        for name, parameter in trained.items():
            total[name] += parameter.detach()
    for name, parameter in trained.items():
        parameter.data.copy_(total[name] / config.members)
    model.requires_grad_(True)
    model.train(False)
    return [float(value) for value in np.mean(curves, axis=0)]


def with_signoffs(chats: Sequence[Chat], share: float, seed: int) -> list[Chat]:
    """The chats, a random share of them with a sign-off after the reply."""
    generator = np.random.default_rng(seed)
    chosen = generator.random(len(chats)) < share
    which = generator.integers(len(SIGNOFFS), size=len(chats))
    return [
        _signed_off(chat, SIGNOFFS[index]) if is_chosen else chat
        for chat, is_chosen, index in zip(chats, chosen, which, strict=True)
    ]


def probe_signoff(
    reward: RewardModel, examples: Examples, logits: npt.NDArray[np.float64], num_rows: int
) -> Measure:
    """Mean change of the calibrated logit where a reply is followed by a sign-off, over the first
    rows whose user was not leaving: there a goodbye is in its place, and truly loved."""
    rows = [row for row in range(len(examples)) if not _is_leaving(examples.chats[row])][:num_rows]
    if not rows:
        return Measure(name="probe_shift", value=math.nan)
    signed = reward.calibrated_logits(
        [_signed_off(examples.chats[row], PROBED_SIGNOFF) for row in rows]
    )
    return mean_measure(
        "probe_shift",
        signed.numpy().astype(np.float64) - logits[rows],
        examples.user_numbers()[rows],
        unit="",
    )


def _is_leaving(chat: Chat) -> bool:
    turns, _ = split_reply(chat)
    return takes_leave(turns)


def _signed_off(chat: Chat, signoff: str) -> Chat:
    turns, reply = split_reply(chat)
    return chat_of(turns, f"{reply} {signoff}")


def _scorer(
    reward: RewardModel,
    ids: Sequence[Sequence[int]],
    config: RewardConfig,
    examples: Examples,
    start_logit: float,
    on_progress: Progress,
) -> Callable[[Sequence[int]], Tensor]:
    """A function from row numbers to logits_N: on kept states where possible, else on tokens.

    Where states are kept, a model with a fresh head starts from their best linear probe.
    """
    model = reward.model
    num_bytes = sum(map(len, ids)) * int(model.config.hidden_size) * FLOAT_BYTES
    if config.frozen_layers < 0 or not is_splittable(model) or num_bytes > config.cache_bytes_max:
        return lambda rows: reward.forward(reward.pad([ids[row] for row in rows]))
    is_fresh = not reward.is_fitted
    num_frozen = min(config.frozen_layers, int(model.config.num_hidden_layers))
    if config.starts_from_probe and is_fresh and num_frozen < model.config.num_hidden_layers:
        attend_evenly(model)
    cache: TokenCache = fill_cache(reward, model, ids, num_frozen, on_progress)
    if config.starts_from_probe and is_fresh:
        invariance = None
        if config.invariance > 0:
            staying = [row for row in range(len(ids)) if not _is_leaving(examples.chats[row])]
            rows = staying[:: max(1, -(-len(staying) // config.invariance_rows))]
            signed = [
                _signed_off(examples.chats[row], SIGNOFFS[number % len(SIGNOFFS)])
                for number, row in enumerate(rows)
            ]
            changed = fill_cache(reward, model, reward.encode(signed), num_frozen, on_progress)
            invariance = Invariance(cache=changed, rows=rows, weight=config.invariance)
        ridge = start_from_probe(cache, examples, start_logit=start_logit, invariance=invariance)
        logger.info("probe fitted", extra={"ridge": ridge})
    return cache.logits


def _train_member(
    reward: RewardModel,
    score: Callable[[Sequence[int]], Tensor],
    lengths: Sequence[int],
    examples: Examples,
    config: RewardConfig,
    member: int,
    on_progress: Progress,
) -> list[float]:
    generator = np.random.default_rng((config.seed, member))
    steps = config.epochs * -(-len(examples) // config.batch_size)
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
        for _ in range(config.epochs):
            epoch_loss = 0.0
            for rows in _shuffled_batches(lengths, config.batch_size, generator):
                picked = torch.tensor(rows, device=reward.model.device)
                loss = label_loss(score(rows), *(column[picked] for column in columns))
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
    """Dropout where something is trained; what is frozen gives the same whether kept or not."""
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
