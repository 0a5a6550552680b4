"""Tokenizers of every kind, trained in a moment on a few lines, as published models bring them."""

import json
from collections.abc import Callable

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

LINES = [
    "How do I descale a kettle? Fill it with water and vinegar, then wait.",
    "user: hello there\nassistant: hello, how are you?",
    "Thank you, that is kind. Café, naïve, 中文, ❤️ and 🙂.",
    "s e p m a s k c l s i m end start inst unk pad [ ] < > | / _ sep end user assistant",
] * 10
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "[INST] {{ message['content'].strip() }} [/INST]{% else %} {{ message['content'] }} </s>"
    "{% endif %}{% endfor %}"
)
BRACKETS = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}[SEP]"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def byte_level() -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2, Qwen and Llama 3: any text has a spelling in bytes."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        LINES,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    inner.add_tokens([AddedToken("<think>", special=False), AddedToken("  ", special=False)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    made.chat_template = CHATML
    return made


def byte_fallback() -> PreTrainedTokenizerFast:
    """BPE over words that begin with ▁, bytes where it has no letter, as Llama 2 and Mistral."""
    special = ["<unk>", "<s>", "</s>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    inner.train_from_iterator(
        [line.encode("ascii", "ignore").decode() for line in LINES],
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=[*special, *fallback], show_progress=False
        ),
    )
    written = json.loads(inner.to_str())
    written["added_tokens"] = [t for t in written["added_tokens"] if t["content"] in special]
    inner = Tokenizer.from_str(json.dumps(written))
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = LLAMA
    return made


def unigram() -> PreTrainedTokenizerFast:
    """Unigram behind NFKC, as T5 and XLM-R: its own table of pieces holds the special ones too."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.train_from_iterator(
        LINES,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    made.chat_template = CHATML
    return made


def word_piece() -> PreTrainedTokenizerFast:
    """WordPiece in lower case, as BERT: pairs are [CLS] prompt [SEP] reply [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.train_from_iterator(
        LINES,
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False),
    )
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        eos_token="[SEP]",
        clean_up_tokenization_spaces=True,
    )
    made.chat_template = BRACKETS
    return made


def words() -> PreTrainedTokenizerFast:
    """Whole words between spaces: a special token in a text is a word of the table."""
    special = ["<unk>", "<pad>", "</s>", "<|im_start|>", "<|im_end|>"]
    inner = Tokenizer(models.WordLevel(unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.train_from_iterator(
        LINES,
        trainers.WordLevelTrainer(vocab_size=300, special_tokens=special, show_progress=False),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )
    made.chat_template = CHATML
    return made


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    made.__name__: made for made in (byte_level, byte_fallback, unigram, word_piece, words)
}
