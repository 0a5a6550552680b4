"""Train a small policy from nothing on a corpus of chats: its tokenizer, then a Llama of that size.

It makes sampling and reinforcement real on a machine without a GPU or a hub; anywhere else, start
from a pretrained name instead. The loop is plain PyTorch: at this size a trainer's bookkeeping
would cost as much as the learning.
"""

# B chats of a batch, T tokens, A assistant tokens of a batch, V vocabulary

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from files.lines import read_rows
from models.card import ModelCardFacts
from models.chat import Chat
from models.policy import Policy
from models.tokens import ChatTokenizer
from training.config import PretrainConfig

logger = logging.getLogger(__name__)

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant")
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = Regex(r" ?[\p{L}\p{N}'’]+| ?[^\s\p{L}\p{N}]+|\s+")
"""What merges may not cross: a word with the space before it, a run of marks, a run of spaces."""

WARMUP_SHARE = 0.1
HELD_OUT_SHARE = 0.02
HELD_OUT_MAX = 256
"""Chats kept aside to measure the loss on."""
WEIGHT_DECAY = 0.05
GRAD_NORM_MAX = 1.0
BETAS = (0.9, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainReport:
    """What a pretraining came to."""

    loss_nats: float
    """Held-out cross-entropy of an assistant's token."""
    num_weights: int
    num_tokens: int
    """Tokens of the corpus, all turns."""
    steps: int

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One chat in tokens, and which of them the assistant said (its end of turn included)."""

    ids: list[int]
    is_learned: list[bool]


def pretrain_policy(
    corpus: Path,
    config: PretrainConfig,
    out: Path,
    *,
    on_progress: Callable[[str, int, int], None],
) -> PretrainReport:
    """Trains on lines of {"messages": [{"role", "content"}, ...]} and writes a policy's folder.

    The same corpus and config give the same weights on the same machine and number of threads. The
    process's random state is left as it was. Raises ValueError for a corpus with no assistant turn.
    """
    chats = read_corpus(corpus)
    on_progress("train tokenizer", 0, 1)
    tokenizer = train_tokenizer(chats, config)
    on_progress("train tokenizer", 1, 1)
    spelling = ChatTokenizer(tokenizer)
    encoded = [encode_chat(chat, spelling, config.context_tokens) for chat in chats]
    encoded = [chat for chat in encoded if any(chat.is_learned)]
    if not encoded:
        raise ValueError(f"no assistant's turn in the {len(chats)} chats of {corpus.name}")
    num_held_out = min(HELD_OUT_MAX, int(len(encoded) * HELD_OUT_SHARE))
    held_out, learned = encoded[:num_held_out], encoded[num_held_out:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(_architecture(config, tokenizer))  # type: ignore[no-untyped-call]
    steps = _train(model, learned, config, on_progress)
    report = PretrainReport(
        loss_nats=_loss(model, held_out or learned, config),
        num_weights=sum(weight.numel() for weight in model.parameters()),
        num_tokens=sum(len(chat.ids) for chat in encoded),
        steps=steps,
    )
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    Policy(model, tokenizer, str(out)).save(out, _card(config, report))
    logger.info("policy pretrained", extra=report.to_json())
    return report


def read_corpus(path: Path) -> list[Chat]:
    """The chats of a JSON-lines file. Raises ValueError naming the first line that is none."""
    chats: list[Chat] = []
    for number, row in read_rows(path):
        messages = row.get("messages")
        if not messages or any(turn.get("role") not in ROLES for turn in messages):
            raise ValueError(f"{path.name}:{number} has no messages with roles {ROLES}")
        chats.append([{"role": t["role"], "content": t["content"]} for t in messages])
    return chats


def train_tokenizer(chats: Sequence[Chat], config: PretrainConfig) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text has a spelling in it, seen or not."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=config.vocab,
        special_tokens=[PAD, END, *(f"<|{role}|>" for role in ROLES)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((turn["content"] for chat in chats for turn in chat), trainer)
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        truncation_side="left",
        model_max_length=config.context_tokens,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def encode_chat(chat: Chat, spelling: ChatTokenizer, context_tokens: int) -> Encoded:
    """The chat as TEMPLATE spells it, cut to its first tokens."""
    contents = spelling.text_ids([turn["content"] for turn in chat])
    ids: list[int] = []
    is_learned: list[bool] = []
    for turn, content in zip(chat, contents, strict=True):
        marks = spelling.tokenizer.convert_tokens_to_ids([f"<|{turn['role']}|>", END])
        assert isinstance(marks, list)
        begin, end = marks
        ids += [begin, *content, end]
        is_learned += [False] + [turn["role"] == "assistant"] * (len(content) + 1)
    return Encoded(ids=ids[:context_tokens], is_learned=is_learned[:context_tokens])


def _architecture(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        # 8/3 of the width, as Llama has it, in whole vector registers.
        intermediate_size=math.ceil(config.hidden * 8 / 3 / 32) * 32,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context_tokens,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _train(
    model: LlamaForCausalLM,
    chats: Sequence[Encoded],
    config: PretrainConfig,
    on_progress: Callable[[str, int, int], None],
) -> int:
    """Returns the number of steps taken."""
    generator = torch.Generator().manual_seed(config.seed)
    epochs = math.ceil(config.epochs)
    batches = [b for _ in range(epochs) for b in _batches(chats, config, generator)]
    batches = batches[: max(1, round(len(batches) * config.epochs / epochs))]
    optimizer = torch.optim.AdamW(
        [
            {"params": [w for w in model.parameters() if w.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [w for w in model.parameters() if w.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=BETAS,
        fused=True,
    )
    model.train()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _schedule(step, len(batches))
        loss = _batch_loss(model, [chats[i] for i in batch])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRAD_NORM_MAX)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        on_progress("pretrain policy", step + 1, len(batches))
    return len(batches)


def _schedule(step: int, steps: int) -> float:
    """The learning rate's share: up in the first tenth, then down to nothing in a straight line."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def _batches(
    chats: Sequence[Encoded], config: PretrainConfig, generator: torch.Generator
) -> Iterator[list[int]]:
    """Indices of chats of like length, at most batch_tokens with padding, in random order."""
    jitter = torch.rand(len(chats), generator=generator).tolist()
    order = sorted(range(len(chats)), key=lambda i: (len(chats[i].ids), jitter[i]), reverse=True)
    batches: list[list[int]] = []
    for i in order:
        width = len(chats[batches[-1][0]].ids) if batches else 0
        if batches and (len(batches[-1]) + 1) * width <= config.batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    for i in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[i]


def _batch_loss(model: LlamaForCausalLM, batch: Sequence[Encoded]) -> Tensor:
    """Mean cross-entropy of the assistant's tokens, in nats.

    Padded on the right, where a causal model never looks back to: no mask is needed.
    """
    width = max(len(chat.ids) for chat in batch)
    ids_BT = torch.tensor([chat.ids + [0] * (width - len(chat.ids)) for chat in batch])
    learned_BT = torch.tensor([c.is_learned + [False] * (width - len(c.ids)) for c in batch])
    hidden_BTH = model.model(input_ids=ids_BT[:, :-1], use_cache=False).last_hidden_state
    logits_AV = model.lm_head(hidden_BTH[learned_BT[:, 1:]])
    return cross_entropy(logits_AV, ids_BT[:, 1:][learned_BT[:, 1:]])


@torch.no_grad()
def _loss(model: LlamaForCausalLM, chats: Sequence[Encoded], config: PretrainConfig) -> float:
    """Mean cross-entropy over all the assistant's tokens of these chats."""
    model.train(False)
    total, count = 0.0, 0
    for batch in _batches(chats, config, torch.Generator().manual_seed(0)):
        tokens = sum(sum(chats[i].is_learned[1:]) for i in batch)
        total += float(_batch_loss(model, [chats[i] for i in batch])) * tokens
        count += tokens
    return total / count


def _card(config: PretrainConfig, report: PretrainReport) -> ModelCardFacts:
    return ModelCardFacts(
        title="Small policy, trained from nothing",
        summary=(
            "A small language model that knows only the chats of its corpus. It exists so that the "
            "loop can be run whole on any machine; it knows nothing of the world and must not "
            "answer people."
        ),
        base_model="",
        pipeline_tag="text-generation",
        measures={"loss_nats": report.loss_nats},
        dials=asdict(config),
    )
