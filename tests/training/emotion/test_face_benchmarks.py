"""benchmarks: peers get the pixels of every picture, missing answers count as wrong, and faceless pictures are sorted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import abstain, face_peers, faceless, faces, pictures
from domain.types import EMOTIONS
from models.parts import ImageReading

PEER = """#!/bin/sh
echo noise
echo '{"kinds": {"told": {"guesses": ["joy", null], "seconds": 2.0}}, "versions": {"fer": "0"}}'
"""


def png(colour: tuple[int, int, int], size: tuple[int, int] = (4, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def script(folder: Path, text: str) -> Path:
    path = folder / "peer"
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_peer_is_asked_in_its_own_process(tmp_path: Path) -> None:
    """What it prints last is its answer, under its name; its versions are told."""
    sides, versions = face_peers.ask([png((1, 2, 3))] * 2, script(tmp_path, PEER), None, 1)
    assert sides == {"fer, told": {"guesses": ["joy", None], "seconds": 2.0}}
    assert versions == {"fer": "0"}


def test_peers_get_decoded_pixels_in_order(tmp_path: Path) -> None:
    """RGB bytes one picture after the other, shapes as height and width, large pictures made smaller."""
    face_peers._write([png((1, 2, 3)), png((9, 8, 7), (2560, 10))], tmp_path)
    pixels = np.fromfile(tmp_path / "pictures.bin", np.uint8)
    assert (tmp_path / "shapes.json").read_text() == "[[3, 4], [5, 1280]]"
    assert pixels[:6].tolist() == [1, 2, 3, 1, 2, 3]
    assert pixels[36:39].tolist() == [9, 8, 7]
    assert len(pixels) == 3 * 4 * 3 + 5 * 1280 * 3


def test_a_peer_that_fails_is_named(tmp_path: Path) -> None:
    """The last line of its complaint is passed on."""
    with pytest.raises(SystemExit, match=r"fer could not be run: no tensorflow"):
        face_peers.ask([png((0, 0, 0))], script(tmp_path, "#!/bin/sh\necho no tensorflow >&2\nexit 3\n"), None, 1)


def test_a_missing_answer_is_wrong_wherever_it_stands() -> None:
    """It lowers the accuracy, is counted as missing, and only the rows asked about count."""
    truth = np.arange(7)
    told = faces._figures([*EMOTIONS[:4], None, None], truth, 2.0)
    assert told["n"] == 6
    assert told["missing"] == 2
    assert told["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert told["per_second"] == 3.0


def test_only_held_back_rows_are_compared(tmp_path: Path) -> None:
    """Rows for training, and of other labels, stay out; the order repeats."""
    rows = [(label, split, label.encode()) for label in (*EMOTIONS, "bliss") for split in ("train", "test")]
    path = tmp_path / "rows.parquet"
    pd.DataFrame(rows, columns=["label", "split", "jpeg"]).to_parquet(path)
    found, truth = faces.held_back(path)
    assert len(found) == 7
    assert [EMOTIONS[i].encode() for i in truth] == found
    assert faces.held_back(path)[0] == found


def test_drawn_pictures_repeat_and_are_many() -> None:
    """At least forty, each a picture, the same in every run."""
    background = [("sea", png((0, 90, 160), (640, 480)))]
    made = [*faceless.charts(), *faceless.memes(background), *faceless.screenshots()]
    assert len(made) == 40
    assert all(min(Image.open(io.BytesIO(data)).size) >= 300 for _, data in made)
    assert faceless.screenshots() == made[-12:]
    assert len({data for _, data in made}) == 40


def test_people_and_copies_do_not_count_as_faceless(tmp_path: Path) -> None:
    """Pictures with a person are listed apart, other resolutions of the same picture left out; avatars are 128 pixels."""
    for name in ("walls/sea.png", "walls/Elephants_3840x2160.jpg", "site/skimage/data/astronaut.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png((0, 90, 160), (640, 480)))
    kinds = abstain.gather(tmp_path / "walls", tmp_path / "site")
    assert [name for name, _ in kinds["wallpaper"]] == ["sea.png"]
    assert [name for name, _ in kinds["person"]] == ["astronaut.png"]
    assert kinds["package"] == []
    assert Image.open(io.BytesIO(kinds["avatar"][0][1])).size == (128, 128)


def test_an_answer_for_a_faceless_picture_is_told() -> None:
    """An abstention says nothing; an answer is given with its picture's name."""
    odds = np.eye(7, dtype=np.float32)[1]

    class Reader:
        def read(self, given: list[bytes]) -> list[ImageReading]:
            return [ImageReading(None, 0, abstained="no face"), ImageReading(odds, 1, ((0, 0, 1, 1),))]

    told = abstain._counted(Reader(), [("sea", b""), ("sky", b"")])  # type: ignore[arg-type]
    assert told == {"n": 2, "abstained": 1, "answered": {"sky": "joy 1.00, 1 face(s)"}}


def test_faces_are_pasted_side_by_side() -> None:
    """Four faces stand in one canvas of 960 × 640 pixels without touching each other."""
    pixels = np.asarray(Image.open(io.BytesIO(pictures.canvas([png((255, 255, 255), (48, 48))] * 4))))
    bright = (pixels[320] > 200).astype(int)
    assert pixels.shape == (640, 960)
    assert int((np.diff(bright) == 1).sum()) == 4
