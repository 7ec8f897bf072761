"""The emotion of words: shapes, gradients, learning, calibration, abstention, reasons, and the weights that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from domain.errors import InputError, WeightsError
from domain.reasons import Reason
from domain.types import EMOTIONS
from models import checkpoint
from models.emotion.net import EmotionNet, bag, flat, load_net, new_net
from models.emotion.text import FOLDER, EmotionTextReader
from models.encoders.text import pool
from tests.fakes.tiny_text import make_tiny

TEXTS = ["i am so happy", "i am so sad", "i am angry", "wow", "yuck", "i am scared", "the price is good", "rekt"]
LABELS = [1, 0, 3, 4, 6, 2, 5, 0]
CONFIG = {"unsure_margin": 0.1, "thresholds": [0.3] * 7}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def net(base: str) -> EmotionNet:
    torch.manual_seed(0)
    return new_net(base, ("diary", "slang"))


@pytest.fixture
def reader(net: EmotionNet) -> EmotionTextReader:
    return EmotionTextReader(net, CONFIG, torch.float32)


def test_shapes_and_gradient_flow(net: EmotionNet) -> None:
    """Every trainable weight of encoder and emotion heads gets a gradient; frozen embeddings and calibration get none."""
    reading = net(net.encoder.tokenise(TEXTS))
    assert reading.logits.shape == reading.multi.shape == (8, 7)
    (reading.logits.square().sum() + reading.multi.square().sum()).backward()
    without = {name for name, p in net.named_parameters() if p.requires_grad and p.grad is None}
    assert all(name.startswith("encoder.model.pooler.") for name in without)
    assert net.encoder.model.embeddings.word_embeddings.weight.grad is None


def test_the_packed_pass_stays_on_the_device(net: EmotionNet) -> None:
    """Whatever device the network is moved to, encoder, heads and calibration compute there."""
    net = net.eval().to("meta")
    reading = net.infer(net.encoder.tokenise(TEXTS), torch.bfloat16)
    places = [reading.logits, reading.multi, reading.mean, reading.lexical]
    places.append(net.probabilities(reading, "slang"))
    assert {tensor.device.type for tensor in places} == {"meta"}
    assert EmotionTextReader(net, CONFIG, device="meta").net.head.weight.is_meta


def test_overfits_eight_samples(net: EmotionNet) -> None:
    """Eight texts can be learned by heart."""
    ids = net.encoder.tokenise(TEXTS)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(net(ids).logits, torch.tensor(LABELS))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert net.infer(ids).logits.argmax(1).tolist() == LABELS


def test_inference_equals_training_pass(net: EmotionNet) -> None:
    """The packed pass gives the logits of the padded one."""
    ids = net.encoder.tokenise(TEXTS)
    torch.testing.assert_close(net.infer(ids).logits, net.eval()(ids).logits, atol=1e-4, rtol=1e-3)


def test_a_style_that_is_not_told_is_not_guessed(net: EmotionNet) -> None:
    """A named style uses its own bias; any other text has none, only its temperature."""
    net.calibration["bias"][0, 1] = -5.0
    net.calibration["bias"][1, 1] = 5.0
    net.calibration["unknown"].data = torch.tensor([0.5])
    reading = lettered(net).infer(net.encoder.tokenise(["moon"]))
    joy = [float(net.probabilities(reading, style)[0, 1]) for style in (net.styles[0], None, net.styles[1])]
    assert joy[0] < joy[1] < joy[2]
    torch.testing.assert_close(net.calibrated(reading), 0.5 * reading.logits)


def lettered(net: EmotionNet) -> EmotionNet:
    """The network with a random lexicon that counts in the first style alone."""
    net.lexicon.data = torch.randn(net.lexicon.shape, generator=torch.Generator().manual_seed(3))
    net.calibration["lexical"].data = torch.tensor([0.5, 0.0])
    return net


def test_the_lexicon_is_a_sum_over_the_root_of_the_length(net: EmotionNet) -> None:
    """Each text gets the sum of its own tokens' rows, whatever stands before it in the batch."""
    table = lettered(net).lexicon
    ids = [[3, 4, 4], [5], [6, 3]]
    wanted = torch.stack([table[row].sum(0) / len(row) ** 0.5 for row in ids])
    torch.testing.assert_close(bag(table, *flat(ids, table.device)), wanted)
    torch.testing.assert_close(
        net.eval().infer(net.encoder.tokenise(TEXTS)).lexical, net(net.encoder.tokenise(TEXTS)).lexical
    )


def test_the_lexicon_counts_in_its_style_only(net: EmotionNet) -> None:
    """It moves the probabilities of the style that it was learned from, and none of another's."""
    reading = lettered(net).infer(net.encoder.tokenise(TEXTS))
    own, other = (net.calibrated(reading, style) for style in net.styles)
    torch.testing.assert_close(own, reading.logits + 0.5 * reading.lexical)
    torch.testing.assert_close(other, reading.logits)


def test_a_checkpoint_from_before_the_lexicon_loads(net: EmotionNet, base: str, tmp_path: Path) -> None:
    """Weights that know no lexicon are read as if it were empty."""
    net.save(tmp_path / "new", CONFIG | {"encoder": base}, "")
    config, tensors = checkpoint.load(tmp_path / "new")
    kept = {name: tensor for name, tensor in tensors.items() if "lexic" not in name}
    assert len(kept) == len(tensors) - 2
    checkpoint.save(tmp_path / "old", config, kept, "")
    old, _ = load_net(tmp_path / "old")
    assert not old.lexicon.any()
    assert not old.calibration["lexical"].any()


def test_save_and_load(net: EmotionNet, base: str, tmp_path: Path) -> None:
    """A saved checkpoint leaves out the frozen embeddings and gives the same reading when loaded, lexicon included."""
    lettered(net).save(tmp_path / "emotion-text", CONFIG | {"encoder": base}, "# card")
    names = checkpoint.load_weights(tmp_path / "emotion-text" / "model.safetensors")
    assert not any(name.endswith("word_embeddings.weight") for name in names)
    loaded = EmotionTextReader.from_pretrained(tmp_path / "emotion-text", torch.float32)
    torch.testing.assert_close(loaded.net.lexicon, net.lexicon, atol=5e-3, rtol=0)
    ours = EmotionTextReader(net, CONFIG, torch.float32)
    for a, b in zip(ours.read(TEXTS), loaded.read(TEXTS), strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=5e-3)


def test_an_altered_base_is_refused(net: EmotionNet, base: str, tmp_path: Path) -> None:
    """Weights trained on another base file are refused, naming the base."""
    net.save(tmp_path / "m", CONFIG | {"encoder": base, "base_sha256": "0" * 64}, "")
    with pytest.raises(WeightsError, match="differs"):
        load_net(tmp_path / "m")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    """A checkpoint of something else is refused."""
    checkpoint.save(tmp_path / "m", {"kind": "other"}, {"w": torch.zeros(1)}, "")
    with pytest.raises(WeightsError, match="emotion-text"):
        load_net(tmp_path / "m")


def test_readings_are_calibrated_vectors(reader: EmotionTextReader) -> None:
    """Probabilities sum to 1, vectors have norm 1, types are float32, the order is kept whatever the batch."""
    together = reader.read(TEXTS)
    for text, reading in zip(TEXTS, together, strict=True):
        assert reading.probabilities.dtype == reading.embedding.dtype == np.float32
        assert reading.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert np.linalg.norm(reading.embedding) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(reader.read([text])[0].probabilities, reading.probabilities, atol=1e-5)
    assert reader.read([]) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason("no_words")),
        ("https://t.co/abc", Reason("no_words")),
        ("...", Reason("no_words")),
        ("Ich habe heute alle meine Coins verkauft und bin traurig", Reason("foreign", {"language": "de"})),
        ("это конец, все пропало", Reason("foreign", {"language": "ru"})),
    ],
)
def test_abstains_where_it_cannot_read(reader: EmotionTextReader, text: str, reason: Reason) -> None:
    """Texts without words or in other languages claim no emotion and say why; the vector is valid all the same."""
    reading = reader.read([text])[0]
    assert reading.abstained == reason
    assert reading.warnings == ((reason,) if reason.code == "foreign" else ())
    assert np.isfinite(reading.embedding).all()


def test_a_narrow_margin_is_unsure(net: EmotionNet) -> None:
    """Two emotions too close to tell give “unsure between”."""
    reading = EmotionTextReader(net, CONFIG | {"unsure_margin": 1.0}, torch.float32).read(["wow"])[0]
    assert reading.abstained is not None
    assert reading.abstained.code == "unsure"


def test_several_labels_always_has_one(reader: EmotionTextReader) -> None:
    """At least one label is claimed per text."""
    scores, claimed = reader.several(TEXTS)
    assert scores.shape == claimed.shape == (8, 7)
    assert claimed.any(1).all()


def test_unknown_source_and_label_are_refused(reader: EmotionTextReader) -> None:
    """A kind of text or a label that the model does not know is an input error."""
    with pytest.raises(InputError, match="diary"):
        reader.read(["wow"], source="poetry")
    with pytest.raises(InputError, match="bored"):
        reader.why("wow", "bored")


def test_why_names_whole_words(reader: EmotionTextReader) -> None:
    """Weights stand for words, not pieces; they are ranked and their absolute sum is 1."""
    why = reader.why("my coin dumped again, unbelievable!", "anger")
    assert {entry["word"] for entry in why} == {"my", "coin", "dumped", "again", "unbelievable"}
    sizes = [abs(entry["weight"]) for entry in why]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == pytest.approx(1, abs=1e-2)
    assert reader.why("", "anger") == []


def test_attributions_add_up(reader: EmotionTextReader) -> None:
    """Completeness: attributions sum to the score's change from padding to the text, within the steps' error.

    Special tokens get none of it.
    """
    ids = reader.net.encoder.tokenise(["i am so happy today"])
    encoder = reader.net.encoder
    tokens, mask = encoder.pad(ids)
    blank = tokens.clone()
    blank[0, 1:-1] = encoder.tokenizer.pad_token_id
    with torch.no_grad():
        hidden = [encoder.model(input_ids=t, attention_mask=mask).last_hidden_state for t in (blank, tokens)]
        scores = [float(reader._score(pool(h, mask, reader.net.pooling), 1)) for h in hidden]
    found = reader._attributions(ids, 1)
    assert found[0] == found[-1] == 0
    assert sum(found) == pytest.approx(scores[1] - scores[0], abs=0.05)


@pytest.fixture(scope="module")
def shipped() -> EmotionTextReader:
    if not (FOLDER / "model.safetensors").is_file():
        pytest.skip("no text model in models/artifacts")
    return EmotionTextReader.from_pretrained()


PROBES = [
    ("to the moon 🚀🚀", "joy"),
    ("rekt", "sadness"),
    ("ngmi", "sadness"),
    ("bought the dip", "joy"),
    ("😡", "anger"),
    ("i feel so lonely and miserable today", "sadness"),
    ("thank you so much, this made my day!", "joy"),
    ("i'm terrified that the exchange is insolvent", "fear"),
    ("these scammers stole my money, i am furious", "anger"),
    ("the upgrade is scheduled for block 19,000,000", "neutral"),
    ("🤮", "disgust"),
]


@pytest.mark.parametrize(("text", "label"), PROBES)
def test_shipped_model_knows(shipped: EmotionTextReader, text: str, label: str) -> None:
    """What the product must not get wrong."""
    reading = shipped.read([text])[0]
    assert EMOTIONS[int(reading.probabilities.argmax())] == label


def test_shipped_model_on_rug_pulls_and_sarcasm(shipped: EmotionTextReader) -> None:
    """A rug pull is anger or fear, and bitter praise of a dump is no joy."""
    rug, praise = shipped.read(["rug pull", "oh great, my coin dumped again, what a wonderful day"])
    assert EMOTIONS[int(rug.probabilities.argmax())] in {"anger", "fear"}
    assert EMOTIONS[int(praise.probabilities.argmax())] != "joy"


def test_shipped_model_is_small(shipped: EmotionTextReader) -> None:
    """What ships over the packaged base stays within 24 MB."""
    assert shipped.net is not None
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 24 * 2**20
