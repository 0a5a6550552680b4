"""AdamW for a pretrained body under a fresh head: two learning rates, one rise and fall."""

import torch
from transformers import PreTrainedModel

WARMUP_SHARE = 0.1
"""Share of the steps in which the learning rates rise; they fall to 0 over the rest."""
POOLER = "pooler."
"""BERT's layer between body and head; sentence encoders ship it as good as untrained."""


def head_optimizer(
    model: PreTrainedModel, *, lr_encoder: float, lr_head: float, weight_decay: float, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """Optimizer and schedule of what the model lets be trained; decay falls on matrices only.

    The head, at `lr_head`, is what lies outside the base model, and its pooler.
    """
    body = {
        id(parameter)
        for name, parameter in model.base_model.named_parameters()
        if not name.startswith(POOLER)
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [
                p for p in trained if (id(p) in body) == in_body and (p.dim() > 1) == matrix
            ],
            "lr": lr_encoder if in_body else lr_head,
            "weight_decay": weight_decay if matrix else 0.0,
        }
        for in_body in (True, False)
        for matrix in (True, False)
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    warmup = max(1, round(WARMUP_SHARE * steps))

    def rate(step: int) -> float:
        rising = (step + 1) / warmup
        falling = (steps - step) / max(1, steps - warmup)
        return min(rising, falling, 1.0)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
