"""Groups of near texts and what is counted of a candidate, on texts made here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from training.explanations.groups import Trigrams, agreed, averages, counted, draw, medoids, nearest, similarity
from training.explanations.meaning import Mixed
from training.explanations.texts import embed, neighbours, plain

GROUP = ["Bitcoin falls below support", "bitcoin falls again today", "Traders watch bitcoin"]


def _unit(vectors: list[list[float]]) -> np.ndarray:
    table = np.asarray(vectors, dtype=np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


VECTORS = _unit([[1, 0.1], [1, 0.5], [1, 1], [0.1, 1], [0.5, 1]])


def test_a_group_is_near_its_first_text() -> None:
    """Groups hold two or more texts of their pool that are near, never a far one."""
    groups = draw(VECTORS, [np.arange(5)], 5, seed=0)
    assert groups
    for group in groups:
        assert len(group.rows) >= 2
        assert (VECTORS[group.rows[1:]] @ VECTORS[group.rows[0]] >= 0.5).all()
        assert np.linalg.norm(group.vector) == pytest.approx(1.0, abs=1e-5)


def test_the_medoid_is_the_middle_one_and_the_nearest_is_of_training() -> None:
    """Of three texts in a fan the middle one is typical; the floor comes from the training rows alone."""
    groups = [g for s in range(9) for g in draw(VECTORS, [np.arange(3)], 3, s) if len(g.rows) == 3]
    assert groups
    assert set(medoids(groups, VECTORS)) == {1}
    assert set(nearest(groups, VECTORS, np.array([3, 4]))) == {4}


def test_neighbours_leave_out_the_text_itself_and_its_copies() -> None:
    """A text and its exact copy are no neighbours of one another."""
    table = np.concatenate([VECTORS, VECTORS[:1]])
    near = neighbours(table, np.arange(6), np.array([0]), k=2)
    assert 0 not in near
    assert 5 not in near


def test_counts_by_hand() -> None:
    """Words of another text, words, names and numbers that two say, direction, and inventions."""
    said = ["Bitcoin rises 5% says Tesla", "Traders watch bitcoin"]
    found = counted(said, [GROUP, GROUP], {"bitcoin", "tesla"}, Trigrams(GROUP))
    assert found["shared"].tolist() == pytest.approx([(2 / 7 + 2 / 7 + 2 / 6) / 3, 2 / 7])
    assert found["said_by_two"][0] == pytest.approx(1 / 3)
    assert (found["covered"][0], found["names"][0]) == (0.5, 1.0)
    assert np.isnan(found["numbers"]).all()
    assert (found["direction"].tolist(), found["opposite"].tolist()) == ([0.0, 0.0], [1.0, 0.0])
    assert (found["invented_numbers"].tolist(), found["invented_names"].tolist()) == ([1.0, 0.0], [1.0, 0.0])
    told = averages(found)
    assert (told["direction"], told["invented_names"], told["numbers"]) == (0.0, 0.5, None)


def test_a_group_agrees_only_without_contradiction() -> None:
    """Two that say the same and none against it make a direction."""
    assert agreed(GROUP) == "down"
    assert agreed(["stocks rise", "stocks fall", "stocks fall"]) is None
    assert agreed(["stocks fall", "calm"]) is None


def test_known_phrases_are_more_fluent() -> None:
    """A text of the model's own costs fewer bits than its words in another order."""
    model = Trigrams(GROUP)
    assert model.bits("bitcoin falls again today") < model.bits("today again falls bitcoin") < 30


def test_similarity_leaves_the_candidate_itself_out() -> None:
    """A medoid is compared with the others of its group only."""
    table = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    assert similarity(["a"], [["a", "b"]], lambda texts: np.array([table[t] for t in texts], dtype=np.float32)) == 0.0


def test_mixtures_name_the_member_they_are_nearest_to() -> None:
    """A mixture's target is one of its members; alone, it is the text itself with its own vector."""
    near = {0: np.array([1, 2]), 1: np.array([0, 2])}
    alone = Mixed(VECTORS, near, alone=1.1).batch([0, 1])
    assert list(alone.wanted) == [0, 1]
    assert np.allclose(alone.states.numpy(), VECTORS[:2], atol=1e-6)
    mixed = Mixed(VECTORS, near, alone=-1.0).batch([0] * 20)
    assert set(mixed.wanted) <= {0, 1, 2}
    assert len(set(mixed.wanted)) > 1


def test_plain_words_lose_links_names_and_emoji() -> None:
    """What the decoder may write has no link, no @name and no emoji."""
    assert plain("@bob says $BTC.X to the moon 🚀🚀 https://t.co/x ’twas") == "says $BTC. to the moon 'twas"


def test_vectors_are_kept_as_they_are_made(tmp_path: Path) -> None:
    """A run that is stopped goes on with the texts that have no vector yet, and one that is done computes nothing."""
    asked: list[int] = []

    def infer(ids: list[str], dtype: Any) -> Any:
        asked.append(len(ids))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return SimpleNamespace(mean=torch.tensor([[float(len(text)), *[1.0] * 383] for text in ids]))

    reader: Any = SimpleNamespace(net=SimpleNamespace(infer=infer), tokenise=list, dtype=torch.float32)
    texts = ["a" * (1 + n % 50) for n in range(600)]
    with pytest.raises(KeyboardInterrupt):
        embed(reader, texts, tmp_path / "kept.npy")
    found = embed(reader, texts, tmp_path / "kept.npy")
    again = embed(reader, texts, tmp_path / "kept.npy")
    assert asked == [512, 88, 88]
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.allclose(found[:, 0] / found[:, 1], [len(text) for text in texts], rtol=1e-4)
    assert (again == found).all()
