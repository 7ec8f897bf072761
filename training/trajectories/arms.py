"""Train the two arms of report 000: texts and the 256 minutes after them in one space, by time, purged and capped.

``moodtape train trajectories/arms --data FOLDER --out FOLDER``. Each fault of the report is a switch of ``faults``. The best
weights are those whose R@10 is furthest over the placebo by time; a collapse stops the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from domain.errors import InputError
from models.encoders.text import TextEncoder, pool
from models.trajectories.arms import ArmSettings, TwoArms, save_arms
from models.trajectories.losses import info_nce, siglip, soft_targets
from training import runs
from training.loop import Loop, LoopOptions, Objective
from training.registry import TrainOptions, settings
from training.trajectories.arms_data import ArmData, load
from training.trajectories.recall import Health, alarm, both_ways, health

FAULTS = {
    "random_split": "train and validation are drawn at random, so their windows overlap",
    "head_left_out": "the optimiser is not given the series head",
    "raw_prices": "retrieval compares texts with prices instead of embeddings",
    "soft_targets": "the report's loss: soft targets with gradient, nothing normalised, temperature 1",
    "spam": "repeated posts stay and bins are not capped",
}
LOSSES = ("info_nce", "siglip", "report")


@dataclass(frozen=True, slots=True)
class ArmsRecipe:
    """One training.

    ``arms``: of :class:`models.trajectories.arms.ArmSettings`; ``loss``: info_nce, siglip or report; ``multi_positives``: posts
    of one start minute are positives of one another; ``skip_same_bin``: no negatives from the same 256-minute bin; ``faults``:
    of :data:`FAULTS`; ``symbols``: only these, all if empty; ``text_encoder``: "" for the one that ships, else any
    transformers id, learned if ``train_text``; rates: of the series encoder, the text encoder and the heads. Validation is
    [``validation_from``, ``validation_until``); what comes later is not read unless ``confirm``, which fits on all before it
    and measures on it once, after all epochs.
    """

    arms: dict[str, Any] = field(default_factory=dict)
    loss: str = "info_nce"
    multi_positives: bool = True
    skip_same_bin: bool = True
    faults: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    text_encoder: str = ""
    train_text: bool = False
    max_tokens: int = 64
    per_bin: int = 4
    limit: int = 0
    validation_from: str = "2025-01-01T00:00:00+00:00"
    validation_until: str = "2025-10-01T00:00:00+00:00"
    confirm: bool = False
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    text_learning_rate: float = 1e-5
    head_learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    patience: int = 4
    precision: Literal["fp32", "bf16"] = "fp32"
    alarm: bool = True
    seed: int = 0


class Trainee(nn.Module):
    """Both arms, and the text encoder where it is trained."""

    def __init__(self, choice: ArmsRecipe, shape: ArmSettings) -> None:
        super().__init__()
        self.arms = TwoArms(shape)
        trained = bool(choice.text_encoder) and choice.train_text
        self.encoder = TextEncoder.from_name(choice.text_encoder, choice.max_tokens) if trained else None

    def embed(self, data: ArmData, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Texts and trajectories (n, 256) each of these rows."""
        vectors = data.vectors[rows]
        if self.encoder is not None:
            hidden, mask = self.encoder([data.tokens[i] for i in rows.tolist()])
            vectors = pool(hidden, mask, "first")
        before = data.before[rows] if data.before is not None else None
        return self.arms.texts(vectors, before), self.arms.series(data.change[rows])


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Train, keep the best weights by validation, save the arms into ``options.out`` and return the figures."""
    choice = checked(settings(ArmsRecipe, config))
    return train(choice, load(choice, options.data), options.out, options.resume)


def checked(choice: ArmsRecipe) -> ArmsRecipe:
    """The settings, if they name losses and faults that exist.

    Raises:
        InputError: they do not.
    """
    if choice.loss not in LOSSES:
        raise InputError(f"There is no loss {choice.loss}; there are: {', '.join(LOSSES)}.")
    if unknown := set(choice.faults) - set(FAULTS):
        raise InputError(f"There is no fault {min(unknown)}; there are: {', '.join(FAULTS)}.")
    return choice


def shape_of(choice: ArmsRecipe, width: int) -> ArmSettings:
    """The arms' settings; the report's loss comes with its lack of normalisation and its temperature."""
    given = dict(choice.arms) | {"text_width": width}
    if "soft_targets" in choice.faults or choice.loss == "report":
        given |= {"normalise": False, "temperature": 1.0, "learn_temperature": False}
    return settings(ArmSettings, given)


def train(choice: ArmsRecipe, data: ArmData, out: Path, resume: bool = False) -> dict[str, Any]:
    """As :func:`run`, on data that are there already."""
    torch.manual_seed(choice.seed)
    net = Trainee(choice, shape_of(choice, data.width))
    if choice.loss == "siglip":
        net.arms.bias.requires_grad_(True)
    work = out.with_name(out.name + ".run")
    loop = _loop(choice, data, net, work)
    done = loop.run(resume)
    if not choice.confirm:
        loop.best(net)
    net.eval()
    with torch.no_grad():
        found = measured(net, data, choice)
    found["health"] = asdict(found["health"])
    curve = [[r["step"], r["loss"]] for r in runs.read_log(work) if "loss" in r]
    validation = [[r["step"], r["figures"]["loss"]] for r in runs.evaluations(work)]
    report = {
        "loss": choice.loss, "faults": list(choice.faults), "seed": choice.seed, "pairs": len(data.fit),
        "independent_windows": data.windows, "steps": done.step, "best_step": done.best_step,
        "seconds": done.seconds, "peak_mb": runs.peak_mb(),
        **found, "curve": curve, "validation_curve": validation,
    }  # fmt: skip
    kept = {"settings": asdict(choice), "measured": {k: v for k, v in report.items() if "curve" not in k}}
    save_arms(out, net.arms, kept, card(choice, report))
    return report


def groups(choice: ArmsRecipe, net: Trainee) -> list[dict[str, Any]]:
    """Parameter groups with their rates; the series head is missing where that fault is on."""
    arms = net.arms
    heads = [*arms.text_head.parameters(), arms.log_scale, arms.bias]
    heads += [] if "head_left_out" in choice.faults else list(arms.series_head.parameters())
    body = [*arms.body.parameters(), *(arms.before.parameters() if arms.before is not None else ())]
    text = list(net.encoder.parameters()) if net.encoder is not None else []
    found = [
        {"params": [p for p in part if p.requires_grad], "lr": rate, "weight_decay": decay}
        for part, rate, decay in (
            (body, choice.learning_rate, 0.0),
            (text, choice.text_learning_rate, 0.0),
            (heads, choice.head_learning_rate, choice.weight_decay),
        )
    ]
    return [group for group in found if group["params"]]


def loss_of(choice: ArmsRecipe, data: ArmData, net: Trainee, rows: Tensor) -> Tensor:
    """The loss of a batch of rows."""
    texts, series = net.embed(data, rows)
    if choice.loss == "report" or "soft_targets" in choice.faults:
        return soft_targets(texts, series)
    same, skip = data.masks(rows, choice.multi_positives, choice.skip_same_bin)
    if choice.loss == "siglip":
        return siglip(texts, series, net.arms.scale, net.arms.bias, same, skip)
    return info_nce(texts, series, net.arms.scale, same, skip)


def _loop(choice: ArmsRecipe, data: ArmData, net: Trainee, folder: Path) -> Loop[Tensor]:
    size = min(choice.batch_size, len(data.fit))
    if size < 2:
        raise InputError("There are too few pairs before the validation to train on.")
    optimizer = torch.optim.AdamW(groups(choice, net))
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=1, factor=0.8)

    def batches(_epoch: int) -> list[Tensor]:
        order = data.fit[torch.randperm(len(data.fit))]
        return [part for part in torch.split(order, size) if len(part) == size]

    states: list[Health] = []

    def evaluate(_net: nn.Module) -> Mapping[str, Any]:
        found = measured(net, data, choice)
        states.append(found["health"])
        if choice.alarm:
            alarm(states)
        gain = (found["text_to_series"]["gain"] + found["series_to_text"]["gain"]) / 2
        return {"gain": gain, "loss": found["loss_value"]}

    patience = 0 if choice.confirm else choice.patience
    options = LoopOptions(
        epochs=choice.epochs, seed=choice.seed, precision=choice.precision, monitor="gain", patience=patience,
        title="arms, epoch",
    )  # fmt: skip
    return Loop(
        net,
        Objective(lambda rows: loss_of(choice, data, net, rows), optimizer, schedule),
        batches,
        folder,
        options,
        evaluate,
    )


def measured(net: Trainee, data: ArmData, choice: ArmsRecipe) -> dict[str, Any]:
    """Recall both ways on the validation, its loss on batches of the training's size, and its health."""
    parts = [net.embed(data, rows) for rows in torch.split(data.validation, 256)]
    texts, series = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    size = min(choice.batch_size, len(data.validation))
    batches = [rows for rows in torch.split(data.validation, size) if len(rows) == size]
    loss = float(np.mean([float(loss_of(choice, data, net, rows)) for rows in batches]))
    found: dict[str, Any] = {"loss_value": round(loss, 5), "health": health(texts, series, loss, size)}
    against = series
    if "raw_prices" in choice.faults:
        against = data.change[data.validation]
    rows = data.validation.numpy()
    return found | both_ways(texts, against, data.symbol[rows], data.time[rows], choice.seed)


def card(choice: ArmsRecipe, report: Mapping[str, Any]) -> str:
    """The model card: figures beside chance and placebos, poor ones too."""
    rows = []
    for way in ("text_to_series", "series_to_text"):
        held = report[way]
        for k in ("r_at_1", "r_at_5", "r_at_10", "median_rank", "mrr"):
            cells = (held["model"][k], report["chance"][k], held["placebo_by_time"][k], held["shuffled"][k])
            rows.append(f"| {way.replace('_', ' ')} {k} | {' | '.join(map(str, cells))} |")
    gains = ", ".join(
        f"{way.replace('_', ' ')} {report[way]['gain']} {report[way]['gain_interval']}"
        for way in ("text_to_series", "series_to_text")
    )
    return f"""# Arms of texts and trajectories ({choice.arms.get("arm", "series")}, {choice.loss})

Trained on {report["pairs"]} pairs ({report["independent_windows"]} independent windows), measured on {report["n"]} from
{choice.validation_from[:10]} on, one per symbol and bin. Faults of report 000 left in: {", ".join(choice.faults) or "none"}.

| figure | model | chance | words of the next post in time | words of any post |
|---|---|---|---|---|
{chr(10).join(rows)}

R@10 over the placebo by time, 95 % by days: {gains}. An interval that holds zero is no gain.
"""
