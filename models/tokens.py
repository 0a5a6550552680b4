"""Texts to token ids: the one place where a tokenizer is called.

A tokenizer turns `<|im_end|>` into the end of a turn wherever it stands, also within what a user
wrote. So a chat template's own parts are read with control tokens, and what people wrote without:
their text stays text, letter by letter where it must. Text without any such string is spelled as
`apply_chat_template(tokenize=True)` spells it, token for token.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from models.chat import Chat

MARKUP = re.compile(r"\s*(<.*>|\[.*\]|\{.*\})\s*", re.DOTALL)
"""How an added token is written that steers a model, declared special or not: `<think>`."""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""A byte of a letter that the vocabulary lacks: text, though it is written like markup."""
MARKS_FROM, MARKS_TO = 0xF0000, 0x10FFFF
"""Private-use characters stand for the turns' contents while a template is rendered without them;
a template has no reason to write one."""
MARK = re.compile(f"([{chr(MARKS_FROM)}-{chr(MARKS_TO)}])")
ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
"""A template may make a control token of any role; so another one is read as "user"."""
SKELETONS_MAX = 4_096
"""Shapes of conversations (roles and number of turns) whose control tokens are remembered."""

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For base models whose tokenizer brings no chat template of its own."""

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes the first bytes of an unfinished character to."""

Ids = list[int]


class ChatTokenizer:
    """Spells chats and texts in one tokenizer's ids. Keeps no state, so threads may share it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        controls = _control_tokens(tokenizer)
        unknown = _unknown_only(tokenizer)
        self._unknown = controls.get(unknown, "") if unknown is not None else ""
        # An unknown word is spelled as the unknown token by design: that forges nothing.
        self._controls = {i: text for i, text in controls.items() if i != unknown}
        self._written = _any_of([*self._controls.values(), self._unknown])
        self._anchor = _anchor(tokenizer, self._controls)
        self._controls_of_skeleton = lru_cache(SKELETONS_MAX)(self._find_controls)

    def chat_ids(self, chats: Sequence[Chat], *, for_reply: bool) -> list[Ids]:
        """Ids of each chat as the tokenizer's chat template writes it.

        `for_reply` opens the assistant's turn at the end. Raises what the template raises.
        """
        if not chats:
            return []
        chats = [[turn | {"role": _known(turn["role"])} for turn in chat] for chat in chats]
        texts = [self._render(chat, for_reply) for chat in chats]
        return [
            ids if self._is_honest(chat, ids, for_reply) else self._chat_ids(chat, for_reply)
            for chat, ids in zip(chats, self._read(texts), strict=True)
        ]

    def text_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text without any control token, whatever is written in it."""
        if not texts:
            return []
        return [
            self._without_controls(text, self._read_one) if self._is_forged(text, ids) else ids
            for text, ids in zip(texts, self._read(texts), strict=True)
        ]

    def text_of(self, ids: Sequence[int]) -> str:
        """What the ids say, special tokens left out: the pieces of a TextStream together."""
        text = self.decode(ids)
        if INCOMPLETE not in text:
            return text
        stream = TextStream(self)
        return stream.feed(ids) + stream.end()

    def decode(self, ids: Sequence[int]) -> str:
        """The text as the model spelled it: spaces before marks are not tidied away, for what a
        later token would tidy has been shown already."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def frame(self, *, num_texts: int) -> list[Ids]:
        """The special tokens around one text or a pair: before, (between,) and after."""
        letters = ["a", "b"][:num_texts]
        framed: Ids = list(self.tokenizer(*letters)["input_ids"])
        pieces: list[Ids] = []
        for ids in self._read(letters):
            start = next(at for at in range(len(framed)) if framed[at : at + len(ids)] == ids)
            pieces.append(framed[:start])
            framed = framed[start + len(ids) :]
        return [*pieces, framed]

    def plain_template(self) -> str:
        """PLAIN_TEMPLATE behind the tokens that the tokenizer itself puts before a text (BOS)."""
        begin = self.frame(num_texts=1)[0]
        written = "".join(str(self.tokenizer.convert_ids_to_tokens(i)) for i in begin)
        return f"{{{{ {json.dumps(written)} }}}}{PLAIN_TEMPLATE}" if written else PLAIN_TEMPLATE

    def _is_honest(self, chat: Chat, ids: Ids, for_reply: bool) -> bool:
        """Whether the control tokens are those of the template alone."""
        if self._unknown and any(self._unknown in turn["content"] for turn in chat):
            return False
        skeleton = self._render(_skeleton(chat), for_reply)
        return self._controls_in(ids) == self._controls_of_skeleton(skeleton)

    def _chat_ids(self, chat: Chat, for_reply: bool) -> Ids:
        """The template's parts with control tokens, and between them the contents without."""
        skeleton = self._render(_skeleton(chat), for_reply)
        ids: Ids = []
        for part in MARK.split(skeleton):
            number = ord(part) - MARKS_FROM if len(part) == 1 else -1
            if 0 <= number < len(chat):
                core = chat[number]["content"].strip()
                ids += self._without_controls(core, self._read_inside)
            elif part:
                ids += self._read_inside(part) if ids else self._read_one(part)
        return ids

    def _without_controls(self, text: str, read: Callable[[str], Ids]) -> Ids:
        """Ids of a text, broken within whatever reads as a control token."""
        ids = read(text)
        if not self._is_forged(text, ids):
            return ids
        if len(text) == 1:  # No part of it is left to spell it by.
            unknown = self.tokenizer.unk_token_id
            return [] if unknown is None or unknown in self._controls else [unknown]
        found = self._written.search(text)
        middle = found.start() + 1 if found is not None else len(text) // 2
        middle = min(middle, len(text) - 1)
        return [
            *self._without_controls(text[:middle], read),
            *self._without_controls(text[middle:], self._read_inside),
        ]

    def _is_forged(self, text: str, ids: Ids) -> bool:
        has_control = any(i in self._controls for i in ids)
        return has_control or bool(self._unknown and self._unknown in text)

    def _find_controls(self, skeleton: str) -> tuple[int, ...]:
        parts = self._read([part for part in MARK.split(skeleton) if not MARK.fullmatch(part)])
        return self._controls_in([i for ids in parts for i in ids])

    def _controls_in(self, ids: Ids) -> tuple[int, ...]:
        return tuple(i for i in ids if i in self._controls)

    def _render(self, chat: Chat, for_reply: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=for_reply
            )
        )

    def _read(self, texts: Sequence[str]) -> list[Ids]:
        """Ids as the tokenizer itself gives them, nothing put around and nothing cut."""
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
        )
        return list(encoded["input_ids"])

    def _read_one(self, text: str) -> Ids:
        return self._read([text])[0]

    def _read_inside(self, text: str) -> Ids:
        """Ids of a text that stands within another: no space is put before its first word."""
        if not self._anchor:
            return self._read_one(text)
        first, *ids = self._read_one(self._anchor + text)
        is_anchored = self._controls.get(first) == self._anchor
        return ids if is_anchored else self._read_one(text)


class TextStream:
    """Ids to text as they come, whatever a decoder makes of the ids before and after.

    Only the ids since the last piece but one are decoded, and the piece is what the newest add: a
    decoder may strip a space at the start, and one with bytes gives up a whole run of them for one
    that is unfinished (Text Generation Inference's way).
    """

    def __init__(self, spelling: ChatTokenizer) -> None:
        self._spelling = spelling
        self._ids: Ids = []
        self._start = 0
        self.num_told = 0
        """Ids whose text was given; those behind may be part of an unfinished character."""

    def feed(self, ids: Sequence[int]) -> str:
        """Take the next ids; give the text that they finish."""
        told = ""
        for i in ids:
            self._ids.append(i)
            piece = self._ahead()
            if piece and not piece.endswith(INCOMPLETE):
                self._start, self.num_told = self.num_told, len(self._ids)
                told += piece
        return told

    def end(self) -> str:
        """Give the rest, unfinished characters as they are."""
        piece = self._ahead()
        self._start, self.num_told = self.num_told, len(self._ids)
        return piece

    def _ahead(self) -> str:
        before = self._spelling.decode(self._ids[self._start : self.num_told])
        text = self._spelling.decode(self._ids[self._start :])
        return text.removeprefix(before) if text.startswith(before) else text[len(before) :]


def _known(role: str) -> str:
    return role if role in ROLES else "user"


def _skeleton(chat: Chat) -> Chat:
    """The chat with a mark for each content; blank ones and the spaces around stay as they are.

    So a template that trims, or asks whether there is any content, does the same as to the chat.
    """
    turns = []
    for number, turn in enumerate(chat):
        content = turn["content"]
        core = content.strip()
        if core:
            start = content.index(core)
            mark = chr(MARKS_FROM + number)
            content = content[:start] + mark + content[start + len(core) :]
        turns.append(turn | {"content": content})
    return turns


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that steer a model, by id: special ones, and added ones written like markup.

    Other added tokens are words (a run of spaces, a name) and part of ordinary text.
    """
    controls = {int(i): str(tokenizer.convert_ids_to_tokens(i)) for i in tokenizer.all_special_ids}
    for i, token in tokenizer.added_tokens_decoder.items():
        is_markup = MARKUP.fullmatch(token.content) and not BYTE.fullmatch(token.content)
        if token.special or is_markup:
            controls[int(i)] = token.content
    return controls


def _unknown_only(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of unknown words, where it stands for nothing else; GPT-2 ends texts with it."""
    others = {
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        tokenizer.sep_token_id,
        tokenizer.cls_token_id,
        tokenizer.mask_token_id,
    }
    unknown = tokenizer.unk_token_id
    return None if unknown is None or unknown in others else int(unknown)


def _anchor(tokenizer: PreTrainedTokenizerBase, controls: dict[int, str]) -> str:
    """A control token that swallows none of the spaces behind it; empty where there is none."""
    added = tokenizer.added_tokens_decoder
    for i, text in sorted(controls.items()):
        if i in added and not added[i].rstrip and not added[i].lstrip:
            return text
    return ""


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the texts, longer ones first; nothing where there are none."""
    written = sorted({text for text in texts if text}, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, written)) or r"(?!)")
