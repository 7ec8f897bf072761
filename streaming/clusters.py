"""Near-duplicates among recent posts: campaigns of bots and retweets share a cluster, named by its first post.

MinHash over word trigrams with locality-sensitive hashing (rensa): texts are near from about 0.7 of their trigrams on.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from rensa import RMinHash, RMinHashLSH

from domain.types import Post

THRESHOLD = 0.7
PERMUTATIONS = 64
BANDS = 8
"""Texts that agree in all 8 permutations of one of 8 bands are near: half of those that share 0.72 of their trigrams."""

MOST = 20_000
"""Distinct texts that are remembered."""

_NOISE = re.compile(r"https?://\S+|@\w+|\brt\b:?|\d+|[^\w\s#$]+")


def words(text: str) -> list[str]:
    """Lower-case words without links, names, numbers and punctuation, which campaigns vary."""
    return _NOISE.sub(" ", text.lower()).split()


def shingles(text: str) -> list[str]:
    """Word trigrams; short texts are one shingle."""
    tokens = words(text)
    if len(tokens) < 3:
        return [" ".join(tokens)] if tokens else []
    return [" ".join(tokens[i : i + 3]) for i in range(len(tokens) - 2)]


class Clusters:
    """Remembers recent texts and says which of them a new post repeats."""

    def __init__(self) -> None:
        self._lsh = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
        self._seen: dict[str, str] = {}
        self._first_of: dict[int, str] = {}
        self._order: deque[tuple[int, str]] = deque()
        self._next = 0

    def assign(self, posts: Sequence[Post]) -> dict[str, str]:
        """Post id → id of the first post of its cluster, for posts that repeat an earlier one."""
        out: dict[str, str] = {}
        for post in posts:
            first = self._first(post)
            if first is not None and first != post.id:
                out[post.id] = first
        return out

    def _first(self, post: Post) -> str | None:
        trigrams = shingles(post.text)
        if not trigrams:
            return None
        exact = " ".join(words(post.text))
        if exact in self._seen:
            return self._seen[exact]
        sketch = RMinHash(PERMUTATIONS, seed=1)
        sketch.update(trigrams)
        near = self._lsh.query(sketch)
        first = self._first_of[min(near)] if near else post.id
        self._remember(exact, first, sketch)
        return first

    def _remember(self, exact: str, first: str, sketch: RMinHash) -> None:
        number, self._next = self._next, self._next + 1
        self._seen[exact] = self._first_of[number] = first
        self._order.append((number, exact))
        self._lsh.insert(number, sketch)
        while len(self._order) > MOST:
            number, gone = self._order.popleft()
            del self._seen[gone], self._first_of[number]
            self._lsh.remove(number)
