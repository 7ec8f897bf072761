"""The words that a decoder may write, and ways of writing a text from a vector: greedy, beam search, sampling of the top k."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.explanations.decoder import END, START, Decoder, OnePass

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


@torch.inference_mode()
def greedy(
    decoder: Decoder,
    vectors: Tensor,
    top_k: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    certain: int = 0,
    bonus: Tensor | None = None,
) -> list[list[int]]:
    """The likeliest token at each step, or with ``top_k`` > 1 one drawn from that many; vectors (n, size) to token rows.

    The first ``certain`` rows take the likeliest in any case. ``bonus`` (n, words) is added to the scores; what is positive
    of it is spent once its token is written, and no token then follows itself. Rows end before the end mark, and at the
    last position.
    """
    if isinstance(decoder, OnePass):
        return _all_at_once(decoder, vectors)
    generator = torch.Generator(device=vectors.device).manual_seed(seed)
    state = decoder.begin(vectors)
    last = torch.full((len(vectors),), START, device=vectors.device)
    alive = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
    rows = torch.full((len(vectors), decoder.shape.positions), END, device=vectors.device)
    for place in range(decoder.shape.positions):
        logits = decoder.step(state, last)
        logits[:, START] = float("-inf")
        if bonus is not None:
            logits = (logits + bonus).scatter(1, last.unsqueeze(1), float("-inf"))
        last = _choose(logits.float(), top_k, temperature, generator)
        last[:certain] = logits[:certain].argmax(-1)
        if bonus is not None:
            bonus = bonus.scatter(1, last.unsqueeze(1), bonus.gather(1, last.unsqueeze(1)).clamp(max=0))
        alive &= last != END
        if not alive.any():
            break
        rows[:, place] = torch.where(alive, last, END)
    return [_until_end(row) for row in rows.tolist()]


@torch.inference_mode()
def beam(decoder: Decoder, vectors: Tensor, width: int = 4, length_penalty: float = 1.0) -> list[list[int]]:
    """The likeliest text that ``width`` hypotheses find, by log probability over length ** ``length_penalty``."""
    if isinstance(decoder, OnePass):
        return _all_at_once(decoder, vectors)
    n, device = len(vectors), vectors.device
    state = decoder.begin(vectors)
    state.reorder(torch.arange(n, device=device).repeat_interleave(width))
    scores = torch.full((n, width), float("-inf"), device=device)
    scores[:, 0] = 0.0
    rows = torch.full((n * width, 0), END, device=device)
    last = torch.full((n * width,), START, device=device)
    finished: list[tuple[float, list[int]]] = [(float("-inf"), [])] * n
    first = torch.arange(n, device=device).unsqueeze(1) * width
    for place in range(decoder.shape.positions):
        logits = decoder.step(state, last).float()
        logits[:, START] = float("-inf")
        total = torch.log_softmax(logits, dim=1).view(n, width, -1) + scores.unsqueeze(2)
        words = total.shape[2]
        best, at = total.flatten(1).topk(2 * width)
        origin, token = at // words + first, at % words
        final = place + 1 == decoder.shape.positions
        _collect(finished, rows, best, origin, token, (place + 1) ** length_penalty, final)
        best = best.masked_fill(token == END, float("-inf"))
        scores, keep = best.topk(width)
        origin, token = origin.gather(1, keep).flatten(), token.gather(1, keep).flatten()
        rows, last = torch.cat([rows[origin], token.unsqueeze(1)], dim=1), token
        reachable = scores[:, 0] / (place + 1) ** length_penalty
        if all(score >= float(most) for (score, _), most in zip(finished, reachable, strict=True)):
            break
        state.reorder(origin)
    return [row for _, row in finished]


@torch.inference_mode()
def surprise(decoder: Decoder, rows: list[list[int]]) -> Tensor:
    """Nats per token (n,) of token rows to the decoder without a vector: how odd a text is, whatever it is about."""
    full = [[*row, END][: decoder.shape.positions] for row in rows]
    longest = max(map(len, full))
    after = torch.tensor([row + [-100] * (longest - len(row)) for row in full])
    before = torch.cat([torch.full((len(full), 1), START), after[:, :-1].clamp(min=0)], dim=1)
    logits = decoder.words.logits(decoder(torch.zeros(len(full), decoder.shape.size), before))
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), after.flatten(), reduction="none")
    return nats.view(after.shape).sum(1) / (after >= 0).sum(1)


def _collect(
    finished: list[tuple[float, list[int]]],
    rows: Tensor,
    best: Tensor,
    origin: Tensor,
    token: Tensor,
    norm: float,
    final: bool,
) -> None:
    """Keep each text's best finished hypothesis; at the last position all count as finished."""
    for i, (scores, places, tokens) in enumerate(zip(best.tolist(), origin.tolist(), token.tolist(), strict=True)):
        for score, place, word in zip(scores, places, tokens, strict=True):
            if (word == END or final) and score / norm > finished[i][0]:
                row = rows[place].tolist()
                finished[i] = (score / norm, row if word == END else [*row, word])


def _all_at_once(decoder: OnePass, vectors: Tensor) -> list[list[int]]:
    before = torch.full((len(vectors), decoder.shape.positions), START, device=vectors.device)
    logits = decoder.words.logits(decoder(vectors, before))
    logits[..., START] = float("-inf")
    return [_until_end(row) for row in logits.argmax(-1).tolist()]


def _choose(logits: Tensor, top_k: int, temperature: float, generator: torch.Generator) -> Tensor:
    if top_k <= 1:
        return logits.argmax(-1)
    values, places = logits.topk(top_k)
    drawn = torch.multinomial(torch.softmax(values / temperature, dim=-1), 1, generator=generator)
    return places.gather(1, drawn).squeeze(1)


def _until_end(row: list[int]) -> list[int]:
    return row[: row.index(END)] if END in row else row
