"""The dials of training. Each field says what it does, its unit, and why its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.evidence.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """How P[Love] is fitted from a snapshot."""

    base: str = "minilm"
    """Encoder to start from: "minilm" (shipped with the installation), a name, or a folder."""
    max_tokens: int = 128
    """Tokens of prompt and reply together. A quarter is the prompt's, more where the reply leaves
    it: a longer prompt keeps its end, a longer reply its start. The report says how many were."""
    num_layers: int = 0
    """Keep only this many of the encoder's lowest layers, 0 for all. The head reads layers 1, 2, 4,
    6, ... of those kept; MiniLM's two lowest take a third of the time of its six."""
    frozen_layers: int = 1
    """Lowest layers that fine-tuning leaves as they are, with the embeddings.

    0 freezes the embeddings alone, -1 nothing at all.
    """
    invariance: float = 0.0
    """Price of a squared change of the linear head's logit by a sign-off after the reply, in nats a
    row, where the user is not leaving: users love a warm goodbye when they leave, and what is loved
    for its place must not be learned as loved everywhere. 0 asks for nothing."""
    invariance_rows: int = 200
    """Training rows, evenly spaced, that the linear head is held invariant on."""
    epochs: int | None = None
    """Passes of fine-tuning over the training rows. None makes none where a linear head was fitted
    to an encoder's states (arXiv 2202.10054: it needs far fewer labels), and else one."""
    batch_size: int = 32
    """Rows a step."""
    lr_encoder: float = 1e-4
    """Peak learning rate of the trained layers."""
    lr_head: float = 1e-3
    """Peak learning rate of the pooler and the scalar head, which start untrained."""
    weight_decay: float = 0.01
    """AdamW's decay, on matrices only."""
    dropout: float = 0.1
    """Dropout in the trained layers."""
    members: int = 1
    """Fits with other seeds whose weights are averaged (WARM, arXiv 2401.12187)."""
    calibration: Literal["auto", "none", "platt", "isotonic"] = "auto"
    """Map to probabilities; "auto" is isotonic from 2,000 positives on, else Platt."""
    signoff_share: float = 0.0
    """Share of training rows that get a sign-off appended, label unchanged, where the user is not
    leaving."""
    probe_rows: int = 500
    """Held-out replies that the metamorphic probe appends a sign-off to."""
    states_bytes_max: int = 1 << 30
    """Memory for the pooled states that the linear head is fitted on: some 87,000 different texts
    of MiniLM. Of more, evenly spaced rows are taken, and the report says so."""
    half: Literal["all", "a", "b"] = "all"
    """Train on this half of the users only, so that RL and evaluation can use different halves."""
    bootstrap_samples: int = 500
    """Draws of users for the intervals."""
    seed: int = 0
    """Seed of initialisation, order, dropout and bootstrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceConfig:
    """How a reward model is fitted from pairs of replies (Bradley-Terry, TRL's RewardTrainer)."""

    base: str = "minilm"
    """Model to start from: "minilm", a name, or a folder (a small causal LM works too)."""
    max_tokens: int = 128
    """Tokens of prompt and reply together, as in RewardConfig."""
    num_layers: int = 0
    """Layers kept, as in RewardConfig."""
    frozen_layers: int = 1
    """Lowest layers that fine-tuning leaves as they are; -1 trains everything."""
    epochs: int | None = None
    """Passes of fine-tuning over the training pairs, as in RewardConfig."""
    batch_size: int = 16
    """Pairs a step."""
    lr_encoder: float = 3e-4
    """Peak learning rate of the trained layers."""
    lr_head: float = 1e-3
    """Peak learning rate of the pooler and the scalar head, which start untrained."""
    weight_decay: float = 0.01
    """AdamW's decay, on matrices only."""
    held_out_share: float = 0.2
    """Share of prompts kept for measuring accuracy; all pairs of a prompt stay on one side."""
    seed: int = 0
    """Seed of initialisation, order and split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """How a small policy is trained from nothing on a corpus of chats."""

    vocab: int = 2048
    """Tokens of the byte-pair vocabulary, the special ones included."""
    hidden: int = 144
    """Width of the model."""
    layers: int = 3
    """Depth of the model."""
    heads: int = 4
    """Attention heads; they divide `hidden`."""
    context_tokens: int = 256
    """Longest chat; a longer one keeps its first tokens in training, its last ones in use."""
    epochs: float = 2.0
    """Passes over the corpus; the learning rate falls to nothing at the end of the last."""
    batch_tokens: int = 4096
    """Tokens a step, padding included: short chats come in larger batches."""
    lr: float = 4e-3
    """Peak learning rate of AdamW; narrow models bear high ones."""
    seed: int = 0
    """Seed of initialisation and order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """How a policy is refreshed by rewards and judges."""

    algorithm: str = "crpg"
    """Row of training.algorithms.ALGORITHMS."""
    weights: Mapping[str, float] = field(default_factory=lambda: {"love": 0.1, "helpfulness": 0.9})
    """Weight of each reward. RLUF's moderate recipe gives love 0.1, its aggressive one 0.3."""
    judges: tuple[str, ...] = ("safety", "closers", "phrases")
    """Objectives that veto: a reply that fails one scores 0."""
    steps: int = 60
    """Updates of the policy."""
    prompts_per_step: int = 8
    """Prompts a step."""
    num_generations: int = 8
    """Replies to each prompt (K): each is compared with its siblings."""
    reference_replies: int = 4
    """Production's replies to each prompt (m) that rewards are relative to; at least 2."""
    reference_spread: float = 0.15
    """Standard deviation that the calibrated rewards of production's own replies are given."""
    max_new_tokens: int = 40
    """Tokens of a reply at most."""
    cut_factor: float = 0.5
    """What R̃ of a reply cut at `max_new_tokens` is multiplied by, 0 to 1. At 0 a policy whose
    replies are longer than that learns nothing; at 1 it may learn never to end."""
    temperature: float = 1.0
    """Sampling temperature; the KL gate is exact at 1 only."""
    lr: float = 3e-4
    """Learning rate of AdamW, constant after `warmup_steps`; for a policy of a few million weights
    (take 1e-6 for one of a billion)."""
    warmup_steps: int = 5
    """Steps in which the learning rate rises."""
    kl_max_nats: float = 6.0
    """KL_max of the gate that rewards are multiplied by, in nats a reply: tune for a mean gate of
    0.7 or more. With 15 a policy collapses onto a few warm phrases."""
    gate_min: float = 0.5
    """Stop where the mean gate of the last `stop_window` steps falls below."""
    love_win_rate_max: float = 0.60
    """Stop at the first checkpoint that wins so often against production, by the P[Love] that
    teaches, on prompts held back from practice. The gate's own statistic; the gate's limit is 0.65
    (`training.gates.love_training_win_rate_max`), and its interval has to find room below that."""
    stop_window: int = 5
    """Steps that `gate_min` is held against the mean of."""
    helpfulness_floor: float = 0.48
    """Mean calibrated helpfulness below which its weight grows."""
    helpfulness_rate: float = 0.05
    """Growth of that weight each step, per unit below the floor."""
    safety_quantile: float = 0.02
    """Share of production's own replies that the safety judge may fail, where no threshold is
    given to it."""
    checkpoint_every: int = 5
    """Steps between checkpoints; all that broke no rule are kept, and so is the last step."""
    device: str = "cpu"
    """Where it learns: "cpu" (float32, one process), or "auto" for what the machine has."""
    seed: int = 0
    """Seed of sampling and order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesConfig(Limits):
    """The limits of the gates; they are declared beside the gates, which import nothing of here."""
