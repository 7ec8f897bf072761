"""Poolings, decoders and searches on tiny sizes."""

from __future__ import annotations

import pytest
import torch

from models.explanations.decoder import DECODERS, END, START, Autoencoder, OnePass, Shape
from models.explanations.pooling import KINDS, Pooling, Signs
from models.explanations.search import beam, greedy

SHAPE = Shape(size=24, words=12, width=16, depth=2, heads=2, slots=3, positions=6, dropout=0.0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_vector(kind: str) -> None:
    """What stands behind a text's last token has no part in its vector."""
    pool = Pooling(kind, 8, 24, 6).eval()
    states, mask = torch.randn(2, 5, 8), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    other = states.clone()
    other[1, 3:] = 9.0
    assert torch.allclose(pool(states, mask), pool(other, mask), atol=1e-6)
    assert torch.allclose(pool(states, mask)[1], pool(states[1:, :3], mask[1:, :3])[0], atol=1e-6)


def test_only_coded_pooling_knows_the_order() -> None:
    """Exchanging two tokens leaves plain attention pooling as it was and moves the coded vector."""
    states, mask = torch.randn(1, 4, 8), torch.ones(1, 4)
    swapped = states[:, [0, 2, 1, 3]]
    plain, coded = Pooling("attention", 8, 24, 6), Pooling("coded", 8, 24, 6)
    assert torch.allclose(plain(states, mask), plain(swapped, mask), atol=1e-6)
    assert not torch.allclose(coded(states, mask), coded(swapped, mask), atol=1e-2)


def test_signs_are_plus_and_minus_one_and_learn() -> None:
    """The code is ±1 forward, and its gradient reaches the weights behind it."""
    signs = Signs(3, 5)
    code = signs(3)
    assert set(code.detach().unique().tolist()) <= {-1.0, 1.0}
    (code * torch.arange(15.0).view(3, 5)).sum().backward()
    assert signs.weight.grad is not None
    assert torch.allclose(signs.weight.grad, torch.arange(15.0).view(3, 5))


def test_an_unknown_pooling_is_named() -> None:
    """A misspelt kind says which there are."""
    with pytest.raises(ValueError, match="attention, coded"):
        Pooling("mean", 8, 24, 6)


@pytest.mark.parametrize("kind", ["autoregressive", "recurrent"])
def test_step_by_step_equals_all_at_once(kind: str) -> None:
    """The cached steps of writing give the logits of the teacher-forced pass."""
    signs = Signs(SHAPE.positions, SHAPE.size)
    decoder = DECODERS[kind](SHAPE, signs).eval()
    vectors, tokens = torch.randn(3, SHAPE.size), torch.randint(3, 12, (3, 5))
    before = torch.cat([torch.full((3, 1), START), tokens[:, :-1]], dim=1)
    whole = decoder.words.logits(decoder(vectors, before))
    state = decoder.begin(vectors)
    steps = torch.stack([decoder.step(state, before[:, place]) for place in range(5)], dim=1)
    assert torch.allclose(whole, steps, atol=1e-4)


def test_a_token_sees_none_after_it() -> None:
    """Changing a later token leaves the hidden states before it as they were; the one-pass decoder reads none at all."""
    vectors, before = torch.randn(1, SHAPE.size), torch.tensor([[0, 3, 4, 5]])
    other = torch.tensor([[0, 3, 4, 9]])
    decoder = DECODERS["autoregressive"](SHAPE).eval()
    one, two = decoder(vectors, before), decoder(vectors, other)
    assert torch.allclose(one[:, :3], two[:, :3], atol=1e-6)
    assert not torch.allclose(one[:, 3], two[:, 3], atol=1e-3)
    at_once = OnePass(SHAPE).eval()
    assert torch.equal(at_once(vectors, before), at_once(vectors, other))


@pytest.mark.parametrize("kind", list(DECODERS))
def test_it_learns_eight_texts_by_heart(kind: str) -> None:
    """Every decoder overfits eight texts from their vectors and writes them, greedily and by beam search."""
    shape = Shape(size=16, words=12, width=32, depth=1, heads=2, slots=4, positions=6, dropout=0.0)
    net = Autoencoder(shape, kind, None)
    vectors = torch.randn(8, 16)
    texts = torch.randint(3, 12, (8, 5))
    after = torch.cat([texts, torch.full((8, 1), END)], dim=1)
    before = torch.cat([torch.full((8, 1), START), texts], dim=1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        hidden = net(vectors, torch.empty(0), before)
        torch.nn.functional.cross_entropy(net.decoder.words.logits(hidden).flatten(0, 1), after.flatten()).backward()
        optimiser.step()
    net.eval()
    assert greedy(net.decoder, vectors) == texts.tolist()
    assert beam(net.decoder, vectors, 3) == texts.tolist()


def test_every_part_gets_a_gradient() -> None:
    """Pooling, code, words and layers all learn from the loss."""
    net = Autoencoder(SHAPE, "autoregressive", "coded", states=8)
    hidden = net(torch.randn(2, 5, 8), torch.ones(2, 5), torch.tensor([[0, 3, 4], [0, 5, 6]]))
    net.decoder.words.logits(hidden).logsumexp(-1).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if not name.endswith("score.bias") and "key_value.bias" not in name] == []


def test_beam_search_finds_what_greedy_misses() -> None:
    """The text of beam search is never less likely than the greedy one, and sampling follows its seed."""
    decoder = DECODERS["autoregressive"](SHAPE).eval()
    vectors = torch.randn(6, SHAPE.size)
    plain, wide = greedy(decoder, vectors), beam(decoder, vectors, 8, length_penalty=0.0)
    for vector, one, other in zip(vectors, plain, wide, strict=True):
        assert _likelihood(decoder, vector, other) >= _likelihood(decoder, vector, one) - 1e-4
    assert greedy(decoder, vectors, top_k=5, seed=1) == greedy(decoder, vectors, top_k=5, seed=1)
    assert greedy(decoder, vectors, top_k=5, seed=1) != greedy(decoder, vectors, top_k=5, seed=2)


def _likelihood(decoder: torch.nn.Module, vector: torch.Tensor, row: list[int]) -> float:
    full = [*row, END][: SHAPE.positions]
    before = torch.tensor([[START, *full[:-1]]])
    with torch.no_grad():
        logits = decoder.words.logits(decoder(vector[None], before)).clone()
    logits[..., START] = float("-inf")
    return float(torch.log_softmax(logits, -1)[0, range(len(full)), full].sum())
