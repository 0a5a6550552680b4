"""The policy: any causal language model that answers chats, and how likely each answer was.

The sampling loop is ours, for three things that `transformers.generate` does not give: its own
random generator (the process's global one stays untouched, so a seed means the same on a busy
server), the log-probability of each reply, and pieces as they are made.
"""

# N replies of one batch, P prompt tokens, T reply tokens, V vocabulary

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from models.card import ModelCardFacts, write_card
from models.chat import Chat
from models.lean import lean_imports
from models.published import make_portable, save_model
from models.sampling import (
    Dials,
    Drawn,
    draw_tokens,
    left_pad,
    likeliest,
    make_draws,
    penalise,
)
from models.spelling import Speller, SpeltToken
from models.stops import StopCutter
from models.tokens import ChatTokenizer, TextStream

with lean_imports():
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

FinishReason: TypeAlias = Literal["stop", "length"]

CONTEXT_TOKENS_DEFAULT = 2048
"""The context taken for a model whose config does not say how long it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One sampled answer."""

    text: str
    logprob: float
    """Sum over the reply's tokens (its end of turn included) of log p, in nats, at temperature 1
    and without top-p, whatever it was sampled at: what `Policy.log_probs` gives again."""
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    is_cut: bool = False
    """A stop sequence ended it: `text` is what came before, the rest is of all that was drawn."""
    token_ids: tuple[int, ...] = ()
    """The tokens as sampled. A text may have many spellings in tokens, so log-probabilities under
    another model are taken of these, not of the text."""
    spelt: tuple[SpeltToken, ...] = ()
    """Each token with its spelling, where log-probabilities were asked for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a reply's text, as soon as it is sure."""

    text: str
    spelt: tuple[SpeltToken, ...] = ()
    """Its tokens, where log-probabilities were asked for."""


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
        self._accepts = frozenset(inspect.signature(model.forward).parameters)
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
        replies: dict[int, Reply] = {}
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # Little padding.
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            sampled = self.sample([prompts[i] for i in rows], draws_NT[rows], dials)
            for i, (tokens, logps) in zip(rows, sampled, strict=True):
                replies[i] = self._finished(prompts[i], tokens, sum(logps))
        return [replies[i] for i in range(len(prompts))]

    def sample(
        self, prompts: Sequence[list[int]], draws_NT: Tensor, dials: Dials
    ) -> list[tuple[list[int], list[float]]]:
        """One batch in tokens: to each prompt its reply, and log p of each of the reply's tokens.

        `draws_NT`, float64 in [0, 1), is all the chance there is: one number for each token.
        """
        sampled: list[tuple[list[int], list[float]]] = [([], []) for _ in prompts]
        for step in self._steps(list(prompts), draws_NT, dials):
            for drawn in step:
                sampled[drawn.row][0].append(drawn.token)
                sampled[drawn.row][1].append(drawn.logprob)
        return sampled

    def prompt_tokens(self, chat: Chat) -> int:
        """How many tokens the chat has before the reply, nothing cut."""
        return len(self._chat_ids(chat))

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
        left: set[int] | None = None,
    ) -> Iterator[list[tuple[int, Piece | Reply]]]:
        """Samples one reply to each chat, all at once; yields after each token what is ready.

        That is, as (row, what): pieces of text, where asked for, and each Reply as soon as it is at
        its end, which may be one of its row's stop sequences. Rows that the caller puts into `left`
        meanwhile are generated no further; what the others draw does not depend on it.
        """
        prompts = [self._prompt_ids(chat, dials.max_new_tokens) for chat in chats]
        draws_NT = make_draws(len(prompts), dials.max_new_tokens, seeds)
        told = [Told(self, row_stops) for row_stops in stops or [()] * len(prompts)]
        gone: set[int] = set() if left is None else left
        for step in self._steps(prompts, draws_NT, dials, gone):
            ready: list[tuple[int, Piece | Reply]] = []
            for drawn in step:
                so_far = told[drawn.row]
                so_far.said.append(drawn)
                is_over = drawn.token in self._eos_ids or len(so_far.said) == dials.max_new_tokens
                if in_pieces or so_far.has_stops or is_over:
                    piece = so_far.look(is_over=is_over, with_logprobs=with_logprobs)
                    if in_pieces and (piece.text or piece.spelt):
                        ready.append((drawn.row, piece))
                if is_over or so_far.cutter.is_cut:
                    gone.add(drawn.row)
                    ready.append((drawn.row, self._told(prompts[drawn.row], so_far)))
            yield ready

    def _told(self, prompt: list[int], told: "Told") -> Reply:
        tokens = [drawn.token for drawn in told.said]
        reply = self._finished(prompt, tokens, sum(drawn.logprob for drawn in told.said))
        reply = replace(reply, text=told.cutter.text, spelt=tuple(told.spelt))
        return replace(reply, is_cut=True, finish_reason="stop") if told.cutter.is_cut else reply

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
        return self._chat_ids(chat)[-kept:] or [self._pad_id]

    def _chat_ids(self, chat: Chat) -> list[int]:
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

    def _finished(self, prompt: list[int], tokens: list[int], logprob: float) -> Reply:
        return Reply(
            text=self.text(tokens),
            logprob=logprob,
            prompt_tokens=len(prompt),
            completion_tokens=len(tokens),
            finish_reason="stop" if tokens[-1] in self._eos_ids else "length",
            token_ids=tuple(tokens),
        )

    @torch.inference_mode()
    def _steps(
        self,
        prompts: list[list[int]],
        draws_NT: Tensor,
        dials: Dials,
        left: Collection[int] = frozenset(),
    ) -> Iterator[list[Drawn]]:
        """Yields, for each step, the tokens of the rows that have not ended yet.

        Rows in `left`, which may grow meanwhile, draw no further.
        """
        device = self.model.device
        input_NP, mask_NP = left_pad(prompts, self._pad_id, device)
        position_N = mask_NP.sum(-1)
        inputs = self._inputs(input_NP, mask_NP, (mask_NP.cumsum(-1) - 1).clamp(min=0))
        cache = None
        active = list(range(len(prompts)))
        eos = torch.tensor(sorted(self._eos_ids), device=device)
        counts_NV: Tensor | None = None
        for draw_N in draws_NT.to(device).T:
            out = self.model(**inputs, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits_NV = out.logits[:, -1].float()
            wanted_NV = logits_NV
            if dials.has_penalties:
                counts_NV = torch.zeros_like(logits_NV) if counts_NV is None else counts_NV
                wanted_NV = penalise(logits_NV, counts_NV, dials)
            tokens_N = draw_tokens(wanted_NV, draw_N[active], dials)
            logp_NV = logits_NV.log_softmax(-1)
            logps_N = logp_NV.gather(-1, tokens_N[:, None])[:, 0]
            top = likeliest(logp_NV, dials.num_top)
            yield list(map(Drawn, active, tokens_N.tolist(), logps_N.tolist(), top))
            is_kept_N = ~torch.isin(tokens_N, eos)
            if left:
                is_kept_N &= torch.tensor([row not in left for row in active], device=device)
            kept = is_kept_N.nonzero()[:, 0]
            if len(kept) == 0:
                return
            if counts_NV is not None:
                counts_NV.scatter_add_(-1, tokens_N[:, None], torch.ones_like(counts_NV[:, :1]))
            if len(kept) < len(active):
                cache.batch_select_indices(kept)
                mask_NP, position_N = mask_NP[kept], position_N[kept]
                tokens_N = tokens_N[kept]
                counts_NV = None if counts_NV is None else counts_NV[kept]
                active = [active[i] for i in kept.tolist()]
            mask_NP = torch.cat([mask_NP, mask_NP.new_ones(len(active), 1)], dim=1)
            inputs = self._inputs(tokens_N[:, None], mask_NP, position_N[:, None])
            position_N = position_N + 1

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


class Told:
    """What one row has said so far, and how much of it may be shown."""

    def __init__(self, policy: Policy, stops: Sequence[str]) -> None:
        self._policy = policy
        self._stream = TextStream(policy.spelling)
        self._num_tokens = 0
        self._num_fed = 0
        self.has_stops = any(stops)
        self.cutter = StopCutter(stops)
        self.said: list[Drawn] = []
        self.spelt: list[SpeltToken] = []

    def look(self, *, is_over: bool, with_logprobs: bool) -> Piece:
        """Give what may be shown since the last look; unfinished characters wait."""
        tokens = [drawn.token for drawn in self.said]
        shown = self._stream.feed(tokens[self._num_fed :])
        self._num_fed = len(tokens)
        if is_over:
            shown += self._stream.end()
        spelt = (
            self._policy.speller.spell(
                tokens[: self._num_tokens], self.said[self._num_tokens : self._stream.num_told]
            )
            if with_logprobs
            else []
        )
        self._num_tokens = self._stream.num_told
        shown = self.cutter.feed(shown, spelt)
        if is_over:
            shown += self.cutter.end()
        ready = self.cutter.take_spelt(is_over=is_over or self.cutter.is_cut)
        self.spelt += ready
        return Piece(shown, ready)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a reply: the tokenizer's and those that the model declares."""
    declared = model.generation_config.eos_token_id if model.generation_config else None
    ids = declared if isinstance(declared, list) else [declared]
    return frozenset(int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None)
