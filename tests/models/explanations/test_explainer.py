"""From a vector to words that may be shown, with a decoder that knows eight sentences by heart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from domain.errors import WeightsError
from models import checkpoint
from models.explanations import explainer as module
from models.explanations.decoder import END, START, Autoencoder, Shape
from models.explanations.explainer import Explainer, Found, load_explainer, mean, medoid
from models.explanations.gate import DIRECTION, FAR, Facts, Gate
from models.explanations.search import Vocabulary, greedy
from models.explanations.space import Space, WordPrior, fit_prior, fit_space

TEXTS = ["bitcoin falls today", "bitcoin rises today", "traders wait", "nobody buys"]
WORDS = ["[s]", "[e]", "[u]", *sorted({word for text in TEXTS for word in text.split()})]


SAME = Space(np.zeros(16, np.float32), np.eye(16, dtype=np.float32))
"""A space that leaves vectors as they are."""


class _Tokenizer:
    def decode(self, tokens: list[int], **_: bool) -> str:
        return " ".join(WORDS[token] for token in tokens)


def _vectors() -> np.ndarray:
    table = np.random.default_rng(0).normal(size=(len(TEXTS), 16)).astype(np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def _embed(texts: Sequence[str]) -> np.ndarray:
    known = dict(zip(TEXTS, _vectors(), strict=True))
    return np.stack([known.get(text.lower(), np.ones(16, dtype=np.float32) / 4) for text in texts])


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    """Trained until it writes the four texts from their vectors."""
    torch.manual_seed(0)
    shape = Shape(16, len(WORDS), width=32, depth=1, heads=2, slots=2, positions=5, dropout=0.0)
    net = Autoencoder(shape, "autoregressive", None)
    rows = [[WORDS.index(word) for word in text.split()] + [END] for text in TEXTS]
    after = torch.tensor([row + [-100] * (4 - len(row)) for row in rows])
    before = torch.cat([torch.full((4, 1), START), after[:, :-1].clamp(min=0)], dim=1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        logits = net.decoder.words.logits(net(torch.from_numpy(_vectors()), torch.empty(0), before))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), after.flatten()).backward()
        optimiser.step()
    gate = Gate(0.7, frozenset({"bitcoin"}))
    return Explainer(net, Vocabulary(range(len(WORDS))), _Tokenizer(), gate, {"bitcoin": "Bitcoin"}, SAME)


def test_a_vector_comes_back_as_its_words(explainer: Explainer) -> None:
    """The vector of a text gives the text, written with its capitals, and its cosine."""
    found = explainer.explain(_vectors()[0], Facts.of([TEXTS[0]]), _embed)
    assert (found.text, found.withheld) == ("Bitcoin falls today", None)
    assert found.round_trip == pytest.approx(1.0, abs=1e-4)
    shown = found.shown()
    assert shown is not None
    assert shown.kind == "decoded"


def test_what_contradicts_the_facts_is_withheld(explainer: Explainer) -> None:
    """The same vector beside opposite facts gives no words but the reason."""
    found = explainer.explain(_vectors()[0], Facts.of([TEXTS[1]]), _embed)
    assert found.withheld is not None
    assert found.shown() is None
    assert explainer.gate.refuse("Bitcoin falls today", 1.0, Facts.of([TEXTS[1]])) == DIRECTION


def test_a_vector_far_from_all_words_is_withheld(explainer: Explainer) -> None:
    """Noise decodes to something, but that does not lead back to the noise."""
    lots = np.random.default_rng(5).normal(size=16).astype(np.float32)
    assert explainer.explain(lots, Facts.of(TEXTS), _embed).withheld == FAR


def test_it_is_saved_and_loaded_whole(explainer: Explainer, tmp_path: Path) -> None:
    """A loaded checkpoint writes the same texts; one of another text encoder, or an incomplete one, is refused."""
    explainer.save(tmp_path, {"encoder": "abc"}, "card")
    loaded = Explainer.from_pretrained(tmp_path, _Tokenizer(), "abc")
    assert loaded.write(_vectors()) == explainer.write(_vectors()) == explainer.write(_vectors(), width=3)
    assert (loaded.gate, loaded.spelling) == (explainer.gate, explainer.spelling)
    with pytest.raises(WeightsError, match="another text encoder"):
        Explainer.from_pretrained(tmp_path, _Tokenizer(), "other")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="not complete"):
        Explainer.from_pretrained(tmp_path, _Tokenizer())


def test_the_product_tries_the_decoder_only_where_it_was_found_better(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a measured round trip nothing is loaded; with one, it is the least that is shown; training loads it anyway."""
    monkeypatch.setattr(module, "encoder_revision", lambda _: "abc")
    assert load_explainer(tmp_path, _Tokenizer()) is None
    for least, expected in ((None, None), (0.9, 0.9), (0.2, 0.7)):
        explainer.save(tmp_path / module.FOLDER, {"encoder": "abc", "shown_from": least}, "card")
        found = load_explainer(tmp_path, _Tokenizer())
        assert (found and found.gate.round_trip) == expected
    checkpoint.save(tmp_path / module.FOLDER, {"encoder": "abc"}, {}, "card")
    assert load_explainer(tmp_path, _Tokenizer()) is None
    explainer.save(tmp_path / module.FOLDER, {"encoder": "abc"}, "card")
    anyway = load_explainer(tmp_path, _Tokenizer(), measured=False)
    assert anyway is not None
    assert anyway.gate.round_trip == 0.7


def test_means_and_medoids() -> None:
    """The mean has norm 1; the medoid is the row nearest to it."""
    fan = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    assert np.linalg.norm(mean(fan)) == pytest.approx(1.0)
    assert medoid(fan) == 1
    assert Found("words", 0.5, FAR).shown() is None


def test_the_prior_names_the_words_of_a_vector() -> None:
    """Fitted on vectors that are sums of their words' directions, it raises those words and lowers the others."""
    lots = torch.Generator().manual_seed(0)
    directions = torch.eye(16)[:8]
    rows = [(torch.randperm(8, generator=lots)[:3] + 3).tolist() for _ in range(400)]
    vectors = torch.stack([directions[torch.tensor(row) - 3].sum(0) for row in rows])
    prior = fit_prior(vectors, rows, words=12, least=5)
    assert prior.tokens.tolist() == list(range(3, 11))
    bonus = prior.bonus(vectors[:1], 12)[0]
    assert all(bonus[token] > 0.5 for token in rows[0])
    assert all(bonus[token] < 0 for token in set(range(3, 11)) - set(rows[0]))
    assert bonus[[0, 1, 2, 11]].abs().sum() == 0


def test_a_prior_leads_the_decoder_and_is_saved(explainer: Explainer, tmp_path: Path) -> None:
    """A strong bonus for a word brings it into the text once, and a loaded checkpoint has the same prior."""
    bought = WORDS.index("buys")
    prior = WordPrior(torch.tensor([bought]), torch.zeros(16, 1), torch.zeros(16), torch.full((1,), 0.5), 1.0)
    led = Explainer(explainer.net, explainer.words, explainer.tokenizer, explainer.gate, {}, SAME, prior)
    assert torch.isfinite(prior.bonus(torch.from_numpy(_vectors()), len(WORDS))).all()
    bonus = torch.zeros(1, len(WORDS))
    bonus[0, bought] = 50.0
    (row,) = greedy(explainer.net.decoder, torch.from_numpy(_vectors()[:1]), bonus=bonus)
    assert row[0] == bought
    assert row.count(bought) == 1
    led.save(tmp_path, {"encoder": "abc"}, "card")
    loaded = Explainer.from_pretrained(tmp_path, _Tokenizer(), "abc")
    assert loaded.prior is not None
    assert loaded.prior.tokens.tolist() == [bought]


def test_a_space_takes_the_common_direction_off() -> None:
    """Vectors of a narrow cone, where all cosines are high, become comparable: unrelated ones have a cosine about 0."""
    lots = np.random.default_rng(0)
    cone = (lots.normal(size=(500, 16)) * np.linspace(0.05, 0.3, 16) + 1).astype(np.float32)
    unit = cone / np.linalg.norm(cone, axis=1, keepdims=True)
    assert (unit[:100] @ unit[100:200].T).min() > 0.5
    moved = fit_space(unit)(unit)
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)
    assert abs(float((moved[:100] @ moved[100:200].T).mean())) < 0.05
