"""The policy: any causal language model that answers chats, and how likely each answer was.

The sampling loop is ours, for three things that `transformers.generate` does not give: its own
random generator (the process's global one stays untouched, so a seed means the same on a busy
server), the log-probability of each reply, and pieces as they are made.
"""

# N replies of one batch, P prompt tokens, T reply tokens, V vocabulary

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from models.batch import TokenBatch, TokenRow
from models.card import ModelCardFacts, write_card
from models.chat import Chat
from models.decoding import Decoder, PaddedDecoder, accepted_inputs
from models.generation import Generation, Wish
from models.lean import lean_imports
from models.llama import LlamaDecoder, is_plain_llama, is_row_exact
from models.published import make_portable, save_model
from models.replies import Piece, Reply
from models.sampling import Dials, left_pad, make_draws
from models.spelling import Speller
from models.tokens import ChatTokenizer

with lean_imports():
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        LlamaForCausalLM,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

REFILL_PART = 4
"""Where many replies are sampled, others begin once this part of the batch's places is free."""
CONTEXT_TOKENS_DEFAULT = 2048
"""The context taken for a model whose config does not say how long it is."""


class Policy:
    """A causal language model and its tokenizer. Safe to sample from in several threads at once."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.path = path
        self.spelling = ChatTokenizer(tokenizer)
        if tokenizer.chat_template is None:
            tokenizer.chat_template = self.spelling.plain_template()
        self._eos_ids = _end_tokens(model, tokenizer)
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._accepts = accepted_inputs(model)
        self.speller = Speller(tokenizer)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, device: str = "cpu") -> "Policy":
        """Loads a directory or a hub name; on the CPU in float32 (bfloat16 is slow there).

        Code that a model brings along is never run: where it needs some, ValueError says so.
        """
        source = str(name_or_path)
        dtype = torch.float32 if device == "cpu" else "auto"
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model.requires_grad_(False)  # from_pretrained has already set it to evaluation.
        torch.nn.Module.to(model, device)
        return cls(model, tokenizer, source)

    @property
    def context_tokens(self) -> int:
        """The longest prompt and reply together."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(length) if length else CONTEXT_TOKENS_DEFAULT

    def reply(
        self,
        chats: Sequence[Chat],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | Sequence[int] | None = None,
        batch_size: int = 32,
    ) -> list[Reply]:
        """Samples one reply to each chat, in their order.

        A prompt that leaves no room for the reply loses its oldest tokens. `seed` may be one number
        for the call, or one for each chat, which then draws the same whatever its neighbours are.
        """
        dials = Dials(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)
        prompts = [self._prompt_ids(chat, dials.max_new_tokens) for chat in chats]
        draws_NT = make_draws(len(prompts), max_new_tokens, seed)
        sampled = self.sample(prompts, draws_NT, dials, batch_size=batch_size)
        return [
            self.finished(prompt, tokens, sum(logps))
            for prompt, (tokens, logps) in zip(prompts, sampled, strict=True)
        ]

    def sample(
        self,
        prompts: Sequence[list[int]],
        draws_NT: Tensor,
        dials: Dials,
        *,
        batch_size: int | None = None,
    ) -> list[tuple[list[int], list[float]]]:
        """In tokens: to each prompt its reply, and log p of each of the reply's tokens.

        `draws_NT`, float64 in [0, 1), is all the chance there is: one number for each token.
        `batch_size` are under way at a time; None takes all at once.
        """
        rows = [
            TokenRow(prompt=list(prompt), draws=draws, dials=dials)
            for prompt, draws in zip(prompts, draws_NT.tolist(), strict=True)
        ]
        size = batch_size or len(rows)
        waiting = deque(sorted(rows, key=lambda row: len(row.prompt)))  # Little padding.
        logps: dict[TokenRow, list[float]] = {row: [] for row in rows}
        batch, num_rows = self.batch(), 0
        while waiting or num_rows:
            # A few at a time: a prompt costs as much alone as with company.
            if waiting and size - num_rows >= min(len(waiting), max(1, size // REFILL_PART)):
                joining = [waiting.popleft() for _ in range(min(size - num_rows, len(waiting)))]
                batch.join(joining)
                num_rows += len(joining)
            for row, drawn in batch.step():
                logps[row].append(drawn.logprob)
                num_rows -= row.is_over
        return [(row.tokens, logps[row]) for row in rows]

    def batch(self) -> TokenBatch:
        """A batch of rows of this policy, empty yet."""
        return TokenBatch(self._make_decoder, self._eos_ids, is_exact=self.is_row_exact)

    @cached_property
    def is_row_exact(self) -> bool:
        """Whether a row's numbers are the same to the last bit whatever its neighbours are."""
        model = self.model
        return isinstance(model, LlamaForCausalLM) and self._is_plain_llama and is_row_exact(model)

    @cached_property
    def _is_plain_llama(self) -> bool:
        return is_plain_llama(self.model)

    def _make_decoder(self) -> Decoder:
        if self._is_plain_llama and isinstance(self.model, LlamaForCausalLM):
            return LlamaDecoder(self.model)
        return PaddedDecoder(self.model, self._pad_id)

    def prompt_tokens(self, chat: Chat) -> int:
        """How many tokens the chat has before the reply, nothing cut."""
        return len(self.chat_ids(chat))

    def stream(
        self,
        chat: Chat,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str | Reply]:
        """Samples one reply in pieces of text that together are its text, then gives the Reply."""
        dials = Dials(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)
        seeds = None if seed is None else [seed]
        for step in self.generate([chat], dials, seeds, in_pieces=True):
            for _, made in step:
                yield made.text if isinstance(made, Piece) else made

    def generate(
        self,
        chats: Sequence[Chat],
        dials: Dials,
        seeds: Sequence[int] | None,
        *,
        stops: Sequence[Sequence[str]] = (),
        in_pieces: bool = False,
        with_logprobs: bool = False,
    ) -> Iterator[list[tuple[int, Piece | Reply]]]:
        """Samples one reply to each chat, all at once; yields after each token what is ready.

        That is, as (row, what): pieces of text, where asked for, and each Reply as soon as it is at
        its end, which may be one of its row's stop sequences.
        """
        wishes = [
            Wish(
                prompt=self._prompt_ids(chat, dials.max_new_tokens),
                dials=dials,
                seed=None if seeds is None else seeds[row],
                stops=tuple(stops[row]) if stops else (),
                in_pieces=in_pieces,
                with_logprobs=with_logprobs,
            )
            for row, chat in enumerate(chats)
        ]
        row_of = {wish: row for row, wish in enumerate(wishes)}
        generation = Generation(self)
        generation.join(wishes)
        while generation.num_wishes:
            yield [(row_of[wish], made) for wish, made in generation.step()]

    @torch.no_grad()
    def log_probs(
        self, chats: Sequence[Chat], replies: Sequence[Reply | str], *, batch_size: int = 32
    ) -> Tensor:
        """Returns logp_N, float32 nats: log π(reply | chat), the end of turn included.

        A `Reply` is scored on the tokens it was sampled as; a text on its usual spelling.
        """
        rows = [
            (self._prompt_ids(chat, len(reply_ids)), reply_ids)
            for chat, reply_ids in zip(chats, map(self._reply_ids, replies), strict=True)
        ]
        logp_N = torch.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            logp_N[indices] = self._log_probs_of_batch([rows[i] for i in indices]).cpu()
        return logp_N

    def save(self, path: Path, card: ModelCardFacts) -> None:
        """Writes a directory that AutoModelForCausalLM and AutoTokenizer load, with its card."""
        path.mkdir(parents=True, exist_ok=True)
        save_model(self.model, path)
        self.tokenizer.save_pretrained(path)
        make_portable(path)
        write_card(card, path)

    def _prompt_ids(self, chat: Chat, room: int) -> list[int]:
        """The chat in tokens, ready for the assistant's turn, its oldest cut to leave `room`."""
        kept = max(1, self.context_tokens - room)
        return self.chat_ids(chat)[-kept:] or [self._pad_id]

    def chat_ids(self, chat: Chat) -> list[int]:
        """The chat in tokens, ready for the assistant's turn, nothing cut."""
        return self.spelling.chat_ids([chat], for_reply=True)[0]

    def _reply_ids(self, reply: Reply | str) -> list[int]:
        if isinstance(reply, Reply):
            return list(reply.token_ids)
        end = self.tokenizer.eos_token_id
        ends = sorted(self._eos_ids)[:1] if end is None else [end]
        return [*self.spelling.text_ids([reply])[0], *ends]

    def text(self, tokens: list[int]) -> str:
        """The text of a reply's tokens, without the special ones."""
        return self.spelling.text_of(tokens)

    def finished(self, prompt: list[int], tokens: list[int], logprob: float) -> Reply:
        """The reply that these tokens are."""
        return Reply(
            text=self.text(tokens),
            logprob=logprob,
            prompt_tokens=len(prompt),
            completion_tokens=len(tokens),
            finish_reason="stop" if tokens[-1] in self._eos_ids else "length",
            token_ids=tuple(tokens),
        )

    def _inputs(self, ids: Tensor, mask: Tensor, positions: Tensor) -> dict[str, Tensor | int]:
        """What the model's forward takes, of what we know: architectures differ."""
        offered: dict[str, Tensor | int] = {"position_ids": positions, "logits_to_keep": 1}
        known = {name: value for name, value in offered.items() if name in self._accepts}
        return {"input_ids": ids, "attention_mask": mask, **known}

    def _log_probs_of_batch(self, rows: list[tuple[list[int], list[int]]]) -> Tensor:
        longest = max(len(reply) for _, reply in rows)
        input_NP, mask_NP = left_pad(
            [prompt + reply for prompt, reply in rows], self._pad_id, self.model.device
        )
        inputs = self._inputs(input_NP, mask_NP, (mask_NP.cumsum(-1) - 1).clamp(min=0))
        if "logits_to_keep" in inputs:
            inputs["logits_to_keep"] = longest + 1
        # The logits at t speak of the token at t + 1.
        logits_NTV: Tensor = self.model(**inputs).logits[:, -longest - 1 : -1].float()
        target_NT = input_NP[:, -longest:]
        logp_NT = logits_NTV.log_softmax(-1).gather(-1, target_NT[..., None])[..., 0]
        lengths_N = torch.tensor([len(reply) for _, reply in rows], device=logp_NT.device)
        of_reply_NT = torch.arange(longest, 0, -1, device=logp_NT.device) <= lengths_N[:, None]
        return (logp_NT * of_reply_NT).sum(-1)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a reply: the tokenizer's and those that the model declares."""
    declared = model.generation_config.eos_token_id if model.generation_config else None
    ids = declared if isinstance(declared, list) else [declared]
    return frozenset(int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None)
