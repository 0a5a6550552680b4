"""The bytes of single tokens, so that those of a reply's tokens are together those of its text.

A token may hold half a character, and some tokenizers write a space before a word only where
something precedes it: decoding a token alone gives another text than it has in its place.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from models.sampling import Drawn

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece writes a byte for which it has no piece."""
NUM_BEFORE = 4
"""Tokens before one that are decoded with it: more than any decoder looks back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeltToken:
    """One token in its place in a reply."""

    spelling: bytes
    logprob: float
    """log p under the model itself, at temperature 1 and without nucleus or penalties, in nats."""
    top: "tuple[SpeltToken, ...]" = ()

    @property
    def text(self) -> str:
        """The bytes as a text; those that are no character by themselves escaped (OpenAI's way)."""
        return self.spelling.decode(errors="backslashreplace")


class Speller:
    """Spells tokens of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self._added = {int(i): str(token) for i, token in tokenizer.added_tokens_decoder.items()}
        decoders = _decoders(tokenizer)
        self._byte_of = _byte_alphabet() if "ByteLevel" in decoders else {}
        self._has_bytes = "ByteFallback" in decoders

    def spell(self, before: Sequence[int], drawn: Sequence[Drawn]) -> list[SpeltToken]:
        """Spell tokens that follow `before`, without the special ones, which a text does not show.

        Among the likeliest tokens special ones are shown by their names.
        """
        spelt = []
        place = list(before)
        for one in drawn:
            if one.token not in self._special:
                top = tuple(
                    SpeltToken(spelling=self.bytes_of(place, token), logprob=logprob)
                    for token, logprob in one.top
                )
                spelling = self.bytes_of(place, one.token)
                spelt.append(SpeltToken(spelling=spelling, logprob=one.logprob, top=top))
                place.append(one.token)
        return spelt

    def bytes_of(self, before: Sequence[int], token: int) -> bytes:
        """Give the bytes that a token adds to the text of those before it."""
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""  # A row of the embedding that no token has.
        if self._byte_of:
            return bytes(b for char in piece for b in self._byte_of.get(char, char.encode()))
        written = BYTE.fullmatch(piece)
        if written is not None and self._has_bytes:
            return bytes.fromhex(written[1])
        known = [t for t in before if self._is_text(t)][-NUM_BEFORE:]
        shorter, longer = self._decode(known), self._decode([*known, token])
        return longer.removeprefix(shorter).encode()

    def _is_text(self, token: int) -> bool:
        return BYTE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(token))) is None

    def _decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        assert isinstance(text, str)
        return text


def _decoders(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """Name the steps of a fast tokenizer's decoder; nothing for one written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return frozenset()
    found = json.loads(backend.to_str())["decoder"] or {}
    return frozenset(step["type"] for step in [found, *found.get("decoders", [])] if step)


def _byte_alphabet() -> dict[str, bytes]:
    """GPT-2's alphabet: for each of 256 characters the byte that it stands for."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    alphabet = {chr(byte): bytes([byte]) for byte in plain}
    return alphabet | {chr(256 + i): bytes([byte]) for i, byte in enumerate(others)}
