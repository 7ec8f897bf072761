"""The rule that lets the decoder speak, and what is counted of queries and charts, on figures made here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.explanations.explainer import Found
from training.explanations import shown
from training.explanations.compare import LEAST, Side, choose, gain, halves
from training.explanations.groups import Trigrams

DAY = 86_400


def side(trips: list[float], decoded: list[float], withheld: list[str | None] | None = None) -> Side:
    """Groups of a day each, whose medoid shares half of its words."""
    n = len(trips)
    codes = withheld or [None] * n
    found = [Found("words", trip, code) for trip, code in zip(trips, codes, strict=True)]
    counts = {"decoded mean": {"shared": np.array(decoded)}, "medoid": {"shared": np.full(n, 0.5)}}
    return Side([], [], np.arange(n) * DAY, {}, counts, Trigrams(["a b"]), found)


def test_the_decoder_speaks_from_the_round_trip_on_at_which_it_is_surely_better() -> None:
    """Where its words share more than the medoid's; not where they do so by chance, seldom, or only when withheld."""
    trips = [0.7] * LEAST + [0.9] * LEAST
    assert choose(side(trips, [0.1] * LEAST + [0.8] * LEAST)) == 0.9
    assert choose(side(trips, [0.6] * LEAST + [0.8] * LEAST)) == 0.7
    assert choose(side(trips, [0.1, 0.8] * LEAST)) is None
    assert choose(side(trips[:-1], [0.1] * LEAST + [0.8] * (LEAST - 1))) is None
    assert choose(side(trips, [0.9] * 2 * LEAST, ["explanation_far"] * 2 * LEAST)) is None


def test_a_gain_is_paired_and_leaves_out_groups_without_another_text() -> None:
    """The mean difference to the same group's medoid; groups that do not count are left out; none gives no figure."""
    values = side([0.9] * 4, [0.7, 0.9, 0.5, np.nan])
    told = gain(values, "decoded mean", np.array([True, True, False, True]))
    assert (told["n"], told["shared"]) == (2, 0.3)
    assert 0.2 <= told["interval"][0] <= told["interval"][1] <= 0.4
    assert gain(values.every(2), "decoded mean", np.ones(2, dtype=bool))["n"] == 2
    assert gain(values, "decoded mean", np.zeros(4, dtype=bool)) == {"n": 0, "shared": None, "interval": None}


def test_the_older_half_chooses_and_the_newer_reports() -> None:
    """No day stands on both sides, of headlines and of posts."""
    day = np.array(["2020-04-01", "2020-04-02", "2020-04-02", "2020-05-01"] * 2, dtype="datetime64[D]")
    texts = SimpleNamespace(day=day, post=np.arange(8) >= 4)
    given: Any = SimpleNamespace(held=np.arange(8), texts=texts)
    older, newer = halves(given)
    assert [rows.tolist() for rows in older] == [[0], [4]]
    assert [rows.tolist() for rows in newer] == [[1, 2, 3], [5, 6, 7]]


def test_words_are_held_against_the_query() -> None:
    """Agreement of texts that say a direction, the opposite among those whose query says one, invented numbers."""
    pairs = [
        ("coin falls", "coin falls 5"),
        ("coin rises", "coin falls"),
        ("coin rises 7", "coin"),
        ("coin", "coin rises"),
    ]
    told = shown._against(pairs)
    assert (told["n"], told["with_direction"], told["agreement"]) == (4, 3, pytest.approx(1 / 3, abs=1e-4))
    assert (told["opposite"], told["invented_numbers"]) == (0.5, 0.25)


def test_a_charts_direction_is_set_beside_exchanged_charts() -> None:
    """Words that always say "rises" agree as often with exchanged charts as with their own."""
    true = ["up", "down"] * 20
    always = shown._agreement(["it rises"] * 40, true)
    assert always["agreement"] == always["shuffled"] == 0.5
    right = shown._agreement(["it rises", "it falls"] * 20, true)
    assert right["agreement"] == 1.0
    assert right["shuffled_interval"][1] < 0.8
    assert shown._agreement(["nothing"] * 40, true) == {"n": 0, "agreement": None, "shuffled": None}


def test_the_locality_of_a_space_that_is_read_rightly() -> None:
    """A decoder that writes the nearest text: the ends are their own texts, little noise changes nothing, steps turn falls."""
    words = ["oil rises", "gold falls", "tin waits", "oil falls", "gold rises", "zinc sleeps"]
    axes = np.eye(6, dtype=np.float32)
    texts = SimpleNamespace(words=words, post=np.zeros(6, dtype=bool))
    held = np.array([0, 1, 2, 5])
    given: Any = SimpleNamespace(texts=texts, vectors=axes, held=held, train=np.array([3, 4]))
    model: Any = SimpleNamespace(write=lambda vectors: [words[int(i)] for i in np.argmax(vectors, axis=1)])
    told = shown.locality(given, model, many=2)
    assert told["between"]["0.0"]["first"] == told["between"]["1.0"]["second"] == 1.0
    assert told["between"]["0.25"]["first"] == 1.0
    assert told["beside"]["0.1"] == 1.0
    assert told["arithmetic"]["n"] == 1
    assert told["arithmetic"]["added"]["0.0"] == {"up": 0.0, "down": 1.0}
    assert told["arithmetic"]["added"]["3.0"] == {"up": 1.0, "down": 0.0}
