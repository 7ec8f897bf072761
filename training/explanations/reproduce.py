"""Report 001, sentence vectors that decode back to their meaning: its figures and ours, by both protocols.

``moodtape reproduce 001 --data FOLDER --out FOLDER [--table 1|2|3]`` writes 001.json, 001.md and plots. Table 1 holds the
architectures and losses, table 2 the top-k accuracies, table 3 the noise. What is finished is kept in 001.parts.json: the
same command goes on after an interruption. Three more are of the decoder that ships and made only when asked for: 4 its
decoded means beside medoids, 5 what is shown for queries and charts, 6 the locality of its space.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domain.errors import WeightsError
from models.encoders.text import TextEncoder
from models.explanations.decoder import Autoencoder
from models.explanations.search import Vocabulary
from models.manifest import ARTIFACTS
from runtime.progress import progress
from training import runs
from training.explanations import data
from training.explanations.recipe import Settings, fit
from training.explanations.reconstruct import Task, figures, floors, noise_curve
from training.explanations.tables import loss_plot, write
from training.registry import ReproduceOptions

REPORT = "001"
QUICK = 4000
"""Training texts with ``quick``."""

TESTED = 1000
"""Texts of each holdout that are scored, drawn once."""

NOISE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Lengths of noise relative to the vector's."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the report's table: its settings, and how many seeds it gets."""

    settings: Settings
    seeds: int = 1
    report: float | None = None


PLAIN = Settings()
CODED = Settings(pooling="coded")
EMBEDDED = Settings(pooling="coded", layers=(0,))
"""The order of the words lies in the code and the words in the embeddings: nothing of the encoder's layers is read."""

ROWS: dict[str, Row] = {
    "autoregressive, position code of embeddings alone, S 768": Row(replace(EMBEDDED, depth=2, batch=64, epochs=5), 2),
    "autoregressive, position code of embeddings alone, S 2560": Row(
        replace(EMBEDDED, size=2560, slots=2, batch=64, epochs=2), 2
    ),
    "autoregressive, position code, S 768": Row(replace(CODED, depth=2, batch=64, epochs=5), 2),
    "autoregressive, position code, S 2560": Row(replace(CODED, size=2560, slots=2, batch=64, epochs=2), 2),
    "autoregressive, attention pooling, S 768": Row(replace(PLAIN, depth=2, batch=64, epochs=5), 2, 0.502),
    "autoregressive, attention pooling, S 2560": Row(replace(PLAIN, size=2560, slots=4, batch=64, epochs=3), 2, 0.552),
    "one pass, attention pooling, S 1568": Row(replace(PLAIN, decoder="one_pass", size=1568, epochs=1), 1, 0.357),
    "autoregressive, first token, S 768": Row(replace(PLAIN, pooling="first", epochs=1), 1, 0.406),
    "recurrent, attention pooling, S 768": Row(replace(PLAIN, decoder="recurrent", epochs=1)),
}
"""The main rows come first, because each is the dearest."""


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that the rows share."""

    headlines: data.Headlines
    split: data.Split
    task: Task
    train: data.Index
    tests: dict[str, data.Index]


@cache
def _headlines(folder: Path) -> data.Headlines:
    return data.load(folder)


def material(options: ReproduceOptions, choice: Settings) -> Material:
    """Headlines, both holdouts, the frozen encoder's states (computed once into ``options.out``) and the vocabulary."""
    headlines = _headlines(options.data)
    split = data.split(headlines, choice.since, choice.held_out, 0)
    encoder = TextEncoder.from_name(choice.encoder, choice.positions + 2).eval()
    ids = encoder.tokenise(headlines.texts)
    states = data.states(encoder, ids, choice.layers, options.out / f"states-{'-'.join(map(str, choice.layers))}.npy")
    vocabulary = Vocabulary.of([ids[i] for i in split.train], encoder.tokenizer)
    names = data.name_words([headlines.texts[i] for i in split.train])
    rows = data.encoded(vocabulary, ids, choice.positions)
    train = split.train[:: max(1, len(split.train) // QUICK)] if options.quick else split.train
    lots = np.random.default_rng(options.seed)
    held = {"random": split.random, "by date": split.by_date}
    tests = {
        name: np.sort(lots.permutation(rows)[: TESTED // (4 if options.quick else 1)]) for name, rows in held.items()
    }
    return Material(
        headlines, split, Task(states, rows, headlines.texts, vocabulary, encoder.tokenizer, names), train, tests
    )


def trained(given: Material, choice: Settings, folder: Path) -> Autoencoder:
    """The network of these settings: from ``folder`` if it was trained before, else trained now (a stopped run goes on)."""
    torch.manual_seed(choice.seed)
    task = given.task
    net = Autoencoder(choice.shape(len(task.vocabulary)), choice.decoder, choice.pooling, task.inputs.width)
    fit(net, task.inputs, task.rows, given.train, choice, folder, resume=(folder / runs.STATE).is_file())
    return net


def row_figures(given: Material, choice: Settings, folder: Path) -> dict[str, Any]:
    """Train and score one network on both holdouts, with its floors and, by date, its noise curve."""
    net = trained(given, choice, folder)
    found: dict[str, Any] = {name: figures(net, given.task, rows) for name, rows in given.tests.items()}
    dated = given.tests["by date"]
    found["floors"] = floors(net, given.task, dated)
    found["noise"] = noise_curve(net, given.task, dated[:250], NOISE)
    return found


def _slug(key: str) -> str:
    return key.replace(", ", "-").replace(" ", "_").replace("/", "-")


def wanted(names: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Rows and seeds in the order in which they are trained: the first seed of each before the second of any."""
    return [
        (name, seed)
        for seed in (0, 1)
        for name, row in ROWS.items()
        if seed < row.seeds and (not names or name in names)
    ]


def shipped(options: ReproduceOptions) -> dict[str, Any]:
    """Tables 4 to 6: of the decoder that ships, on texts newer than its training; ``quick`` takes a tenth of the groups."""
    from models.emotion.text import EmotionTextReader
    from models.explanations.explainer import load_explainer
    from training.explanations import compare, meaning, shown
    from training.explanations.evaluate import Judge

    reader = EmotionTextReader.from_pretrained()
    model = load_explainer(ARTIFACTS, reader.net.encoder.tokenizer, measured=False)
    if model is None:
        raise WeightsError("No decoder of explanations ships.")
    most = meaning.MEASURED // (4 if options.quick else 1)
    given = meaning.held_out(options.data, options.out / "cache", model, reader, options.seed, most)
    if options.table == 4:
        many = compare.GROUPS // (10 if options.quick else 1)
        found = compare.compare(given, model, reader, Judge.named(options.judge), many, options.seed)
        compare.write(found, options.out)
        return found
    if options.table == 5:
        found = {"queries": shown.queries(given, model, reader, options.seed)}
        found["charts"] = shown.charts(options.data, model, reader, options.seed)
    else:
        found = shown.locality(given, model, seed=options.seed)
    (options.out / f"001_{options.table}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def run(options: ReproduceOptions) -> dict[str, Any]:
    """Train what is not trained yet, and write the tables.

    Raises:
        InputError: a data set is missing. WeightsError: tables 4 to 6 are asked for and no decoder ships.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    if options.table in (4, 5, 6):
        return shipped(options)
    parts = runs.Parts(options.out / "001.parts.json", f"seed {options.seed}{', quick' * options.quick}")
    shared = cache(lambda layers: material(options, replace(PLAIN, layers=layers)))
    jobs = wanted()

    def made(choice: Settings, folder: Path) -> dict[str, Any]:
        return row_figures(shared(choice.layers), choice, folder)

    with progress("report 001", len(jobs)) as report:
        for done, (name, seed) in enumerate(jobs, 1):
            key = f"{name}/{seed}"
            choice = replace(ROWS[name].settings, seed=options.seed + seed)
            parts.get(key, partial(made, choice, options.out / "runs" / _slug(key)))
            report(done, key)
    logs = {
        path.name: path / runs.LOG for path in sorted((options.out / "runs").glob("*")) if (path / runs.LOG).is_file()
    }
    loss_plot(logs, options.out / "001_loss.png")
    return write(parts.done, {name: row.report for name, row in ROWS.items()}, options)
