"""What the C library does with the memory that a scoring process frees, where it lets us choose (glibc)."""

from __future__ import annotations

import ctypes

ARENA_MAX = -8
"""``M_ARENA_MAX`` of glibc's malloc.h."""


def share_one_heap() -> bool:
    """Let all threads allocate from one heap, where the C library can be asked to; to be called before threads start.

    By default each thread gets a heap of its own. Both threads that run batches then leave holes in theirs, and what is
    kept at rest wanders by 20 MB. The lock of one heap costs nothing here: the threads take turns at the interpreter and
    the models anyway, and small blocks come from caches without locks.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(choose(ARENA_MAX, 1)) if choose is not None else False


def give_back() -> bool:
    """Let the C library return freed pages to the system, where it can; whether it had any.

    Batches of ever other sizes leave holes between what is kept: without this a worker creeps up by megabytes an hour.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False
