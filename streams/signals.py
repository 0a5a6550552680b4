"""The signals we learn from. To add one, add a row to SIGNALS; nothing else changes.

Clients name a reaction in their own ways: an emoji, a chat's shortcode (`:heart:` of Slack and
GitHub, `+1::skin-tone-3`, `:thumbsup_tone3:` of Discord), or a word. What says a signal plainly is
taken for it; what only may (a smile, a broken heart, a rocket) is for settings to decide.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from streams.rules import NAME_CHARS_MAX

VARIATION_SELECTORS = {0xFE0E: None, 0xFE0F: None}  # "draw me as text", "draw me as an emoji"
SKIN_TONES = dict.fromkeys(range(0x1F3FB, 0x1F400))  # Fitzpatrick types 1-2 to 6
DRAWING_ONLY = VARIATION_SELECTORS | SKIN_TONES
SHORTCODE = re.compile(
    r":*(?P<name>.*?)(?:(?:::?|_|-)(?:(?:medium[-_])?(?:light|dark|medium)[-_])?skin[-_]tone(?:[-_][1-6])?"
    r"|_tone[1-5])?:*",
    re.DOTALL,
)
"""A shortcode without its colons and the skin tone that Slack, Discord and Unicode's CLDR add."""
BETWEEN_WORDS = re.compile(r"(?<=[a-z])[-\s]+(?=[a-z])")
HEART_COLOURS = (
    *("red", "orange", "yellow", "green", "blue", "light_blue", "purple", "brown", "black"),
    *("white", "grey", "gray", "pink"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One way a user can answer a response."""

    name: str
    polarity: int
    """+1 for praise, -1 for complaint."""
    window: timedelta
    """How long after exposure it may arrive and still count."""
    mistap: timedelta = timedelta(0)
    """Taken back sooner than this, it never happened."""
    emoji: tuple[str, ...] = ()
    """What users send for it, without variation selectors and skin tones."""
    words: tuple[str, ...] = ()
    """Shortcodes and words for it: small, without colons, with `_` between words."""


SIGNALS = {
    signal.name: signal
    for signal in (
        Signal(
            name="love",
            polarity=+1,
            window=timedelta(days=7),
            mistap=timedelta(seconds=10),
            emoji=(
                *("❤", "♥", "🧡", "💛", "💚", "💙", "💜", "🤎", "🖤", "🤍", "🩷", "🩵", "🩶", "❣"),
                *("💕", "💞", "💓", "💗", "💖", "💘", "💝", "❤\u200d🔥", "❤\u200d🩹"),
                *("😍", "🥰", "😻", "<3", "💟", "🫶", "♡", "❥"),
            ),
            words=(
                *(
                    "loved",
                    "heart",
                    "heart_eyes",
                    "hearts",
                    "heart_suit",
                    "heartbeat",
                    "heartpulse",
                ),
                *("two_hearts", "revolving_hearts", "sparkling_heart", "growing_heart"),
                *("beating_heart", "heart_with_arrow", "heart_with_ribbon", "gift_heart"),
                *("heart_exclamation", "heavy_heart_exclamation", "heart_decoration"),
                *("heavy_heart_exclamation_mark_ornament", "heart_on_fire", "mending_heart"),
                *("cupid", "heart_eyes_cat", "heart_hands", "smiling_face_with_hearts"),
                *("smiling_face_with_3_hearts", "smiling_face_with_three_hearts"),
                "smiling_face_with_heart_eyes",
                *(f"{colour}_heart" for colour in HEART_COLOURS),
            ),
        ),
        Signal(
            name="like",
            polarity=+1,
            window=timedelta(days=7),
            mistap=timedelta(seconds=10),
            emoji=("👍", "+1"),
            words=("liked", "thumbsup", "upvote", "thumbs_up", "thumb_up", "upvoted"),
        ),
        Signal(
            name="dislike",
            polarity=-1,
            window=timedelta(days=7),
            mistap=timedelta(seconds=10),
            emoji=("👎", "-1"),
            words=("disliked", "thumbsdown", "downvote", "thumbs_down", "thumb_down", "downvoted"),
        ),
        Signal(name="continue", polarity=+1, window=timedelta(hours=1)),
        Signal(name="regenerate", polarity=-1, window=timedelta(hours=1)),
    )
}

_NAME_OF_TEXT = {text: s.name for s in SIGNALS.values() for text in (s.name, *s.emoji, *s.words)}

KNOWN = ", ".join(
    f"{s.name} ({', '.join((*s.words[:3], *s.emoji[:2]))}, ...)" if s.emoji else s.name
    for s in SIGNALS.values()
)
"""Names with a few of their spellings, for a refusal; docs/events.md has them all."""


def signal_of(text: str, aliases: Mapping[str, str] | None = None) -> str | None:
    """The name of the signal that `text` stands for; None if there is none.

    It may be a name, an emoji, a shortcode or a word; case, skin tones, colons around, and whether
    an emoji is drawn in colour do not matter. `aliases` are spellings of one's own, checked by
    `check_aliases`.
    """
    name = _NAME_OF_TEXT.get(text)
    if name is not None or len(text) > NAME_CHARS_MAX:
        return name
    spelt = _spelt(text)
    return _NAME_OF_TEXT.get(spelt) or (_own(spelt, aliases) if aliases else None)


def check_aliases(aliases: Mapping[str, str]) -> None:
    """Raise ValueError unless each alias says something that nothing says yet, of a signal."""
    for text, name in aliases.items():
        if name not in SIGNALS:
            raise ValueError(f"{text!r} stands for {name!r}; signals are {', '.join(SIGNALS)}")
        if not _spelt(text) or signal_of(text) not in (None, name):
            raise ValueError(
                f"{text!r} cannot stand for {name}: it is {signal_of(text) or 'blank'}"
            )


def _own(spelt: str, aliases: Mapping[str, str]) -> str | None:
    return next((name for text, name in aliases.items() if _spelt(text) == spelt), None)


def _spelt(text: str) -> str:
    """A text as the table spells it."""
    small = text.strip().translate(DRAWING_ONLY).lower()
    found = SHORTCODE.fullmatch(small)
    assert found is not None  # It matches any text.
    return BETWEEN_WORDS.sub("_", found["name"])
