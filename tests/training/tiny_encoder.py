"""A random BERT of some ten thousand weights over a given vocabulary: made in milliseconds."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MARKS = ("user", "assistant", ":", "!", ".", ",", "?")
"""What a chat is spelled with beside its words."""


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token a word; a text pair reads [CLS] prompt [SEP] reply [SEP]."""
    vocab = {word: number for number, word in enumerate(dict.fromkeys((*SPECIAL, *MARKS, *words)))}
    inner = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def save_tiny_encoder(folder: Path, words: Iterable[str], *, seed: int = 0) -> Path:
    """Writes two random layers of width 64 with their tokenizer.

    Drawn wider than BERT's own 0.02, for a pretrained encoder's states differ between texts too.
    """
    tokenizer = word_tokenizer(words)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.1,
        pad_token_id=0,
        num_labels=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
