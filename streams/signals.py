"""The signals we learn from. To add one, add a row to SIGNALS; nothing else changes."""

from dataclasses import dataclass
from datetime import timedelta

VARIATION_SELECTORS = {0xFE0E: None, 0xFE0F: None}  # "draw me as text", "draw me as an emoji"
SKIN_TONES = dict.fromkeys(range(0x1F3FB, 0x1F400))  # Fitzpatrick types 1-2 to 6
DRAWING_ONLY = VARIATION_SELECTORS | SKIN_TONES


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
                *("😍", "🥰", "😻", "<3"),
            ),
        ),
        Signal(
            name="like",
            polarity=+1,
            window=timedelta(days=7),
            mistap=timedelta(seconds=10),
            emoji=("👍", "+1"),
        ),
        Signal(
            name="dislike",
            polarity=-1,
            window=timedelta(days=7),
            mistap=timedelta(seconds=10),
            emoji=("👎", "-1"),
        ),
        Signal(name="continue", polarity=+1, window=timedelta(hours=1)),
        Signal(name="regenerate", polarity=-1, window=timedelta(hours=1)),
    )
}

_NAME_OF_TEXT = {text: s.name for s in SIGNALS.values() for text in (s.name, *s.emoji)}


def signal_of(text: str) -> str | None:
    """The name of the signal that `text` (a name or an emoji) stands for; None if there is none.

    Emoji count whatever their skin tone and whether they are drawn in colour or as text; names
    count whatever their case.
    """
    name = _NAME_OF_TEXT.get(text)
    if name is not None:
        return name
    return _NAME_OF_TEXT.get(text.strip().translate(DRAWING_ONLY).lower())
