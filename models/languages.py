"""Languages of many texts at once: py3langid's automaton walks all of them together, one byte of each per step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW = 16
"""Texts up to which py3langid's own loop is the faster one."""

LONG = 1024
"""Bytes from which a text is walked alone: the others need not wait for it."""

Counts = NDArray[np.int_]
Floats = NDArray[np.float32]


class Identifier:
    """A py3langid identifier that gives probabilities, with the same answers up to rounding; one column per language."""

    def __init__(self, identifier: Any) -> None:
        if identifier._alias_pairs:
            raise ValueError("two columns of one language are not kept apart here")
        self._alone = identifier
        self._moves = np.asarray(identifier.tk_nextmove)
        self._rows = np.asarray(identifier.tk_row, dtype=np.intp) << 8
        self._features = np.asarray(identifier.tk_output, dtype=np.int32)

    @cached_property
    def _table(self) -> Floats:
        """(features, languages); 8 MB that a process pays for once many texts come at a time."""
        return np.ascontiguousarray(self._alone.nb_ptc, dtype=np.float32)

    def classify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest language of each text, and how certain that is (0…1)."""
        raw = [self._alone._encode(text) for text in texts]
        together = [i for i, text in enumerate(raw) if 0 < len(text) <= LONG]
        if len(together) <= FEW:
            together = []
        told = dict(zip(together, self._together([raw[i] for i in together]), strict=True)) if together else {}
        return [told[i] if i in told else self._one(texts[i]) for i in range(len(texts))]

    def _one(self, text: str) -> tuple[str, float]:
        code, certainty = self._alone.classify(text)
        return str(code), float(certainty)

    def _together(self, texts: list[bytes]) -> list[tuple[str, float]]:
        lengths = np.array([len(text) for text in texts])
        scores = self._scores(texts, lengths).astype(np.float64) / np.sqrt(lengths)[:, None]
        likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
        best = likelihoods.argmax(axis=1)
        certain = likelihoods.max(axis=1) / likelihoods.sum(axis=1)
        names = self._alone.nb_classes
        return [(names[i], p) for i, p in zip(best.tolist(), certain.tolist(), strict=True)]

    def _scores(self, texts: list[bytes], lengths: Counts) -> Floats:
        """Naive Bayes log-posteriors (texts, languages); 0 throughout for a text without features."""
        keys, counts = np.unique(self._visits(texts, lengths), return_counts=True)
        rows, features = np.divmod(keys, len(self._table))
        weights = np.log1p(counts.astype(np.float32))
        out = np.zeros((len(texts), self._table.shape[1]), dtype=np.float32)
        starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(rows)]):
            out[rows[start]] = weights[start:stop] @ self._table[features[start:stop]] + self._alone.nb_pc
        return out

    def _visits(self, texts: list[bytes], lengths: Counts) -> Counts:
        """``text · features + feature`` of every state with a feature in which the automaton was, text by text.

        The longest texts stand first, so that those not yet at their end are always the first ones.
        """
        order = np.argsort(-lengths, kind="stable")
        steps = np.arange(lengths[order[0]])
        letters = np.zeros((len(texts), len(steps)), dtype=np.uint8)
        letters[steps < lengths[order, None]] = np.frombuffer(b"".join([texts[i] for i in order]), dtype=np.uint8)
        alive = np.searchsorted(-lengths[order], -steps, side="left").tolist()
        states = np.zeros(len(texts), dtype=np.intp)
        visited = []
        for column, count in zip(np.ascontiguousarray(letters.T), alive, strict=True):
            states = self._moves.take(self._rows.take(states[:count]) + column[:count])
            visited.append(states)
        features = self._features[np.concatenate(visited)]
        place = np.concatenate([order[:count] for count in alive])
        found = features >= 0
        return np.asarray(place[found] * len(self._table) + features[found])
