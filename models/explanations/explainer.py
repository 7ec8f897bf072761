"""Vectors of posts to words that may be shown: decode, re-encode, correct, and hold against the facts.

``explain`` writes several texts from one vector, takes the one that re-encodes nearest to it, moves the vector by what is
still missing and writes again (iterative correction in the manner of vec2text, Morris et al. 2023), and lets the gate judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domain.answer import Explanation
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.symbols import COIN_NAMES
from domain.types import Floats
from models import checkpoint
from models.explanations.decoder import DECODERS, Autoencoder, Shape
from models.explanations.gate import EMPTY, Facts, Gate
from models.explanations.search import Vocabulary, beam, greedy, surprise
from models.explanations.space import Space, WordPrior
from models.trajectories.library import encoder_revision

FOLDER = "explanations"
SAMPLES = 2
"""Texts drawn beside the greedy one in each round."""

TOP_K, TEMPERATURE = 8, 0.8

Embed = Callable[[Sequence[str]], Floats]
"""Texts to unit vectors float32 (n, size) of the encoder whose vectors are decoded."""

_JOINED = re.compile(r"\s+(?=[.,;:!?%)’'])|(?<=[$(#@])\s+|(?<=\d[.,])\s+(?=\d)|(?<=['’])\s+(?=(?:s|t|re|ve|ll|m|d)\b)")


@dataclass(frozen=True, slots=True)
class Found:
    """A text with its cosine to the vector after re-encoding; ``withheld`` is the code of why it is not shown."""

    text: str
    round_trip: float
    withheld: str | None = None

    def shown(self) -> Explanation | None:
        """As the answer has it; None when withheld."""
        return None if self.withheld else Explanation(self.text, round(self.round_trip, 4))


class Explainer:
    """The shipped decoder of the text encoder's vectors. ``spelling``: lower-case words to how they are written."""

    def __init__(
        self,
        net: Autoencoder,
        words: Vocabulary,
        tokenizer: Any,
        gate: Gate,
        spelling: dict[str, str],
        space: Space,
        prior: WordPrior | None = None,
    ) -> None:
        self.net = net.eval()
        self.words, self.tokenizer, self.gate, self.spelling = words, tokenizer, gate, spelling
        self.space, self.prior = space, prior

    @classmethod
    def from_pretrained(cls, folder: Path, tokenizer: Any, encoder: str | None = None) -> Explainer:
        """Load a checkpoint folder; ``encoder`` is the revision of the text encoder whose vectors will be given.

        Raises:
            WeightsError: files are missing or altered, or the decoder was trained on another encoder's vectors.
        """
        config, tensors = checkpoint.load(folder)
        if encoder is not None and config.get("encoder") != encoder:
            raise WeightsError(
                "The decoder of explanations was trained on another text encoder than the one beside it; train it again "
                "with `moodtape train explanations/default`."
            )
        try:
            words = Vocabulary(tensors.pop("vocabulary").tolist())
            net = Autoencoder(Shape(**config["shape"]), config["decoder"], None)
            gate = Gate(float(config["round_trip"]), frozenset(config["names"]), float(config["surprise"]))
            spelling = dict(config["spelling"])
            space = Space(tensors.pop("space.centre").numpy(), tensors.pop("space.matrix").numpy())
            prior = WordPrior.read(tensors, float(config.get("prior_strength", 1.0)))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"The settings {folder.name}/{checkpoint.CONFIG} are not complete ({error}).") from None
        checkpoint.load_state(net, tensors, folder.name)
        return cls(net, words, tokenizer, gate, spelling, space, prior)

    def save(self, folder: Path, config: dict[str, Any], card: str) -> None:
        """Write the checkpoint in half precision; ``config`` adds what training knows (encoder, figures)."""
        shape = self.net.decoder.shape
        kind = next(name for name, made in DECODERS.items() if type(self.net.decoder) is made)
        body = {
            **config,
            "shape": {name: getattr(shape, name) for name in shape.__slots__},
            "decoder": kind,
            "round_trip": self.gate.round_trip,
            "surprise": self.gate.surprise,
            "names": sorted(self.gate.known_names),
            "spelling": self.spelling,
        }
        tensors = {
            **self.net.state_dict(),
            "vocabulary": self.words.tensor(),
            "space.centre": torch.from_numpy(self.space.centre),
            "space.matrix": torch.from_numpy(self.space.matrix),
        }
        if self.prior is not None:
            tensors |= self.prior.tensors()
            body["prior_strength"] = self.prior.strength
        checkpoint.save(folder, body, tensors, card, torch.float16)

    @torch.inference_mode()
    def write(self, vectors: Floats, width: int = 1) -> list[str]:
        """One text for each vector (n, size) of :class:`Space`: greedy, or by beam search of ``width``."""
        given = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
        bonus = self._bonus(given)
        rows = greedy(self.net.decoder, given, bonus=bonus) if width == 1 else beam(self.net.decoder, given, width)
        return [self.spell(row) for row in rows]

    def spell(self, row: Sequence[int]) -> str:
        """A token row as a sentence: names with their capitals, the first letter large, no spaces before points."""
        text = _JOINED.sub("", self.words.decode(row, self.tokenizer))
        text = re.sub(r"[a-z]+", lambda found: self.spelling.get(found[0], found[0]), text).strip()
        return text[:1].upper() + text[1:]

    def explain(self, vector: Floats, facts: Facts, embed: Embed, rounds: int = 1) -> Found:
        """The best text for one vector (size,) of :class:`Space`; one that fails is corrected at most ``rounds`` times."""
        goal = _unit(np.asarray(vector, dtype=np.float32))
        given, best = goal, Found("", 0.0)
        for turn in range(rounds + 1):
            rows = self._drafts(given, turn)
            texts, odd = [self.spell(row) for row in rows], surprise(self.net.decoder, rows).tolist()
            near = self.space(embed(texts)) @ goal
            for text, cosine, nats in zip(texts, near.tolist(), odd, strict=True):
                code = self.gate.refuse(text, cosine, facts, nats)
                if _rank(code, cosine) > _rank(best.withheld, best.round_trip) or not best.text:
                    best = Found(text, float(cosine), code)
            if best.withheld is None:
                break
            given = _unit(given + (goal - self.space(embed([best.text]))[0]))
        return best

    def of_posts(
        self, vectors: Floats, said: Sequence[str], symbol: str, embed: Embed, direction: str | None = None
    ) -> Explanation | Reason:
        """What posts of these vectors (k, size) are about; ``said``: texts known to be true of them.

        ``direction``: ``up`` or ``down`` where something beside the texts, such as a chart, shows it.
        """
        if len(vectors) == 0:
            return Reason(EMPTY)
        facts = Facts.of(said, coin_names(symbol), [direction] if direction else [])
        found = self.explain(mean(self.space(vectors)), facts, embed)
        return found.shown() or Reason(found.withheld or EMPTY)

    def _drafts(self, vector: Floats, turn: int) -> list[list[int]]:
        many = torch.from_numpy(np.repeat(vector[None], SAMPLES + 1, axis=0))
        bonus = self._bonus(many)
        rows = greedy(self.net.decoder, many, TOP_K, TEMPERATURE, seed=turn, certain=1, bonus=bonus)
        return [list(row) for row in dict.fromkeys(map(tuple, rows))]

    def _bonus(self, vectors: Tensor) -> Tensor | None:
        return self.prior.bonus(vectors, len(self.words)) if self.prior is not None else None


def coin_names(symbol: str) -> tuple[str, ...]:
    """The code of a market's coin and its spoken names: ``BTC/USDT`` gives ``BTC`` and ``bitcoin``."""
    base = symbol.partition("/")[0]
    return (base, *(name for name, code in COIN_NAMES.items() if code == base and " " not in name))


def _rank(code: str | None, cosine: float) -> tuple[bool, float]:
    """Texts that may be shown before those that may not, then by their cosine."""
    return code is None, cosine


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), dtype=np.float32)


def medoid(vectors: Floats) -> int:
    """The row (of (n, size), norm 1) that is nearest to the mean of all: the typical one."""
    return int((vectors @ vectors.mean(0)).argmax())


def mean(vectors: Floats) -> Floats:
    """The mean of unit vectors (n, size), brought to norm 1."""
    return _unit(np.asarray(vectors.mean(0), dtype=np.float32))


def load_explainer(artifacts: Path, tokenizer: Any, measured: bool = True) -> Explainer | None:
    """The explainer of an artifacts folder, None where the folder has none.

    With ``measured``, also None where its words were not found better than a typical post (``shown_from`` of its settings,
    chosen by `moodtape reproduce 001 --table 4`), else that is the least round trip of what is shown.

    Raises:
        WeightsError: its files are altered, or it belongs to another text encoder than the one beside it.
    """
    folder = artifacts / FOLDER
    if not folder.is_dir():
        return None
    least = checkpoint.load_config(folder).get("shown_from") if measured else None
    if measured and least is None:
        return None
    found = Explainer.from_pretrained(folder, tokenizer, encoder_revision(artifacts))
    if least is not None:
        found.gate = replace(found.gate, round_trip=max(found.gate.round_trip, float(least)))
    return found
