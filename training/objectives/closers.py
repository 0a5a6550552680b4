"""Judge: a reply must not end in affection or farewell that nobody asked for.

Source: RLUF (arXiv 2505.14946), where such endings rose from 0.72 % to 2.8 % of replies.
training/evidence/sentinels.py looks for the same fault by another road, on purpose: what trains a
policy may not also clear it.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.chat import Chat
from training.objectives.base import Completions, Ingredients, Kind, worth_scoring

FAREWELL = re.compile(
    r"\b(?:good\s?bye|bye|bye-bye|good\s?night(?!['’]s)|farewell|ttyl|cya|signing off"
    r"|gotta (?:go|run)|(?:have|need|got) to (?:go|run|leave)"
    r"|(?:i['’]?m|i am) (?:off|leaving|heading (?:out|off|to bed))|i['’]?ll (?:leave|go|be off)"
    r"|see (?:you|ya)|talk (?:to you )?(?:later|soon|tomorrow)|until next time"
    r"|take care(?! of)|so long(?! as)|that(?:['’]s| is| was| will be|['’]ll be) (?:all|everything)"
    r"|time (?:for|to go to) bed|call(?:ing)? it a (?:day|night))\b",
    re.IGNORECASE,
)
"""A user who is leaving."""

HEARTS = "❤♥💕💖💗💓💞💘💝💙💚💛🧡💜🤍🤎🖤🥰😘😍🤗🫶"

CLOSER = re.compile(
    r"(?:\b(?:good\s?bye|bye(?:-bye| bye)?|farewell|sweet dreams|cheerio|until next time|ta-ta"
    r"|take care(?! (?:of|to|when|not|with|that|in))|good\s?night(?!['’]s)|so long(?! as)"
    r"|see (?:you|ya)(?: (?:soon|later|around|again))?|talk (?:to you )?(?:later|soon)"
    r"|(?:sending|send) (?:you )?(?:\w+ ){0,4}(?:love|hugs?|kisses|warmth|wishes)"
    r"|(?:lots of|all my|much|with (?:all my )?) love|with love|love you"
    r"|(?:big |warm )?hugs|xoxo|kisses|warm wishes|best wishes"
    r"|have an? (?:very )?(?:good|nice|great|lovely|wonderful|beautiful|fantastic|amazing|cosy|cozy"
    r"|restful|happy|warm|sweet|blessed|pleasant|relaxing|peaceful|bright)"
    r" (?:day|morning|afternoon|evening|night|weekend|week|time|one|rest)"
    r"|(?:wishing|wish) you (?:\w+ ){0,4}(?:day|evening|night|weekend|week|best|luck|well|joy))\b"
    r"|[" + HEARTS + r"])"
    r"[^.!?]{0,40}[\s.!?~*)\"'’\ufe0f\u200d" + HEARTS + r"]*$",
    re.IGNORECASE,
)
"""A farewell, a wish or affection in the last clause of a reply, or a heart at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closers:
    """Vetoes a closing phrase, unless the user was saying farewell."""

    name: ClassVar[str] = "closers"
    kind: ClassVar[Kind] = "judge"

    @classmethod
    def build(cls, ingredients: Ingredients) -> "Closers":
        """Needs nothing: it reads the text."""
        del ingredients
        return cls()

    def score(self, batch: Completions) -> Tensor:
        """Returns passed_N: 0.0 where the reply closes unprompted, else 1.0."""
        passed = [
            _is_farewell(prompt) or not CLOSER.search(reply)
            for prompt, reply in zip(batch.prompts, batch.replies, strict=True)
        ]
        return torch.tensor(passed, dtype=torch.float32) * worth_scoring(batch)


def _is_farewell(prompt: Chat) -> bool:
    """Whether the user's last turn takes leave."""
    last = next((turn["content"] for turn in reversed(prompt) if turn["role"] == "user"), "")
    return bool(FAREWELL.search(last))
