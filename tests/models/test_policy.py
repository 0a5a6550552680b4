"""Goal: replies are what the model would say, and said to be as likely as they are.

Method: tiny random models whose every number can be computed a second way: padded and alone,
sampled and scored, streamed and whole.
"""

import pytest
import torch

from models.card import ModelCardFacts
from models.decoding import Decoder
from models.policy import Policy
from models.replies import Reply
from models.sampling import Dials, draw_tokens, keep_nucleus
from tests.tiny_policy import CONTEXT_TOKENS, ask, byte_tokenizer, gpt2, llama

CHATS = [ask("hi"), ask("a much longer question"), ask("?"), ask("how are you"), ask("x" * 40)]
ARCHITECTURES = {"llama": llama, "gpt2": gpt2}
TOLERANCE = 1e-3
"""Nats over some ten tokens in float32: other shapes add up in another order."""


@pytest.fixture(params=sorted(ARCHITECTURES))
def policy(request) -> Policy:
    tokenizer = byte_tokenizer()
    return Policy(ARCHITECTURES[request.param](len(tokenizer)), tokenizer, "tiny")


def test_a_seed_gives_the_same_replies_again(policy):
    first, again, other = (
        [reply.token_ids for reply in policy.reply(CHATS, max_new_tokens=12, seed=seed)]
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_without_a_seed_replies_differ(policy):
    assert policy.reply(CHATS, max_new_tokens=12) != policy.reply(CHATS, max_new_tokens=12)


def test_sampling_leaves_the_global_random_state_alone(policy):
    before = torch.random.get_rng_state()
    policy.reply(CHATS, max_new_tokens=5)
    list(policy.stream(CHATS[0], max_new_tokens=5))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_each_chats_own_seed_draws_the_same_whatever_its_neighbours(policy):
    together = policy.reply(CHATS, max_new_tokens=12, seed=range(len(CHATS)))
    for number, chat in enumerate(CHATS):
        alone = policy.reply([chat], max_new_tokens=12, seed=[number])[0]
        assert alone.token_ids == together[number].token_ids
        assert alone.logprob == pytest.approx(together[number].logprob, abs=TOLERANCE)


def test_batches_of_any_size_give_the_same_replies(policy):
    whole = policy.reply(CHATS, max_new_tokens=12, seed=3)
    pairs = policy.reply(CHATS, max_new_tokens=12, seed=3, batch_size=2)
    assert [r.token_ids for r in whole] == [r.token_ids for r in pairs]


@pytest.mark.parametrize("dials", [{}, {"temperature": 0.5}, {"temperature": 0.0}, {"top_p": 0.5}])
def test_the_log_probability_of_a_reply_is_the_models_own_at_temperature_one(policy, dials):
    replies = policy.reply(CHATS, max_new_tokens=12, seed=1, **dials)
    scored = policy.log_probs(CHATS, replies)
    assert scored.tolist() == pytest.approx([r.logprob for r in replies], abs=TOLERANCE)


def test_log_probabilities_do_not_depend_on_the_batch(policy):
    replies = policy.reply(CHATS, max_new_tokens=12, seed=1)
    together = policy.log_probs(CHATS, replies).tolist()
    alone = [policy.log_probs([c], [r]).item() for c, r in zip(CHATS, replies, strict=True)]
    assert together == pytest.approx(alone, abs=TOLERANCE)


def test_a_text_is_scored_with_its_end_of_turn(policy):
    reply = Reply(
        text="ok",
        logprob=0.0,
        prompt_tokens=0,
        completion_tokens=3,
        finish_reason="stop",
        token_ids=(
            *policy.tokenizer("ok", add_special_tokens=False)["input_ids"],
            policy.tokenizer.eos_token_id,
        ),
    )
    as_text, as_tokens = policy.log_probs([CHATS[0]] * 2, ["ok", reply]).tolist()
    assert as_text == pytest.approx(as_tokens, abs=1e-6)


def test_pieces_of_a_stream_are_the_reply(policy):
    *pieces, last = policy.stream(CHATS[1], max_new_tokens=20, seed=5)
    whole = policy.reply([CHATS[1]], max_new_tokens=20, seed=5)[0]
    assert isinstance(last, Reply)
    assert "".join(pieces) == last.text == whole.text
    assert last.token_ids == whole.token_ids


class Says(Policy):
    """A policy that says the bytes it was given, whatever the model."""

    said: bytes = b""

    def _make_decoder(self) -> Decoder:
        text = self.tokenizer(self.said.decode(), add_special_tokens=False)["input_ids"]
        return Script([*text, self.tokenizer.eos_token_id], len(self.tokenizer))


class Script:
    """Gives one row the tokens that it was given."""

    can_join = False

    def __init__(self, tokens: list[int], vocab: int) -> None:
        self._tokens = tokens
        self._vocab = vocab

    def join(self, prompts) -> torch.Tensor:
        return self.step([0])

    def step(self, tokens) -> torch.Tensor:
        logits = torch.full((1, self._vocab), -torch.inf)
        logits[0, self._tokens.pop(0)] = 0.0
        return logits

    def keep(self, order) -> None:
        assert not order


def test_a_streamed_piece_never_holds_half_a_character():
    tokenizer = byte_tokenizer()
    policy = Says(llama(len(tokenizer)), tokenizer, "says")
    policy.said = "né ❤️!".encode()
    *pieces, last = policy.stream(CHATS[0], max_new_tokens=20)
    assert pieces == ["n", "é", " ", "❤", "️", "!"]
    assert last.text == "né ❤️!"


def test_a_reply_that_ends_itself_stops_and_one_cut_off_does_not():
    tokenizer = byte_tokenizer()
    model = llama(len(tokenizer))
    cut = Policy(model, tokenizer, "tiny").reply([CHATS[0]], max_new_tokens=1, seed=0)[0]
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 1)
    model.generation_config.eos_token_id = list(range(len(tokenizer)))  # All it may declare.
    ended = Policy(model, tokenizer, "tiny").reply([CHATS[0]], max_new_tokens=9, seed=0)[0]
    assert (ended.finish_reason, ended.completion_tokens) == ("stop", 1)


def test_rows_that_end_early_leave_the_others_as_they_are():
    tokenizer = byte_tokenizer()
    model = llama(len(tokenizer))
    model.generation_config.eos_token_id = list(range(0, len(tokenizer), 6))
    policy = Policy(model, tokenizer, "tiny")
    together = policy.reply(CHATS, max_new_tokens=12, seed=range(5))
    assert len({r.completion_tokens for r in together}) > 1
    alone = [policy.reply([c], max_new_tokens=12, seed=[i])[0] for i, c in enumerate(CHATS)]
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]


def test_temperature_zero_takes_the_likeliest_token_and_so_does_a_tinykeep_nucleus(policy):
    greedy = policy.reply(CHATS, max_new_tokens=8, temperature=0.0)
    nucleus = policy.reply(CHATS, max_new_tokens=8, top_p=1e-6, seed=9)
    assert [r.token_ids for r in greedy] == [r.token_ids for r in nucleus]


def test_tokens_are_drawn_in_proportion_to_their_probabilities():
    p = torch.tensor([0.5, 0.0, 0.125, 0.375])
    draws = (torch.arange(800, dtype=torch.float64) + 0.5) / 800  # An even grid: counts are exact.
    dials = Dials(max_new_tokens=1, temperature=1.0, top_p=1.0)
    tokens = draw_tokens(p.log().expand(800, 4), draws, dials)
    assert tokens.bincount(minlength=4).tolist() == [400, 0, 100, 300]


def test_the_extreme_draws_choose_possible_tokens():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(2, 3)
    draws = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    tokens = draw_tokens(logits, draws, Dials(max_new_tokens=1, temperature=1.0, top_p=1.0))
    assert tokens.tolist() == [1, 1]


def test_the_nucleus_is_the_smallest_set_that_reaches_the_mass():
    p = torch.tensor([[0.5, 0.3, 0.2]])
    assert (keep_nucleus(p, 0.5) > 0).tolist() == [[True, False, False]]
    assert (keep_nucleus(p, 0.51) > 0).tolist() == [[True, True, False]]
    assert (keep_nucleus(p, 0.9) > 0).tolist() == [[True, True, True]]


def test_a_prompt_too_long_loses_its_oldest_tokens(policy):
    reply = policy.reply([ask("y" * 500)], max_new_tokens=10, seed=0)[0]
    assert reply.prompt_tokens == CONTEXT_TOKENS - 10
    assert policy.prompt_tokens(ask("y" * 500)) == 503


def test_a_tokenizer_without_a_template_gets_a_plain_one():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    policy = Policy(llama(len(tokenizer)), tokenizer, "base")
    assert policy.prompt_tokens(ask("hi")) == len("user: hi\nassistant:")


def test_a_saved_policy_loads_and_says_the_same(policy, tmp_path):
    card = ModelCardFacts(
        title="Tiny", summary="For tests.", base_model="", pipeline_tag="text-generation"
    )
    policy.save(tmp_path, card)
    before = policy.reply(CHATS, max_new_tokens=8, seed=2)
    after = Policy.from_pretrained(tmp_path).reply(CHATS, max_new_tokens=8, seed=2)
    assert [r.text for r in after] == [r.text for r in before]
    assert {"model.safetensors", "README.md", "chat_template.jinja"} <= {
        file.name for file in tmp_path.iterdir()
    }


def test_no_chats_give_no_replies(policy):
    assert policy.reply([], max_new_tokens=5) == []
    assert policy.log_probs([], []).tolist() == []


@pytest.mark.parametrize(
    "dials",
    [{"max_new_tokens": 0}, {"temperature": -0.1}, {"top_p": -0.1}, {"top_p": 1.5}, {"seed": [1]}],
)
def test_impossible_dials_are_refused(policy, dials):
    with pytest.raises(ValueError, match=r"must be|need"):
        policy.reply(CHATS, **{"max_new_tokens": 5, **dials})
