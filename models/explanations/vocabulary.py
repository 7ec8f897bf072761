"""The words that a decoder may write: the tokenizer's tokens that training saw, renumbered from 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.explanations.decoder import END, START

UNKNOWN = 2
"""Place of what training never saw."""


class Vocabulary:
    """``tokens``: the tokenizer's number of each word of ours; the first three are start, end and unknown."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self._place = {token: place for place, token in enumerate(self.tokens)}

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]], tokenizer: Any) -> Vocabulary:
        """The tokens of the training texts (with special tokens, as the tokenizer gives them)."""
        marks = [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id]
        return cls([*marks, *sorted({token for row in texts for token in row} - set(marks))])

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, row: Sequence[int], positions: int) -> list[int]:
        """A tokenised text with its marks to what the decoder shall write: at most ``positions``, with the end mark."""
        places = [self._place.get(token, UNKNOWN) for token in row[1:]]
        return places[:positions]

    def decode(self, row: Sequence[int], tokenizer: Any) -> str:
        """What the decoder wrote, as text."""
        kept = [self.tokens[place] for place in row if place not in (START, END, UNKNOWN)]
        text: str = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        return text

    def tensor(self) -> Tensor:
        """For a checkpoint."""
        return torch.tensor(self.tokens, dtype=torch.int32)
