"""Goal: decoding gives the model's own numbers, however rows join, leave and change places.

Method: Llama's short way beside transformers' own forward over the same rows, for each feature of
the architecture; what the short way does not know is left to transformers.
"""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from models.decoding import PaddedDecoder
from models.llama import LlamaDecoder, is_plain_llama, is_row_exact
from tests.tiny_policy import gpt2, llama

TOLERANCE = 1e-4
"""Of logits around 5: float32 adds up in another order."""
VOCAB = 64
PROMPTS = [[5, 6, 7], [9] * 20, [1], [4, 5, 6, 7, 8]]
FEATURES = {
    "plain": {},
    "grouped heads": {"num_key_value_heads": 2},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
    "another activation": {"hidden_act": "gelu"},
    "scaled angles": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
}


def made(**features) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
        pad_token_id=0,
        **features,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return LlamaForCausalLM(config).eval()


def course(decoder) -> list[torch.Tensor]:
    """Rows come, draw, change places, leave; others come."""
    logits = [decoder.join(PROMPTS)]
    logits += [decoder.step([n % VOCAB] * 4) for n in range(3)]
    decoder.keep([0, 3, 2])
    logits.append(decoder.step([1, 2, 3]))
    logits.append(decoder.join([[3, 3, 3, 3], [8], [3, 3, 3, 3]]))
    logits += [decoder.step([n % VOCAB] * 6) for n in range(100)]
    decoder.keep([5])
    logits.append(decoder.step([7]))
    decoder.keep([])
    logits.append(decoder.join([[2, 2]]))
    return logits


@pytest.mark.parametrize("features", FEATURES.values(), ids=list(FEATURES))
@torch.inference_mode()
def test_llamas_short_way_gives_transformers_numbers(features):
    model = made(**features)
    assert is_plain_llama(model)
    short, long = course(LlamaDecoder(model)), course(PaddedDecoder(model, 0))
    for mine, theirs in zip(short, long, strict=True):
        torch.testing.assert_close(mine, theirs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("make", [llama, gpt2])
@torch.inference_mode()
def test_rows_that_joined_late_get_the_numbers_of_a_call_of_their_own(make):
    model = make(VOCAB)
    decoder = PaddedDecoder(model, 0)
    decoder.join(PROMPTS)
    decoder.step([1, 2, 3, 4])
    decoder.keep([3, 0])
    decoder.join([[11, 12], [13] * 9])
    logits = decoder.step([5, 6, 7, 8])
    rows = [[*PROMPTS[3], 4, 5], [*PROMPTS[0], 1, 6], [11, 12, 7], [*[13] * 9, 8]]
    for row, mine in zip(rows, logits, strict=True):
        theirs = model(input_ids=torch.tensor([row])).logits[0, -1]
        torch.testing.assert_close(mine, theirs, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_padding_that_no_row_needs_any_more_is_let_go():
    decoder = PaddedDecoder(gpt2(VOCAB), 0)
    decoder.join([[1] * 40])
    for _ in range(60):  # Longer, together, than the context of 128.
        decoder.join([[2, 3]])
        decoder.step([4, 5])
        decoder.keep([1])
    assert decoder.step([6]).isfinite().all()


@torch.inference_mode()
def test_weights_that_were_trained_meanwhile_are_those_that_decode():
    model = made()
    decoder = LlamaDecoder(model)
    before = decoder.join([[1, 2, 3]])
    for weight in model.parameters():
        weight.mul_(1.1)
    after = decoder.join([[1, 2, 3]])
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, PaddedDecoder(model, 0).join([[1, 2, 3]]), atol=1e-4, rtol=0)


class Adapted(nn.Linear):
    """A layer that is more than its weights, as adapters are."""


def with_adapter(model):
    model.model.layers[1].self_attn.q_proj = Adapted(32, 32)


def with_another_head(model):
    model.lm_head = Adapted(32, VOCAB)


def with_hook(model):
    model.model.layers[0].mlp.register_forward_hook(lambda *_: None)


def in_half(model):
    model.to(torch.bfloat16)


def with_dropout(model):
    model.config.attention_dropout = 0.1
    model.train()


def with_angles_that_depend_on_the_length(model):
    model.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    "change",
    [
        with_adapter,
        with_another_head,
        with_hook,
        in_half,
        with_dropout,
        with_angles_that_depend_on_the_length,
    ],
)
def test_what_the_short_way_does_not_know_is_left_to_transformers(change):
    model = made()
    assert is_plain_llama(model)
    change(model)
    assert not is_plain_llama(model)


def test_a_subclass_and_another_architecture_are_left_to_transformers():
    class Other(LlamaForCausalLM):
        pass

    assert not is_plain_llama(Other(made().config))
    assert not is_plain_llama(gpt2(VOCAB))


def test_a_machine_on_which_rows_depend_on_their_neighbours_is_found_out(monkeypatch):
    model = made()
    plain = LlamaDecoder.step

    def step(self, tokens):
        return plain(self, tokens) * (1 + 1e-7 * (len(tokens) > 1))

    monkeypatch.setattr(LlamaDecoder, "step", step)
    assert not is_row_exact(model)
