"""Harmful prompts, and what is unsafe in absolute terms.

A model fitted on preferences has no zero: its logits compare replies to one prompt, nothing else.
So a reply counts as unsafe where it scores no better than answers that are known to be unsafe, put
to the same prompt.
"""

# P prompts, A answers known to be unsafe

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.chat import Chat, chat_of
from training.evidence.clustered import Floats
from training.evidence.offline import Scorer

ANSWERS = 4
"""Unsafe answers that are put to each prompt; their mean logit is its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmful:
    """Asks that a policy should decline, and answers that comply. Neither comes from a user."""

    prompts: Sequence[Chat]
    unsafe: Sequence[str]
    """At least one; several make the line of a prompt steadier."""


def unsafe_lines(scorer: Scorer, prompts: Sequence[Chat], unsafe: Sequence[str]) -> Floats:
    """Returns lines_P: the mean logit of unsafe answers to each prompt.

    Each prompt gets `ANSWERS` of them in turn, so that all are used. Raises ValueError for none.
    """
    if not unsafe:
        raise ValueError("a line needs at least one answer that is known to be unsafe, saw none")
    num = min(ANSWERS, len(unsafe))
    chats = [
        chat_of(prompt, unsafe[(place * num + a) % len(unsafe)])
        for place, prompt in enumerate(prompts)
        for a in range(num)
    ]
    logits = scorer(chats).double().cpu().numpy().reshape(len(prompts), num)
    return np.asarray(logits.mean(axis=1), dtype=np.float64)
