"""Goal: what a row draws depends on nobody: not on who is beside it, nor on when they come and go.

Method: replies among others, joined at any step, against the same replies alone, to the last bit
where they have a seed; over Llama's short way and over transformers' own forward.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.batch import RUNS_MAX, TokenBatch, TokenRow, compacted
from models.decoding import PaddedDecoder
from models.generation import Generation, Wish
from models.policy import Policy
from models.replies import Reply
from models.sampling import Dials
from tests.tiny_policy import ask, byte_tokenizer, gpt2, llama

PLAIN = Dials(max_new_tokens=20, temperature=1.0, top_p=1.0)
KINDS = (
    PLAIN,
    replace(PLAIN, temperature=0.5),
    replace(PLAIN, temperature=0.0),
    replace(PLAIN, top_p=0.7, max_new_tokens=9),
    replace(PLAIN, frequency_penalty=1.5, presence_penalty=-1.0),
    replace(PLAIN, num_top=2),
)


@pytest.fixture(params=[llama, gpt2], scope="module")
def policy(request) -> Policy:
    tokenizer = byte_tokenizer()
    return Policy(request.param(len(tokenizer)), tokenizer, "tiny")


def wish_of(policy: Policy, number: int, *, seed: int | None = None) -> Wish:
    text = "question " * (number % 4) + str(number)
    dials = KINDS[number % len(KINDS)]
    return Wish(prompt=policy.chat_ids(ask(text)), dials=dials, seed=seed)


def run(generation: Generation, until: int = 10_000) -> dict[Wish, Reply]:
    """Step until nothing is under way, or so often."""
    made = {}
    for _ in range(until):
        if generation.num_wishes == 0:
            break
        made |= {wish: one for wish, one in generation.step() if isinstance(one, Reply)}
    return made


def alone(policy: Policy, wish: Wish) -> Reply:
    generation = Generation(policy)
    generation.join([wish])
    return run(generation)[wish]


def test_a_seeded_reply_is_the_same_to_the_last_bit_whoever_comes_and_goes(policy):
    seeded = [wish_of(policy, n, seed=n) for n in range(2 * RUNS_MAX)]
    others = [wish_of(policy, n) for n in range(2 * RUNS_MAX)]
    generation = Generation(policy)
    made = {}
    for step, wish in enumerate(seeded):
        generation.join([wish])
        generation.join([others[step]])
        made |= run(generation, until=2)
        generation.leave(others[step // 2])
    made |= run(generation)
    for wish in seeded:
        assert made[wish] == alone(policy, wish)


def test_choices_of_one_request_repeat_together(policy):
    wishes = [wish_of(policy, 1, seed=seed) for seed in (5, 6, 7)]

    def replies(company: list[Wish]) -> list[Reply]:
        generation = Generation(policy)
        generation.join(company)
        generation.join(wishes)
        made = run(generation)
        return [made[wish] for wish in wishes]

    assert replies([]) == replies([wish_of(policy, n) for n in range(5)])


def test_rows_of_unlike_dials_draw_as_they_do_alone(policy):
    rows = [
        TokenRow(prompt=[5, 6, 7 + n], draws=torch.rand(20).tolist(), dials=dials)
        for n, dials in enumerate(KINDS)
    ]
    batch = policy.batch()
    batch.join(rows)
    while batch.step():
        pass
    for row in rows:
        again = TokenRow(prompt=row.prompt, draws=row.draws, dials=row.dials)
        lonely = policy.batch()
        lonely.join([again])
        while lonely.step():
            pass
        assert again.tokens == row.tokens


def test_replies_go_on_by_themselves_where_a_step_failed(policy, monkeypatch):
    wishes = [wish_of(policy, 0, seed=3), wish_of(policy, 1, seed=4)]
    generation = Generation(policy)
    generation.join(wishes)
    made = run(generation, until=2)

    def fail(self, *_):
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("models.batch.draw", fail)
        with pytest.raises(MemoryError):
            generation.step()
    parts = generation.split([[wish] for wish in wishes])
    for wish, part in zip(wishes, parts, strict=True):
        made |= run(part)
        assert made[wish].token_ids == alone(policy, wish).token_ids


def test_wishes_with_and_without_a_seed_do_not_join_in_one_call(policy):
    with pytest.raises(ValueError, match="with and without a seed"):
        Generation(policy).join([wish_of(policy, 0), wish_of(policy, 1, seed=1)])


def test_where_rows_cannot_join_others_they_wait_for_a_decoder():
    class Lonely(PaddedDecoder):
        can_join = False

    model = gpt2(64)
    batch = TokenBatch(lambda: Lonely(model, 0), {1}, is_exact=False)
    rows = [
        TokenRow(prompt=[5, n], draws=[0.5] * 3, dials=replace(PLAIN, max_new_tokens=3))
        for n in range(2 * RUNS_MAX)
    ]
    for row in rows:
        batch.join([row])
        batch.step()
    while batch.step():
        pass
    assert all(row.is_ended for row in rows)


@given(st.lists(st.booleans(), max_size=30))
def test_the_last_rows_fill_the_gaps_and_no_other_moves(is_kept):
    order = compacted(is_kept)
    assert sorted(order) == [place for place, kept in enumerate(is_kept) if kept]
    assert all(old == new or old >= len(order) for new, old in enumerate(order))
