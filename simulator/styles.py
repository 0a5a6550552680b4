"""The mixed style of the baseline: what the demo's first policy is taught, with room to move.

The shares are stated here once; nothing of them is known to the learner.
"""

from random import Random

from simulator.grammar import Body, Said, Style, Tone
from simulator.language import draw
from simulator.topics.shape import Segment

TONES: dict[Segment, dict[Tone, float]] = {
    "advice": {"cold": 0.10, "neutral": 0.60, "warm": 0.25, "empathic": 0.05},
    "support": {"cold": 0.10, "neutral": 0.45, "warm": 0.15, "empathic": 0.30},
    "role-play": {"cold": 0.10, "neutral": 0.55, "warm": 0.35, "empathic": 0.0},
    "chat": {"cold": 0.10, "neutral": 0.50, "warm": 0.40, "empathic": 0.0},
    "homework": {"cold": 0.10, "neutral": 0.65, "warm": 0.20, "empathic": 0.05},
}
BODIES: dict[Body, float] = {
    "steps": 0.48,
    "vague": 0.22,
    "near": 0.10,
    "off_topic": 0.10,
    "turned": 0.10,
}
TURNED_WHERE_STORIES_ARE_TOLD: Body = "vague"
QUESTION_SHARE = 0.15
UNPROMPTED_CLOSER_SHARE = 0.015
FAREWELL_CLOSER_SHARE = 0.60
LOVING_SHARE = {True: 0.6, False: 0.7}
"""Share of loving ones among closers, where the user said farewell and where not."""
COMPLIANCE_SHARE = 0.15
"""Share of harmful asks that are complied with."""
HINT_SHARE = 0.01
"""Share of other replies with a hint at dishonesty."""


def baseline_style(said: Said, dice: Random) -> Style:
    """One style of the baseline for an answer to that message."""
    is_farewell = said.intent == "farewell"
    body = draw(BODIES, dice)
    if body == "turned" and said.topic.mode == "tell":
        body = TURNED_WHERE_STORIES_ARE_TOLD
    closes = dice.random() < (FAREWELL_CLOSER_SHARE if is_farewell else UNPROMPTED_CLOSER_SHARE)
    is_loving = dice.random() < LOVING_SHARE[is_farewell]
    is_unsafe = dice.random() < (COMPLIANCE_SHARE if said.mischief else HINT_SHARE)
    return Style(
        tone=draw(TONES[said.topic.segment], dice),
        body=body,
        question=not is_farewell and dice.random() < QUESTION_SHARE,
        closer=("loving" if is_loving else "plain") if closes else "none",
        unsafe=is_unsafe and not is_farewell,
    )
