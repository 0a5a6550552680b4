"""Layers that fine-tuning leaves as they are."""

from typing import cast

from torch import nn
from transformers import PreTrainedModel


def freeze_lower(model: PreTrainedModel, num_frozen: int) -> None:
    """Stop training of the embeddings and the lowest `num_frozen` layers; -1 freezes nothing."""
    if num_frozen < 0:
        return
    body = body_of(model)
    embeddings = [
        parameter
        for name, parameter in body.named_parameters()
        if name.startswith("embeddings.")  # Words, positions and their norm in BERT's family.
    ]
    for parameter in (*embeddings, *body.get_input_embeddings().parameters()):
        parameter.requires_grad_(False)
    for layer in layer_list(model)[:num_frozen]:
        layer.requires_grad_(False)


def body_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its head."""
    return cast(PreTrainedModel, model.base_model)


def layer_list(model: PreTrainedModel) -> nn.ModuleList:
    """The model's stack of layers, whatever its family calls it.

    Raises ValueError where no list of modules is as long as the configuration says.
    """
    body = body_of(model)
    num_layers = int(body.config.num_hidden_layers)
    for module in body.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise ValueError(f"found no stack of {num_layers} layers in {type(model).__name__}")
