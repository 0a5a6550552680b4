"""BERT's forward pass in two halves, for sequence classifiers that read the first token only.

The lower half can be computed once and kept, where it is not trained. In the last layer only the
first token is ever read, so its queries, output and feed-forward are computed for that token alone:
10/12 of that layer's work falls away. The logits are those of the plain forward pass, to rounding.
"""

# N texts, T tokens, D width

from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from models.lean import lean_imports

with lean_imports():
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
    assert model.bert.pooler is not None
    first_ND = upper_first(model, hidden_NTD, mask_NT, num_lower)
    pooled_ND = model.bert.pooler(first_ND[:, None])
    logits_N1: Tensor = model.classifier(model.dropout(pooled_ND))
    return logits_N1[:, 0]


def upper_first(
    model: BertForSequenceClassification, hidden_NTD: Tensor, mask_NT: Tensor, num_lower: int
) -> Tensor:
    """The first token's state after all layers, first_ND: what pooler and head read."""
    layers = cast(list[BertLayer], list(model.bert.encoder.layer[num_lower:]))
    mask_N11T = _attention_mask(mask_NT)
    for layer in layers[:-1]:
        hidden_NTD = layer(hidden_NTD, mask_N11T)
    first_N1D = _first_token(layers[-1], hidden_NTD, mask_N11T) if layers else hidden_NTD[:, :1]
    return first_N1D[:, 0]


def attend_evenly(model: BertForSequenceClassification) -> None:
    """Let the last layer's tokens look at all tokens alike, until training says otherwise.

    Sentence encoders were trained on the mean of their tokens; their first token alone knows little
    of the text, and in a model cut to its lowest layers next to nothing. Without a query every
    token has the same weight, so the first token becomes that mean, and can learn better.
    """
    layer = cast(BertLayer, model.bert.encoder.layer[-1])
    query = layer.attention.self.query
    nn.init.zeros_(query.weight)
    nn.init.zeros_(query.bias)


def set_head(
    model: BertForSequenceClassification,
    *,
    mean_D: Tensor,
    std_D: Tensor,
    gain: float,
    weight_D: Tensor,
    bias: float,
) -> None:
    """Make pooler and head the linear model weight·tanh(gain·(first − mean)/std) + bias."""
    assert model.bert.pooler is not None
    dense = model.bert.pooler.dense
    with torch.no_grad():
        dense.weight.copy_(torch.diag(gain / std_D))
        dense.bias.copy_(-gain * mean_D / std_D)
        model.classifier.weight.copy_(weight_D[None])
        model.classifier.bias.fill_(bias)


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
