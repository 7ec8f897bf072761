"""Report 003's networks: an LSTM and a Transformer (told where each step stands) on windows, and the fusion of modalities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Doubles = NDArray[np.float64]


class Lstm(nn.Module):
    """LSTM of two layers of 64: the last step's state to one logit. Input (n, steps, channels), output (n)."""

    def __init__(self, channels: int, hidden: int = 64, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        out: Tensor = self.head(states[:, -1])[:, 0]
        return out


class Transformer(nn.Module):
    """Linear to 64, sines of the position added (report 003 had none), 2 layers of 8 heads, last step to one logit."""

    def __init__(
        self,
        channels: int,
        hidden: int = 64,
        heads: int = 8,
        layers: int = 2,
        dropout: float = 0.1,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.enter = nn.Linear(channels, hidden)
        layer = nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, dropout, batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        if self.positions:
            entered = entered + sines(x.shape[1], entered.shape[2]).to(entered)
        out: Tensor = self.head(self.body(entered)[:, -1])[:, 0]
        return out


def sines(steps: int, size: int) -> Tensor:
    """Position code (steps, size) of Vaswani et al., 2017."""
    at = torch.arange(steps)[:, None]
    rate = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    out = torch.zeros(steps, size)
    out[:, 0::2], out[:, 1::2] = torch.sin(at * rate), torch.cos(at * rate)
    return out


NETS: dict[str, type[Lstm] | type[Transformer]] = {"lstm": Lstm, "transformer": Transformer}


@dataclass(frozen=True, eq=False)
class SequenceModel:
    """A network with the standardisation of its input: mean and scale float32[channels] of the training rows."""

    kind: str
    net: nn.Module
    mean: Tensor
    scale: Tensor

    def logit(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Of sequences (n, steps, channels), NaN where unknown: float64[n]."""
        if sequence is None:
            raise ValueError(f"a {self.kind} looks at the windows, not at features")
        self.net.eval()
        with torch.inference_mode():
            parts = [self.net(self.prepared(sequence[i : i + 512])) for i in range(0, len(sequence), 512)]
        return np.asarray(torch.cat(parts).double().numpy()) if parts else np.zeros(0)

    def prepared(self, sequence: Doubles) -> Tensor:
        """Standardised, clipped, unknown values 0."""
        x = (torch.from_numpy(np.asarray(sequence, dtype=np.float32)) - self.mean) / self.scale
        return torch.nan_to_num(x, nan=0.0).clamp(-6, 6)

    def looks_at(self, columns: Sequence[int]) -> bool:
        """Always: windows hold every channel."""
        return True

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For ``model.safetensors``."""
        own = {f"net.{name}": value.detach().numpy() for name, value in self.net.state_dict().items()}
        return own | {"mean": self.mean.numpy(), "scale": self.scale.numpy()}

    @classmethod
    def from_tensors(cls, kind: str, tensors: Mapping[str, NDArray[Any]]) -> SequenceModel:
        """The model of :meth:`tensors`."""
        mean, scale = torch.from_numpy(tensors["mean"].copy()), torch.from_numpy(tensors["scale"].copy())
        net = NETS[kind](len(mean))
        state = {name[4:]: torch.from_numpy(value.copy()) for name, value in tensors.items() if name.startswith("net.")}
        net.load_state_dict(state)
        return cls(kind, net, mean, scale)


class Fusion(nn.Module):
    """Blocks (n, size) each, concatenated, to one logit (n). A block that is left out is simply not given.

    ``mean`` and ``scale`` are of the training rows; set them with :meth:`standardise` before the first step.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: Sequence[int], hidden: Sequence[int] = (512, 256), dropout: float = 0.0) -> None:
        super().__init__()
        total = sum(sizes)
        layers: list[nn.Module] = []
        for before, after in zip((total, *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else total, 1))
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))

    def standardise(self, *blocks: Tensor) -> None:
        """Take mean and deviation from training rows."""
        joint = torch.cat(blocks, dim=1)
        self.mean.copy_(joint.mean(dim=0))
        self.scale.copy_(joint.std(dim=0).clamp_min(1e-6))

    def forward(self, *blocks: Tensor) -> Tensor:
        joint = (torch.cat(blocks, dim=1) - self.mean) / self.scale
        out: Tensor = self.body(joint)[:, 0]
        return out
