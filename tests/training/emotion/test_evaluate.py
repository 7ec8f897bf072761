"""`moodtape evaluate emotion`: any labelled file of the columns, clear refusals, one JSON object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from domain.clock import parse_time
from domain.errors import InputError
from models.emotion.fusion import EmotionFusion, Pool
from models.emotion.net import new_net
from tests.fakes.tiny_text import make_tiny
from training.cli import app
from training.emotion.evaluate import in_batches, run
from training.emotion.labelled import label_index, read_labelled
from training.metrics import confusion, ece, ece_by_chance, macro_f1, macro_f1_multilabel, summary
from training.registry import CONFIGS, EvaluateOptions, find, load_config, tasks

ROWS = [
    {"text": "i am so happy", "label": "joy", "split": "test"},
    {"text": "i am sad", "label": "sadness", "split": "test"},
    {"text": "rekt", "label": "Angry", "split": "train"},
    {"text": "i love it", "label": "love", "split": "test"},
    {"text": "hm", "label": None, "split": "test"},
]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained tiny models in the layout of the shipped ones."""
    root = tmp_path_factory.mktemp("artifacts")
    base = str(make_tiny(tmp_path_factory.mktemp("tiny")))
    torch.manual_seed(0)
    net = new_net(base, ("general",))
    net.save(root / "emotion-text", {"encoder": base, "unsure_margin": 0.05, "thresholds": [0.3] * 7}, "")
    EmotionFusion(Pool()).save(root / "emotion-fusion", "")
    return root


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pd.DataFrame(ROWS).to_parquet(path)
    return path


def test_unknown_labels_are_counted_not_scored(file: Path) -> None:
    """Rows with love or no label are left out and counted by what they said; synonyms and case are read."""
    rows = read_labelled([file])
    assert rows.labels.tolist() == [1, 0, 3]
    assert rows.excluded == {"love": 1, "null": 1}
    assert rows.splits == {"test": 2, "train": 1}
    assert read_labelled([file], split="test").labels.tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_other_formats_give_the_same_rows(file: Path, tmp_path: Path, kind: str) -> None:
    """CSV, TSV and JSON lines are read as Parquet is."""
    frame = pd.read_parquet(file)
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    assert read_labelled([path]).texts == ["i am so happy", "i am sad", "rekt"]


def test_several_files_are_joined_and_thinned_by_lot(file: Path) -> None:
    """Files add up; --limit keeps so many, the same ones for the same seed."""
    assert len(read_labelled([file, file]).labels) == 6
    assert read_labelled([file, file], limit=2).texts == read_labelled([file, file], limit=2).texts
    assert len(read_labelled([file, file], limit=2).labels) == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"]}, "needs a column label"),
        ({"label": ["joy"]}, "at least one of text and jpeg"),
        ({"text": ["a"], "label": ["love"]}, "No row"),
        ({"text": ["a"], "label": [3]}, "No row"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    """A missing column or no usable label is an input error in words."""
    path = tmp_path / "bad.parquet"
    pd.DataFrame(columns).to_parquet(path)
    with pytest.raises(InputError, match=message):
        read_labelled([path])


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    """Bytes that are no table are refused, naming the file."""
    path = tmp_path / "noise.parquet"
    path.write_bytes(b"not a table")
    with pytest.raises(InputError, match=r"noise\.parquet"):
        read_labelled([path])
    with pytest.raises(InputError, match="--data"):
        read_labelled([])
    pd.DataFrame({"text": ["a"], "label": ["joy"]}).to_parquet(path)
    with pytest.raises(InputError, match="split"):
        read_labelled([path], split="test")


def test_one_json_object_and_nothing_else(file: Path, artifacts: Path) -> None:
    """--json prints exactly one object with the agreed keys; every labelled row is counted."""
    result = CliRunner().invoke(
        app, ["evaluate", "emotion", "--data", str(file), "--artifacts", str(artifacts), "--json"]
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert {"n", "accuracy", "macro_f1", "ece", "per_class", "confusion", "excluded", "abstained"} <= set(figures)
    assert figures["n"] == 3 == np.sum(figures["confusion"]["counts"])


def test_plots_are_drawn(file: Path, artifacts: Path, tmp_path: Path) -> None:
    """All plots of the report appear as PNG files."""
    result = run(EvaluateOptions(data=(file,), artifacts=artifacts, plots=tmp_path / "plots"))
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert set(result["plots"]) == names
    assert {
        "confusion_counts.png",
        "word_clouds_true.png",
        "accuracy_by_length.png",
        "top_words_predicted.png",
    } <= names
    assert all((tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_several_labels_are_scored_where_the_file_has_them(artifacts: Path, tmp_path: Path) -> None:
    """A column labels7 adds the multilabel figure over its own rows."""
    path = tmp_path / "several.parquet"
    pd.DataFrame(
        {"text": ["wow", "sad"], "label": ["surprise", None], "labels7": ["surprise", "sadness,fear"]}
    ).to_parquet(path)
    result = run(EvaluateOptions(data=(path,), artifacts=artifacts))
    assert (result["n"], result["multilabel"]["n"]) == (1, 2)


def test_batches_keep_the_order() -> None:
    """Reading by length gives results in the order asked."""
    items = [str(n) * (n % 7 + 1) for n in range(600)]
    assert in_batches("x", lambda part: [s.upper() + "!" for s in part], items, [len(s) for s in items]) == [
        s + "!" for s in items
    ]


def test_metrics_on_known_cases() -> None:
    """Macro-F1 counts the classes that occur; ECE is the gap of confidence; confusion rows are truths."""
    truth, guess = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert confusion(truth, guess)[:2, :2].tolist() == [[1, 1], [0, 2]]
    assert macro_f1(truth, guess) == pytest.approx((2 / 3 + 0.8) / 2)
    even = np.full((4, 7), 0.05)
    even[:, 0] = 0.7
    assert ece(even, truth) == pytest.approx(0.2)
    assert summary(even, truth)["accuracy"] == 0.5
    assert macro_f1_multilabel(np.array([[1, 0], [0, 1]]), np.array([[1, 0], [1, 0]])) == pytest.approx(1 / 3)


def test_the_calibration_error_to_expect_by_chance_shrinks_with_the_rows() -> None:
    """Right probabilities show an error all the same, the larger the fewer the rows: as drawn labels do, and none if sure."""
    draw = np.random.default_rng(1)
    probabilities = draw.dirichlet(np.ones(7), 8000)
    labels = np.array([draw.choice(7, p=row) for row in probabilities])
    assert ece_by_chance(probabilities[:100]) > 2 * ece_by_chance(probabilities)
    assert ece(probabilities, labels) == pytest.approx(ece_by_chance(probabilities), abs=0.01)
    assert ece_by_chance(np.eye(7)) == 0


@pytest.mark.parametrize(
    ("value", "index"), [("joy", 1), (" Happy ", 1), ("contempt", -1), (None, -1), (3, -1), (float("nan"), -1)]
)
def test_labels_as_sets_write_them(value: object, index: int) -> None:
    """Case and plain synonyms do not matter, anything else is unknown."""
    assert label_index(value) == index


def test_registry_finds_by_place_and_names_what_there_is() -> None:
    """Tasks, recipes and reports are found; an unknown one lists the known."""
    assert {"emotion"} <= set(tasks("evaluate"))
    assert "002" in tasks("reproduce")
    with pytest.raises(InputError, match="emotion"):
        find("evaluate", "smell")
    with pytest.raises(InputError, match="emotion/text"):
        load_config("nothing")
    assert {"emotion/text", "trajectories/library"} <= set(tasks("train"))
    assert "emotion/crossfit" not in tasks("train")


@pytest.mark.parametrize("name", [f"{path.parent.name}/{path.stem}" for path in sorted(CONFIGS.glob("*/*.toml"))])
def test_every_config_names_a_recipe_that_exists(name: str) -> None:
    """A config whose recipe is missing would only fail after the data is loaded."""
    recipe, config = load_config(name)
    assert callable(find("train", recipe).run)
    assert config


def test_times_are_utc() -> None:
    """A time without a zone is UTC, epoch seconds are read, nonsense is refused."""
    assert parse_time("2025-06-01T12:00:00") == parse_time("2025-06-01T14:00:00+02:00") == parse_time("1748779200")
    with pytest.raises(InputError, match="yesterday"):
        parse_time("yesterday")
