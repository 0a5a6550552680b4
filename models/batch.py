"""Continuous batching: every row gets one token a step; rows join and leave in between.

Who comes does not wait for those who came before, and who is done makes room at once (Orca, Yu et
al. 2022). Each row has its own dials and its own chance, fixed beforehand, so what it draws depends
on nobody else's.
"""

# N rows under way, V vocabulary

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from models.decoding import Decoder
from models.sampling import Dials, Drawn, draw_tokens, likeliest, penalise

RUNS_MAX = 4
"""Decoders at the same time, each of which costs a call of the model a step. More than one is
needed only where rows cannot be put beside others."""


@dataclass(slots=True, eq=False)
class TokenRow:
    """A reply under way, in tokens."""

    prompt: list[int]
    draws: list[float]
    """A number in [0, 1) for each token: all the chance there is."""
    dials: Dials
    tokens: list[int] = field(default_factory=list)
    """What was drawn so far. A row that has some goes on behind them where it joins."""
    is_left: bool = False
    """Nobody wants it any more: it draws no further."""
    is_ended: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_left or self.is_ended


@dataclass(slots=True, eq=False)
class Run:
    """Rows of one decoder, in its order."""

    decoder: Decoder
    is_shared: bool
    rows: list[TokenRow] = field(default_factory=list)


class TokenBatch:
    """Rows of one model under way. One thread at a time."""

    def __init__(
        self, make_decoder: Callable[[], Decoder], ends: Collection[int], *, is_exact: bool
    ) -> None:
        """`ends` are the tokens that end a row; `is_exact` says that no row's
        numbers depend on its neighbours."""
        self._make_decoder = make_decoder
        self._is_exact = is_exact
        self._ends = ends
        self._runs: list[Run] = []
        self._waiting: list[tuple[list[TokenRow], bool]] = []

    def join(self, rows: Sequence[TokenRow], *, is_alone: bool = False) -> None:
        """Take rows in at the next step; `is_alone` asks that no other changes their numbers."""
        if rows:
            self._waiting.append((list(rows), is_alone))

    @torch.inference_mode()
    def step(self) -> list[tuple[TokenRow, Drawn]]:
        """Draw one token for each row that is not over and whose turn has come.

        A row that draws one of the ends, or its last token, is over. Where the model fails, no row
        has drawn anything, and all of them may join another batch.
        """
        self._compact()
        logits = [(run, self._advance(run)) for run in self._runs]
        logits += self._admit()
        drawn: list[tuple[TokenRow, Drawn]] = []
        for run in self._runs:
            parts = [logits_NV for of, logits_NV in logits if of is run]
            if parts:
                logits_NV = parts[0] if len(parts) == 1 else torch.cat(parts)
                drawn += zip(run.rows, draw(run.rows, logits_NV), strict=True)
        for row, one in drawn:
            row.tokens.append(one.token)
            row.is_ended = one.token in self._ends or len(row.tokens) == row.dials.max_new_tokens
        self._compact()
        return drawn

    def _compact(self) -> None:
        """Take out the rows that are over, and decoders without any."""
        for run in self._runs:
            if any(row.is_over for row in run.rows):
                order = compacted([not row.is_over for row in run.rows])
                run.decoder.keep(order)
                run.rows = [run.rows[place] for place in order]
        self._runs = [run for run in self._runs if run.rows]

    def _advance(self, run: Run) -> Tensor:
        return run.decoder.step([row.tokens[-1] for row in run.rows])

    def _admit(self) -> list[tuple[Run, Tensor]]:
        """Begin the rows that wait, as far as there are decoders; gives their first logits."""
        begun: list[tuple[Run, Tensor]] = []
        waiting, self._waiting = self._waiting, []
        shared: list[TokenRow] = []
        for rows, is_alone in waiting:
            rows = [row for row in rows if not row.is_over]
            if is_alone and not self._is_exact:
                if len(self._runs) < RUNS_MAX:
                    begun += self._begin(self._open(is_shared=False), rows)
                else:
                    self._waiting.append((rows, True))
            else:
                shared += rows
        if shared:
            run = self._shared_run()
            if run is None:
                self._waiting.append((shared, False))
            else:
                begun += self._begin(run, shared)
        return begun

    def _begin(self, run: Run, rows: list[TokenRow]) -> list[tuple[Run, Tensor]]:
        if not rows:
            return []
        logits_NV = run.decoder.join([row.prompt + row.tokens for row in rows])
        run.rows = [*run.rows, *rows]
        return [(run, logits_NV)]

    def _shared_run(self) -> Run | None:
        for run in self._runs:
            if run.is_shared and run.decoder.can_join:
                return run
        return self._open(is_shared=True) if len(self._runs) < RUNS_MAX else None

    def _open(self, *, is_shared: bool) -> Run:
        run = Run(self._make_decoder(), is_shared)
        self._runs.append(run)
        return run


def compacted(is_kept: Sequence[bool]) -> list[int]:
    """The places of those that are kept, in which the last ones fill the gaps of the first: as few
    as possible move."""
    num = sum(is_kept)
    order = list(range(num))
    gaps = [place for place in range(num) if not is_kept[place]]
    movers = [place for place in range(num, len(is_kept)) if is_kept[place]]
    for gap, mover in zip(gaps, movers, strict=True):
        order[gap] = mover
    return order


def draw(rows: Sequence[TokenRow], logits_NV: Tensor) -> list[Drawn]:
    """One token for each row. Rows of equal dials are drawn together; each draws as if alone."""
    logp_NV = logits_NV.log_softmax(-1)
    groups: dict[Sampling, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(Sampling.of(row.dials), []).append(place)
    draws = [row.draws[len(row.tokens)] for row in rows]
    draw_N = torch.tensor(draws, dtype=torch.float64, device=logits_NV.device)
    tokens_N = torch.empty(len(rows), dtype=torch.int64, device=logits_NV.device)
    top: list[tuple[tuple[int, float], ...]] = [()] * len(rows)
    for places in groups.values():
        dials = rows[places[0]].dials
        chosen = slice(None) if len(groups) == 1 else torch.tensor(places, device=draw_N.device)
        wanted_NV = logits_NV[chosen]
        if dials.has_penalties:
            counts_NV = torch.stack([_counts(rows[place].tokens, wanted_NV) for place in places])
            wanted_NV = penalise(wanted_NV, counts_NV, dials)
        tokens_N[chosen] = draw_tokens(wanted_NV, draw_N[chosen], dials)
        if dials.num_top:
            for place, found in zip(places, likeliest(logp_NV[chosen], dials.num_top), strict=True):
                top[place] = found
    logps_N = logp_NV.gather(-1, tokens_N[:, None])[:, 0]
    return list(map(Drawn, tokens_N.tolist(), logps_N.tolist(), top))


class Sampling(NamedTuple):
    """What rows must have in common to be drawn together."""

    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    num_top: int

    @classmethod
    def of(cls, dials: Dials) -> "Sampling":
        return cls(
            dials.temperature,
            dials.top_p,
            dials.presence_penalty,
            dials.frequency_penalty,
            dials.num_top,
        )


def _counts(tokens: Sequence[int], like: Tensor) -> Tensor:
    """How often each token of the vocabulary is among these."""
    return (
        torch.tensor(tokens, device=like.device, dtype=torch.int64)
        .bincount(minlength=like.shape[-1])
        .to(like.dtype)
    )
