"""The decoder of the product: from the text encoder's vector of a post, or the mean of several, to a sentence.

Trained on headlines and posts. A text's vector is mixed with those of its nearest texts, noise is added, and the decoder
writes the text of the group that lies nearest to the mixture, so that means and predicted vectors decode to something that
was said (in the manner of denoising autoencoders; the vectors carry meaning alone, no position code).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domain.types import Floats
from models.emotion.text import EmotionTextReader
from models.explanations.decoder import END, Autoencoder
from models.explanations.explainer import Explainer
from models.explanations.gate import Gate
from models.explanations.search import Vocabulary, surprise
from models.explanations.space import Space, fit_prior, fit_space
from models.trajectories.library import encoder_revision
from training.explanations import data
from training.explanations.recipe import Settings, fit
from training.explanations.reconstruct import Task, figures, floors
from training.explanations.texts import DUPLICATE, Index, Texts, embed, load, neighbours
from training.registry import TrainOptions, settings


class Mixed:
    """Vectors of texts mixed with some of their neighbours; what is to be written is the text nearest to the mixture.

    ``alone``: share of the texts whose own vector is given. Draws from torch's generator, as the training loop asks.
    """

    def __init__(self, vectors: Floats, near: dict[int, Index], alone: float) -> None:
        self.vectors, self.near, self.alone = vectors, near, alone
        self.width = int(vectors.shape[1])

    def batch(self, rows: Sequence[int]) -> data.Batch:
        """Mixtures (n, 384) of norm 1, and the row of each whose words are to be written."""
        given, wanted = [], []
        for row in rows:
            members = [row]
            if float(torch.rand(())) >= self.alone:
                count = int(torch.randint(1, len(self.near[row]) + 1, ()))
                members += self.near[row][torch.randperm(len(self.near[row]))[:count].numpy()].tolist()
            group = self.vectors[members]
            mean = group.mean(0)
            given.append(mean / np.linalg.norm(mean))
            wanted.append(members[int((group @ mean).argmax())])
        return data.Batch(torch.from_numpy(np.stack(given)), torch.empty(0), wanted)


def vocabulary(ids: Sequence[Sequence[int]], tokenizer: Any, most: int) -> Vocabulary:
    """The ``most`` frequent tokens of the training texts."""
    counts = Counter(token for row in ids for token in row)
    kept = {token for token, _ in counts.most_common(most)}
    return Vocabulary.of([[token for token in row if token in kept] for row in ids], tokenizer)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Texts, their vectors and tokens, and which rows train and which are held out by date.

    ``raw``: vectors as the encoder gives them, which the product's library holds; ``vectors``: those of ``space``.
    """

    texts: Texts
    raw: Floats
    vectors: Floats
    rows: list[list[int]]
    vocabulary: Vocabulary
    tokenizer: Any
    train: Index
    held: Index
    near: dict[int, Index]
    space: Space


CUT_HEADLINES, CUT_POSTS = np.datetime64("2020-04-01"), np.datetime64("2025-06-01")
"""Held out by date: what was published from these days on."""

TEXTS = 28_000
"""Most headlines, and most posts."""

WORDS = 12_000
"""Size of the shipped decoder's vocabulary."""


def prepare(folder: Path, cache: Path, choice: Settings, most: int) -> Prepared:
    """Everything that training and its evaluation share; the vectors are kept in ``cache``."""
    texts = load(folder, most, 0)
    reader = EmotionTextReader.from_pretrained()
    raw = embed(reader, texts.said, cache / "vectors.npy")
    ids = reader.tokenise(texts.words)
    newer = texts.day >= np.where(texts.post, CUT_POSTS, CUT_HEADLINES)
    train, held = np.flatnonzero(~newer), np.flatnonzero(newer)
    own = fit_space(raw[train])
    vectors = own(raw)
    tokenizer = reader.net.encoder.tokenizer
    known = vocabulary([ids[i] for i in train], tokenizer, WORDS)
    near: dict[int, Index] = {}
    for post in (False, True):
        pool = train[texts.post[train] == post]
        near |= dict(zip(pool.tolist(), neighbours(vectors, pool, pool), strict=True))
    rows = data.encoded(known, ids, choice.positions)
    return Prepared(texts, raw, vectors, rows, known, tokenizer, train, held, near, own)


MEASURED, EARLIER = 8_000, 2_000
"""Most held-out texts on which a trained decoder is measured, and texts of before the cut beside it, drawn by lot."""


def held_out(
    folder: Path, cache: Path, model: Explainer, reader: EmotionTextReader, seed: int, most: int = MEASURED
) -> Prepared:
    """What a trained decoder is measured on: ``most`` held-out texts, ``train`` being some of the others."""
    texts, lots = load(folder, TEXTS, 0), np.random.default_rng(seed)
    newer = texts.day >= np.where(texts.post, CUT_POSTS, CUT_HEADLINES)
    drawn = [lots.permutation(np.flatnonzero(~newer))[:EARLIER], lots.permutation(np.flatnonzero(newer))[:most]]
    chosen = np.sort(np.concatenate(drawn))
    texts, newer = texts.take(chosen), newer[chosen]
    raw = embed(reader, texts.said, cache / f"held_out-{seed}-{len(chosen)}.npy")
    train, held = np.flatnonzero(~newer), np.flatnonzero(newer)
    return Prepared(texts, raw, model.space(raw), [], model.words, model.tokenizer, train, held, {}, model.space)


def network(choice: Settings, words: int) -> Autoencoder:
    """The decoder alone: its vectors are given."""
    torch.manual_seed(choice.seed)
    return Autoencoder(replace(choice, size=384).shape(words), choice.decoder, None)


CARD = """# Words for a vector

Writes a sentence from one vector of the product's text encoder (float32[384], norm 1), or from the mean of several: an
autoregressive decoder ({width} wide, {depth} layer(s)) over {words} tokens. Trained on {train} headlines (before {headlines})
and English posts (before {posts}), alone and mixed with their neighbours; what is newer was held out. Texts are shown only
when they pass the gate: re-encoded cosine of at least {round_trip}, no other direction, number or name than the facts have.

| by date | figure |
|---|---|
{figures}

Vectors of texts can be turned back into words: treat them as the texts themselves. The decoder was trained on public,
pseudonymous posts and may repeat phrases of them.
"""


def fitted(given: Prepared, choice: Settings, alone: float, folder: Path, resume: bool) -> Autoencoder:
    """Train the decoder on mixtures; the run stands in ``folder``."""
    net = network(choice, len(given.vocabulary))
    inputs = Mixed(given.vectors, given.near, alone)
    fit(net, inputs, given.rows, given.train, choice, folder, resume=resume)
    return net


def threshold(vectors: Floats, rows: Index, share: float = 0.9) -> float:
    """The cosine of a training text with the nearest other one, which only one text in ten exceeds."""
    asked = np.random.default_rng(0).choice(rows, min(1000, len(rows)), replace=False)
    cosine = vectors[asked] @ vectors[rows].T
    cosine[cosine >= DUPLICATE] = -1
    return round(float(np.quantile(cosine.max(1), share)), 3)


def usual_surprise(net: Autoencoder, rows: Sequence[list[int]], share: float = 0.5) -> float:
    """Nats per token of training texts without their vector; half of them are less surprising."""
    chosen = [
        [token for token in rows[i] if token != END] for i in np.random.default_rng(0).integers(0, len(rows), 400)
    ]
    return round(float(np.quantile(surprise(net.decoder, [row for row in chosen if row]).numpy(), share)), 3)


def spelling(texts: Sequence[str], names: frozenset[str]) -> dict[str, str]:
    """How each name is written most often, where that is not in small letters."""
    forms: dict[str, Counter[str]] = {}
    for text in texts:
        for word in re.findall(r"[A-Za-z]+", text)[1:]:
            if word.lower() in names and not word.islower():
                forms.setdefault(word.lower(), Counter())[word] += 1
    return {"i": "I"} | {word: seen.most_common(1)[0][0] for word, seen in sorted(forms.items())}


def explainer(given: Prepared, net: Autoencoder) -> Explainer:
    """The decoder with its gate and its spelling, from the training texts alone."""
    said = [given.texts.said[i] for i in given.train]
    names = data.name_words(said, least=3)
    seen = [given.rows[i] for i in given.train]
    gate = Gate(threshold(given.vectors, given.train), names, usual_surprise(net, seen))
    words = fit_prior(torch.from_numpy(given.vectors[given.train]), seen, len(given.vocabulary))
    return Explainer(net, given.vocabulary, given.tokenizer, gate, spelling(said, names), given.space, words)


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Train the product's decoder on the headlines and posts under ``options.data``, measure it by date, save it.

    Its settings say from which round trip on it may speak in the place of a typical post, if from any.
    """
    from training.explanations import compare  # which stands on this module

    most, alone = int(config.pop("texts", TEXTS)), float(config.pop("alone", 0.4))
    choice = settings(Settings, config)
    given = prepare(options.data, options.out / "cache", choice, most)
    net = fitted(given, choice, alone, options.out / "run", options.resume)
    made = explainer(given, net)
    found = by_date(given, net)
    found["shown_from"] = compare.rule(given, made, EmotionTextReader.from_pretrained())
    save(made, given, found, options.out)
    return found


def by_date(given: Prepared, net: Autoencoder, most: int = 2000) -> dict[str, Any]:
    """Figures of texts that training never saw, each from its own vector."""
    held = np.sort(np.random.default_rng(0).permutation(given.held)[:most])
    names = data.name_words([given.texts.said[i] for i in given.train], least=3)
    task = Task(data.Given(given.vectors), given.rows, given.texts.words, given.vocabulary, given.tokenizer, names)
    return {**figures(net, task, held), "floors": floors(net, task, held)}


def save(made: Explainer, given: Prepared, found: dict[str, Any], folder: Path) -> None:
    """Write the checkpoint and its card."""
    shape = made.net.decoder.shape
    shown = (
        "n",
        "token_accuracy",
        "token_accuracy_free",
        "exact",
        "rouge_l",
        "bleu",
        "direction",
        "opposite",
        "numbers",
    )
    card = CARD.format(
        width=shape.width,
        depth=shape.depth,
        words=len(given.vocabulary),
        train=len(given.train),
        headlines=CUT_HEADLINES,
        posts=CUT_POSTS,
        round_trip=made.gate.round_trip,
        figures="\n".join(f"| {name} | {found[name]} |" for name in shown),
    )
    known = {
        "encoder": encoder_revision(),
        "trained_until": str(CUT_POSTS),
        "shown_from": found["shown_from"],
        "held_out": found,
    }
    made.save(folder, known, card)
