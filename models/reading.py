"""What a reward model reads of a chat: the tokens of prompt and reply that its room holds."""

# N chats

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from models.chat import Chat, render_turns, split_reply
from models.tokens import ChatTokenizer, Ids

PROMPT_SHARE = 0.25
"""Of the room for tokens: what a prompt may keep, by its end, where the reply would fill it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelled:
    """Chats in tokens."""

    ids: list[list[int]]
    """Of each chat, at most `max_tokens`."""
    prompts_cut: list[bool]
    """Whether the start of the chat's prompt is missing."""
    replies_cut: list[bool]
    """Whether the end of the chat's reply is missing."""


class ChatReader:
    """Spells chats to be scored in one tokenizer's ids: as a pair of texts for an encoder, else by
    the chat template, else as one text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._spelling = ChatTokenizer(tokenizer)

    def spell(self, chats: Sequence[Chat], max_tokens: int) -> Spelled:
        """Token ids of each chat, the reply last. Raises ValueError where a chat ends in none.

        A quarter of the room is the prompt's, more where the reply leaves it: the prompt keeps its
        end, the reply its start.
        """
        split = [split_reply(chat) for chat in chats]
        before, between, after = [], [], []
        if self._tokenizer.chat_template is not None:
            parts = self._template_ids(chats)
        elif self._tokenizer.sep_token is None:
            before, after = self._spelling.frame(num_texts=1)
            parts = self._single_ids(chats)
        else:
            before, between, after = self._spelling.frame(num_texts=2)
            prompts = self._spelling.text_ids([render_turns(turns) for turns, _ in split])
            replies = self._spelling.text_ids([reply for _, reply in split])
            parts = list(zip(prompts, replies, strict=True))
        room = max(0, max_tokens - len(before) - len(between) - len(after))
        spelled = Spelled(ids=[], prompts_cut=[], replies_cut=[])
        for prompt, reply in parts:
            kept = min(len(prompt), max(int(PROMPT_SHARE * room), room - len(reply)))
            left = room - kept
            spelled.ids.append(
                [*before, *prompt[len(prompt) - kept :], *between, *reply[:left], *after]
            )
            spelled.prompts_cut.append(kept < len(prompt))
            spelled.replies_cut.append(left < len(reply))
        return spelled

    def _template_ids(self, chats: Sequence[Chat]) -> list[tuple[Ids, Ids]]:
        """Ids of each prompt and of its reply, as the chat template spells the whole."""
        whole = self._spelling.chat_ids(chats, for_reply=False)
        asked = self._spelling.chat_ids([split_reply(chat)[0] for chat in chats], for_reply=True)
        parts = []
        for ids, prompt in zip(whole, asked, strict=True):
            pairs = enumerate(zip(ids, prompt, strict=False))
            start = next((at for at, (one, other) in pairs if one != other), len(prompt))
            parts.append((ids[:start], ids[start:]))
        return parts

    def _single_ids(self, chats: Sequence[Chat]) -> list[tuple[Ids, Ids]]:
        """The same for a tokenizer without template and separator: the turns, one a line."""
        whole = self._spelling.text_ids([render_turns(chat) for chat in chats])
        replies = self._spelling.text_ids([split_reply(chat)[1] for chat in chats])
        starts = [max(0, len(ids) - len(reply)) for ids, reply in zip(whole, replies, strict=True)]
        return [(ids[:start], ids[start:]) for ids, start in zip(whole, starts, strict=True)]
