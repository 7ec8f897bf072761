"""Checkpoints the Hugging Face way: a folder with ``config.json``, ``model.safetensors`` and a card ``README.md``.

Pickles are refused whatever they hold, because loading one runs its code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from domain.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

A = TypeVar("A")

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})


def save(
    folder: Path,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor | NDArray[Any]],
    card: str,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint; each file appears whole or not at all. ``dtype`` converts floating tensors (fp16 to ship)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"}, dtype)
    write_text(folder / CONFIG, json.dumps(config, indent=1, sort_keys=True) + "\n")
    write_text(folder / CARD, card)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | NDArray[Any]], about: dict[str, str], dtype: torch.dtype | None = None
) -> None:
    """Write one safetensors file that appears whole or not at all; ``about`` stands in its head."""
    from safetensors.torch import save_file

    part = path.with_name(path.name + ".part")
    save_file({name: _plain(tensor, dtype) for name, tensor in tensors.items()}, part, about)
    part.chmod(0o644)
    part.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights (float32 where they were stored in half) of a checkpoint folder.

    Raises:
        WeightsError: a file is missing, truncated or not readable, or the folder holds only a pickle; it is named.
    """
    return load_config(folder), load_weights(_weights_file(folder))


def load_arrays(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """As :func:`load`, with numpy arrays of the types they were stored in; does not import torch."""
    from safetensors.numpy import load_file

    return load_config(folder), _read(_weights_file(folder), load_file)


def load_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a checkpoint folder.

    Raises:
        WeightsError: it is missing or no JSON object.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"The model settings {folder.name}/{CONFIG} cannot be read ({error}).") from None
    if not isinstance(config, dict):
        raise WeightsError(f"The model settings {folder.name}/{CONFIG} are not a JSON object.")
    return config


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of one safetensors file; halves become float32.

    Raises:
        WeightsError: a pickle, or a file that is missing, truncated or altered; the message names it.
    """
    import torch
    from safetensors.torch import load_file

    halves = (torch.float16, torch.bfloat16)
    return {key: value.float() if value.dtype in halves else value for key, value in _read(path, load_file).items()}


def _read(path: Path, load_file: Callable[[Path], A]) -> A:
    name = f"{path.parent.name}/{path.name}"
    if path.suffix in PICKLES:
        raise WeightsError(f"The weights file {name} is a pickle, which can run code; give a .safetensors file.")
    try:
        return load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"The weights file {name} is missing; install moodtape again.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"The weights file {name} is truncated or altered ({error}); it is not loaded.") from None


def load_state(module: torch.nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Fill a module strictly.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape; ``name`` says whose.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights of {name} do not fit its config.json: {str(error).splitlines()[-1].strip()}"
        ) from None


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS
    if not path.is_file() and folder.is_dir():
        pickles = sorted(p for p in folder.iterdir() if p.suffix in PICKLES)
        return pickles[0] if pickles else path
    return path


def _plain(tensor: Tensor | NDArray[Any], dtype: torch.dtype | None) -> Tensor:
    """A copy that shares no memory with another tensor, as safetensors wants it."""
    import torch

    if isinstance(tensor, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(tensor))
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.clone().contiguous()
