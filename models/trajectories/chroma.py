"""Chromagrams of trajectories in batches, equal to librosa's to 1e-5, and the pictures that report 000 drew of them.

|STFT(n_fft 256, hop 64)| at a nominal 4 kHz, folded onto twelve pitch classes, every frame divided by its maximum: 256 steps
become 12 × 5 numbers, and the scale of the move is gone. ``tuning`` None estimates each series' own, as librosa does.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE, N_FFT, CLASSES = 4000, 256, 12
RESOLUTION = 0.01
"""Steps of a tuning estimate, in shares of a semitone."""

Doubles = NDArray[np.float64]


def spectra(x: Tensor, n_fft: int = N_FFT) -> Tensor:
    """Magnitudes (n, n_fft / 2 + 1, frames) of series (n, time), zero-padded so that frames are centred."""
    window = torch.hann_window(n_fft, dtype=x.dtype)
    found = torch.stft(x, n_fft, n_fft // 4, window=window, center=True, pad_mode="constant", return_complex=True)
    return found.abs()


def _octaves(frequencies: Doubles, tuning: float = 0.0) -> Doubles:
    return np.asarray(np.log2(frequencies / (440.0 * 2.0 ** (tuning / CLASSES) / 16)), dtype=np.float64)


@cache
def filters(tuning: float = 0.0, rate: int = RATE, n_fft: int = N_FFT) -> Tensor:
    """(12, n_fft / 2 + 1): Gaussian windows around the pitch classes, weighted towards the fifth octave (Ellis, 2007)."""
    bins = CLASSES * _octaves(np.linspace(0, rate, n_fft, endpoint=False)[1:], tuning)
    bins = np.concatenate([[bins[0] - 1.5 * CLASSES], bins])
    widths = np.concatenate([np.maximum(np.diff(bins), 1.0), [1.0]])
    half = CLASSES // 2
    apart = np.remainder(bins[None] - np.arange(CLASSES)[:, None] + half + 10 * CLASSES, CLASSES) - half
    weights = np.exp(-0.5 * (2 * apart / widths) ** 2)
    weights /= np.linalg.norm(weights, axis=0)
    weights *= np.exp(-0.5 * ((bins / CLASSES - 5.0) / 2) ** 2)
    return torch.from_numpy(np.roll(weights, -3, axis=0)[:, : n_fft // 2 + 1].astype(np.float32))


def chromagrams(x: Tensor, tuning: float | None = 0.0) -> Tensor:
    """Chroma (n, 12, frames) in 0 to 1 of series (n, time); of a series of zeros, zeros."""
    found = spectra(x)
    if tuning is not None:
        chroma = torch.einsum("cf,nft->nct", filters(tuning), found)
    else:
        own = tunings(found)
        chroma = torch.empty(len(x), CLASSES, found.shape[-1])
        for value in np.unique(own):
            rows = torch.from_numpy(own == value)
            chroma[rows] = torch.einsum("cf,nft->nct", filters(float(value)), found[rows])
    top = chroma.amax(1, keepdim=True)
    return torch.where(top > torch.finfo(chroma.dtype).tiny, chroma / top, chroma)


def tunings(found: Tensor, rate: int = RATE, n_fft: int = N_FFT) -> Doubles:
    """Deviation from A440 of each of the spectra (n, bins, frames), in semitones: the commonest among its stronger peaks."""
    s = found
    shift, skew = torch.zeros_like(s), torch.zeros_like(s)
    curve, slope = s[:, 2:] + s[:, :-2] - 2 * s[:, 1:-1], (s[:, 2:] - s[:, :-2]) / 2
    shift[:, 1:-1] = torch.where(slope.abs() < curve.abs(), -slope / curve, 0.0)
    skew[:, 1:-1] = 0.5 * slope * shift[:, 1:-1]
    strong = torch.where(s > 0.1 * s.amax(1, keepdim=True), s, 0.0)
    after = torch.cat([strong[:, 1:], strong[:, -1:]], 1)
    peak = torch.zeros_like(s, dtype=torch.bool)
    peak[:, 1:] = (strong[:, 1:] > strong[:, :-1]) & (strong[:, 1:] >= after[:, 1:])
    hertz = torch.arange(s.shape[1])[:, None] * (rate / n_fft)
    peak &= (hertz >= 150) & (hertz < min(4000, rate / 2))
    row, place, _ = (i.numpy() for i in peak.nonzero(as_tuple=True))
    pitch = (place + shift[peak].numpy().astype(np.float64)) * rate / n_fft
    loudness = (s + skew)[peak].numpy()
    return _commonest(row, pitch, loudness, len(s))


def _commonest(row: NDArray[np.int64], pitch: Doubles, loudness: NDArray[np.float32], count: int) -> Doubles:
    """The fullest bin of the deviations of each row's peaks that are no quieter than its median one."""
    order = np.lexsort((loudness, row))
    row, pitch, loudness = row[order], pitch[order], loudness[order]
    first, last = np.searchsorted(row, np.arange(count)), np.searchsorted(row, np.arange(count), side="right")
    size = last - first
    median = np.zeros(count, dtype=loudness.dtype)
    some = size > 0
    low, high = first[some] + (size[some] - 1) // 2, first[some] + size[some] // 2
    median[some] = (loudness[low] + loudness[high]) / 2
    kept = (loudness >= median[row]) & (pitch > 0)
    apart = np.mod(CLASSES * _octaves(pitch[kept]), 1.0)
    apart = np.where(apart >= 0.5, apart - 1.0, apart)
    edges = np.linspace(-0.5, 0.5, round(1 / RESOLUTION) + 1)
    bins = np.clip(np.searchsorted(edges, apart, side="right") - 1, 0, len(edges) - 2)
    counts = np.zeros((count, len(edges) - 1), dtype=np.int64)
    np.add.at(counts, (row[kept], bins), 1)
    return np.where(counts.any(1), edges[counts.argmax(1)], 0.0)


@cache
def _colours() -> Tensor:
    """The magma scale, (256, 3) red, green, blue in 0 to 1."""
    import cv2

    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)
    return torch.from_numpy(np.ascontiguousarray(table[:, 0, ::-1])).float() / 255


def pictures(chroma: Tensor, size: int = 224, *, drawn: bool = True) -> Tensor:
    """Pictures (n, 3, size, size) with ImageNet's scale of chroma (n, 12, frames).

    ``drawn``: as the report, blocks of colour, low classes at the bottom, 100 × 100 pixels and then resized; else the array
    itself, grey and interpolated.
    """
    upright = chroma.flip(1)
    if drawn:
        index = (upright * 255).round().long().clamp(0, 255)
        blocks = torch.nn.functional.interpolate(_colours()[index].movedim(-1, 1), (100, 100), mode="nearest")
        grown = torch.nn.functional.interpolate(blocks, (size, size), mode="bilinear", antialias=True)
    else:
        grown = torch.nn.functional.interpolate(upright[:, None], (size, size), mode="bilinear").expand(-1, 3, -1, -1)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (grown - mean[:, None, None]) / deviation[:, None, None]
