"""Self-supervised GAN (Chen et al., 2019): real or made up, and which transformation, from one trunk; losses on logits.

The encoder is the discriminator's trunk. Both players step at once on one summed loss: the discriminator's part sees made
series without gradient, the generator's part sees the discriminator's weights without gradient.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from models.encoders.series import SeriesEncoder, filled
from models.series.augmentations import Augment, sign_flip, time_flip
from models.series.methods import Method

TRANSFORMATIONS = 4
"""As it is, backwards, upside down, both."""


def transform(x: Tensor, which: Tensor, generator: Generator) -> Tensor:
    """Each series (n, channels, time) under its transformation (n) of the four."""
    flipped = torch.where((which % 2 == 1)[:, None, None], time_flip(x, 1.0, generator), x)
    return torch.where((which >= 2)[:, None, None], sign_flip(flipped, 1.0, generator), flipped)


class _Generator(nn.Module):
    """Noise (n, noise) to series (n, channels, length)."""

    def __init__(self, noise: int, channels: int, base: int) -> None:
        super().__init__()
        self.base, self.start = base, nn.Linear(noise, base * 16)
        self.body = nn.Sequential(
            nn.Conv1d(base, base, 5, padding=2), nn.ReLU(), nn.Upsample(scale_factor=4, mode="linear"),
            nn.Conv1d(base, base, 5, padding=2), nn.ReLU(), nn.Upsample(scale_factor=4, mode="linear"),
            nn.Conv1d(base, channels, 7, padding=3),
        )  # fmt: skip

    def forward(self, noise: Tensor, length: int) -> Tensor:
        made = self.body(self.start(noise).unflatten(1, (self.base, 16)))
        return functional.interpolate(made, length, mode="linear", align_corners=True)


class _Discriminator(nn.Module):
    """The encoder with two heads: real or made up (n), and the transformation (n, 4)."""

    def __init__(self, encoder: SeriesEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.real, self.which = nn.Linear(encoder.width, 1), nn.Linear(encoder.width, TRANSFORMATIONS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.encoder(x)
        return self.real(vectors)[:, 0].float(), self.which(vectors).float()


class SSGAN(Method):
    """``alpha`` and ``beta`` weigh the transformation's loss of the generator and of the discriminator."""

    def __init__(
        self, encoder: SeriesEncoder, channels: int, augment: Augment, alpha: float, beta: float, noise: int
    ) -> None:
        super().__init__()
        self.augment, self.alpha, self.beta, self.noise = augment, alpha, beta, noise
        self.generator = _Generator(noise, channels, 32)
        self.discriminator = _Discriminator(encoder)

    @property
    def encoder(self) -> SeriesEncoder:  # type: ignore[override]  # it lives in the discriminator
        return self.discriminator.encoder

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        real = filled(self.augment(x, generator))[0]
        noise = torch.randn(len(x), self.noise, generator=generator, device=x.device)
        made = self.generator(noise, x.shape[-1])
        which = torch.randint(TRANSFORMATIONS, (len(x),), generator=generator, device=x.device)
        turned = transform(real, which, generator)
        says_real, says_which = self.discriminator(turned)
        says_made, _ = self.discriminator(made.detach())
        one, zero = torch.ones_like(says_real), torch.zeros_like(says_real)
        judge = functional.binary_cross_entropy_with_logits(
            says_real, one
        ) + functional.binary_cross_entropy_with_logits(says_made, zero)
        judge = judge + self.beta * functional.cross_entropy(says_which, which)
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled, guessed = functional_call(self.discriminator, fixed, (transform(made, which, generator),))
        maker = functional.binary_cross_entropy_with_logits(fooled, one) + self.alpha * functional.cross_entropy(
            guessed, which
        )
        return judge + maker


def build(
    encoder: SeriesEncoder, channels: int, augment: Augment, *, alpha: float = 0.2, beta: float = 1.0, noise: int = 32
) -> Method:
    """SS-GAN with the encoder as the discriminator's trunk."""
    return SSGAN(encoder, channels, augment, alpha, beta, noise)
