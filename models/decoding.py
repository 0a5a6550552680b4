"""What generates the next token: a model's rows under way, which join and leave between tokens.

`PaddedDecoder` takes any causal language model of transformers; `models/llama.py` has a shorter way
for one architecture.
"""

# N rows under way, P prompt tokens, V vocabulary

import inspect
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from models.lean import lean_imports
from models.sampling import left_pad

with lean_imports():
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class Decoder(Protocol):
    """Some rows under way, each with its cached keys and values."""

    @property
    def can_join(self) -> bool:
        """Whether rows may join those that are under way."""

    def join(self, prompts: Sequence[list[int]]) -> Tensor:
        """Take rows in behind the others; gives logits_NV, float32, of the new ones."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Give each row its next token; gives logits_NV, float32, of what follows."""

    def keep(self, order: Sequence[int]) -> None:
        """Make the row at order[i] the row i; those not named leave."""


class PaddedDecoder:
    """Rows of any model, padded on the left to one width, in the model's own cache."""

    def __init__(self, model: PreTrainedModel, pad_id: int) -> None:
        self._model = model
        self._pad_id = pad_id
        self._accepts = accepted_inputs(model)
        self._cache: Cache | None = None
        self._mask_NP = torch.zeros((0, 0), dtype=torch.int64, device=model.device)
        self._position_N = torch.zeros(0, dtype=torch.int64, device=model.device)

    @property
    def can_join(self) -> bool:
        return self._cache is None or is_mergeable(self._cache)

    def join(self, prompts: Sequence[list[int]]) -> Tensor:
        input_NP, mask_NP = left_pad(list(prompts), self._pad_id, self._model.device)
        inputs = {
            "input_ids": input_NP,
            "attention_mask": mask_NP,
            "position_ids": (mask_NP.cumsum(-1) - 1).clamp(min=0),
        }
        logits_NV, cache = self._forward(inputs, None)
        position_N = mask_NP.sum(-1)
        if self._cache is None:
            self._cache, self._mask_NP, self._position_N = cache, mask_NP, position_N
            return logits_NV
        width = max(self._mask_NP.shape[1], mask_NP.shape[1])
        merge(self._cache, cache, width)
        self._mask_NP = torch.cat([_widen(self._mask_NP, width), _widen(mask_NP, width)])
        self._position_N = torch.cat([self._position_N, position_N])
        return logits_NV

    def step(self, tokens: Sequence[int]) -> Tensor:
        self._mask_NP = torch.cat([self._mask_NP, self._mask_NP.new_ones(len(tokens), 1)], dim=1)
        inputs = {
            "input_ids": torch.tensor(tokens, device=self._model.device)[:, None],
            "attention_mask": self._mask_NP,
            "position_ids": self._position_N[:, None],
        }
        logits_NV, self._cache = self._forward(inputs, self._cache)
        self._position_N = self._position_N + 1
        return logits_NV

    def keep(self, order: Sequence[int]) -> None:
        if not order:
            self._cache = None
            return
        assert self._cache is not None, "no row is under way"
        kept = torch.tensor(order, device=self._mask_NP.device)
        self._cache.batch_select_indices(kept)
        self._mask_NP, self._position_N = self._mask_NP[kept], self._position_N[kept]
        if is_mergeable(self._cache):  # Else nobody joins, and the first columns stay in use.
            width = int(self._position_N.max())
            self._mask_NP = self._mask_NP[:, -width:]
            narrow(self._cache, width)

    def _forward(self, inputs: dict[str, Tensor], cache: Cache | None) -> tuple[Tensor, Cache]:
        known = {name: value for name, value in inputs.items() if name in self._accepts}
        if "logits_to_keep" in self._accepts:
            out = self._model(**known, past_key_values=cache, use_cache=True, logits_to_keep=1)
        else:
            out = self._model(**known, past_key_values=cache, use_cache=True)
        return out.logits[:, -1].float(), out.past_key_values


def accepted_inputs(model: PreTrainedModel) -> frozenset[str]:
    """Names of what the model's forward takes: architectures differ."""
    return frozenset(inspect.signature(model.forward).parameters)


def is_mergeable(cache: Cache) -> bool:
    """Whether rows can be put beside those in it: plain keys and values of every token."""
    return type(cache) is DynamicCache and all(type(one) is DynamicLayer for one in cache.layers)


def merge(cache: Cache, new: Cache, width: int) -> None:
    """Put the rows of `new` behind those of `cache`, both padded on the left to a width."""
    for ours, its in zip(_layers(cache), _layers(new), strict=True):
        (keys, values), (new_keys, new_values) = _states(ours), _states(its)
        ours.keys = torch.cat([_lengthen(keys, width), _lengthen(new_keys, width)])
        ours.values = torch.cat([_lengthen(values, width), _lengthen(new_values, width)])


def narrow(cache: Cache, width: int) -> None:
    """Keep the last columns alone: those before are padding of every row."""
    for layer in _layers(cache):
        keys, values = _states(layer)
        layer.keys, layer.values = keys[:, :, -width:], values[:, :, -width:]


def _layers(cache: Cache) -> list[DynamicLayer]:
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]


def _states(layer: DynamicLayer) -> tuple[Tensor, Tensor]:
    assert layer.keys is not None, "nothing is cached"
    assert layer.values is not None, "nothing is cached"
    return layer.keys, layer.values


def _widen(mask_NP: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(mask_NP, (width - mask_NP.shape[1], 0))


def _lengthen(states_NHPD: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(states_NHPD, (0, 0, width - states_NHPD.shape[2], 0))
