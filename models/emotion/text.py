"""The emotion of words: one packed pass gives calibrated probabilities and a sentence vector, with its reasons."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domain.errors import InputError
from domain.reasons import Reason
from domain.types import EMOTIONS
from models.device import half_or_full
from models.emotion.fusion import EmotionFusion, unsure
from models.emotion.net import EmotionNet, claims, load_net
from models.encoders.packed import packable
from models.encoders.text import pool
from models.language import NAMES, language, readable
from models.manifest import ARTIFACTS
from models.parts import TextReading, Vector

__all__ = ["FOLDER", "EmotionFusion", "EmotionTextReader"]

FOLDER = ARTIFACTS / "emotion-text"
STEPS = 12
"""Most points on the path of integrated gradients."""

PATH_TOKENS = 240
"""Tokens of all points together: a long text gets fewer points (at least 3), so that reasons come within 0.3 s."""

_SPECIAL = re.compile(r"^\[.*\]$|^<.*>$")


class EmotionTextReader:
    """Words to readings (:class:`models.parts.TextReader`).

    ``dtype`` bfloat16 is up to 3 times as fast as float32 on processors that multiply it at speed, and gives the same label
    for more than 99.5 % of texts; which of the two is faster here is timed (:func:`models.device.half_or_full`).
    """

    def __init__(
        self, net: EmotionNet, config: dict[str, Any], dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
    ) -> None:
        self.net = net.eval().to(device)
        self.device = device
        self.config = config
        self.dtype = dtype
        self.margin = float(config.get("unsure_margin", 0.0))

    @classmethod
    def from_pretrained(
        cls, folder: Path = FOLDER, dtype: torch.dtype | None = None, device: str = "cpu"
    ) -> EmotionTextReader:
        """Load a checkpoint folder, in the faster precision unless ``dtype`` is given.

        Raises:
            WeightsError: files are missing, altered, truncated or pickled; the message names the file.
        """
        net, config = load_net(Path(folder))
        return cls(net, config, dtype or half_or_full(device), device)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return self.net.encoder.tokenise(texts)

    def read(
        self,
        texts: Sequence[str],
        source: str | None = None,
        *,
        ids: Sequence[list[int] | None] = (),
        languages: Sequence[str] = (),
    ) -> list[TextReading]:
        """One reading per text, in order. ``source``: the kind of text, where it is known (``config["styles"]``).

        ``languages``: as stored with the posts; one that is no code of ours, as older rows may have, is found anew.

        Raises:
            InputError: ``source`` is none of the model's styles.
        """
        if source is not None and source not in self.net.styles:
            raise InputError(f"The model knows the kinds of text {', '.join(self.net.styles)}, not {source}.")
        if not texts:
            return []
        known = [row for row in ids if row is not None]
        reading = self.net.infer(known if len(known) == len(texts) else self.tokenise(texts), self.dtype)
        chances = self.net.probabilities(reading, source)
        vectors = torch.nn.functional.normalize(reading.mean, dim=-1)
        stored = languages or [""] * len(texts)
        unread = [
            _unread(text, code if code in NAMES else language(text)) for text, code in zip(texts, stored, strict=True)
        ]
        probabilities = np.asarray(chances.cpu().numpy(), dtype=np.float32)
        unsure = self._unsure(probabilities)
        rows = zip(probabilities, np.asarray(vectors.cpu().numpy(), dtype=np.float32), unread, unsure, strict=True)
        return [TextReading(p, vector, why or doubt, _warnings(why)) for p, vector, why, doubt in rows]

    @property
    def padding(self) -> float:
        """Share of the token positions computed so far that were padding."""
        return self.net.encoder.padding

    def _unsure(self, probabilities: Vector) -> list[Reason | None]:
        """What to say of each row (n, 7) whose two best emotions are nearer than the margin."""
        best = np.argsort(probabilities, axis=1)[:, :-3:-1]
        first, second = np.take_along_axis(probabilities, best, axis=1).T
        said: list[Reason | None] = [None] * len(probabilities)
        for row in np.flatnonzero(first - second < self.margin).tolist():
            said[row] = unsure(best[row])
        return said

    def several(self, texts: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Independent labels: scores float32 (n, 7) and which of them are claimed, bool (n, 7); more than one may hold."""
        reading = self.net.infer(self.net.encoder.tokenise(texts), self.dtype)
        scores = torch.sigmoid(reading.multi).cpu().numpy().astype(np.float32)
        return scores, claims(scores, self.config["thresholds"])

    def why(self, text: str, label: str) -> list[dict[str, Any]]:
        """Words that speak for ``label`` by integrated gradients (Sundararajan et al., 2017), most important first.

        Weights are shares of the total absolute attribution; words with a negative weight speak against the label.

        Raises:
            InputError: ``label`` is no emotion known here.
        """
        if label not in EMOTIONS:
            raise InputError(f"“{label}” is none of the emotions {', '.join(EMOTIONS)}.")
        ids = self.net.encoder.tokenise([text])
        tokens = self.net.encoder.tokenizer.convert_ids_to_tokens(ids[0])
        words = _words(tokens, self._attributions(ids, EMOTIONS.index(label)))
        total = sum(abs(weight) for _, weight in words) or 1.0
        ranked = sorted(words, key=lambda pair: -abs(pair[1]))
        return [{"word": word, "weight": round(weight / total, 4)} for word, weight in ranked]

    def _attributions(self, ids: list[list[int]], target: int) -> list[float]:
        """Per token: the path integral of the calibrated log-odds' gradient from padding to the token's vector."""
        encoder = self.net.encoder
        tokens, _ = encoder.pad(ids)
        table = encoder.model.get_input_embeddings()  # type: ignore[operator]  # a transformers method
        end = table(tokens).detach()
        start = table(torch.full_like(tokens, encoder.tokenizer.pad_token_id or 0)).detach()
        words = encoder.tokenizer.convert_ids_to_tokens(ids[0])
        keep = torch.tensor([bool(_SPECIAL.match(word)) for word in words], device=end.device)
        start[0, keep] = end[0, keep]
        steps = min(STEPS, max(3, PATH_TOKENS // tokens.shape[1]))
        points = (torch.arange(steps, device=end.device).view(-1, 1, 1) + 0.5) / steps
        path = (start + points * (end - start)).requires_grad_(True)
        bf16 = self.dtype == torch.bfloat16 and packable(encoder.model)
        with torch.autocast(end.device.type, torch.bfloat16, enabled=bf16):
            pooled = self._pooled(path)
        (gradient,) = torch.autograd.grad(self._score(pooled, target), [path])
        return [float(value) for value in (gradient.mean(0) * (end - start)[0]).sum(-1)]

    def _pooled(self, path: Tensor) -> Tensor:
        """Pooled vectors (points, width) of word vectors (points, tokens, width)."""
        model: Any = self.net.encoder.model
        if packable(model) and self.net.pooling != "max":
            return self.net.encoder.upper(list(model.embeddings(inputs_embeds=path)), 0, self.net.pooling)
        mask = torch.ones(path.shape[:2], dtype=torch.long, device=path.device)
        return pool(model(inputs_embeds=path, attention_mask=mask).last_hidden_state, mask, self.net.pooling)

    def _score(self, pooled: Tensor, target: int) -> Tensor:
        reading = self.net.heads(pooled, pooled)
        return torch.log_softmax(self.net.calibrated(reading), dim=-1)[:, target].sum()


def _unread(text: str, code: str) -> Reason | None:
    """Why no emotion is claimed for a text; None where it can be read."""
    if not readable(text):
        return Reason("no_words")
    return None if code in ("en", "und") else Reason("foreign", {"language": code})


def _warnings(unread: Reason | None) -> tuple[Reason, ...]:
    """That words were left out matters beside a picture, too."""
    return (unread,) if unread is not None and unread.code == "foreign" else ()


def _words(tokens: list[str], weights: list[float]) -> list[tuple[str, float]]:
    """Word pieces joined to words; special tokens and bare punctuation are left out, a repeated word counts once."""
    pieces: list[tuple[str, float]] = []
    for token, weight in zip(tokens, weights, strict=True):
        if token.startswith("##") and pieces:
            word, sofar = pieces[-1]
            pieces[-1] = (word + token[2:], sofar + weight)
        elif not _SPECIAL.match(token):
            pieces.append((token.lstrip("Ġ▁"), weight))
    joined: dict[str, float] = {}
    for word, weight in pieces:
        if any(letter.isalnum() for letter in word):
            joined[word] = joined.get(word, 0.0) + weight
    return list(joined.items())
