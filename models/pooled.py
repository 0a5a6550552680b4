"""A classifier that reads the prompt and the reply of a text pair apart.

Its one output is a linear model of two means in each of several layers: of the tokens up to the
first separator, which are the prompt's, and of those behind it, the reply's. Both come from one
forward pass, so a reply is read in the light of its prompt, and one mean does not drown the other.

A folder of this model carries this file as its code and loads anywhere with
`AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)`, in
transformers 4 (from 4.56 on) as well as in 5. So it imports torch and transformers, nothing else.
"""

# N texts, T tokens, D width, F features

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledConfig(PretrainedConfig):  # type: ignore[no-untyped-call]  # Its base's hook.
    """An encoder's configuration, and what is read of it."""

    model_type = "prompt_reply_classifier"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        levels: Sequence[int] = (),
        separator_id: int = 0,
        **others: Any,
    ) -> None:
        super().__init__(**{"num_labels": 1, **others})
        self.encoder = encoder or {}
        """The encoder's own configuration."""
        self.levels = list(levels)
        """Layers whose token states are averaged; 0 is the embeddings."""
        self.separator_id = separator_id
        """The token that ends the prompt."""


class PooledClassifier(PreTrainedModel):  # type: ignore[no-untyped-call]  # The same.
    """An encoder, the means of its states, and a linear head on them."""

    config_class = PooledConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True

    def __init__(self, config: PooledConfig) -> None:
        super().__init__(config)
        kind = dict(config.encoder)
        inner = AutoConfig.for_model(kind.pop("model_type"), **kind)
        self.take(AutoModel.from_config(inner))  # type: ignore[no-untyped-call]
        num_features = 2 * len(config.levels) * int(self.encoder.config.hidden_size)
        self.classifier = nn.Linear(num_features, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    def take(self, encoder: PreTrainedModel) -> None:
        """Make it the model's encoder."""
        self.encoder = encoder
        if hasattr(encoder, "pooler"):
            encoder.register_module("pooler", None)  # Of one token's state, which no mean needs.

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """features_NF: of each level the prompt's mean, then the reply's; zeros for neither."""
        is_separator_NT = (input_ids == self.config.separator_id).int()
        is_reply_NT = (is_separator_NT.cumsum(1) - is_separator_NT) > 0
        is_token_NT = attention_mask.bool()
        parts_N2T = torch.stack([is_token_NT & ~is_reply_NT, is_token_NT & is_reply_NT], dim=1)
        states = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        weights_N2T = parts_N2T.to(states[0].dtype)
        weights_N2T = weights_N2T / weights_N2T.sum(2, keepdim=True).clamp(min=1)
        means = [(weights_N2T @ states[level]).flatten(1) for level in self.config.levels]
        return torch.cat(means, dim=1)

    def is_prompt(self) -> Tensor:
        """is_prompt_F: whether each feature is of the prompt's mean."""
        of_level = torch.tensor([True, False]).repeat_interleave(self.encoder.config.hidden_size)
        return of_level.repeat(len(self.config.levels))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: object,
    ) -> SequenceClassifierOutput:
        """logits_N1; with labels_N of 0 and 1 the cross-entropy too. Token types are not read."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        logits_N1 = self.classifier(self.features(input_ids, attention_mask))
        loss = None
        if labels is not None:
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits_N1[:, 0], labels.to(logits_N1.dtype)
            )
        return SequenceClassifierOutput(
            loss=cast("torch.FloatTensor | None", loss), logits=cast(torch.FloatTensor, logits_N1)
        )
