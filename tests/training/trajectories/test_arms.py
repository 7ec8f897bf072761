"""The two arms: every parameter moves, what can be learned is learned, faults are switches, a collapse stops the run."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from domain.errors import InputError
from domain.types import STEPS
from models.trajectories.arms import load_arms
from tests.fakes.tiny_text import make_tiny
from training.registry import TrainOptions
from training.trajectories import arms as recipe
from training.trajectories.arms import ArmsRecipe, Trainee, groups, loss_of, shape_of, train
from training.trajectories.arms_data import DAY, ArmData, make, split
from training.trajectories.pairs import Pairs
from training.trajectories.recall import Collapsed

ROOT = Path(__file__).parents[3]
FROM = "2024-03-01T00:00:00+00:00"
START = 1_704_067_200
TINY = ArmsRecipe(
    validation_from=FROM, epochs=12, batch_size=32, patience=0, per_bin=9, learning_rate=3e-3, head_learning_rate=3e-3
)


def pairs(count: int = 400, seed: int = 0) -> Pairs:
    """Posts every five hours whose first word says where the price goes."""
    random = np.random.default_rng(seed)
    kind = random.integers(4, size=count)
    slope = np.array([-2.0, -0.7, 0.7, 2.0])[kind][:, None] * np.linspace(0, 1, STEPS)
    wave = np.sin((kind[:, None] + 1) * np.linspace(0, 6, STEPS))
    change = slope + wave + np.cumsum(random.normal(0, 0.02, (count, STEPS)), 1)
    time = START + 18_000 * np.arange(count)
    names = np.array(["crash", "down", "up", "moon"], dtype=object)[kind]
    return Pairs(
        source=np.array(["here"] * count, dtype=object), symbol=np.array(["BTC/USDT"] * count, dtype=object),
        exchange=np.array(["x"] * count, dtype=object), time=time, start=-(-time // 60) * 60,
        text=np.array([f"{n} word{i}" for i, n in enumerate(names)], dtype=object), named=np.ones(count, dtype=bool),
        change=(change - change[:, :1]).astype(np.float16),
    )  # fmt: skip


def embed(texts: list[str]) -> Any:
    """The first word as a direction, with a little noise of the rest."""
    words = ["crash", "down", "up", "moon"]
    out = np.random.default_rng(0).normal(0, 0.1, (len(texts), 16))
    for row, text in enumerate(texts):
        out[row, words.index(text.split()[0])] += 1
    return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> ArmData:
    return make(TINY, pairs(), Path(), embed)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 100 * DAY), min_size=4, max_size=60), st.integers(0, 5))
def test_no_window_reaches_the_validation(offsets: list[int], seed: int) -> None:
    """Every fitted window has ended a day before the first validated post; one row per bin is validated."""
    held = pairs(len(offsets))
    held = replace(held, time=np.sort(START + np.array(offsets, dtype=np.int64)))
    fit, validation = split(replace(TINY, seed=seed), held)
    if len(fit) and len(validation):
        assert (held.time[fit] + 257 * 60 + DAY).max() <= held.time[validation].min()
    assert len(set(held.bins[validation])) == len(validation)
    assert not set(fit.tolist()) & set(validation.tolist())


def test_masks_know_minutes_and_bins(data: ArmData) -> None:
    """Posts of one minute are positives, others of one bin are no negatives; both can be off."""
    held = pairs(6)
    held = replace(
        held,
        time=START + np.array([0, 0, 600, 90_000, 90_000, 200_000]),
        start=START + np.array([0, 0, 600, 90_000, 90_000, 200_000]),
    )
    found = make(replace(TINY, faults=["random_split"]), held, Path(), embed)
    same, skip = found.masks(torch.arange(6), True, True)
    assert same.sum().item() == 10
    assert skip[0].tolist() == [False, True, True, False, False, False]
    alone, none = found.masks(torch.arange(6), False, False)
    assert torch.equal(alone, torch.eye(6, dtype=torch.bool))
    assert not none.any()


@pytest.mark.parametrize("shape", [{}, {"encoder": "resnet", "encoder_options": {"base": 4}}, {"context": True}])
@pytest.mark.parametrize("loss", recipe.LOSSES)
def test_every_trainable_parameter_moves(data: ArmData, shape: dict[str, Any], loss: str) -> None:
    """One step moves all that asks for gradient and nothing else."""
    choice = replace(TINY, arms=shape, loss=loss)
    held = replace(data, before=torch.randn(len(data.time), STEPS)) if shape.get("context") else data
    torch.manual_seed(0)
    net = Trainee(choice, shape_of(choice, held.width)).train()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimizer = torch.optim.AdamW(groups(choice, net))
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(choice, held, net, held.fit[:16]).backward()
        optimizer.step()
    for name, parameter in net.named_parameters():
        assert torch.equal(before[name], parameter) != parameter.requires_grad, name


def test_the_head_left_out_does_not_move(data: ArmData) -> None:
    """The report's second fault, as a switch: its head keeps its first weights through a training."""
    choice = replace(TINY, faults=["head_left_out"])
    net = Trainee(choice, shape_of(choice, data.width))
    held = {id(p) for group in groups(choice, net) for p in group["params"]}
    assert not any(id(p) in held for p in net.arms.series_head.parameters())
    assert all(id(p) in held for p in net.arms.text_head.parameters())


@pytest.mark.parametrize("trained", [True, False])
def test_the_text_encoder_learns_when_told(tmp_path: Path, trained: bool) -> None:
    """ "trainable" is honoured: as many text parameters in the optimiser as the encoder has, or none."""
    choice = replace(TINY, text_encoder=str(make_tiny(tmp_path)), train_text=trained, arms={}, epochs=1)
    held = make(replace(choice, faults=["random_split"]), pairs(60), tmp_path)
    net = Trainee(choice, shape_of(choice, held.width))
    count = sum(p.numel() for p in net.encoder.parameters()) if net.encoder is not None else 0
    assert (count > 0) == trained
    texts, series = net.embed(held, held.fit[:4])
    assert texts.shape == series.shape == (4, 256)
    if not trained:
        assert held.vectors.abs().sum() > 0


@pytest.mark.parametrize("loss", ["info_nce", "siglip"])
def test_what_can_be_learned_is_learned(data: ArmData, tmp_path: Path, loss: str) -> None:
    """Words that say the move: R@10 far over chance and over the placebo by time, both ways, and a card that says so."""
    found = train(replace(TINY, loss=loss), data, tmp_path)
    for way in ("text_to_series", "series_to_text"):
        assert found[way]["model"]["r_at_10"] > 1.8 * found["chance"]["r_at_10"]
        assert found[way]["gain_interval"][0] > 0
    assert found["health"]["likeness"] < 0.9
    arms = load_arms(tmp_path)
    assert arms.series(data.change[:3]).norm(dim=1).tolist() == pytest.approx([1, 1, 1], rel=1e-4)
    assert str(found["text_to_series"]["gain"]) in (tmp_path / "README.md").read_text()
    json.dumps(found, allow_nan=False)


def test_a_collapse_stops_the_run(data: ArmData, tmp_path: Path) -> None:
    """Vectors without any news and the report's loss: the run ends with the reasons; without the alarm it goes on."""
    flat = replace(data, vectors=torch.ones_like(data.vectors), change=torch.zeros_like(data.change))
    choice = replace(TINY, loss="report", faults=["soft_targets"], epochs=2)
    with pytest.raises(Collapsed, match="alike"):
        train(choice, flat, tmp_path / "a")
    told = train(replace(choice, alarm=False), flat, tmp_path / "b")
    assert told["health"]["loss_over_ln"] == pytest.approx(1, abs=0.02)
    assert told["loss_value"] == pytest.approx(math.log(32), abs=0.05)


def test_a_killed_training_ends_at_the_same_weights(data: ArmData, tmp_path: Path) -> None:
    """kill -9 in the second epoch, then resumed: the arms equal those of a whole run."""
    choice = replace(TINY, epochs=3)
    train(choice, data, tmp_path / "whole")
    program = f"""
import os, signal
from pathlib import Path
from tests.training.trajectories.test_arms import *
calls = [0]
plain = recipe.info_nce
def loss(*given):
    calls[0] += 1
    if calls[0] == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*given)
recipe.info_nce = loss
train(replace(TINY, epochs=3), make(TINY, pairs(), Path(), embed), Path({str(tmp_path / "cut")!r}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    train(choice, data, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(whole[name], cut[name], atol=1e-5) for name in whole)


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    """Loss, fault, arm and pairs that are not there."""
    for wrong, word in (({"loss": "triplet"}, "siglip"), ({"faults": ["luck"]}, "raw_prices")):
        with pytest.raises(InputError, match=word):
            recipe.run(wrong, TrainOptions(tmp_path, tmp_path))
    with pytest.raises(InputError, match="chromagram"):
        Trainee(TINY, shape_of(replace(TINY, arms={"arm": "wavelet"}), 16))
    with pytest.raises(InputError, match="validation_from"):
        make(replace(TINY, validation_from="2030-01-01T00:00:00+00:00"), pairs(20), tmp_path, embed)
