"""Goal: what the chat API promises of single tokens: penalties, log-probabilities, leaving early.

Method: tiny random models; every number is computed a second way, every text by another road.
"""

import pytest
import torch

from models.generation import Generation, Wish
from models.policy import Policy
from models.replies import Piece, Reply
from models.sampling import Dials, draw_tokens, keep_nucleus, penalise
from tests.tiny_policy import ask, byte_tokenizer, gpt2, llama

CHATS = [ask("hi"), ask("a much longer question"), ask("?")]
TOLERANCE = 1e-3
"""Nats in float32: other shapes add up in another order."""


@pytest.fixture(params=[llama, gpt2])
def policy(request) -> Policy:
    tokenizer = byte_tokenizer()
    return Policy(request.param(len(tokenizer)), tokenizer, "tiny")


def dials(**given) -> Dials:
    return Dials(**({"max_new_tokens": 12, "temperature": 1.0, "top_p": 1.0} | given))


def replies_of(steps) -> dict[int, Reply]:
    return {row: made for step in steps for row, made in step if isinstance(made, Reply)}


def test_generated_together_or_alone_replies_are_those_of_reply(policy):
    whole = policy.reply(CHATS, max_new_tokens=12, seed=[1, 2, 3])
    together = replies_of(policy.generate(CHATS, dials(), [1, 2, 3]))
    assert [together[row].text for row in range(3)] == [reply.text for reply in whole]


def wishes(policy, seeds=(1, 2, 3)) -> list[Wish]:
    return [
        Wish(prompt=policy.chat_ids(chat), dials=dials(), seed=seed)
        for chat, seed in zip(CHATS, seeds, strict=True)
    ]


def test_rows_that_leave_are_generated_no_further_and_the_others_draw_the_same(policy):
    undisturbed = replies_of(policy.generate(CHATS, dials(), [1, 2, 3]))
    generation, wished = Generation(policy), wishes(policy)
    generation.join(wished)
    made, num_steps = {}, 0
    while generation.num_wishes:
        step = generation.step()
        generation.leave(wished[1])
        num_steps += 1
        made |= {wished.index(wish): one for wish, one in step}
    assert {row: reply.text for row, reply in made.items()} == {
        row: undisturbed[row].text for row in (0, 2)
    }
    assert num_steps > 1


def test_where_all_have_left_nothing_more_is_drawn(policy):
    generation, wished = Generation(policy), wishes(policy)
    generation.join(wished)
    for wish in wished:
        generation.leave(wish)
    assert generation.step() == []
    assert generation.num_wishes == 0


@pytest.mark.parametrize("temperature", [1e-38, 1e-300, 5e-324, 1e-6, 0.0])
def test_a_tiny_temperature_takes_the_likeliest_token(temperature):
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    draws = torch.tensor([0.999999], dtype=torch.float64)
    assert draw_tokens(logits, draws, dials(temperature=temperature)).tolist() == [1]


@pytest.mark.parametrize("top_p", [0.0, 1e-45, 1e-60, 5e-324])
def test_a_tiny_nucleus_holds_the_likeliest_token(top_p):
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    draws = torch.tensor([0.999999], dtype=torch.float64)
    assert draw_tokens(logits, draws, dials(top_p=top_p)).tolist() == [1]
    assert (keep_nucleus(logits.softmax(-1), top_p) > 0).tolist() == [[False, True, False]]


def test_penalties_follow_openais_formula():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    counts = torch.tensor([[0.0, 1.0, 3.0]])
    changed = penalise(logits, counts, dials(presence_penalty=0.5, frequency_penalty=0.25))
    assert changed.tolist() == [[1.0, 2.0 - 0.25 - 0.5, 3.0 - 0.75 - 0.5]]


def test_a_strong_penalty_keeps_the_likeliest_token_from_coming_again(policy):
    plain = replies_of(policy.generate(CHATS, dials(temperature=0.0), None))
    strong = dials(temperature=0.0, frequency_penalty=2.0, presence_penalty=2.0)
    varied = replies_of(policy.generate(CHATS, strong, None))
    for row in plain:
        assert len(set(varied[row].token_ids)) >= len(set(plain[row].token_ids))
    assert any(varied[row].token_ids != plain[row].token_ids for row in plain)


def test_penalised_replies_repeat_whatever_their_neighbours(policy):
    strong = dials(frequency_penalty=1.5, presence_penalty=-1.0)
    together = replies_of(policy.generate(CHATS, strong, [1, 2, 3]))
    for row, chat in enumerate(CHATS):
        alone = replies_of(policy.generate([chat], strong, [row + 1]))[0]
        assert alone.token_ids == together[row].token_ids


def test_the_log_probability_stays_the_models_own_under_penalties(policy):
    strong = dials(frequency_penalty=1.5, temperature=0.7, top_p=0.9)
    made = replies_of(policy.generate(CHATS, strong, [1, 2, 3]))
    scored = policy.log_probs(CHATS, [made[row] for row in range(3)])
    assert scored.tolist() == pytest.approx([made[r].logprob for r in range(3)], abs=TOLERANCE)


def test_log_probabilities_of_tokens_add_up_to_the_replys_and_their_bytes_to_its_text(policy):
    made = replies_of(policy.generate(CHATS, dials(num_top=3), [1, 2, 3], with_logprobs=True))
    for reply in made.values():
        said = b"".join(token.spelling for token in reply.spelt)
        assert said.decode(errors="replace") == reply.text
        if reply.finish_reason == "length":
            total = sum(token.logprob for token in reply.spelt)
            assert total == pytest.approx(reply.logprob, abs=TOLERANCE)
        for token in reply.spelt:
            assert len(token.top) == 3
            assert token.top[0].logprob >= max(token.logprob, token.top[1].logprob)
            named = {one.spelling: one.logprob for one in token.top}
            assert named.get(token.spelling, token.logprob) == pytest.approx(token.logprob)


def test_tokens_of_the_pieces_are_those_of_the_reply(policy):
    steps = policy.generate([CHATS[0]], dials(num_top=1), [4], in_pieces=True, with_logprobs=True)
    made = [one for step in steps for _, one in step]
    pieces = [one for one in made if isinstance(one, Piece)]
    assert isinstance(made[-1], Reply)
    assert "".join(piece.text for piece in pieces) == made[-1].text
    assert tuple(token for piece in pieces for token in piece.spelt) == made[-1].spelt
