"""The scorer puts parts together: one pass per modality, errors in their place, warnings in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from domain.answer import Explanation, Verdict
from domain.clock import ManualClock
from domain.errors import EmptyPost, InputError, MoodtapeError, UnreadableImage
from domain.reasons import Reason
from domain.types import ImageRef, MarketContext, Post
from models.parts import ImageReading, TextReading
from models.scorer import WHY_SECONDS, Parts, Scorer, ScoringInput
from tests.fakes.scoring import TRAINED, FakeFusion, FakeHype, FakeImage, FakeText, FakeTrajectories, joyful

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
REF = ImageRef("00", "image/png", 8, 8)
BTC = "BTC/USDT"


@pytest.fixture
def scorer() -> Scorer:
    """A scorer of fakes, with a clock that stands still."""
    parts = Parts(FakeText(), FakeImage(), FakeFusion(), FakeHype(), FakeTrajectories())
    return Scorer(parts, "r", TRAINED, ManualClock(NOON))


def item(text: str, image: bytes | None = None, context: MarketContext | None = None, **more: Any) -> ScoringInput:
    post = Post(f"t:{text}", "t", text, "en", NOON, image=REF if image else None)
    return ScoringInput(post, image, context, BTC, **more)


def known() -> MarketContext:
    return MarketContext(BTC, NOON, np.ones(256), np.ones(256))


def verdict(result: Verdict | MoodtapeError) -> Verdict:
    assert isinstance(result, Verdict), result
    return result


def test_a_batch_is_one_pass_and_keeps_its_order(scorer: Scorer) -> None:
    """All texts go through the encoder together; answers come in the order of the posts."""
    results = scorer.score([item("b"), item("a"), item("", b"png")])
    assert [verdict(r).post_id for r in results] == ["t:b", "t:a", "t:"]
    assert scorer.parts.text.batches == [["b", "a"]]  # type: ignore[attr-defined]


def test_a_text_that_breaks_the_model_fails_alone(scorer: Scorer) -> None:
    """The batch is halved until the culprit stands alone; its neighbours are answered."""
    results = scorer.score([item(f"post {n}" if n != 5 else "BREAK it") for n in range(9)])
    assert [n for n, r in enumerate(results) if isinstance(r, InputError)] == [5]
    assert sum(isinstance(r, Verdict) for r in results) == 8


def test_models_that_break_on_every_text_are_no_fault_of_the_posts(scorer: Scorer) -> None:
    """All posts of a batch failing alone means broken models: the batch raises, and its posts are tried elsewhere."""
    with pytest.raises(RuntimeError, match="does not fit"):
        scorer.score([item(f"BREAK {n}") for n in range(8)])


def test_a_lost_device_is_raised_at_once(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After torch's AcceleratorError no post can be scored here, a single one neither."""

    class AcceleratorError(RuntimeError):
        pass

    def lost(*_: Any, **__: Any) -> Any:
        raise AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(scorer.parts.text, "read", lost)
    with pytest.raises(AcceleratorError):
        scorer.score([item("one")])


def test_what_was_prepared_is_what_is_read() -> None:
    """Tokens and decoded pictures made beforehand reach the readers; what breaks in the making still fails alone."""
    seen: list[Any] = []

    class Words(FakeText):
        def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
            if "BREAK" in texts:
                raise RuntimeError("no token for this")
            return [[7] for _ in texts]

        def read(
            self, texts: Sequence[str], *, ids: Sequence[list[int] | None] = (), languages: Sequence[str] = ()
        ) -> list[TextReading]:
            seen.extend(ids)
            return super().read(texts)

    class Pictures(FakeImage):
        def decode(self, pictures: Sequence[bytes]) -> list[Any]:
            return [UnreadableImage("no picture") if p == b"bad" else p.upper() for p in pictures]

        def read(self, pictures: Sequence[Any]) -> list[Any]:
            seen.extend(pictures)
            return [p if isinstance(p, MoodtapeError) else ImageReading(joyful(), 1) for p in pictures]

    parts = Parts(Words(), Pictures(), FakeFusion(), FakeHype(), FakeTrajectories())
    scorer = Scorer(parts, "r", TRAINED, ManualClock(NOON))
    ready = scorer.prepare([item("words", b"png"), item("", b"bad"), item("BREAK")])
    assert [entry.ids for entry in ready] == [[7], None, None]
    results = scorer.score(ready)
    assert [type(result) for result in results] == [Verdict, UnreadableImage, InputError]
    assert [7] in seen
    assert b"PNG" in seen


def test_a_picture_that_breaks_fails_alone(scorer: Scorer) -> None:
    """The image reader's error stands in the place of its post."""
    results = scorer.score([item("a", b"png"), item("b", b"broken"), item("c")])
    assert [type(r) for r in results] == [Verdict, UnreadableImage, Verdict]


def test_a_post_of_nothing_is_an_error(scorer: Scorer) -> None:
    """Neither words nor a picture: said so, instead of a made-up mood."""
    assert isinstance(scorer.score([item("")])[0], EmptyPost)


def test_a_picture_without_words_searches_with_a_zero_vector(scorer: Scorer) -> None:
    """Trajectories are told that there are no words by an embedding of zeros."""
    seen: list[np.ndarray[Any, Any]] = []

    class Remembering(FakeTrajectories):
        def match(self, posts: Any, symbols: Any, embeddings: Any, contexts: Any) -> Any:
            seen.append(embeddings)
            return super().match(posts, symbols, embeddings, contexts)

    parts = Parts(FakeText(), FakeImage(), FakeFusion(), FakeHype(), Remembering())
    Scorer(parts, "r", TRAINED).score([item("", b"png"), item("words")])
    assert [bool(row.any()) for row in seen[0]] == [False, True]


def test_people_are_told_why_and_machines_are_not(scorer: Scorer) -> None:
    """Words and regions stand under ``why`` where it is asked for."""
    asked, silent = scorer.score([item("up we go", b"png", why=True), item("up we go", b"png")])
    assert verdict(asked).emotions.why == {
        "words": [{"word": "up", "weight": 1.0}],
        "regions": [{"box": [0, 0, 1, 1], "weight": 1.0}],
    }
    assert verdict(silent).emotions.why == {}


def test_saying_why_stops_when_its_time_is_over() -> None:
    """A batch spends at most about WHY_SECONDS on reasons; later posts are answered without."""
    clock = ManualClock(NOON)

    class Slow(FakeText):
        def why(self, text: str, label: str) -> Any:
            clock.advance(WHY_SECONDS * 0.6)
            return super().why(text, label)

    scorer = Scorer(Parts(Slow(), FakeImage(), FakeFusion(), FakeHype(), FakeTrajectories()), "r", TRAINED, clock)
    results = scorer.score([item(f"w {n}", why=True) for n in range(4)])
    assert [bool(verdict(r).emotions.why) for r in results] == [True, True, False, False]


def test_a_failing_reason_does_not_cost_the_answer() -> None:
    """Why is a courtesy: when it breaks the verdict still stands."""

    class Mute(FakeText):
        def why(self, text: str, label: str) -> Any:
            raise RuntimeError("no gradient")

    scorer = Scorer(Parts(Mute(), FakeImage(), FakeFusion(), FakeHype(), FakeTrajectories()), "r", TRAINED)
    assert verdict(scorer.score([item("up", why=True)])[0]).emotions.label == "joy"


def test_warnings_say_what_was_assumed_or_missing(scorer: Scorer) -> None:
    """An assumed coin, missing candles and a missing picture are told; a full post is only told of the explanation."""
    bare = verdict(scorer.score([item("no coin", named=False)])[0])
    assert bare.warnings == (Reason("no_coin", {"symbol": BTC}), Reason("no_candles", {"symbol": BTC}))
    lost = ScoringInput(Post("t:1", "t", "words", "en", NOON, image=REF), None, known(), BTC)
    assert verdict(scorer.score([lost])[0]).warnings == (Reason("no_picture"),)
    full = verdict(scorer.score([item("btc", context=known())])[0])
    assert (full.explanation, full.explanation_reason) == (None, Reason("explanation_empty"))
    assert full.warnings == ()
    assert full.hype.symbol.probability == 0.2


class Explaining:
    """Gives one result to everybody, and remembers what it was asked."""

    def __init__(self, result: Any) -> None:
        self.result, self.asked = result, list[tuple[tuple[str, ...], str]]()

    def of_posts(self, vectors: Any, said: Any, symbol: str, embed: Any) -> Any:
        self.asked.append((tuple(said), symbol))
        assert embed(["word"]).shape == (1, 384)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class WithVectors(FakeTrajectories):
    """Every post has two matches."""

    def match(self, *given: Any) -> list[Any]:
        return [replace(found, vectors=np.ones((2, 384), np.float32)) for found in super().match(*given) if found]


@pytest.mark.parametrize(
    ("result", "shown", "reason"),
    [
        (Explanation("people expect a rise", 0.8), Explanation("people expect a rise", 0.8), None),
        (Reason("explanation_far"), None, Reason("explanation_far")),
        (ValueError("broken"), None, Reason("explanation_empty")),
    ],
)
def test_an_explanation_is_shown_or_its_reason(result: Any, shown: Any, reason: Any) -> None:
    """What the explainer says stands in the verdict; a withheld or broken one leaves its reason and the rest alone."""
    model = Explaining(result)
    scorer = Scorer(Parts(FakeText(), FakeImage(), FakeFusion(), FakeHype(), WithVectors(), model), "r", TRAINED)
    found = verdict(scorer.score([item("to the moon", why=True)])[0])
    assert (found.explanation, found.explanation_reason) == (shown, reason)
    assert model.asked == [(("to the moon",), BTC)]


def test_without_a_decoder_matches_are_left_to_a_typical_post() -> None:
    """A scorer that has no explainer says so where there are matches: their words are looked up when it is read."""
    scorer = Scorer(Parts(FakeText(), FakeImage(), FakeFusion(), FakeHype(), WithVectors()), "r", TRAINED)
    found = verdict(scorer.score([item("to the moon", why=True)])[0])
    assert (found.explanation, found.explanation_reason) == (None, Reason("no_explanation"))


def test_only_people_get_an_explanation() -> None:
    """A post that nobody waits for is not explained, and says so; without matches there is nothing to explain."""
    model = Explaining(Explanation("words", 0.9))
    parts = (FakeText(), FakeImage(), FakeFusion(), FakeHype())
    unasked = Scorer(Parts(*parts, WithVectors(), model), "r", TRAINED).score([item("to the moon")])[0]
    assert verdict(unasked).explanation_reason == Reason("explanation_not_asked")
    bare = Scorer(Parts(*parts, FakeTrajectories(), model), "r", TRAINED).score([item("to the moon", why=True)])[0]
    assert verdict(bare).explanation_reason == Reason("explanation_empty")
    assert model.asked == []
