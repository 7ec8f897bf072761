"""Figures of decoded texts against values worked out by hand."""

from __future__ import annotations

import pytest

from training.explanations.scores import agreement, bleu, content, rouge_l


def test_rouge_l_by_hand() -> None:
    """The longest common subsequence over both lengths: 3 of (4 + 5) / 2."""
    assert rouge_l("stocks fall on friday", "stocks fall again this friday") == pytest.approx(2 * 3 / 9)
    assert rouge_l("", "stocks fall") == 0.0


def test_bleu_by_hand() -> None:
    """A copy scores 1, a text without a common 4-gram 0, and a short one pays the brevity penalty."""
    true = ["the market fell by two percent today"]
    assert bleu(true, true) == pytest.approx(1.0)
    assert bleu(["today percent two"], true) == 0.0
    assert bleu(["the market fell by two"], true) == pytest.approx(2.718281828 ** (1 - 7 / 5))


def test_agreement_counts_only_texts_that_say_something() -> None:
    """Direction is asked of texts that have one, numbers of those with a number; inventions of all."""
    true = ["Apple rises 3%", "Apple waits", "oil falls"]
    written = ["apple rises 3%", "apple waits 5 days", "oil rises"]
    found = agreement(written, true, {"apple"})
    assert found == {"direction": 0.5, "opposite": 0.5, "numbers": 1.0, "names": 1.0, "invented_numbers": 0.3333}


def test_content_words_leave_out_the_small_ones() -> None:
    """Articles and the like carry no subject."""
    assert content("The Fed is to cut rates, says a banker") == {"fed", "cut", "rates", "banker"}
