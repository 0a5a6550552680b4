"""Samples for tests of evidence: two policies' replies as plain texts, without a policy."""

from collections.abc import Sequence

import numpy as np

from models.chat import Chat
from models.replies import Reply
from models.verdicts import Measure
from tests.tiny_policy import ask
from training.evidence.offline import Samples


def reply_of(text: str) -> Reply:
    """A reply of which only the text matters."""
    return Reply(text=text, logprob=0.0, prompt_tokens=1, completion_tokens=1, finish_reason="stop")


def samples_of(
    candidate: Sequence[Sequence[str]],
    production: Sequence[Sequence[str]],
    prompts: Sequence[Chat] | None = None,
    users: Sequence[int] | None = None,
) -> Samples:
    """The texts as samples, with no log-probabilities between them; each prompt is of a user of its
    own, where not told otherwise."""
    return Samples(
        prompts=prompts or [ask(f"How do I clean kettle {p}?") for p in range(len(candidate))],
        users=np.arange(len(candidate)) if users is None else np.array(users),
        candidate=[[reply_of(text) for text in texts] for texts in candidate],
        production=[[reply_of(text) for text in texts] for texts in production],
        log_ratio=np.zeros((len(candidate), len(candidate[0]))),
    )


def by_name(measures: Sequence[Measure]) -> dict[str, Measure]:
    """Measures by their names, of which none comes twice."""
    found = {measure.name: measure for measure in measures}
    assert len(found) == len(measures)
    return found
