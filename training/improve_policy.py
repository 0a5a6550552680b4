"""Refresh a policy: sample production's replies, calibrate the rewards on them, run the algorithm.

The reference is production itself, so every reward, the KL gate and the win rates mean "against
what users get today".
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from models.card import ModelCardFacts, write_card
from models.chat import Chat
from models.policy import Policy
from models.published import origin_of
from training.algorithms import ALGORITHMS
from training.algorithms.base import Checkpoint, Step, Task
from training.config import PolicyConfig
from training.held_back import HeldBack, hold_back
from training.mixture import build_mixture
from training.objectives.base import Ingredients, Reference, Scorer, prompt_key

logger = logging.getLogger(__name__)

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """What a refresh produced, for the registry and for plots."""

    algorithm: str
    checkpoints: tuple[Checkpoint, ...]
    """Candidates, oldest first; evidence chooses among them, or none."""
    curve: tuple[Step, ...]
    stopped: str
    """"steps", "love_win_rate" or "gate"."""
    num_prompts: int
    """Prompts practised on."""
    num_held_back: int = 0
    """Prompts that the win rate was measured on."""
    love_win_rate: float | None = None
    """The last that was measured, also that which ended the run."""

    def near(self, checkpoint: Checkpoint, window: int = 5) -> Mapping[str, float]:
        """Means of the last few steps up to a checkpoint: kl_nats, gate, feasible, rewards/<name>.

        From the training samples; the evidence measures the same anew on other prompts.
        """
        steps = [step for step in self.curve if step.step <= checkpoint.step][-window:]
        rows = [
            {"kl_nats": s.kl_nats, "gate": s.gate, "feasible": s.feasible}
            | {f"rewards/{name}": value for name, value in s.rewards.items()}
            for s in steps
        ]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def to_json(self) -> dict[str, object]:
        """Plain values; paths are names within the report's folder."""
        return {
            "algorithm": self.algorithm,
            "stopped": self.stopped,
            "num_prompts": self.num_prompts,
            "num_held_back": self.num_held_back,
            "love_win_rate": self.love_win_rate,
            "checkpoints": [
                {
                    "step": c.step,
                    "path": c.path.name,
                    "love_win_rate": c.love_win_rate,
                    **self.near(c),
                }
                for c in self.checkpoints
            ],
            "curve": [asdict(step) for step in self.curve],
        }


def improve_policy(
    policy: Path,
    prompts: Sequence[Chat],
    scorers: Mapping[str, Scorer],
    config: PolicyConfig,
    out: Path,
    *,
    held_back: Sequence[Chat],
    on_progress: Callable[[str, int, int], None],
    parent: str = "",
    safety_threshold: float | None = None,
) -> PolicyReport:
    """Runs one recipe on production's folder, writing checkpoints and report.json under `out`.

    `scorers` are reward models by objective (`RewardModel.calibrated_logits` of "love",
    "helpfulness" and "safety"); `safety_threshold` is the least safe logit; `parent` is what the
    cards call the policy where its own names no model that it came from. `prompts` are practised on
    as often as they come; on `held_back`, prompts of other users, training asks how often the
    policy wins. Raises ValueError for unknown names, missing reward models and no prompts.
    """
    if not 0 <= config.cut_factor <= 1:
        raise ValueError(f"cut_factor is a share, 0 to 1, got {config.cut_factor}")
    if config.algorithm not in ALGORITHMS:
        raise ValueError(
            f"unknown algorithm {config.algorithm!r}; there are {', '.join(ALGORITHMS)}"
        )
    production = Policy.from_pretrained(policy)
    chosen = choose_prompts(production, prompts, config)
    reference = _sample_reference(production, chosen, config, on_progress)
    mixture = build_mixture(
        config.weights,
        config.judges,
        Ingredients(
            scorers=scorers,
            reference=reference,
            spread=config.reference_spread,
            safety_quantile=config.safety_quantile,
            safety_threshold=safety_threshold,
        ),
    )
    out.mkdir(parents=True, exist_ok=True)
    improvement = ALGORITHMS[config.algorithm].improve(
        Task(
            policy=policy,
            prompts=chosen,
            mixture=mixture,
            config=config,
            held_back=_hold_back(production, held_back, scorers.get("love"), config),
            out=out,
            on_progress=on_progress,
        )
    )
    for checkpoint in improvement.checkpoints:
        write_card(_card(policy, parent, config, checkpoint), checkpoint.path)
    report = PolicyReport(
        algorithm=config.algorithm,
        checkpoints=improvement.checkpoints,
        curve=improvement.curve,
        stopped=improvement.stopped,
        num_prompts=len(chosen),
        num_held_back=len(held_back),
        love_win_rate=improvement.love_win_rate,
    )
    (out / REPORT_FILE).write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
    logger.info(
        "policy improved",
        extra={"stopped": report.stopped, "checkpoints": len(report.checkpoints)},
    )
    return report


def choose_prompts(policy: Policy, prompts: Sequence[Chat], config: PolicyConfig) -> list[Chat]:
    """The prompts, as often as they come, without those too long to leave room for a reply.

    Raises ValueError where none is left.
    """
    room = policy.context_tokens - config.max_new_tokens
    chosen = [prompt for prompt in prompts if policy.prompt_tokens(prompt) <= room]
    if not chosen:
        raise ValueError(f"none of {len(prompts)} prompts leaves room for a reply")
    if len(chosen) < len(prompts):
        logger.info("long prompts left out", extra={"prompts": len(prompts) - len(chosen)})
    return chosen


def _sample_reference(
    production: Policy,
    prompts: list[Chat],
    config: PolicyConfig,
    on_progress: Callable[[str, int, int], None],
) -> Reference:
    """Production's m replies to each different prompt, sampled as the algorithm will sample."""
    prompts = list({prompt_key(prompt): prompt for prompt in prompts}.values())
    replies: list[list[str]] = [[] for _ in prompts]
    for draw in range(config.reference_replies):
        on_progress("sample reference", draw, config.reference_replies)
        sampled = production.reply(
            prompts,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed + draw,
        )
        for row, reply in zip(replies, sampled, strict=True):
            row.append(reply.text)
    on_progress("sample reference", config.reference_replies, config.reference_replies)
    return Reference(prompts=prompts, replies=replies)


def _hold_back(
    production: Policy, prompts: Sequence[Chat], teacher: Scorer | None, config: PolicyConfig
) -> HeldBack | None:
    """Where to ask how often the policy wins; None without a model of love, or a prompt."""
    room = production.context_tokens - config.max_new_tokens
    fitting = [prompt for prompt in prompts if production.prompt_tokens(prompt) <= room]
    if teacher is None or not fitting:
        return None
    return hold_back(
        production,
        fitting,
        teacher,
        replies=config.reference_replies,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
    )


def _card(
    policy: Path, parent: str, config: PolicyConfig, checkpoint: Checkpoint
) -> ModelCardFacts:
    origin = origin_of(policy)
    is_known = origin.base_model != policy.resolve().name
    return ModelCardFacts(
        title=f"Policy: {config.algorithm}, step {checkpoint.step}",
        summary=(
            "A policy refreshed by the reactions of live users, against rewards and judges. "
            "Whether it may go before users its verdicts in the registry say, not this card."
        ),
        base_model=origin.base_model if is_known else parent,
        parent=parent,
        pipeline_tag="text-generation",
        tags=("trl", config.algorithm),
        license=origin.license,
        language=origin.language,
        dials=asdict(config),
    )
