"""Lets timm and transformers be imported beside a CPU torch whose torchvision wheel was built for CUDA.

Such a torchvision fails at import ("operator torchvision::nms does not exist") and takes both libraries down with it.
Declaring the two missing operators is enough: nothing here calls them. A torchvision that fits is left alone.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def mend_torchvision() -> Any:
    """Make ``import torchvision`` work, once per process; call before the first import of timm or transformers.

    Returns the operator library that must stay alive, or None where torchvision is sound or absent.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        return _declare_operators()
    return None


def _declare_operators() -> Any:
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # untyped in torch
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)
    importlib.import_module("torchvision")
    return library


def import_transformers() -> ModuleType:
    """The transformers package, imported on a sound torchvision."""
    mend_torchvision()
    return importlib.import_module("transformers")


def import_timm() -> ModuleType:
    """The timm package, imported on a sound torchvision."""
    mend_torchvision()
    return importlib.import_module("timm")
