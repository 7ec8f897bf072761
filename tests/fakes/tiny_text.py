"""A two-layer BERT with a few dozen words, made in a folder as the hub would give it; deterministic."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from models.device import import_transformers

TEXT = """i am so happy sad angry scared wow yuck the price is moon rekt scam great lovely coin dumped again what a day it was
good bad news today they stole my rocket red face"""


def make_tiny(folder: Path, width: int = 32) -> Path:
    """Write config, weights and tokenizer of the tiny encoder; returns the folder."""
    transformers = import_transformers()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,!?")
    vocabulary = [*specials, *letters, *(f"##{c}" for c in letters), *TEXT.split()]
    table = {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(table, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", table["[CLS]"]), ("[SEP]", table["[SEP]"])]
    )
    config = transformers.BertConfig(
        vocab_size=len(table), hidden_size=width, num_hidden_layers=2, num_attention_heads=4, intermediate_size=2 * width,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return folder
