"""The network behind the text emotion: one encoder, two heads, and a calibration that does not guess the source.

Diary sentences, forum comments and trading slang have different base rates of the seven emotions. Where the kind of text is
told, its own temperature and bias are used; any other text gets one temperature, fitted on sources that nothing was trained
on, and no bias. Beside the network stands a lexicon, a linear model of the tokens (Cheng et al., 2016, “Wide & Deep”), which
learns rare telling words faster than a network does; it counts in the styles that it was learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from numpy.typing import NDArray
from torch import Tensor, nn

from domain.errors import WeightsError
from domain.types import EMOTIONS
from models import checkpoint, manifest
from models.encoders.text import DEFAULT, TextEncoder, is_folder, locate, pool

KIND = "emotion-text"
FROZEN = "embeddings.word_embeddings.weight"
"""Stays as it is in the base, and is therefore not shipped again (45 of MiniLM's 91 MB)."""

LEXICAL = ("lexicon", "calibration.lexical", "calibration.unknown")
"""Without effect in a checkpoint that is older than they are."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Raw outputs for a batch.

    Logits, logits of independent labels and logits of the lexicon, (n, 7) each; mean (n, width).
    """

    logits: Tensor
    multi: Tensor
    mean: Tensor
    lexical: Tensor


class EmotionNet(nn.Module):
    """Encoder and heads; ``styles`` names the kinds of text that calibration knows."""

    def __init__(self, encoder: TextEncoder, styles: Sequence[str], pooling: str = "first") -> None:
        super().__init__()
        self.encoder = encoder
        self.styles = tuple(styles)
        self.pooling = pooling
        n = len(EMOTIONS)
        self.head = nn.Linear(encoder.width, n)
        self.multi = nn.Linear(encoder.width, n)
        self.lexicon = nn.Parameter(torch.zeros(encoder.vocabulary, n), requires_grad=False)
        self.calibration = nn.ParameterDict(
            {
                "inverse_temperature": nn.Parameter(torch.ones(len(self.styles)), requires_grad=False),
                "bias": nn.Parameter(torch.zeros(len(self.styles), n), requires_grad=False),
                "multi_bias": nn.Parameter(torch.zeros(n), requires_grad=False),
                "lexical": nn.Parameter(torch.zeros(len(self.styles)), requires_grad=False),
                "unknown": nn.Parameter(torch.ones(1), requires_grad=False),
            }
        )

    def forward(self, ids: Sequence[Sequence[int]]) -> Reading:
        """Padded pass with gradients."""
        hidden, mask = self.encoder(ids)
        return self.heads(pool(hidden, mask, self.pooling), pool(hidden, mask, "mean"), self.lexical(ids))

    @torch.inference_mode()
    def infer(self, ids: Sequence[Sequence[int]], dtype: torch.dtype = torch.float32) -> Reading:
        """Packed pass; ``max`` pooling is not kept by the packed encoder and falls back to padding."""
        if self.pooling == "max":
            return self(ids)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
        lexical = self.lexical(ids)  # first: on a GPU, sending its tokens would wait for the encoder
        first, mean = self.encoder.encode(ids, dtype)
        return self.heads(first if self.pooling == "first" else mean, mean, lexical)

    def heads(self, pooled: Tensor, mean: Tensor, lexical: Tensor | None = None) -> Reading:
        """Head outputs for pooled vectors."""
        logits = self.head(pooled)
        lexical = torch.zeros_like(logits) if lexical is None else lexical
        return Reading(logits, self.multi(pooled), mean, lexical)

    def lexical(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the lexicon, (n, 7): see :func:`bag`."""
        return bag(self.lexicon, *flat(ids, self.lexicon.device))

    def probabilities(self, reading: Reading, style: str | None = None) -> Tensor:
        """Calibrated probabilities (n, 7). ``style`` names the kind of text where it is known."""
        return torch.softmax(self.calibrated(reading, style), dim=-1)

    def calibrated(self, reading: Reading, style: str | None = None) -> Tensor:
        """Logits (n, 7) scaled, and shifted where the style is known."""
        if style is None:
            plain: Tensor = reading.logits * self.calibration["unknown"]
            return plain
        i = self.styles.index(style)
        scale, share = self.calibration["inverse_temperature"][i], self.calibration["lexical"][i]
        shifted: Tensor = reading.logits * scale + reading.lexical * share + self.calibration["bias"][i]
        return shifted

    def save(self, folder: Path, config: dict[str, Any], card: str) -> None:
        """Write a checkpoint without the frozen word embeddings, in float16."""
        base = config["encoder"]
        known: dict[str, Any] = {
            "kind": KIND,
            "labels": list(EMOTIONS),
            "styles": list(self.styles),
            "pooling": self.pooling,
            "max_tokens": self.encoder.max_tokens,
            "base_sha256": base_digest(base),
        }
        tensors = {name: tensor for name, tensor in self.state_dict().items() if not name.endswith(FROZEN)}
        checkpoint.save(folder, known | config, tensors, card, torch.float16)


def flat(ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """All tokens in a row and how many each text has, int64 (tokens) and (n)."""
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    tokens = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
    return torch.from_numpy(tokens).to(device), torch.from_numpy(lengths).to(device)


def bag(lexicon: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Sum of the tokens' rows of ``lexicon`` (vocabulary, 7) over the root of their number, (n, 7)."""
    sums = F.embedding_bag(tokens, lexicon, lengths.cumsum(0) - lengths, mode="sum")
    return sums / lengths.sqrt().unsqueeze(1)


def claims(scores: NDArray[np.float32], thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Which of the independent labels hold (n, 7): those above their threshold, the best one where none is."""
    claimed = scores > np.asarray(thresholds, np.float32)
    empty = ~claimed.any(1)
    claimed[empty, scores[empty].argmax(1)] = True
    return claimed


def load_net(folder: Path) -> tuple[EmotionNet, dict[str, Any]]:
    """Network and config of a checkpoint folder; the word embeddings come from the base, whose digest is checked.

    Raises:
        WeightsError: files missing, altered, pickled or not fitting together; the message names the file.
    """
    config, tensors = checkpoint.load(folder)
    if config.get("kind") != KIND or config.get("labels") != list(EMOTIONS):
        raise WeightsError(f"{folder.name}/config.json does not describe a {KIND} model with moodtape's seven labels.")
    base = str(config["encoder"])
    expected = config.get("base_sha256")
    if expected and base_digest(base) != expected:
        raise WeightsError(f"The base encoder {base} differs from the one {folder.name} was trained on; reinstall it.")
    encoder = TextEncoder.from_name(base, int(config["max_tokens"]))
    net = EmotionNet(encoder, config["styles"], config["pooling"])
    added = [name for name in LEXICAL if name not in tensors]
    given = {name: tensor for name, tensor in net.state_dict().items() if name.endswith(FROZEN) or name in added}
    checkpoint.load_state(net, given | tensors, f"{folder.name}/{checkpoint.WEIGHTS}")
    return net.eval(), config


def new_net(encoder: str = DEFAULT, styles: Sequence[str] = ("general",), pooling: str = "first") -> EmotionNet:
    """A network with a pretrained encoder, frozen word embeddings and fresh heads."""
    net = EmotionNet(TextEncoder.from_name(encoder), styles, pooling)
    for name, parameter in net.encoder.named_parameters():
        if name.endswith(FROZEN):
            parameter.requires_grad_(False)
    return net


def base_digest(encoder: str) -> str | None:
    """sha256 of the base's weights file, None for a hub id."""
    path = Path(locate(encoder)) / checkpoint.WEIGHTS
    return manifest.sha256(path) if is_folder(encoder) and path.is_file() else None
