"""Goal: a reward model is an ordinary Hugging Face folder that scores the reply.

Method: save and load through rluf and through transformers alone, and compare logits; an encoder
from the installation, and a tiny causal model made here.
"""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
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

from models.calibration import Calibration
from models.card import ModelCardFacts
from models.chat import chat_of
from models.reward import RewardModel, batches_by_length, resolve_base

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
    return fitted(RewardModel.from_pretrained("minilm", num_layers=2, max_tokens=48))


def fitted(reward: RewardModel) -> RewardModel:
    """The model with a head that says something."""
    if reward.pooled is not None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            torch.nn.init.normal_(reward.pooled.classifier.weight, std=0.1)
    reward.is_fitted = True
    return reward


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
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules."), "the folder's own code ran"
    assert model.eval().config.num_labels == 1
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
    assert "trust_remote_code=True" in card.text, "how a stranger loads it"


def test_nothing_in_the_folder_tells_where_it_was_made(encoder, tmp_path):
    encoder.save(tmp_path, CARD)
    texts = [p.read_text() for p in tmp_path.iterdir() if p.suffix in {".json", ".md"}]
    assert not any("site-packages" in text or str(tmp_path) in text for text in texts)


def test_a_folder_whose_code_nobody_trusts_is_refused_and_not_read_as_something_else(
    encoder, tmp_path
):
    encoder.save(tmp_path, CARD)
    with pytest.raises(ValueError, match="custom code"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=False)


def test_we_never_run_the_code_that_lies_in_a_folder(encoder, tmp_path):
    encoder.save(tmp_path, CARD)
    (tmp_path / "pooled.py").write_text("raise SystemExit('run')")
    again = RewardModel.from_pretrained(tmp_path)
    torch.testing.assert_close(again.logits(CHATS), encoder.logits(CHATS), atol=1e-6, rtol=0)


def test_a_head_that_was_never_fitted_is_not_saved(tmp_path):
    fresh = RewardModel.from_pretrained("minilm", num_layers=1, max_tokens=32)
    with pytest.raises(ValueError, match="never fitted"):
        fresh.save(tmp_path / "model", CARD)
    assert not (tmp_path / "model").exists()


def test_more_tokens_than_the_encoder_has_positions_are_refused():
    with pytest.raises(ValueError, match="max_tokens is 513, but minilm reads 512"):
        RewardModel.from_pretrained("minilm", max_tokens=513)


def test_a_classifier_of_the_first_token_saved_before_still_loads(tmp_path):
    """As models were saved before there were two means: a plain BERT, calibration in its config."""
    base = AutoModelForSequenceClassification.from_pretrained(
        resolve_base("minilm"), num_labels=1, num_hidden_layers=1
    )
    base.config.reward_calibration = Calibration(kind="platt", slope=2.0).to_json()
    base.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(resolve_base("minilm"), model_max_length=48).save_pretrained(
        tmp_path
    )
    Calibration(kind="platt", slope=2.0).write(tmp_path)
    reward = RewardModel.from_pretrained(tmp_path)
    assert (reward.pooled, reward.max_tokens, reward.is_fitted) == (None, 48, True)
    with torch.inference_mode():
        plain = base.eval()(**reward.pad(reward.encode(CHATS))).logits[:, 0]
    torch.testing.assert_close(reward.logits(CHATS), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(reward.calibrated_logits(CHATS), 2 * plain, atol=1e-5, rtol=0)
    reward.save(tmp_path / "again", CARD)
    assert not (tmp_path / "again" / "pooled.py").exists()


def test_prompt_and_reply_are_read_as_two_means_of_each_level(encoder):
    inputs = encoder.pad(encoder.encode(CHATS[:1]))
    ids = inputs["input_ids"][0].tolist()
    middle = ids.index(encoder.tokenizer.sep_token_id) + 1
    with torch.inference_mode():
        states = encoder.pooled.encoder(**inputs, output_hidden_states=True).hidden_states
    parts = [states[level][0] for level in (1, 2)]
    means = [(part[:middle].mean(0), part[middle:].mean(0)) for part in parts]
    expected = torch.cat([mean for both in means for mean in both])
    torch.testing.assert_close(encoder.pooled.features(**inputs)[0], expected)


def test_replies_to_one_prompt_differ_by_their_own_tokens_and_prompts_by_theirs(encoder):
    first, other, third = encoder.features(
        encoder.encode([chat_of("hi", "hello"), chat_of("hi", "bye now"), chat_of("no", "hello")])
    ).rows()
    width = encoder.pooled.encoder.config.hidden_size
    assert not torch.allclose(first[width : 2 * width], other[width : 2 * width], atol=1e-2)
    assert not torch.allclose(first[:width], third[:width], atol=1e-2)


def test_a_text_that_comes_twice_is_read_once(encoder):
    chats = [CHATS[0], CHATS[2], CHATS[0], CHATS[0]]
    features = encoder.features(encoder.encode(chats))
    assert len(features.values_UF) == 2
    assert features.text_N.tolist() == [0, 1, 0, 0]
    logits = encoder.logits(chats)
    assert logits[0] == logits[2] == logits[3] != logits[1]


def test_a_long_prompt_loses_its_start_and_the_reply_stays_whole(encoder):
    spelled = encoder.spell([CHATS[2]])
    assert len(spelled.ids[0]) == 48
    assert encoder.tokenizer.decode(spelled.ids[0]).endswith("story [SEP] no [SEP]")
    assert (spelled.prompts_cut, spelled.replies_cut) == ([True], [False])


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


def test_a_reply_that_would_fill_the_room_keeps_its_start_and_leaves_the_prompt_a_quarter(encoder):
    spelled = encoder.spell([chat_of("why " * 30 + "me", "hello " + "word " * 200 + "goodbye")])
    text = encoder.tokenizer.decode(spelled.ids[0])
    prompt, reply, end = text.split("[SEP]")
    assert prompt.split() == ["[CLS]", *["why"] * 10, "me"]  # 11 of 45 tokens.
    assert reply.split() == ["hello", *["word"] * 33]
    assert (end, spelled.prompts_cut, spelled.replies_cut) == ("", [True], [True])


def test_a_short_prompt_leaves_its_share_to_the_reply(encoder):
    spelled = encoder.spell([chat_of("hi", "word " * 41), chat_of("hi", "word " * 42)])
    # "user : hi" has three tokens, so 42 of 45 are left.
    assert [len(ids) for ids in spelled.ids] == [47, 48]
    assert spelled.replies_cut == [False, False]
    assert encoder.spell([chat_of("hi", "word " * 43)]).replies_cut == [True]


WORDS = st.lists(
    st.sampled_from(["antidisestablishmentarianism", "cat's", "hello,", "🙂🙂", "naïve", "[SEP]"]),
    max_size=60,
)


@settings(max_examples=60)
@given(prompt=WORDS, reply=WORDS)
def test_what_does_not_fit_is_the_prompts_start_and_the_replys_end_and_is_told(
    encoder, prompt, reply
):
    """Cutting a text anew can spell it in more tokens than it had: the tokens are cut, not it."""
    told = " ".join(reply)
    turns = [{"role": "user", "content": " ".join(prompt)}]
    spelled = encoder.spell([chat_of(turns, told)])
    wide = RewardModel(
        model=encoder.model, tokenizer=encoder.tokenizer, calibration=encoder.calibration,
        max_tokens=10_000, is_fitted=True,
    ).encode([chat_of(turns, told)])[0]  # fmt: skip
    separator = encoder.tokenizer.sep_token_id
    (ids,) = spelled.ids
    middle, wide_middle = ids.index(separator), wide.index(separator)
    asked, answered = ids[1:middle], ids[middle + 1 : -1]
    whole_asked, whole_answered = wide[1:wide_middle], wide[wide_middle + 1 : -1]
    assert len(ids) <= 48
    assert whole_asked[len(whole_asked) - len(asked) :] == asked
    assert whole_answered[: len(answered)] == answered
    assert spelled.prompts_cut == [len(asked) < len(whole_asked)]
    assert spelled.replies_cut == [len(answered) < len(whole_answered)]
    if len(wide) > 48:
        assert len(ids) == 48, "room is left only where everything fits"
        assert len(asked) >= min(11, len(whole_asked))


def test_scores_do_not_depend_on_the_company_of_other_chats(encoder):
    together = encoder.logits(CHATS, batch_size=3)
    alone = torch.cat([encoder.logits([chat]) for chat in CHATS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_a_causal_model_scores_its_last_token_and_survives_saving(template, tmp_path):
    base = tiny_policy(tmp_path / "policy", template)
    reward = fitted(RewardModel.from_pretrained(base, max_tokens=16))
    assert reward.pooled is None
    chats = [chat_of("hi", "hello"), chat_of("hi " * 40, "bye take care"), chat_of("bye", "care")]
    assert [len(ids) for ids in reward.encode(chats)][1] == 16
    scores = reward.logits(chats)
    alone = torch.cat([reward.logits([chat]) for chat in chats])
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=0)
    reward.save(tmp_path / "reward", CARD)
    again = RewardModel.from_pretrained(tmp_path / "reward")
    torch.testing.assert_close(again.logits(chats), scores, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("template", "opening"), [(TEMPLATE, 2), (None, 0)])
def test_a_causal_models_reply_keeps_its_start_too(template, opening, tmp_path):
    """The template opens the assistant's turn by two tokens, which are the reply's."""
    base = tiny_policy(tmp_path / "policy", template)
    reward = RewardModel.from_pretrained(base, max_tokens=16)
    spelled = reward.spell([chat_of("hi " * 40, "bye " + "care " * 40), chat_of("hi", "bye")])
    words = reward.tokenizer.convert_ids_to_tokens(spelled.ids[0])
    reply = words.index("bye")
    assert (len(words), reply) == (16, 4 + opening)
    assert set(words[reply + 1 :]) == {"care"}
    assert (spelled.prompts_cut, spelled.replies_cut) == ([True, False], [True, False])


def test_the_head_of_a_causal_model_depends_on_the_seed_alone(tmp_path):
    base = tiny_policy(tmp_path / "policy", None)

    def head(seed):
        torch.manual_seed(99)
        return RewardModel.from_pretrained(base, seed=seed).model.score.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_a_chat_that_does_not_end_in_a_reply_is_refused(encoder):
    with pytest.raises(ValueError, match="ends in 'user'"):
        encoder.logits([[{"role": "user", "content": "hi"}]])


def test_batches_hold_rows_of_like_length_and_every_row_once():
    batches = batches_by_length([3, 9, 1, 9, 2], 2)
    assert batches == [[1, 3], [0, 4], [2]]


def test_no_chats_give_no_logits(encoder):
    assert encoder.logits([]).shape == (0,)
