"""Every pretraining method by contract, and the losses against independent references.

lightly is no dependency (it brings three frameworks along); where it is installed the first three losses are compared with
its own, otherwise with the loops over numpy below, which always run.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from models.device import mend_torchvision
from models.encoders.series import build as encoder_of
from models.series import methods
from models.series.augmentations import Augment
from models.series.methods.barlow_twins import redundancy
from models.series.methods.clip import info_nce
from models.series.methods.masked import Masked, adapted, hide
from models.series.methods.moco import MoCo
from models.series.methods.simclr import nt_xent
from models.series.methods.vicreg import terms

VIEWS = Augment([("jitter", 0.1, 1.0), ("crop", 0.8, 0.5)])
A, B = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0))


def make(name: str, encoder: str = "resnet") -> methods.Method:
    torch.manual_seed(0)
    options = {"partner": 3} if name == "clip" else {}
    return methods.build(name, encoder_of(encoder, 2, base=8), 2, VIEWS, **options)


def gestures(count: int = 16) -> tuple[Tensor, Tensor]:
    """Sines of three rates, and which it is as one-hot rows."""
    g = torch.Generator().manual_seed(1)
    kinds = torch.arange(count) % 3
    time = torch.linspace(0, 6.28, 48)
    waves = torch.stack([torch.sin((k + 1) * time) for k in kinds.tolist()])
    x = torch.stack([waves, -waves], 1) + 0.1 * torch.randn(count, 2, 48, generator=g)
    return x, torch.nn.functional.one_hot(kinds, 3).float()


def test_every_named_method_is_there() -> None:
    """The spec's list, and two that are a loss away."""
    wanted = {"simclr", "vicreg", "barlow_twins", "masked", "ssgan", "clip", "simsiam", "moco"}
    assert wanted <= set(methods.names())


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("encoder", ["resnet", "patch"])
def test_a_method_trains_its_encoder(name: str, encoder: str) -> None:
    """The loss is one finite number decided by the generator, and a step moves every parameter that asks for gradient."""
    method = make(name, encoder).train()
    x, partner = gestures()
    first = method.loss(x, torch.Generator().manual_seed(3), partner)
    assert first.ndim == 0
    assert torch.isfinite(first)
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-2)
    for step in range(2):  # MoCo's queue is empty at the first
        optimizer.zero_grad()
        method.loss(x, torch.Generator().manual_seed(step), partner).backward()
        optimizer.step()
        method.after_step()
    still = [n for n, p in method.named_parameters() if torch.equal(before[n], p) and p.requires_grad]
    assert still == []
    assert any(p is q for p in method.encoder.parameters() for q in method.parameters())


@pytest.mark.parametrize("name", [n for n in methods.names() if n not in ("ssgan", "moco")])
def test_a_method_learns_eight_series(name: str) -> None:
    """Forty steps on eight series bring the loss down (a GAN's need not fall, and MoCo's queue grows)."""
    method = make(name).train()
    x, partner = gestures(8)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 5e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = method.loss(x, torch.Generator().manual_seed(0), partner)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < losses[0]


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_nt_xent_is_the_written_formula() -> None:
    """Spec 004, in loops over numpy."""
    z = torch.cat([A, B]).numpy()
    losses = []
    for i in range(20):
        j = (i + 10) % 20
        below = sum(np.exp(cosine(z[i], z[k]) / 0.5) for k in range(20) if k != i)
        losses.append(-np.log(np.exp(cosine(z[i], z[j]) / 0.5) / below))
    assert float(nt_xent(A, B, 0.5)) == pytest.approx(float(np.mean(losses)), rel=1e-5)


def test_vicreg_is_the_written_formula() -> None:
    """Invariance, variance and covariance of spec 004, in loops over numpy."""
    a, b = A.numpy().astype(np.float64), B.numpy().astype(np.float64)
    s = np.mean([(a[n, i] - b[n, i]) ** 2 for n in range(10) for i in range(6)])
    v = sum(np.mean([max(0, 1 - np.sqrt(z[:, i].var(ddof=1) + 1e-4)) for i in range(6)]) for z in (a, b))
    c = sum(
        np.cov(z[:, i], z[:, j])[0, 1] ** 2 / 6 for z in (a, b) for i in range(6) for j in range(6) if i != j
    )  # fmt: skip
    assert [float(t) for t in terms(A, B)] == pytest.approx([s, v, c], rel=1e-4)


def test_barlow_twins_is_the_written_formula() -> None:
    """Correlations by numpy."""
    c = np.corrcoef(A.numpy().T, B.numpy().T)[:6, 6:]
    plain = sum((1 - c[i, i]) ** 2 for i in range(6)) + 5e-3 * sum(
        c[i, j] ** 2 for i in range(6) for j in range(6) if i != j
    )
    assert float(redundancy(A, B)) == pytest.approx(plain, rel=1e-4)


def test_losses_are_those_of_lightly() -> None:
    """NT-Xent, VICReg and Barlow Twins to 1e-4 where lightly is installed."""
    mend_torchvision()
    loss = pytest.importorskip("lightly.loss")
    assert float(nt_xent(A, B, 0.5)) == pytest.approx(float(loss.NTXentLoss(0.5)(A, B)), rel=1e-4)
    assert float(redundancy(A, B)) == pytest.approx(float(loss.BarlowTwinsLoss(5e-3)(A, B)), rel=1e-4)
    theirs = float(loss.VICRegLoss(lambda_param=25, mu_param=25, nu_param=1)(A, B))
    s, v, c = (float(t) for t in terms(A, B))
    assert 25 * s + 25 * v / 2 + c == pytest.approx(theirs, rel=1e-4)  # lightly halves the variance of two views


def test_info_nce_counts_every_positive() -> None:
    """With the identity it is the plain cross-entropy; with marked positives, the mean over them."""
    a, b = torch.nn.functional.normalize(A, dim=1), torch.nn.functional.normalize(B, dim=1)
    logits = 5 * a @ b.T
    plain = torch.nn.functional.cross_entropy(logits, torch.arange(10))
    back = torch.nn.functional.cross_entropy(logits.T, torch.arange(10))
    assert float(info_nce(a, b, torch.tensor(5.0))) == pytest.approx(float(plain + back) / 2, rel=1e-5)
    everyone = torch.ones(10, 10, dtype=torch.bool)
    assert float(info_nce(a, b, torch.tensor(0.0), everyone)) == pytest.approx(np.log(10), rel=1e-5)


@pytest.mark.parametrize("share", [0.4, 0.75])
def test_masked_hides_its_share(share: float) -> None:
    """Whole blocks, the share of each series, never a step that is missing; the loss looks at hidden steps alone."""
    x, _ = gestures()
    x[0, :, 40:] = torch.nan
    hidden = hide(x, share, 4, torch.Generator().manual_seed(0))
    assert hidden[1:].float().mean(1).tolist() == pytest.approx([round(share * 12) / 12] * 15)
    assert not hidden[0, 40:].any()
    method = make("masked").eval()
    assert isinstance(method, Masked)
    with torch.no_grad():
        other = torch.where(hidden[:, None], x + 5, x)
        moved = method.error(other, hidden) - method.error(x, hidden)
        nothing = method.error(x, torch.zeros_like(hidden))
    assert abs(float(moved)) > 1
    assert float(nothing) == 0


def test_moco_remembers_keys() -> None:
    """The queue fills with unit keys, the newest first, and the slow copy follows the quick one slowly."""
    method = make("moco").train()
    assert isinstance(method, MoCo)
    x, _ = gestures(12)
    method.loss(x, torch.Generator().manual_seed(0))
    assert int(method.filled) == 12
    assert method.queue[:12].norm(dim=1).tolist() == pytest.approx([1.0] * 12, rel=1e-5)
    quick = next(method.encoder.parameters())
    slow = next(method.slow.parameters())
    with torch.no_grad():
        quick += 1
    before = slow.detach().clone()
    method.after_step()
    assert torch.allclose(slow - before, (quick - before) * 0.01, atol=1e-6)


def test_time_of_test_training_leaves_the_method_alone() -> None:
    """Adapted vectors differ from the plain ones, and the method's own weights do not change."""
    method = make("masked").eval()
    assert isinstance(method, Masked)
    x, _ = gestures(6)
    held = [p.detach().clone() for p in method.parameters()]
    vectors = adapted(method, x, steps=3, rate=0.05)
    with torch.no_grad():
        plain = method.encoder(x)
    assert vectors.shape == plain.shape
    assert not torch.allclose(vectors, plain)
    assert all(torch.equal(a, b) for a, b in zip(held, method.parameters(), strict=True))


def test_wrong_choices_are_named() -> None:
    """Unknown methods and options, a share out of range, an encoder without time, a missing partner."""
    with pytest.raises(InputError, match="vicreg"):
        methods.build("byol", encoder_of("resnet", 2), 2, VIEWS)
    with pytest.raises(InputError, match="colour"):
        methods.build("simclr", encoder_of("resnet", 2), 2, VIEWS, colour=1)
    with pytest.raises(InputError, match="between 0 and 1"):
        methods.build("masked", encoder_of("resnet", 2), 2, VIEWS, share=1.5)
    with pytest.raises(InputError, match="projection"):
        methods.build("masked", encoder_of("projection", 2), 2, VIEWS)
    with pytest.raises(InputError, match="partner"):
        make("clip").loss(gestures()[0], torch.Generator())
