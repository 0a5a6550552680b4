"""Layers that are not trained: frozen, and where the model allows it, computed only once.

With the lowest layers frozen, their output for a text never changes, so it is kept and every epoch
trains on it: most of the work of fine-tuning an encoder on a CPU falls away, the result does not
change.
"""

# N texts, T tokens, S tokens of all texts, D width

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification, PreTrainedModel

from models.bert import lower_states, upper_first, upper_logits
from models.reward import RewardModel, batches_by_length

CACHE_BATCH = 64
"""Texts computed together."""


class TokenCache:
    """Token states of texts after the frozen layers, packed without padding, float32."""

    def __init__(
        self,
        model: BertForSequenceClassification,
        hidden_SD: Tensor,
        lengths: Sequence[int],
        num: int,
    ) -> None:
        self.model = model
        self.hidden_SD = hidden_SD
        self.lengths = list(lengths)
        self.num_frozen = num
        self.starts = [0]
        for length in self.lengths:
            self.starts.append(self.starts[-1] + length)

    def logits(self, rows: Sequence[int]) -> Tensor:
        """Scores of these texts, logits_N; differentiable above the frozen layers."""
        return upper_logits(self.model, *self._padded(rows), self.num_frozen)

    def first(self, rows: Sequence[int]) -> Tensor:
        """What pooler and head would read of these texts, first_ND."""
        return upper_first(self.model, *self._padded(rows), self.num_frozen)

    def _padded(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """hidden_NTD and mask_NT of these texts."""
        longest = max(self.lengths[row] for row in rows)
        width = self.hidden_SD.shape[1]
        hidden_NTD = self.hidden_SD.new_zeros((len(rows), longest, width))
        mask_NT = torch.zeros((len(rows), longest), dtype=torch.bool, device=hidden_NTD.device)
        for index, row in enumerate(rows):
            length, start = self.lengths[row], self.starts[row]
            hidden_NTD[index, :length] = self.hidden_SD[start : start + length]
            mask_NT[index, :length] = True
        return hidden_NTD, mask_NT


def fill_cache(
    reward: RewardModel,
    model: BertForSequenceClassification,
    ids: Sequence[Sequence[int]],
    num_frozen: int,
    on_progress: Callable[[str, int, int], None],
) -> TokenCache:
    """Run the frozen layers over all texts, in batches of like length."""
    lengths = [len(row) for row in ids]
    width = model.config.hidden_size
    hidden_SD = torch.empty((sum(lengths), width), dtype=torch.float32, device=model.device)
    cache = TokenCache(model, hidden_SD, lengths, num_frozen)
    done = 0
    model.train(False)
    with torch.no_grad():
        for rows in batches_by_length(lengths, CACHE_BATCH):
            inputs = reward.pad([ids[row] for row in rows])
            states_NTD = lower_states(
                model, inputs["input_ids"], inputs["attention_mask"], num_frozen
            )
            for index, row in enumerate(rows):
                start = cache.starts[row]
                hidden_SD[start : start + lengths[row]] = states_NTD[index, : lengths[row]]
            done += len(rows)
            on_progress("reading texts", done, len(ids))
    return cache


def freeze_lower(model: PreTrainedModel, num_frozen: int) -> None:
    """Stop training of the embeddings and the lowest `num_frozen` layers; -1 freezes nothing."""
    if num_frozen < 0:
        return
    embeddings = [
        parameter
        for name, parameter in model.base_model.named_parameters()
        if name.startswith("embeddings.")  # Words, positions and their norm in BERT's family.
    ]
    for parameter in (*embeddings, *model.get_input_embeddings().parameters()):
        parameter.requires_grad_(False)
    for layer in layer_list(model)[:num_frozen]:
        layer.requires_grad_(False)


def layer_list(model: PreTrainedModel) -> nn.ModuleList:
    """The model's stack of layers, whatever its family calls it.

    Raises ValueError where no list of modules is as long as the configuration says.
    """
    num_layers = int(model.config.num_hidden_layers)
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise ValueError(f"found no stack of {num_layers} layers in {type(model).__name__}")
