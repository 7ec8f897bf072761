"""training: the picture recipe's data splits leak nothing, its batches repeat by seed, and a stopped run goes on exactly."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from domain.errors import InputError
from domain.types import EMOTIONS
from models.emotion.image import ImageMoodReader
from models.encoders.image import CROP, ImageEncoder, MoodNet, prepare
from training.emotion import face_views, faces, image
from training.emotion import image_calibration as finish
from training.emotion.image import Settings
from training.registry import TrainOptions

CONFIG = {
    "encoder": "test_efficientnet",
    "pretrained": False,
    "steps": 4,
    "batch_size": 8,
    "impostors": 4,
    "sizes": [[0.0, 32]],
    "warmup": 2,
    "check_every": 2,
    "refreshed": 2,
    "sources": {"small": 1.0},
}


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def blobs(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 256, (6, 6), dtype=np.uint8)
    return cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "SCENES", 40)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """84 made-up pictures, 12 per label; three rows of the training split are twins of held-out ones."""
    rng = np.random.default_rng(0)
    rows = [
        {"label": EMOTIONS[i % 7], "split": "test" if i % 6 == 5 else "train", "pixels": blobs(rng)} for i in range(84)
    ]
    held = [row for row in rows if row["split"] == "test"]
    for row, change in zip(held, (lambda p: p, lambda p: p[:, ::-1], lambda p: p // 2 + 40), strict=False):
        rows.append({"label": row["label"], "split": "train", "pixels": np.ascontiguousarray(change(row["pixels"]))})
    table = pd.DataFrame(
        {
            "label": [row["label"] for row in rows] + [None],
            "split": [row["split"] for row in rows] + ["train"],
            "jpeg": [jpeg(row["pixels"], 80 if number > 83 else 95) for number, row in enumerate(rows)]
            + [jpeg(blobs(rng))],
        }
    )
    (tmp_path / "face_emotion").mkdir()
    table.to_parquet(tmp_path / "face_emotion" / "small.parquet")
    return tmp_path


def test_twins_of_the_hold_out_are_not_trained_on(data: Path) -> None:
    """The same picture, mirrored or in another light and quality, leaves training; rows without a label too."""
    loaded = faces.load(data / "face_emotion" / "small.parquet")
    assert loaded.twins_dropped == 3
    assert len(loaded.labels) == 84
    assert (loaded.part == "holdout").sum() == 14


def test_parts_share_no_twin(data: Path) -> None:
    """After loading, nothing in training or validation resembles a held-out picture."""
    loaded = faces.load(data / "face_emotion" / "small.parquet", validation=0.3)
    assert {"train", "validation", "holdout"} == set(loaded.part)
    assert not faces.leaks(loaded.crops, loaded.part).any()


def test_a_set_without_labels_is_refused(data: Path) -> None:
    """A file of other labels is named, with those that are known."""
    path = data / "face_emotion" / "other.parquet"
    pd.DataFrame({"label": ["bliss"], "split": ["train"], "jpeg": [b""]}).to_parquet(path)
    with pytest.raises(InputError, match=r"other\.parquet.*joy"):
        faces.load(path)


def test_scenes_are_as_many_as_asked_and_repeat_by_seed() -> None:
    """Faceless pictures are drawn, not fetched, and the same seed draws the same ones."""
    first = faces.scenes(20, 3)
    assert first.shape == (20, CROP, CROP)
    assert np.array_equal(first, faces.scenes(20, 3))
    assert not np.array_equal(first, faces.scenes(20, 4))


def test_impostors_differ_from_the_faces_they_come_of() -> None:
    """Shuffled, misplaced and turned faces are no longer the face; all have the asked-for size."""
    crops = torch.from_numpy(faces.scenes(8, 1))[:, None]
    views = face_views.impostors(crops, crops.flip(0), 40, torch.Generator().manual_seed(0))
    straight = torch.nn.functional.interpolate(crops.float(), size=(40, 40))
    assert views.shape == (8, 1, 40, 40)
    assert (views - straight).abs().mean(dim=(1, 2, 3)).min() > 1


def test_a_batch_depends_on_seed_and_step_only(data: Path) -> None:
    """Batches repeat, so a resumed run sees what an unbroken one would have seen."""
    chosen = Settings(**CONFIG)
    sets = {"small": faces.load(data / "face_emotion" / "small.parquet")}
    pool = image.gather(chosen, sets, faces.scenes(10, 0))
    first, again, later = (image.draw(pool, chosen, step) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], later[0])
    assert first[0].shape == (12, 3, 32, 32)
    assert torch.allclose(first[1].sum(1), torch.ones(8))
    assert first[2].tolist() == [1.0] * 8 + [0.0] * 4


def test_rare_classes_are_drawn_more_often_than_they_occur() -> None:
    """``class_power`` 1 evens out the classes within a source, 0 leaves them as they come."""
    crops = np.zeros((10, CROP, CROP), np.uint8)
    labels = np.array([1] * 9 + [6])
    sets = {"small": faces.Faces("small", crops, labels, np.array(["train"] * 10), 0)}
    for power, share in ((1.0, 0.5), (0.0, 0.1)):
        pool = image.gather(Settings(**{**CONFIG, "class_power": power}), sets, crops)
        assert pool.chances[-1].item() == pytest.approx(share)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    """Warm-up, a level stretch that does not depend on the run's length, and a straight way down."""
    chosen = Settings(**{**CONFIG, "steps": 1000, "warmup": 100, "decay": 0.3})
    assert chosen.rate_at(0) < chosen.rate_at(50) < 1.0
    assert chosen.rate_at(300) == chosen.rate_at(650) == 1.0
    assert chosen.rate_at(850) == pytest.approx(0.5)
    assert chosen.rate_at(999) == pytest.approx(0.02)


def test_a_stopped_run_goes_on_to_the_same_weights(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that breaks off after a saved step and goes on ends with exactly the weights of an unbroken one."""
    sets = {"small": faces.load(data / "face_emotion" / "small.parquet", validation=0.3)}
    chosen = Settings(**{**CONFIG, "patience": 9})
    unbroken = image.train(chosen, sets, [], tmp_path / "unbroken", resume=False)
    draw = image.draw

    def breaking(pool: image.Pool, settings: Settings, step: int) -> tuple[torch.Tensor, ...]:
        if step == 3:
            raise KeyboardInterrupt
        return draw(pool, settings, step)

    monkeypatch.setattr(image, "draw", breaking)
    with pytest.raises(KeyboardInterrupt):
        image.train(chosen, sets, [], tmp_path / "broken", resume=False)
    monkeypatch.setattr(image, "draw", draw)
    resumed = image.train(chosen, sets, [], tmp_path / "broken", resume=True)
    pairs = zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_run_goes_on_from_a_checkpoint(data: Path, tmp_path: Path) -> None:
    """With ``start`` a run begins at the weights of that folder: a step at no rate leaves them as they are."""
    first = MoodNet(ImageEncoder.from_name("test_efficientnet", pretrained=False), 32)
    sets = {"small": faces.load(data / "face_emotion" / "small.parquet", validation=0.3)}
    image.finish(Settings(**CONFIG), sets, first.eval(), [], tmp_path / "first")
    still = {**CONFIG, "steps": 1, "check_every": 1, "refreshed": 0, "learning_rate": 0.0, "weight_decay": 0.0}
    chosen = Settings(**still, start=str(tmp_path / "first"))
    went_on = dict(image.train(chosen, sets, [], tmp_path / "second", resume=False).named_parameters())
    assert all(torch.equal(went_on[name], value) for name, value in first.named_parameters())


def test_averaged_weights_get_batch_statistics_of_their_own() -> None:
    """Statistics are the mean over the batches given, whatever they were before; the network is left to serve."""
    torch.manual_seed(0)
    net = MoodNet(ImageEncoder.from_name("test_efficientnet", pretrained=False), 32)
    batches = [prepare(torch.rand(4, 1, 32, 32) * 255, 32) for _ in range(3)]
    finish.refresh(net, batches)
    stem = net.encoder.body.bn1
    with torch.no_grad():
        seen = [net.encoder.body.conv_stem(batch).mean(dim=(0, 2, 3)) for batch in batches]
    assert torch.allclose(stem.running_mean, torch.stack(seen).mean(0), atol=1e-5)
    assert not net.training
    assert not stem.training


def test_the_card_tells_the_size_that_is_served(data: Path, tmp_path: Path) -> None:
    """The best checkpoint may come from before the last change of size; the card and the config say its own."""
    config = CONFIG | {"sizes": [[0.0, 32], [0.75, 48]], "steps": 4}
    chosen, sets = Settings(**config), {"small": faces.load(data / "face_emotion" / "small.parquet", validation=0.3)}
    net = MoodNet(ImageEncoder.from_name("test_efficientnet", pretrained=False), 32)
    image.finish(chosen, sets, net.eval(), [], tmp_path / "out")
    assert "32 × 32 pixels" in (tmp_path / "out" / "README.md").read_text()
    assert ImageMoodReader.from_pretrained(tmp_path / "out").net.size == 32


def test_resuming_nothing_is_said(tmp_path: Path, data: Path) -> None:
    """``--resume`` without a run to resume is an error with the way out, not a fresh start."""
    with pytest.raises(InputError, match="without --resume"):
        image.run(dict(CONFIG), TrainOptions(data, tmp_path / "out", resume=True))


def test_the_recipe_leaves_a_model_that_reads(data: Path, tmp_path: Path) -> None:
    """From parquet to a checkpoint folder that the reader opens, with figures of the hold-out in it."""
    figures = image.run(dict(CONFIG), TrainOptions(data, tmp_path / "out"))
    assert figures["holdout"]["small"]["n"] == 14
    assert figures["holdout"]["small"]["majority"] == pytest.approx(2 / 14, abs=1e-4)
    assert set(figures["rejected"]) == {"scene", "shuffled", "misplaced", "turned"}
    readings = ImageMoodReader.from_pretrained(tmp_path / "out").read([jpeg(blobs(np.random.default_rng(9)))])
    assert len(readings) == 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert "terms of the original" in card
    assert "| small | 14 | " in card
