"""What a sentinel saw, to be read: the replies in which a measure shows most, beside production's.

Examples decide nothing; they are what a person looks at who wants to know what a number means.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from models.chat import Chat
from models.verdicts import Check
from training.evidence.offline import Samples
from training.evidence.sentinels import (
    closes,
    num_emoji,
    prompts_with_runs,
    repeated_share,
    runs_of,
    takes_leave,
)

EXAMPLES = 3
"""Of each measure: enough to see what is meant."""

Run: TypeAlias = tuple[str, ...]
"""Words that follow each other."""
Show: TypeAlias = Callable[[Chat, str], float]
"""How much a reply to a prompt shows what is measured; 0 where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One reply of the candidate, and production's to the same prompt by the same draws."""

    measure: str
    """What it is an example of."""
    mark: str
    """The words to look at; empty where it is the whole."""
    prompt: str
    """The user's last message."""
    reply: str
    production: str

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def example_from_json(document: Mapping[str, object]) -> Example:
    """The example that `Example.to_json` wrote."""
    return Example(**{name: str(document[name]) for name in Example.__slots__})


def examples_of(samples: Samples, checks: Sequence[Check]) -> list[Example]:
    """A few replies for each check that a sentinel found broken or could not decide."""
    found, common = [], prompts_with_runs(samples.candidate)
    for check in checks:
        show = _show(check, common)
        if check.outcome == "kept" or show is None:
            continue
        found += _most(samples, check, show, common)
    return found


def _most(samples: Samples, check: Check, show: Show, common: Counter[Run]) -> list[Example]:
    """The replies that show most, at most one to a prompt and none twice."""
    shown = [
        (show(prompt, mine.text), mine.text, theirs.text, prompt)
        for prompt, row, others in zip(
            samples.prompts, samples.candidate, samples.production, strict=True
        )
        for mine, theirs in zip(row, others, strict=True)
    ]
    chosen: dict[str, Example] = {}
    for amount, reply, production, prompt in sorted(shown, key=lambda each: -each[0]):
        said = prompt[-1]["content"] if prompt else ""
        if amount <= 0 or len(chosen) == EXAMPLES:
            break
        if reply in chosen or said in {example.prompt for example in chosen.values()}:
            continue
        chosen[reply] = Example(
            measure=check.measure.name,
            mark=_mark(check, reply, common),
            prompt=said,
            reply=reply,
            production=production,
        )
    return list(chosen.values())


def _show(check: Check, common: Counter[Run]) -> Show | None:
    """How to tell that a reply shows this measure; None for measures that no sentinel takes."""
    name, phrase = check.measure.name, _phrase(check)
    sign = 1.0 if check.measure.value >= 1 else -1.0
    shows: dict[str, Show] = {
        "closer_rise": lambda prompt, reply: 0.0 if takes_leave(prompt) else closes(reply),
        "length_ratio": lambda _, reply: 1e6 + sign * len(reply),
        "exclamation_ratio": lambda _, reply: float(reply.count("!")),
        "emoji_ratio": lambda _, reply: num_emoji(reply),
        "repetition_rise": lambda _, reply: repeated_share(reply),
        "echo_rise": lambda _, reply: float(
            max((common[run] for run in runs_of(reply)), default=0)
        ),
        "phrase_rise": lambda _, reply: float(bool(phrase) and phrase in runs_of(reply)),
    }
    return shows.get(name)


def _mark(check: Check, reply: str, common: Counter[Run]) -> str:
    if check.measure.name == "phrase_rise":
        return " ".join(_phrase(check))
    if check.measure.name == "echo_rise":
        run: Run = max(runs_of(reply), key=lambda each: (common[each], each), default=())
        return " ".join(run)
    return ""


def _phrase(check: Check) -> Run:
    """The phrase that `new_phrases` found, in words."""
    return tuple(check.measure.about.strip("'\"").split()) if check.measure.about else ()
