"""The text encoder: packed and padded passes agree, any BERT-type folder works, emoji have names."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from domain.errors import WeightsError
from models.encoders import trainable
from models.encoders.packed import BLOCK, chunks, groups
from models.encoders.text import TextEncoder, pool
from models.language import language, wording
from tests.fakes.tiny_text import make_tiny

TEXTS = ["rekt", "i am so happy today", "what a day it was, the coin dumped again!", "moon", "good news", "wow"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder.from_name(str(make_tiny(tmp_path_factory.mktemp("tiny"))), max_tokens=32).eval()


def test_packed_equals_padded(encoder: TextEncoder) -> None:
    """Without padding, the same vectors come out in the same order."""
    ids = encoder.tokenise(TEXTS)
    with torch.inference_mode():
        hidden, mask = encoder(ids)
    first, mean = encoder.encode(ids)
    torch.testing.assert_close(first, pool(hidden, mask, "first"), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mean, pool(hidden, mask, "mean"), atol=1e-5, rtol=1e-4)


def test_more_tokens_than_a_block_give_the_same(encoder: TextEncoder) -> None:
    """Blocks and the filled-up last one are seams that no vector shows."""
    ids = encoder.tokenise(TEXTS * 20)
    assert sum(map(len, ids)) > 2 * BLOCK
    _, together = encoder.encode(ids)
    _, few = encoder.encode(ids[: len(TEXTS)])
    torch.testing.assert_close(together, few.repeat(20, 1), atol=1e-5, rtol=1e-4)
    assert 0 < encoder.padding < 0.5


def kernel(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, _: Tensor, longest: int, __: int) -> Tensor:
    cuts = list(itertools.pairwise(ends.tolist()))
    assert longest == max(b - a for a, b in cuts)
    heads = [tuple(x[a:b].transpose(0, 1) for x in (q, k, v)) for a, b in cuts]
    mixed = [torch.nn.functional.scaled_dot_product_attention(*parts) for parts in heads]
    return torch.cat(mixed, dim=1).transpose(0, 1)


def test_one_kernel_for_all_lengths_gives_the_same(encoder: TextEncoder) -> None:
    """Where a device attends to texts of all lengths at once, the vectors are those of the groups."""

    ids = encoder.tokenise(TEXTS)
    grouped, _ = encoder.encode(ids)
    assert encoder._packed is not None
    assert encoder._packed.varlen is None, "only a GPU has it"
    encoder._packed.varlen = kernel
    at_once, _ = encoder.encode(ids)
    encoder._packed = None
    torch.testing.assert_close(at_once, grouped, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("depth", [0, 1])
def test_frozen_layers_kept_give_the_same_gradients(encoder: TextEncoder, depth: int, pooling: str) -> None:
    """From kept outputs of the lower layers come the padded pass's vectors, and its gradients up to bfloat16's grain."""
    ids = sorted(encoder.tokenise(TEXTS), key=len)
    hidden, mask = encoder(ids)
    weight = encoder.model.encoder.layer[-1].attention.self.value.weight
    pooled = encoder.upper(encoder.lower(ids, depth), depth, pooling)
    torch.testing.assert_close(pooled, pool(hidden, mask, pooling), atol=0.05, rtol=0.05)
    ours, theirs = (torch.autograd.grad(out[:, 0].sum(), weight)[0] for out in (pooled, pool(hidden, mask, pooling)))
    assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.99


def test_one_kernel_for_all_lengths_trains_the_same(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradients too, texts attended to at once come out as in groups; outside half precision groups are used."""
    ids = sorted(encoder.tokenise(TEXTS), key=len)
    weight = encoder.model.encoder.layer[0].attention.self.query.weight
    used: list[torch.dtype] = []

    def noting(q: Tensor, *rest: Any) -> Tensor:
        used.append(q.dtype)
        return kernel(q, *rest)

    def gradient(half: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            pooled = encoder.upper(encoder.lower(ids, 0), 0, "mean")
        return torch.autograd.grad(pooled[:, 0].sum(), weight)[0].flatten()

    grouped = gradient(half=True)
    monkeypatch.setattr(trainable, "_flash", lambda *_: noting)
    assert torch.nn.functional.cosine_similarity(gradient(half=True), grouped, dim=0) > 0.99
    assert used
    assert set(used) == {torch.bfloat16}
    used.clear()
    gradient(half=False)
    assert not used


def test_half_precision_stays_near(encoder: TextEncoder) -> None:
    """bfloat16 vectors point the same way as float32 ones."""
    ids = encoder.tokenise(TEXTS)
    _, full = encoder.encode(ids)
    _, half = encoder.encode(ids, torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(full, half).min() > 0.999


def test_a_copy_packs_its_own_weights(encoder: TextEncoder) -> None:
    """An encoder that has read can be copied, and the copy reads the same."""
    ids = encoder.tokenise(TEXTS)
    first, mean = encoder.encode(ids)
    again = copy.deepcopy(encoder)
    assert again._packed is None
    assert again.tokenise(TEXTS) == ids
    torch.testing.assert_close(again.encode(ids), (first, mean))


def test_training_drops_packed_copies(encoder: TextEncoder) -> None:
    """After a weight changes in training, inference sees the change."""
    ids = encoder.tokenise(TEXTS[:1])
    before, _ = encoder.encode(ids)
    encoder.train()
    with torch.no_grad():
        list(encoder.model.encoder.parameters())[-1].add_(0.5)
    after, _ = encoder.eval().encode(ids)
    assert not torch.allclose(before, after)


def test_an_unpacked_architecture_is_padded(tmp_path: Path) -> None:
    """An architecture that is not packed here gives the same shapes through padding."""
    from models.device import import_transformers

    transformers = import_transformers()
    tiny = make_tiny(tmp_path / "bert")
    other = transformers.DistilBertConfig(vocab_size=200, dim=32, n_layers=1, n_heads=4, hidden_dim=64)
    encoder = TextEncoder(transformers.DistilBertModel(other), TextEncoder.from_name(str(tiny)).tokenizer, 32).eval()
    first, mean = encoder.encode(encoder.tokenise(TEXTS))
    assert first.shape == mean.shape == (len(TEXTS), 32)
    assert torch.isfinite(mean).all()


def test_long_texts_are_cut(encoder: TextEncoder) -> None:
    """No text exceeds the tokens that the model takes."""
    assert max(map(len, encoder.tokenise(["moon " * 500]))) == 32


def test_the_tokenizer_in_rust_gives_what_transformers_gives(encoder: TextEncoder) -> None:
    """Asked directly, it cuts and marks as the package's own call does, whatever padding that one has left behind."""
    texts = [*TEXTS, "", "moon " * 500, "[CLS] wow [SEP]", "ngmi"]
    encoder.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=5)
    asked = encoder.tokenise(texts)
    worded = [wording(text) for text in texts]
    assert asked == encoder.tokenizer(worded, truncation=True, max_length=encoder.max_tokens)["input_ids"]
    shorter = TextEncoder(encoder.model, encoder.tokenizer, max_tokens=32)
    shorter.tokenise(texts)
    shorter.max_tokens = 8
    assert max(map(len, shorter.tokenise(texts))) == 8


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    """A folder without a model is refused, naming it."""
    with pytest.raises(WeightsError, match="nothing-here"):
        TextEncoder.from_name(str(tmp_path / "nothing-here"))


@pytest.mark.parametrize(("pooling", "expected"), [("first", [1.0, 5.0]), ("mean", [2.0, 5.0]), ("max", [3.0, 5.0])])
def test_pooling(pooling: str, expected: list[float]) -> None:
    """Masked positions never count."""
    hidden = torch.tensor([[[1.0], [3.0], [99.0]], [[5.0], [99.0], [99.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pool(hidden, mask, pooling).squeeze(1).tolist() == expected


def test_groups_cover_every_token() -> None:
    """Runs of equal length are found with their offsets."""
    assert groups([2, 2, 3, 5, 5]) == [(0, 2, 2), (4, 1, 3), (7, 2, 5)]


def test_chunks_hold_all_texts_once() -> None:
    """Chunks respect the token budget and lose nothing, even a text above the budget."""
    ids = [[0] * n for n in (5000, 5000, 3000, 9000, 1)]
    cut = chunks(ids)
    assert sorted(i for chunk in cut for i in chunk) == list(range(5))
    assert all(len(chunk) == 1 or sum(len(ids[i]) for i in chunk) <= 8192 for chunk in cut)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to the moon 🚀🚀", "to the moon rocket rocket"),
        ("😡", "angry red face"),
        ("❤️ yes", "heavy black heart yes"),
        ("👍🏽", "thumbs up sign"),
        ("see https://t.co/x now", "see now"),
        ("https://t.co/x", ""),
        ("gm \u200d ☀", "gm black sun with rays"),
        ("café 5€", "café 5€"),
        ("www.a.b wow\u00a0\u2003http:/c", "wow http:/c"),
    ],
)
def test_wording(text: str, expected: str) -> None:
    """Emoji become words, links and skin tones go, letters and currencies stay."""
    assert wording(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "wen lambo ser",
        "ngmi",
        "gm frens",
        "lfg 🚀",
        "$BTC",
        "hodl gang",
        "rekt af lol",
        "que",
        "ape in $PEPE rn",
        "dyor nfa",
    ],
)
def test_slang_is_english(text: str) -> None:
    """Short slang is never called another language."""
    assert language(text) == "en"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Ich habe heute alle meine Coins verkauft und bin traurig", "de"),
        ("El precio de bitcoin sube hoy y estamos muy contentos", "es"),
        ("это конец, все пропало", "ru"),
        ("ビットコイン最高です", "ja"),
        ("12345", "und"),
        ("", "und"),
    ],
)
def test_other_languages_are_told(text: str, code: str) -> None:
    """Whole sentences of other languages are recognised; texts without letters are undetermined."""
    assert language(text) == code


def test_dropout_is_off_whatever_its_name(tmp_path: Path) -> None:
    """Training sees no dropout: it costs time and gains nothing when fine-tuning briefly."""
    encoder = TextEncoder.from_name(str(make_tiny(tmp_path / "tiny"))).train()
    rates = [module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates
    assert set(rates) == {0.0}
