"""The decoder of the product: from the text encoder's vector of a post, or the mean of several, to a sentence.

Trained on headlines and posts. A text's vector is mixed with those of its nearest texts, noise is added, and the decoder
writes the text of the group that lies nearest to the mixture, so that means and predicted vectors decode to something that
was said (in the manner of denoising autoencoders; the vectors carry meaning alone, no position code).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import Floats
from models.emotion.text import EmotionTextReader
from models.explanations.decoder import END, Autoencoder
from models.explanations.explainer import Explainer
from models.explanations.gate import Gate
from models.explanations.search import Vocabulary, surprise
from models.explanations.space import Space, fit_prior, fit_space
from models.trajectories.library import encoder_revision
from runtime.progress import progress
from training.explanations import data
from training.explanations.recipe import Settings, fit
from training.explanations.reconstruct import Task, figures, floors
from training.registry import TrainOptions, settings

POSTS = "posts.parquet"
NEIGHBOURS = 9
DUPLICATE = 0.95
"""Cosine from which two texts say the same words."""
_NOT_WORDS = re.compile(r"https?://\S*|www\.\S+|@\w+|[^\x20-\x7e]+|(?<=\.)X\b")
_SPACES = re.compile(r"\s+")

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Texts:
    """``said``: as published; ``words``: what the decoder may write of it; ``day``: datetime64[D]; ``post``: no headline."""

    said: list[str]
    words: list[str]
    day: NDArray[np.datetime64]
    post: NDArray[np.bool_]

    def take(self, index: Index) -> Texts:
        """The texts at these positions."""
        return Texts([self.said[i] for i in index], [self.words[i] for i in index], self.day[index], self.post[index])


def plain(text: str) -> str:
    """A text without links, @names, emoji and other characters that are not ASCII."""
    return _SPACES.sub(" ", _NOT_WORDS.sub(" ", text.replace("’", "'").replace("‘", "'"))).strip()


def load(folder: Path, most: int, seed: int) -> Texts:
    """At most ``most`` dated headlines, and as many English posts of 4 to 40 words, drawn evenly from the sources.

    Raises:
        InputError: a file is missing below the folder.
    """
    import pandas as pd

    old, old_day = _headlines(folder, most, seed)
    path = next(iter(sorted(folder.rglob(POSTS))), None)
    if path is None:
        raise InputError(f"There is no {POSTS} below {folder.name}.")
    frame = pd.read_parquet(path, columns=["source", "t", "text", "lang"]).dropna(subset=["text"])
    frame = frame[frame["lang"].fillna("en").isin(["en", ""])].drop_duplicates("text")
    frame["words"] = [plain(str(text)) for text in frame["text"]]
    count = np.array([len(words.split()) for words in frame["words"]])
    frame = frame[(count >= 4) & (count <= 40)].sample(frac=1.0, random_state=seed)
    frame["rank"] = frame.groupby("source", observed=True).cumcount()
    frame = frame.sort_values("rank", kind="stable").head(most)
    new_day = (frame["t"].to_numpy() * 1_000_000_000).astype("datetime64[ns]").astype("datetime64[D]")
    said = [*old, *map(str, frame["text"])]
    words = [*map(plain, old), *frame["words"]]
    return Texts(said, words, np.concatenate([old_day, new_day]), np.arange(len(said)) >= len(old))


def _headlines(folder: Path, most: int, seed: int) -> tuple[list[str], NDArray[np.datetime64]]:
    headlines = data.load(folder, grouped=False)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(headlines.texts))[:most])
    return [headlines.texts[i] for i in chosen], headlines.day[chosen]


def embed(reader: EmotionTextReader, texts: Sequence[str], path: Path | None = None, quiet: bool = False) -> Floats:
    """Unit vectors float32 (n, 384) of the product's text encoder, computed once where a path is given."""
    if path is not None and path.is_file():
        kept: Floats = np.load(path)
        if len(kept) == len(texts):
            return kept
    order = np.argsort([len(text) for text in texts], kind="stable")
    out = np.zeros((len(texts), 384), dtype=np.float32)
    with nullcontext(_silent) if quiet else progress("embedding", len(texts)) as report:
        for start in range(0, len(texts), 512):
            part = order[start : start + 512]
            mean = reader.net.infer(reader.tokenise([texts[i] for i in part]), reader.dtype).mean
            out[part] = torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy()
            report(start + len(part))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, out)
    return out


def _silent(done: int, note: str = "") -> None:
    pass


def neighbours(vectors: Floats, among: Index, of: Index, k: int = NEIGHBOURS) -> Index:
    """For each row ``of``, its ``k`` nearest rows ``among`` by cosine, (len(of), k); itself and its duplicates come last."""
    k = min(k, len(among))
    table = torch.from_numpy(vectors[among])
    out = np.empty((len(of), k), dtype=np.int64)
    for start in range(0, len(of), 1024):
        part = of[start : start + 1024]
        near = torch.from_numpy(vectors[part]) @ table.T
        near = near.masked_fill(near >= DUPLICATE, -1.0)
        out[start : start + len(part)] = among[near.topk(k, dim=1).indices.numpy()]
    return out


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

WORDS = 12_000
"""Size of the shipped decoder's vocabulary."""


def prepare(folder: Path, cache: Path, choice: Settings, most: int, mixtures: bool = True) -> Prepared:
    """Everything that training and evaluation share; the vectors are kept in ``cache``. ``mixtures``: neighbours, too."""
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
    for post in (False, True) if mixtures else ():
        pool = train[texts.post[train] == post]
        near |= dict(zip(pool.tolist(), neighbours(vectors, pool, pool), strict=True))
    rows = data.encoded(known, ids, choice.positions)
    return Prepared(texts, raw, vectors, rows, known, tokenizer, train, held, near, own)


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
    """Train the product's decoder on the headlines and posts under ``options.data``, measure it by date, save it."""
    most, alone = int(config.pop("texts", 28_000)), float(config.pop("alone", 0.4))
    choice = settings(Settings, config)
    given = prepare(options.data, options.out / "cache", choice, most)
    net = fitted(given, choice, alone, options.out / "run", options.resume)
    made = explainer(given, net)
    found = by_date(given, net)
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
    known = {"encoder": encoder_revision(), "trained_until": str(CUT_POSTS), "held_out": found}
    made.save(folder, known, card)
