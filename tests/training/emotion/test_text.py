"""Training the text emotion: balanced, resumable to the bit, deterministic, calibrated; on tiny data and encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from domain.errors import InputError
from domain.types import EMOTIONS
from models.emotion.net import load_net
from training.emotion import text as recipe
from training.emotion.calibration import infer
from training.emotion.rows import thinned
from training.emotion.texts import OWN, Texts, class_weights, load, varied
from training.optim import groups, schedule
from training.registry import TrainOptions
from training.runs import evaluations


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_loading_follows_the_official_splits(data: Path) -> None:
    """`love` is joy in training and absent from the test; several labels give −1 and a many-hot row."""
    assert "i love it" in load("dair", "train", data).texts
    assert "i love it" not in load("dair", "test", data).texts
    several = load("goemotions", "train", data)
    assert several.labels[-1] == -1
    assert several.multi[-1].sum() == 2
    assert len(several.single()) == len(several) - 1


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    """A data folder without the set is an input error that names the file."""
    with pytest.raises(InputError, match=r"goemotions\.parquet"):
        load("goemotions", "train", tmp_path)


def test_class_weights_balance_one_source() -> None:
    """At power 1 every class present weighs the same in all; absent ones weigh nothing; the mean weight is 1."""
    labels = np.array([0] * 90 + [1] * 10 + [-1] * 5)
    weight = class_weights(labels)
    assert weight[0] * 90 == pytest.approx(weight[1] * 10)
    assert weight[2:].sum() == 0
    assert (weight[labels[labels >= 0]]).mean() == pytest.approx(1)


def test_batches_cover_everything_once_and_follow_the_seed() -> None:
    """Each row comes once per epoch; the same seed gives the same order; lengths within a batch are near."""
    ids = [[0] * (1 + n % 40) for n in range(500)]
    order = list(recipe.batches(ids, 16, seed=3))
    assert sorted(int(i) for b in order for i in b) == list(range(500))
    again = list(recipe.batches(ids, 16, seed=3))
    assert all(np.array_equal(a, b) for a, b in zip(order, again, strict=True))
    assert max(max(len(ids[i]) for i in b) - min(len(ids[i]) for i in b) for b in order) <= 3


def test_training_is_deterministic_and_resumes_to_the_bit(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """Two runs agree exactly, and a run stopped after one epoch ends where an unbroken one does, thinning included."""
    two = recipe.Settings(**tiny | {"token_drop": 0.3})  # type: ignore[arg-type]
    plain = recipe.train(recipe.Settings(**tiny), data, tmp_path / "plain")[1]  # type: ignore[arg-type]
    whole = recipe.train(two, data, tmp_path / "a")[1]
    same = recipe.train(two, data, tmp_path / "b")[1]
    assert torch.equal(weights(whole), weights(same))
    assert not torch.equal(weights(whole), weights(plain))
    torch.manual_seed(99)
    broken_off(two, data, tmp_path / "c")
    resumed = recipe.train(two, data, tmp_path / "c", resume=True)[1]
    assert torch.equal(weights(whole), weights(resumed))


def test_the_mean_of_networks_is_a_network(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """Seeds differ from one another, and every weight of their soup lies midway."""
    one, two = recipe.train(recipe.Settings(**tiny | {"seeds": (1, 2), "epochs": 1}), data, tmp_path).values()  # type: ignore[arg-type]
    assert not torch.equal(weights(one), weights(two))
    torch.testing.assert_close(weights(recipe.soup([one, two])), (weights(one) + weights(two)) / 2)


def test_seeds_may_share_their_beginning(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """The shared epochs are trained once; a run that has them goes on to the same weights, and epochs are told per run."""
    settings = recipe.Settings(**tiny | {"seeds": (1, 2), "shared": 1})  # type: ignore[arg-type]
    whole = recipe.train(settings, data, tmp_path)
    assert [line["epoch"] for line in evaluations(tmp_path / "shared")] == [1]
    assert [line["epoch"] for line in evaluations(tmp_path / "seed-2")] == [2]
    (tmp_path / "seed-2" / "run.safetensors").unlink()
    again = recipe.train(settings, data, tmp_path, resume=True)
    assert torch.equal(weights(whole[2]), weights(again[2]))
    assert not torch.equal(weights(whole[1]), weights(whole[2]))


def test_a_large_class_shows_one_half_per_epoch(data: Path, tiny: dict[str, object]) -> None:
    """Rows above the limit take turns; all others come every epoch."""
    settings = recipe.Settings(**tiny | {"alternate": 6})  # type: ignore[arg-type]
    rows = recipe.prepare(
        settings, {"dair": load("dair", "train", data), "goemotions": load("goemotions", "train", data)}
    )
    seen = [set(np.concatenate(list(recipe._order(rows, settings, epoch))).tolist()) for epoch in (0, 1)]
    assert len(seen[0] | seen[1]) == len(rows.ids)
    assert len(seen[0]) == len(seen[1]) == len(rows.ids) - 3


def test_teachers_share_the_targets(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """Labels that hold together share a text; a teacher's probabilities take their part, in the sources it teaches alone."""
    sets = {name: load(name, "train", data) for name in ("dair", "goemotions")}
    alone = recipe.prepare(recipe.Settings(**tiny), sets).targets  # type: ignore[arg-type]
    assert sorted(alone[-1].tolist())[-3:] == [0.0, 0.5, 0.5]
    net = recipe._begin(recipe.Settings(**tiny), sets)  # type: ignore[arg-type]
    net.save(tmp_path / "teacher", {"encoder": tiny["encoder"], "trained_on": list(sets)}, "a card")
    told = tiny | {"teachers": [str(tmp_path / "teacher")], "taught": {"goemotions": 0.25}}
    targets = recipe.prepare(recipe.Settings(**told), sets).targets  # type: ignore[arg-type]
    assert torch.equal(targets[: len(sets["dair"])], alone[: len(sets["dair"])])
    said = (targets - 0.75 * alone)[len(sets["dair"]) :] / 0.25
    torch.testing.assert_close(said.sum(1), torch.ones(len(said)))
    expected = torch.softmax(infer(net, sets["goemotions"].texts).logits.float(), 1)
    torch.testing.assert_close(said, expected, atol=5e-3, rtol=0)


def test_a_share_of_the_teachers_is_a_share(data: Path, tiny: dict[str, object]) -> None:
    """More than all of a label's place is refused, and the source named."""
    wrong = recipe.Settings(**tiny | {"taught": {"dair": 1.5}})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="look at dair"):
        recipe.prepare(wrong, {"dair": load("dair", "train", data)})


def test_thinning_keeps_ends_and_equal_lengths() -> None:
    """The first and the last token stay, the others lose the share and keep their order; a short text stays whole."""
    draw = torch.Generator().manual_seed(1)
    states = torch.arange(12.0).unsqueeze(1)
    kept = [thinned(states, 0.3, draw).flatten().tolist() for _ in range(20)]
    assert all(row[0] == 0 and row[-1] == 11 and row == sorted(row) and len(row) == 9 for row in kept)
    assert len({tuple(row) for row in kept}) > 1
    assert torch.equal(thinned(states[:3], 0.3, draw), states[:3])


def test_variation_takes_frames_and_masks_away() -> None:
    """Diary sentences lose their frame but never all their words; masked names become first names; nothing else changes."""
    rng = np.random.default_rng(0)
    labels = np.zeros(3, np.int64)
    diary = Texts("dair", ["i feel like a fool today", "i feel sad", "the cat sat"], labels)
    assert varied(diary, 1.0, 0.0, rng).texts == ["a fool today", "i feel sad", "the cat sat"]
    comments = Texts("goemotions", ["thanks [NAME]!", "i feel like a fool today", "no"], labels)
    told = varied(comments, 1.0, 1.0, rng).texts
    assert "[NAME]" not in told[0]
    assert told[1:] == comments.texts[1:]
    assert varied(comments, 0.0, 0.0, rng).texts == comments.texts


def broken_off(settings: recipe.Settings, data: Path, run: Path) -> None:
    """Train until the first epoch is saved, then fail as a killed process would."""
    original = recipe.validate

    def dies(*_: object) -> float:
        raise KeyboardInterrupt

    recipe.validate = dies
    try:
        with pytest.raises(KeyboardInterrupt):
            recipe.train(settings, data, run)
    finally:
        recipe.validate = original


def test_nothing_to_resume_is_said(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """--resume without a run is an input error."""
    with pytest.raises(InputError, match="no run to resume"):
        recipe.train(recipe.Settings(**tiny), data, tmp_path / "none", resume=True)  # type: ignore[arg-type]


def test_two_epochs_learn_the_obvious(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """Train, calibrate, measure and save in one call: the obvious words are learned and the card holds the figures."""
    config = tiny | {"epochs": 50, "seeds": [1, 2], "fine_weight": 0.1}
    figures = recipe.run(dict(config), TrainOptions(data, tmp_path / "out"))
    assert list(figures) == ["seed 1", "seed 2", "mean"]
    assert figures["mean"]["goemotions"]["accuracy"] >= 0.9
    assert str(figures["mean"]["goemotions"]["macro_f1"]) in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks transformers
def test_lora_trains_adapters_and_merges_them(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """With LoRA the saved network has the plain encoder's tensors and its readings changed."""
    pytest.importorskip("peft")
    settings = recipe.Settings(**(tiny | {"method": "lora", "lora_rank": 2, "epochs": 1}))  # type: ignore[arg-type]
    net = recipe.train(settings, data, tmp_path / "lora")[1]
    assert not any("lora" in name for name in net.state_dict())
    assert net.infer(net.encoder.tokenise(["happy"])).logits.shape == (1, 7)


def test_unknown_settings_are_refused(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """A misspelt setting is an input error, not silently ignored."""
    with pytest.raises(InputError, match="epoks"):
        recipe.run(tiny | {"epoks": 3}, TrainOptions(data, tmp_path / "x"))


def test_layers_learn_slower_towards_the_bottom(tiny: dict[str, object]) -> None:
    """The learning rate falls by layer_decay per layer, and heads have their own."""
    net = recipe.new_net(str(tiny["encoder"]))
    rates = sorted(group["lr"] for group in groups(net, 3e-3, 1e-3, 0.85))
    assert rates == pytest.approx(sorted([1e-3, 3e-3, 3e-3 * 0.85, 3e-3 * 0.85**2]))
    assert schedule(0.0, 0.1) < schedule(0.1, 0.1) == pytest.approx(1.0)
    assert schedule(1.0, 0.1) == pytest.approx(0.02)


def test_a_lexicon_is_learned_after_training(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """It counts in its own source's style alone, the card names it, and a network that goes on starts without one."""
    config = tiny | {"lexicon": "dair", "epochs": 1}
    recipe.run(config, TrainOptions(data, tmp_path / "m"))
    net, described = load_net(tmp_path / "m")
    assert described["lexicon"] == "dair"
    assert net.lexicon.any()
    shares = dict(zip(net.styles, net.calibration["lexical"].tolist(), strict=True))
    assert shares.pop("dair") > 0
    assert shares
    assert not any(shares.values())
    assert "lexicon learned from dair" in (tmp_path / "m" / "README.md").read_text()
    began = recipe._begin(
        recipe.Settings(**config | {"start": str(tmp_path / "m")}), {s: load(s, "train", data) for s in net.styles}
    )  # type: ignore[arg-type]
    assert not began.lexicon.any()
    torch.testing.assert_close(began.head.weight, net.head.weight)


def test_a_lexicon_of_an_unknown_source_is_refused(data: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """Before any training, naming the sources there are."""
    with pytest.raises(InputError, match="dair"):
        recipe.run(tiny | {"lexicon": "diary"}, TrainOptions(data, tmp_path / "m"))
    assert not list(tmp_path.glob("m*"))


@pytest.mark.parametrize("name", sorted(OWN))
def test_own_lines_are_split_without_overlap(name: str) -> None:
    """Labels are known ones and no line stands in two splits."""
    frame = pd.read_csv(OWN[name], sep="\t", keep_default_na=False, quoting=3)
    assert set(frame["label"]) == set(EMOTIONS)
    assert frame["text"].str.lower().is_unique
    assert {"train", "val"} <= set(frame["split"])


def test_every_emotion_has_slang_held_back() -> None:
    """The held-back slang is large enough to say something of each class."""
    frame = pd.read_csv(OWN["slang"], sep="\t", keep_default_na=False, quoting=3)
    assert frame[frame["split"] == "test"]["label"].value_counts().min() >= 25
