"""Joining words and picture: any part may be missing, and disagreement is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import EMOTIONS
from models import checkpoint
from models.emotion.fusion import EmotionFusion, Pool, distance
from models.parts import ImageReading, TextReading, Vector


def sure(label: str, p: float = 0.82) -> Vector:
    out = np.full(7, (1 - p) / 6, np.float32)
    out[EMOTIONS.index(label)] = p
    return out


def text(label: str, p: float = 0.82, abstained: Reason | None = None) -> TextReading:
    return TextReading(sure(label, p), np.ones(384, np.float32), abstained)


def image(label: str, p: float = 0.82) -> ImageReading:
    return ImageReading(sure(label, p), 1)


UNSURE = Reason("unsure", {"first": "sadness", "second": "joy"})
NO_FACE = ImageReading(None, 0, abstained=Reason("no_face"))


@pytest.fixture
def fusion() -> EmotionFusion:
    return EmotionFusion(Pool(), 0.05)


def test_a_lone_part_passes_unchanged(fusion: EmotionFusion) -> None:
    """Words alone, a picture alone, or words beside a faceless picture keep their calibrated probabilities."""
    for joined in (fusion.join(text("joy"), None), fusion.join(None, image("joy")), fusion.join(text("joy"), NO_FACE)):
        assert joined.label == "joy"
        assert joined.probabilities["joy"] == pytest.approx(0.82, abs=1e-5)
        assert joined.why == {}
    assert fusion.join(None, image("joy")).text is None
    assert fusion.join(text("joy"), NO_FACE).image is None


def test_agreement_makes_surer(fusion: EmotionFusion) -> None:
    """Two parts that say the same are surer together than the words alone; nothing is reported to differ."""
    joined = fusion.join(text("fear", 0.6), image("fear", 0.6))
    assert joined.label == "fear"
    assert joined.probabilities["fear"] > 0.6
    assert joined.why["disagreement"]["differs"] is False


def test_disagreement_is_reported(fusion: EmotionFusion) -> None:
    """Words and picture that contradict each other are both named, with their distance."""
    told = fusion.join(text("joy", 0.95), image("anger", 0.6)).why["disagreement"]
    assert (told["text"], told["image"], told["differs"]) == ("joy", "anger", True)
    assert 0 < told["distance"] <= 1


def test_foreign_words_stay_out(fusion: EmotionFusion) -> None:
    """Words that could not be read do not sway the picture, though what they gave is shown."""
    joined = fusion.join(text("joy", abstained=Reason("foreign", {"language": "de"})), image("sadness"))
    assert joined.label == "sadness"
    assert joined.text is not None
    assert "disagreement" not in joined.why


def test_unsure_words_are_helped_by_a_picture(fusion: EmotionFusion) -> None:
    """Words that were unsure alone still count beside a clear face."""
    assert fusion.join(text("sadness", 0.3, UNSURE), image("sadness")).label == "sadness"
    alone = fusion.join(text("sadness", 0.3, UNSURE), None)
    assert (alone.label, alone.abstained) == (None, UNSURE)


def test_nothing_readable_abstains(fusion: EmotionFusion) -> None:
    """Without a readable part the reasons of both are told and the probabilities are even."""
    joined = fusion.join(text("joy", abstained=Reason("no_words")), NO_FACE)
    assert joined.label is None
    assert joined.abstained == Reason("both", {"text": Reason("no_words"), "picture": Reason("no_face")})
    assert list(joined.probabilities.values()) == pytest.approx([1 / 7] * 7)
    assert fusion.join(None, None).abstained == Reason("nothing_readable")


def test_a_close_call_abstains(fusion: EmotionFusion) -> None:
    """A joint answer within the margin claims nothing."""
    even = EmotionFusion(Pool(), margin=1.0)
    doubt = even.join(text("joy"), image("anger")).abstained
    assert doubt is not None
    assert doubt.code == "unsure"


def test_zero_probabilities_do_not_veto() -> None:
    """A part that is certain to the last bit gives finite joint probabilities."""
    joined = EmotionFusion(Pool()).join(text("joy", 1.0), image("anger", 1.0))
    assert all(np.isfinite(p) and p > 0 for p in joined.probabilities.values())


def test_save_and_load(tmp_path: Path) -> None:
    """Weights survive; those of another kind or shape are refused."""
    pool = Pool()
    with torch.no_grad():
        pool.bias.copy_(torch.arange(7.0))
    EmotionFusion(pool, 0.2).save(tmp_path / "f", "# card")
    loaded = EmotionFusion.from_pretrained(tmp_path / "f")
    assert loaded.margin == 0.2
    assert loaded.pool.bias.tolist() == list(range(7))
    checkpoint.save(tmp_path / "g", {"kind": "emotion-text"}, dict(pool.state_dict()), "")
    with pytest.raises(WeightsError, match="emotion-fusion"):
        EmotionFusion.from_pretrained(tmp_path / "g")


def test_distance_is_a_metric_on_its_ends() -> None:
    """Equal distributions are at 0, disjoint ones at 1."""
    assert distance(sure("joy"), sure("joy")) == 0
    assert distance(sure("joy", 1.0), sure("fear", 1.0)) == pytest.approx(1)
