"""Did the user's own words make the response? Overlap of word n-grams, in any script."""

import re

WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)
"""A word; in scripts written without spaces each character is one."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return WORD.findall(text.lower())


def copied_share(prompt: str, response: str, *, n: int, words_min: int) -> float:
    """Share, in [0, 1], of the response's word n-grams that the prompt holds.

    0.0 for a response of fewer than `words_min` words: short phrases meet by chance.
    """
    said = words_of(response)
    if len(said) < max(words_min, n):
        return 0.0
    asked = words_of(prompt)
    known = {tuple(asked[i : i + n]) for i in range(len(asked) - n + 1)}
    grams = [tuple(said[i : i + n]) for i in range(len(said) - n + 1)]
    return sum(gram in known for gram in grams) / len(grams)
