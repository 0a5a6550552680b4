"""Replies under way: tokens become text, told as soon as it is sure, until a stop sequence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from models.batch import TokenBatch, TokenRow
from models.replies import Piece, Reply
from models.sampling import Dials, Drawn, make_draws
from models.spelling import Speller, SpeltToken
from models.stops import StopCutter
from models.tokens import ChatTokenizer, TextStream


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wish:
    """One reply that is wanted."""

    prompt: list[int]
    dials: Dials
    seed: int | None
    """With one it gets the same reply again, whatever is generated beside it."""
    stops: tuple[str, ...] = ()
    """It ends before the first of these."""
    in_pieces: bool = False
    with_logprobs: bool = False


class Source(Protocol):
    """What we need of models.policy.Policy."""

    @property
    def spelling(self) -> ChatTokenizer: ...
    @property
    def speller(self) -> Speller: ...
    def batch(self) -> TokenBatch: ...
    def finished(self, prompt: list[int], tokens: list[int], logprob: float) -> Reply: ...


class Generation:
    """Replies of one policy under way; others join and leave between tokens."""

    def __init__(self, policy: Source) -> None:
        self._policy = policy
        self._batch = policy.batch()
        self._told: dict[Wish, Told] = {}
        self._wish_of: dict[TokenRow, Wish] = {}

    @property
    def num_wishes(self) -> int:
        """How many are under way."""
        return len(self._told)

    def join(self, wishes: Sequence[Wish]) -> None:
        """Take wishes in at the next step; what has a seed is not mixed with those of other calls,
        where that would change a bit of it."""
        seeds = [wish.seed for wish in wishes if wish.seed is not None]
        if seeds and len(seeds) < len(wishes):
            raise ValueError("wishes with and without a seed cannot join in one call")
        for wish in wishes:
            seed = None if wish.seed is None else [wish.seed]
            draws_1T = make_draws(1, wish.dials.max_new_tokens, seed)
            row = TokenRow(prompt=wish.prompt, draws=draws_1T[0].tolist(), dials=wish.dials)
            self._take(wish, Told(self._policy, wish, row))
        self._batch.join([self._told[wish].row for wish in wishes], is_alone=bool(seeds))

    def leave(self, wish: Wish) -> None:
        """Generate no more of it; nothing happens where it is at its end."""
        told = self._told.get(wish)
        if told is not None:
            told.row.is_left = True

    def step(self) -> list[tuple[Wish, Piece | Reply]]:
        """Draw a token for each; give what is ready: pieces, and replies that are at their end."""
        ready: list[tuple[Wish, Piece | Reply]] = []
        for row, drawn in self._batch.step():
            wish = self._wish_of[row]
            told = self._told[wish]
            piece = told.take(drawn)
            if piece is not None:
                ready.append((wish, piece))
            if row.is_ended or told.cutter.is_cut:
                row.is_left = True
                ready.append((wish, told.reply()))
        for wish, told in list(self._told.items()):
            if told.row.is_over:
                del self._told[wish], self._wish_of[told.row]
        return ready

    def split(self, groups: Sequence[Sequence[Wish]]) -> "list[Generation]":
        """Give each group a generation of its own, where it goes on after its last whole step."""
        parts = []
        for group in groups:
            part = Generation(self._policy)
            told = [self._told[wish] for wish in group if wish in self._told]
            for one in told:
                part._take(one.wish, one)
            part._batch.join([one.row for one in told], is_alone=True)
            parts.append(part)
        return parts

    def _take(self, wish: Wish, told: "Told") -> None:
        self._told[wish] = told
        self._wish_of[told.row] = wish


class Told:
    """What one row has said so far, and how much of it may be shown."""

    def __init__(self, policy: Source, wish: Wish, row: TokenRow) -> None:
        self.wish = wish
        self.row = row
        self._policy = policy
        self._stream = TextStream(policy.spelling)
        self._num_tokens = 0
        self._num_fed = 0
        self._said: list[Drawn] = []
        self._spelt: list[SpeltToken] = []
        # Only who is shown pieces, or has a say in where it ends, is read token by token.
        self._is_read = wish.in_pieces or wish.with_logprobs or any(wish.stops)
        self.cutter = StopCutter(wish.stops)

    def take(self, drawn: Drawn) -> Piece | None:
        """Take the next token; give the piece that may be shown with it, where one is wanted."""
        self._said.append(drawn)
        if not self._is_read:
            return None
        piece = self._look()
        return piece if self.wish.in_pieces and (piece.text or piece.spelt) else None

    def reply(self) -> Reply:
        """The whole, now that it is at its end."""
        tokens = [drawn.token for drawn in self._said]
        logprob = sum(drawn.logprob for drawn in self._said)
        reply = self._policy.finished(self.row.prompt, tokens, logprob)
        if not self._is_read:
            return reply
        reply = replace(reply, text=self.cutter.text, spelt=tuple(self._spelt))
        return replace(reply, is_cut=True, finish_reason="stop") if self.cutter.is_cut else reply

    def _look(self) -> Piece:
        """Give what may be shown since the last look; unfinished characters wait."""
        is_over = self.row.is_ended
        tokens = self.row.tokens
        shown = self._stream.feed(tokens[self._num_fed :])
        self._num_fed = len(tokens)
        if is_over:
            shown += self._stream.end()
        spelt = (
            self._policy.speller.spell(
                tokens[: self._num_tokens], self._said[self._num_tokens : self._stream.num_told]
            )
            if self.wish.with_logprobs
            else []
        )
        self._num_tokens = self._stream.num_told
        shown = self.cutter.feed(shown, spelt)
        if is_over:
            shown += self.cutter.end()
        ready = self.cutter.take_spelt(is_over=is_over or self.cutter.is_cut)
        self._spelt += ready
        return Piece(shown, ready)
