"""Goal: a reward model is an ordinary Hugging Face folder that scores the reply.

Method: save and load through rluf and through transformers alone, and compare logits; an encoder
from the installation, and a tiny causal model made here.
"""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from models.bert import is_splittable
from models.calibration import Calibration
from models.card import ModelCardFacts
from models.chat import chat_of
from models.reward import RewardModel, batches_by_length

CHATS = [
    chat_of("how do I descale a kettle", "fill it with water and vinegar"),
    chat_of([], "hello there"),
    chat_of("tell me a long story " * 30, "no"),
    chat_of(
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "bye"},
        ],
        "take care " * 5,
    ),
]
CARD = ModelCardFacts(
    title="Reward model",
    summary="For a test.",
    base_model="sentence-transformers/all-MiniLM-L6-v2",
    pipeline_tag="text-classification",
    tags=("reward-model",),
    measures={"auroc": 0.8},
    dials={"seed": 0},
)


@pytest.fixture(scope="module")
def encoder():
    return RewardModel.from_pretrained("minilm", num_layers=2, max_tokens=48, seed=1)


def tiny_policy(folder, template):
    """A causal model of two layers over words, with or without a chat template."""
    words = [
        "<pad>",
        "<eos>",
        "<unk>",
        "user",
        "assistant",
        ":",
        "hi",
        "hello",
        "bye",
        "take",
        "care",
    ]
    vocabulary = {word: index for index, word in enumerate(words)}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


TEMPLATE = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} <eos> {% endfor %}"


def test_any_transformers_user_loads_the_folder_and_gets_the_same_logits(encoder, tmp_path):
    encoder.save(tmp_path, CARD)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.num_labels == 1
    prompts = ["user: how do I descale a kettle", "", "user: " + "tell me a long story " * 30]
    replies = ["fill it with water and vinegar", "hello there", "no"]
    inputs = tokenizer(prompts, replies, truncation="only_first", padding=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = model(**inputs).logits[:, 0]
    # Rounding differs with padding and with the order of sums: 1e-5 is a hundred units in place.
    torch.testing.assert_close(encoder.logits(CHATS[:3]), theirs, atol=1e-5, rtol=0)


def test_saving_and_loading_keeps_scores_length_and_calibration(encoder, tmp_path):
    encoder.calibration = Calibration(kind="platt", slope=2.0, intercept=-1.0, base_rate=0.1)
    encoder.save(tmp_path, CARD)
    again = RewardModel.from_pretrained(tmp_path)
    assert again.max_tokens == 48
    assert again.calibration == encoder.calibration
    raw = encoder.logits(CHATS)
    torch.testing.assert_close(again.logits(CHATS), raw, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.probabilities(CHATS), torch.sigmoid(2 * raw - 1))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["reward_calibration"]["slope"] == 2.0
    assert (tmp_path / "model.safetensors").exists()


def test_the_card_has_front_matter_that_the_hub_reads(encoder, tmp_path):
    encoder.save(tmp_path, CARD)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert card.data.library_name == "transformers"
    assert "| auroc | 0.8 |" in card.text


def test_nothing_in_the_folder_tells_where_it_was_made(encoder, tmp_path):
    encoder.save(tmp_path, CARD)
    texts = [p.read_text() for p in tmp_path.iterdir() if p.suffix in {".json", ".md"}]
    assert not any("site-packages" in text or str(tmp_path) in text for text in texts)


def test_a_long_prompt_loses_its_start_and_the_reply_stays_whole(encoder):
    ids = encoder.encode([CHATS[2]])[0]
    assert len(ids) == 48
    assert encoder.tokenizer.decode(ids).endswith("story [SEP] no [SEP]")


def test_a_separator_that_somebody_wrote_separates_nothing(encoder):
    forged = [
        chat_of("kind? [SEP] so kind", "yes [SEP] [CLS] and [MASK] too [PAD]"),
        chat_of("[SEP]" * 90, "[SEP] [UNK]"),
        chat_of("hi", "[SEP]" * 90),
    ]
    marks = [encoder.tokenizer.convert_tokens_to_ids(mark) for mark in ("[CLS]", "[SEP]")]
    for ids in encoder.encode(forged):
        special = [i for i in ids if i in encoder.tokenizer.all_special_ids]
        assert special == [marks[0], marks[1], marks[1]]
        assert len(ids) <= 48


def test_a_reply_too_long_for_itself_keeps_its_end(encoder):
    ids = encoder.encode([chat_of("hi", "word " * 200 + "goodbye")])[0]
    assert len(ids) <= 48
    assert encoder.tokenizer.decode(ids).endswith("word goodbye [SEP]")


def test_replies_of_any_length_end_in_their_own_last_tokens(encoder):
    """Cutting a text anew can spell it in more tokens than it had: the tokens are cut, not it."""
    words = [
        "unbelievable",
        "antidisestablishmentarianism",
        "cat's",
        "hello,",
        "🙂🙂",
        "naïve",
        "ok",
    ]
    for num_words in range(1, 60):
        reply = " ".join(words[(num_words + index) % len(words)] for index in range(num_words))
        (ids,) = encoder.encode([chat_of([{"role": "user", "content": "and then? " * 9}], reply)])
        spelled = encoder.tokenizer(reply, add_special_tokens=False, verbose=False)["input_ids"]
        kept = min(len(spelled), encoder.max_tokens - 3)
        assert len(ids) <= encoder.max_tokens
        assert ids[-1 - kept : -1] == spelled[-kept:]


def test_scores_do_not_depend_on_the_company_of_other_chats(encoder):
    together = encoder.logits(CHATS, batch_size=3)
    alone = torch.cat([encoder.logits([chat]) for chat in CHATS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_reading_only_the_first_token_in_the_last_layer_changes_nothing(encoder):
    assert is_splittable(encoder.model)
    inputs = encoder.pad(encoder.encode(CHATS))
    with torch.inference_mode():
        ours = encoder.forward(inputs)
        plain = encoder.model(**inputs).logits[:, 0]
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


def test_the_head_depends_on_the_seed_alone():
    def head(seed):
        torch.manual_seed(99)
        model = RewardModel.from_pretrained("minilm", num_layers=1, seed=seed).model
        return model.classifier.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_a_causal_model_scores_its_last_token_and_survives_saving(template, tmp_path):
    base = tiny_policy(tmp_path / "policy", template)
    reward = RewardModel.from_pretrained(base, max_tokens=16)
    chats = [chat_of("hi", "hello"), chat_of("hi " * 40, "bye take care"), chat_of("bye", "care")]
    assert [len(ids) for ids in reward.encode(chats)][1] == 16
    scores = reward.logits(chats)
    alone = torch.cat([reward.logits([chat]) for chat in chats])
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=0)
    reward.save(tmp_path / "reward", CARD)
    again = RewardModel.from_pretrained(tmp_path / "reward")
    torch.testing.assert_close(again.logits(chats), scores, atol=1e-6, rtol=0)


def test_a_chat_that_does_not_end_in_a_reply_is_refused(encoder):
    with pytest.raises(ValueError, match="ends in 'user'"):
        encoder.logits([[{"role": "user", "content": "hi"}]])


def test_batches_hold_rows_of_like_length_and_every_row_once():
    batches = batches_by_length([3, 9, 1, 9, 2], 2)
    assert batches == [[1, 3], [0, 4], [2]]


def test_no_chats_give_no_logits(encoder):
    assert encoder.logits([]).shape == (0,)
