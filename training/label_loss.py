"""The loss of P[signal]: what was thinned, and who answered, are taken out of the text's score.

Negatives were kept at rate kappa, so a model of the kept rows is shifted by -log kappa; putting the
shift into the loss leaves f at natural prevalence, with less variance than weighting by 1/kappa
(Wang et al., NeurIPS 2021). The user's own tendency is an offset in the loss, dropped when scoring.
"""

# N rows

import numpy as np
import torch
from torch import Tensor

from training.examples import Examples


def label_loss(
    logits_N: Tensor, labels_N: Tensor, kappas_N: Tensor, offsets_N: Tensor, weights_N: Tensor
) -> Tensor:
    """Weighted cross-entropy of sigma(f + user offset - log kappa), summed over the rows."""
    shifted_N = logits_N + offsets_N - torch.log(kappas_N)
    losses_N = torch.nn.functional.binary_cross_entropy_with_logits(
        shifted_N, labels_N, reduction="none"
    )
    return (weights_N * losses_N).sum()


def natural_logit(examples: Examples) -> float:
    """Logit of the weighted base rate, with the kept negatives counted as 1/kappa each."""
    positive = float(examples.weights @ examples.labels)
    negative = float(examples.weights @ ((1 - examples.labels) / examples.kappas))
    return float(np.log(positive) - np.log(negative))
