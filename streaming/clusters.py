"""Near-duplicates among recent posts: campaigns of bots and retweets share a cluster, named by its first post.

MinHash over word trigrams with locality-sensitive hashing (datasketch); similarity 0.7 of the sets of trigrams.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from domain.types import Post

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

THRESHOLD = 0.7
PERMUTATIONS = 64
MOST = 20_000
"""Distinct texts that are remembered."""

_NOISE = re.compile(r"https?://\S+|@\w+|\brt\b:?|\d+|[^\w\s#$]+")


def words(text: str) -> list[str]:
    """Lower-case words without links, names, numbers and punctuation, which campaigns vary."""
    return _NOISE.sub(" ", text.lower()).split()


def shingles(text: str) -> set[bytes]:
    """Word trigrams; short texts are one shingle."""
    found = words(text)
    if len(found) < 3:
        return {" ".join(found).encode()} if found else set()
    return {" ".join(found[i : i + 3]).encode() for i in range(len(found) - 2)}


class Clusters:
    """Remembers recent texts and says which of them a new post repeats.

    datasketch is imported with the first post: it brings scipy, a quarter of the time that a sink takes to start.
    """

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._order: deque[str] = deque()

    @cached_property
    def _lsh(self) -> MinHashLSH:
        from datasketch import MinHashLSH

        return MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)

    @cached_property
    def _empty(self) -> MinHash:
        from datasketch import MinHash

        return MinHash(num_perm=PERMUTATIONS, seed=1)

    def assign(self, posts: Sequence[Post]) -> dict[str, str]:
        """Post id → id of the first post of its cluster, for posts that repeat an earlier one."""
        out: dict[str, str] = {}
        for post in posts:
            first = self._first(post)
            if first is not None and first != post.id:
                out[post.id] = first
        return out

    def _first(self, post: Post) -> str | None:
        found = shingles(post.text)
        if not found:
            return None
        exact = " ".join(words(post.text))
        if exact in self._seen:
            return self._seen[exact]
        sketch = self._empty.copy()
        sketch.update_batch(found)
        near = self._lsh.query(sketch)
        first = self._seen.get(near[0], post.id) if near else post.id
        self._remember(exact, first, sketch)
        return first

    def _remember(self, exact: str, first: str, sketch: MinHash) -> None:
        self._seen[exact] = first
        self._order.append(exact)
        self._lsh.insert(exact, sketch)
        while len(self._order) > MOST:
            gone = self._order.popleft()
            del self._seen[gone]
            self._lsh.remove(gone)
