"""CRPG, calibrated-regularised policy gradient (CGPO, arXiv 2409.20370, eq. 8-12), on TRL's RLOO.

    g = mean over replies of ∇ log π(a|s) · (R̃ − baseline),   R̃ = gate_KL · Π judges · Σ w·R

RLOO brings the loop, the log-probabilities of policy and reference, and the gradient. We give
it R̃. How we deviate from the paper: the baseline is the mean of the *other* replies to the same
prompt (leave-one-out) instead of the batch's mean, which has less variance.
"""

# N replies, T reply tokens, R rewards

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoTokenizer,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from models.chat import Chat
from models.lean import lean_imports
from models.policy import Policy
from models.published import make_portable, save_model
from models.sampling import Dials
from models.tokens import ChatTokenizer
from training.algorithms.base import Checkpoint, Improvement, Step, Task
from training.config import PolicyConfig
from training.held_back import HeldBack
from training.mixture import Mixture, Scores, kl_gate, mix, next_multiplier
from training.objectives.base import Completions

with lean_imports():
    from trl import RLOOConfig, RLOOTrainer

logger = logging.getLogger(__name__)

BETA = 1e-6
"""TRL computes the reference's log-probabilities only where beta is not 0. The gate is the real
constraint; this penalty of a millionth a nat is not felt."""


class CrpgTrainer(RLOOTrainer):  # type: ignore[misc]  # TRL ships no types.
    """RLOO on R̃. Overrides five private methods of TRL 1.16: keep the smoke test when bumping."""

    def __init__(self, *, mixture: Mixture, config: PolicyConfig, **kwargs: Any) -> None:
        self.mixture = mixture
        self.config = config
        self.weights = dict(zip(mixture.reward_names, mixture.weights, strict=True))
        self.curve: list[Step] = []
        self._log_probs: list[tuple[Tensor, Tensor]] = []
        super().__init__(reward_funcs=[_column(name) for name in self.weights], **kwargs)
        self._chance = torch.Generator().manual_seed(
            seed_of_rank(config.seed, self.accelerator.process_index)
        )
        self._spelling = ChatTokenizer(self.processing_class)

    def _send_telemetry(self) -> None:
        """Nothing is sent from here."""

    def _tokenize_prompts(
        self, prompts: Sequence[Chat]
    ) -> tuple[list[list[int]], None, dict[str, object]]:
        """As serving reads them: what a user wrote never becomes a control token."""
        return self._spelling.chat_ids(prompts, for_reply=True), None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, multimodal_fields: Mapping[str, object]
    ) -> list[list[int]]:
        """Samples as serving does: a third less time than `generate`, and a seed of its own."""
        del images, multimodal_fields
        dials = Dials(
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            top_p=1.0,
        )
        draws_NT = torch.rand(
            (len(prompt_ids), dials.max_new_tokens), generator=self._chance, dtype=torch.float64
        )
        sampler = Policy(self.model, self.processing_class, "")
        return [tokens for tokens, _ in sampler.sample(prompt_ids, draws_NT, dials)]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Remembers the last two calls without gradient: the policy's, then the reference's."""
        if input_ids.device.type == "cpu" and takes_logits_to_keep(model):
            with_entropy = bool(kwargs.get("compute_entropy"))
            logp_NT, entropy_NT = reply_log_probs(
                model, input_ids, attention_mask, logits_to_keep, self.temperature, with_entropy
            )
            out = (logp_NT, entropy_NT, None)
        else:
            out = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if not torch.is_grad_enabled():
            mask_NT = attention_mask[:, -logits_to_keep:]
            self._log_probs = [*self._log_probs[-1:], (out[0], mask_NT)]
        return out

    def _calculate_rewards(
        self,
        inputs: Sequence[Mapping[str, Any]],
        prompts: Sequence[Chat],
        completions: Sequence[Chat],
        completion_ids_list: Sequence[Sequence[int]],
    ) -> Tensor:
        """Returns columns_NR whose row sums are R̃, those of all ranks; TRL's own weights stay 1.

        Whatever is decided of a step (stops, multipliers) is decided of the replies of all ranks.
        """
        del inputs
        scores = self.mixture.score(
            Completions(
                prompts=prompts, replies=[completion[0]["content"] for completion in completions]
            )
        )
        ended_N = torch.tensor([ids[-1] in self.eos_token_ids for ids in completion_ids_list])
        (logp_NT, mask_NT), (ref_NT, _) = self._log_probs
        log_ratio_N = ((logp_NT - ref_NT) * mask_NT).sum(-1).cpu()
        gate_N = kl_gate(log_ratio_N, self.config.kl_max_nats)
        kept_N = torch.where(ended_N, 1.0, self.config.cut_factor)
        columns_NR = mix(scores, gate_N * kept_N, torch.tensor(list(self.weights.values())))
        tokens_N = torch.tensor([float(len(ids)) for ids in completion_ids_list])
        columns_NR = self._everybodys(columns_NR)
        scores = Scores(
            rewards_NR=self._everybodys(scores.rewards_NR),
            judges_NJ=self._everybodys(scores.judges_NJ),
        )
        gate_N, log_ratio_N, ended_N, tokens_N = map(
            self._everybodys, (gate_N, log_ratio_N, ended_N, tokens_N)
        )
        self.curve.append(self._step_of(scores, gate_N, log_ratio_N, ended_N, tokens_N, columns_NR))
        return columns_NR.to(self.accelerator.device)

    def _everybodys(self, values: Tensor) -> Tensor:
        """The rows of all ranks, in the order of ranks."""
        gathered: Tensor = self.accelerator.gather(values.to(self.accelerator.device))
        return gathered.cpu()

    def love_win_rate(self, held_back: HeldBack) -> float:
        """How often the policy wins on the prompts held back; each rank asks its share of them."""
        num_ranks = self.accelerator.num_processes
        wins_P = held_back.wins(
            Policy(self.accelerator.unwrap_model(self.model), self.processing_class, ""),
            first=self.accelerator.process_index,
            every=num_ranks,
        )
        told = torch.tensor([wins_P.sum(), len(wins_P)], dtype=torch.float32)
        total, count = self.accelerator.reduce(told.to(self.accelerator.device), "sum").tolist()
        return float(total / count)

    def _step_of(
        self,
        scores: Scores,
        gate_N: Tensor,
        log_ratio_N: Tensor,
        ended_N: Tensor,
        tokens_N: Tensor,
        columns_NR: Tensor,
    ) -> Step:
        return Step(
            step=self.state.global_step + 1,
            rewards=dict(zip(self.weights, scores.rewards_NR.mean(0).tolist(), strict=True)),
            judges=dict(
                zip(self.mixture.judge_names, scores.judges_NJ.mean(0).tolist(), strict=True)
            ),
            ended=float(ended_N.float().mean()),
            weights=dict(self.weights),
            feasible=float(scores.feasible().mean()),
            gate=float(gate_N.mean()),
            kl_nats=float(log_ratio_N.mean()),
            total=float(columns_NR.sum(-1).mean()),
            reply_tokens=float(tokens_N.mean()),
        )


def takes_logits_to_keep(model: Any) -> bool:
    """Whether the model's forward can leave out the logits of the prompt."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def reply_log_probs(
    model: Any,
    ids_NP: Tensor,
    mask_NP: Tensor,
    num_kept: int,
    temperature: float,
    with_entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """log π of the last `num_kept` tokens, logp_NT, and on request each token's entropy_NT, nats.

    What TRL's own method gives, but only the reply's positions meet the vocabulary: off a GPU TRL
    1.16 projects the prompt's too, which for long prompts is most of a step. Tokens outside the
    mask give 0, as there.
    """
    logits_NTV = model(
        input_ids=ids_NP, attention_mask=mask_NP, use_cache=False, logits_to_keep=num_kept + 1
    ).logits[:, :-1]
    logps_NTV = torch.log_softmax(logits_NTV.float() / temperature, dim=-1)
    mask_NT = mask_NP[:, -num_kept:]
    logp_NT = logps_NTV.gather(-1, ids_NP[:, -num_kept:, None])[..., 0] * mask_NT
    if not with_entropy:
        return logp_NT, None
    with torch.no_grad():
        entropy_NT = -(logps_NTV.exp() * logps_NTV).sum(-1) * mask_NT
    return logp_NT, entropy_NT


class Crpg:
    """The default algorithm: rewards are comparable once calibrated, judges and gate multiply."""

    name: ClassVar[str] = "crpg"

    def improve(self, task: Task) -> Improvement:
        """Runs RLOO on R̃, keeping a checkpoint every few steps until a rule is broken."""
        tokenizer = AutoTokenizer.from_pretrained(str(task.policy), padding_side="left")
        if tokenizer.chat_template is None:
            tokenizer.chat_template = ChatTokenizer(tokenizer).plain_template()
        trainer = CrpgTrainer(
            mixture=task.mixture,
            config=task.config,
            model=str(task.policy),
            args=_arguments(task),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in task.prompts]),
            processing_class=tokenizer,
        )
        rules = Rules(trainer, task)
        trainer.add_callback(rules)
        trainer.remove_callback(PrinterCallback)  # It prints; progress goes to on_progress.
        trainer.train()
        return Improvement(
            checkpoints=tuple(rules.checkpoints),
            curve=tuple(trainer.curve),
            stopped=rules.stopped,
            love_win_rate=rules.love_win_rate,
        )


class Rules(TrainerCallback):
    """What happens between steps: weights that move, checkpoints, and the two reasons to stop.

    The step that broke a rule is not kept, unless none was kept before it.
    """

    def __init__(self, trainer: CrpgTrainer, task: Task) -> None:
        self.trainer = trainer
        self.task = task
        self.checkpoints: list[Checkpoint] = []
        self.stopped = "steps"
        self.love_win_rate: float | None = None
        self.multiplier = 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        config, step = self.task.config, state.global_step
        self._move_weights()
        is_due = step % config.checkpoint_every == 0 or step >= config.steps
        reason = stop_reason(self.trainer.curve, config)
        if is_due and reason is None and self.task.held_back is not None:
            self.love_win_rate = self.trainer.love_win_rate(self.task.held_back)
            if self.love_win_rate >= config.love_win_rate_max:
                reason = "love_win_rate"
        if reason is not None:
            self.stopped = reason
            control.should_training_stop = True
            logger.info("policy stopped", extra={"reason": reason, "step": step})
        if (is_due and reason is None) or not (self.checkpoints or reason is None):
            self._keep(step)
        if self.trainer.accelerator.is_main_process:
            self.task.on_progress("improve policy", step, config.steps)

    def _move_weights(self) -> None:
        """Helpfulness gains weight while it is below its floor, and loses the gain above."""
        base = dict(zip(self.task.mixture.reward_names, self.task.mixture.weights, strict=True))
        if "helpfulness" not in base:
            return
        config = self.task.config
        self.multiplier = next_multiplier(
            self.multiplier,
            self.trainer.curve[-1].rewards["helpfulness"],
            floor=config.helpfulness_floor,
            rate=config.helpfulness_rate,
        )
        self.trainer.weights["helpfulness"] = base["helpfulness"] + self.multiplier

    def _keep(self, step: int) -> None:
        path = self.task.out / f"step-{step:04d}"
        accelerator = self.trainer.accelerator
        if accelerator.is_main_process:
            save_model(accelerator.unwrap_model(self.trainer.model), path)
            self.trainer.processing_class.save_pretrained(path)
            make_portable(path)
        accelerator.wait_for_everyone()
        self.checkpoints.append(Checkpoint(step=step, path=path, love_win_rate=self.love_win_rate))


def seed_of_rank(seed: int, rank: int) -> int:
    """A seed of its own for each rank; the first has the one given."""
    return seed if rank == 0 else int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])


def stop_reason(curve: Sequence[Step], config: PolicyConfig) -> str | None:
    """Why to stop now, by the mean KL gate of the last few steps; None to go on."""
    window = curve[-config.stop_window :]
    if len(window) < config.stop_window:
        return None
    return "gate" if sum(step.gate for step in window) / len(window) < config.gate_min else None


def _arguments(task: Task) -> RLOOConfig:
    config = task.config
    prompts_per_step = min(config.prompts_per_step, len(task.prompts))
    return RLOOConfig(
        output_dir=str(task.out),
        max_steps=config.steps,
        per_device_train_batch_size=prompts_per_step * config.num_generations,
        num_generations=config.num_generations,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=BETA,
        learning_rate=config.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        disable_dropout=True,
        seed=config.seed,
        use_cpu=config.device == "cpu",
        bf16=False,  # About 100 times slower than float32 on a CPU.
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",  # Rules keeps the checkpoints, without optimiser state.
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _column(name: str) -> Any:
    """A reward function for TRL to count and to name; CrpgTrainer scores by itself."""

    def column(**_: object) -> list[float]:
        raise AssertionError(f"{name} is scored by the mixture")

    column.__name__ = name
    return column
