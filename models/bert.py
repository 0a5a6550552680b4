"""BERT's forward pass in two halves, for sequence classifiers that read the first token only.

The lower half can be computed once and kept, where it is not trained. In the last layer only the
first token is ever read, so its queries, output and feed-forward are computed for that token alone:
10/12 of that layer's work falls away. The logits are those of the plain forward pass, to rounding.
"""

# N texts, T tokens, D width

from typing import TypeGuard, cast

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertLayer


def is_splittable(model: nn.Module) -> TypeGuard[BertForSequenceClassification]:
    """Whether the functions below hold for the model."""
    return (
        isinstance(model, BertForSequenceClassification)
        and model.config._attn_implementation == "sdpa"
        and not model.config.is_decoder
    )


def lower_states(
    model: BertForSequenceClassification, ids_NT: Tensor, mask_NT: Tensor, num_layers: int
) -> Tensor:
    """Token states after the embeddings and the lowest `num_layers` layers, hidden_NTD."""
    hidden_NTD: Tensor = model.bert.embeddings(input_ids=ids_NT)
    for layer in model.bert.encoder.layer[:num_layers]:
        hidden_NTD = layer(hidden_NTD, _attention_mask(mask_NT))
    return hidden_NTD


def upper_logits(
    model: BertForSequenceClassification, hidden_NTD: Tensor, mask_NT: Tensor, num_lower: int
) -> Tensor:
    """logits_N from token states after the lowest `num_lower` layers."""
    layers = cast(list[BertLayer], list(model.bert.encoder.layer[num_lower:]))
    mask_N11T = _attention_mask(mask_NT)
    for layer in layers[:-1]:
        hidden_NTD = layer(hidden_NTD, mask_N11T)
    first_N1D = _first_token(layers[-1], hidden_NTD, mask_N11T) if layers else hidden_NTD[:, :1]
    assert model.bert.pooler is not None
    pooled_ND = model.bert.pooler(first_N1D)
    logits_N1: Tensor = model.classifier(model.dropout(pooled_ND))
    return logits_N1[:, 0]


def _first_token(layer: BertLayer, hidden_NTD: Tensor, mask_N11T: Tensor) -> Tensor:
    attention = layer.attention.self
    first_N1D = hidden_NTD[:, :1]

    def heads(projected: Tensor) -> Tensor:
        shape = (*projected.shape[:2], attention.num_attention_heads, -1)
        return projected.view(shape).transpose(1, 2)

    context = nn.functional.scaled_dot_product_attention(
        heads(attention.query(first_N1D)),
        heads(attention.key(hidden_NTD)),
        heads(attention.value(hidden_NTD)),
        attn_mask=mask_N11T,
        dropout_p=attention.dropout.p if attention.training else 0.0,
    )
    joined = context.transpose(1, 2).reshape(first_N1D.shape)
    attended = layer.attention.output(joined, first_N1D)
    states: Tensor = layer.output(layer.intermediate(attended), attended)
    return states


def _attention_mask(mask_NT: Tensor) -> Tensor:
    return mask_NT[:, None, None, :].to(torch.bool)
