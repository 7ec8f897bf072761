"""The two arms of report 000: texts on one side, trajectories on the other, brought into one space.

The price side is a chromagram read by a picture encoder, or the series itself read by any encoder of models/encoders/series
(``projection`` is the report's). The text side takes vectors of a frozen encoder, or trains one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain.errors import InputError, WeightsError
from domain.types import STEPS
from models import checkpoint
from models.encoders.image import ImageEncoder
from models.encoders.series import SeriesEncoder, build, load_encoder
from models.trajectories.chroma import chromagrams, pictures

WIDTH = 256
ARMS = ("series", "chromagram")


@dataclass(frozen=True, slots=True)
class ArmSettings:
    """The shape of both sides.

    ``arm``: series or chromagram; ``encoder``: of the series (models/encoders/series, or a pretrained one's folder), or a timm
    id; ``drawn``, ``size``: how a chromagram becomes a picture; ``tune_encoder``: whether it learns; ``text_width``: of the
    text vectors; ``context``: the 256 minutes before the post stand beside its words; ``scale``: "" or "volatility" (each
    trajectory over its own root mean square); ``normalise``: unit vectors; ``temperature``: at the start, learned if
    ``learn_temperature``.
    """

    arm: str = "series"
    encoder: str = "projection"
    encoder_options: dict[str, Any] = field(default_factory=dict)
    drawn: bool = True
    size: int = 224
    tune_encoder: bool = True
    text_width: int = 384
    context: bool = False
    scale: str = ""
    normalise: bool = True
    temperature: float = 0.07
    learn_temperature: bool = True


class ProjectionHead(nn.Module):
    """The report's head: u = W1 x; LayerNorm(u + Dropout(W2 GELU(u)))."""

    def __init__(self, inputs: int, outputs: int = WIDTH, dropout: float = 0.1) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        u = self.first(x)
        found: Tensor = self.norm(u + self.dropout(self.second(functional.gelu(u))))
        return found


class Chromagram(nn.Module):
    """Trajectories (n, 256) to features (n, width) by way of a picture of their chromagram."""

    def __init__(self, settings: ArmSettings) -> None:
        super().__init__()
        self.image = ImageEncoder.from_name(
            settings.encoder, pretrained=bool(settings.encoder_options.get("pretrained", True))
        )
        self.width, self.drawn, self.size = self.image.width, settings.drawn, settings.size

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            drawn = pictures(chromagrams(x.float(), None), self.size, drawn=self.drawn)
        found: Tensor = self.image(drawn)
        return found


class Series(nn.Module):
    """Trajectories (n, 256) to features (n, width) by a series encoder with one channel."""

    def __init__(self, encoder: SeriesEncoder) -> None:
        super().__init__()
        self.encoder, self.width = encoder, encoder.width

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.encoder(x[:, None])
        return found


class TwoArms(nn.Module):
    """Embeddings of texts and trajectories in one space of 256 dimensions."""

    def __init__(self, settings: ArmSettings) -> None:
        super().__init__()
        if settings.arm not in ARMS:
            raise InputError(f"There is no arm {settings.arm}; there are: {', '.join(ARMS)}.")
        self.settings = settings
        self.body: Chromagram | Series = (
            Chromagram(settings) if settings.arm == "chromagram" else Series(_series(settings))
        )
        if not settings.tune_encoder:
            self.body.requires_grad_(False)
        self.before = Series(build("resnet", 1, base=8)) if settings.context else None
        inputs = settings.text_width + (self.before.width if self.before is not None else 0)
        self.text_head, self.series_head = ProjectionHead(inputs), ProjectionHead(self.body.width)
        self.log_scale = nn.Parameter(
            torch.tensor(-math.log(settings.temperature)), requires_grad=settings.learn_temperature
        )
        self.bias = nn.Parameter(torch.tensor(-math.log(32.0)), requires_grad=False)

    @property
    def scale(self) -> Tensor:
        """One over the temperature, at most 100."""
        return self.log_scale.exp().clamp(max=100.0)

    def texts(self, vectors: Tensor, before: Tensor | None = None) -> Tensor:
        """(n, 256) from text vectors (n, text_width) and, with ``context``, the minutes before (n, 256) in percent."""
        if self.before is not None:
            given = torch.zeros(len(vectors), STEPS) if before is None else before
            vectors = torch.cat([vectors, self.before(scaled(given, "volatility"))], 1)
        return self._finished(self.text_head(vectors))

    def series(self, change: Tensor) -> Tensor:
        """(n, 256) from trajectories (n, 256) in percent."""
        return self._finished(self.series_head(self.body(scaled(change, self.settings.scale))))

    def _finished(self, x: Tensor) -> Tensor:
        return functional.normalize(x.float(), dim=1) if self.settings.normalise else x.float()


def scaled(change: Tensor, how: str) -> Tensor:
    """Trajectories as they are, or each over its own root mean square ("volatility"), so that only the shape is left."""
    if how == "volatility":
        return change / change.square().mean(1, keepdim=True).sqrt().clamp_min(1e-3)
    return change


def _series(settings: ArmSettings) -> SeriesEncoder:
    if Path(settings.encoder).is_dir():
        return load_encoder(Path(settings.encoder))
    return build(settings.encoder, 1, **settings.encoder_options)


def save_arms(folder: Path, arms: TwoArms, config: Mapping[str, Any], card: str) -> None:
    """Write a checkpoint; what was a folder of a pretrained encoder is saved as its kind."""
    settings = arms.settings
    if isinstance(arms.body, Series) and Path(settings.encoder).is_dir():
        told = checkpoint.load_config(Path(settings.encoder))
        settings = replace(settings, encoder=told["encoder"], encoder_options=told["options"])
    checkpoint.save(folder, {"arms": asdict(settings), **config}, dict(arms.state_dict()), card)


def load_arms(folder: Path) -> TwoArms:
    """The arms of a checkpoint folder, at rest.

    Raises:
        WeightsError: a file is missing, altered, or of another kind.
    """
    config, tensors = checkpoint.load(folder)
    try:
        settings = ArmSettings(**config["arms"])
        if settings.arm == "chromagram":
            settings = replace(settings, encoder_options={"pretrained": False})
        arms = TwoArms(settings)
    except (KeyError, TypeError, InputError) as error:
        raise WeightsError(f"The settings of {folder.name} are not those of two arms ({error}).") from None
    checkpoint.load_state(arms, tensors, folder.name)
    return arms.eval()
