"""The deep decoder: what it can make, and that a tube is denoised by itself alone."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tubepet.enhance import zero_shot
from tubepet.enhance.pairs import Pairs

SHAPE = (6, 25, 24)  # no side is a power of 2


def tube(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth cylinder, and the same with noise of half its height."""
    _, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    clean = gaussian_filter((np.hypot(y - 12, x - 12) < 7).astype(np.float32), (0, 2, 2))
    noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    return clean, np.maximum(clean + 0.5 * noise * clean, 0)


def test_it_removes_noise_and_keeps_unit_and_sign() -> None:
    clean, noisy = tube(0)
    made = zero_shot.denoised(noisy, 8, 1)
    before, after = (float(np.square(image - clean).mean()) for image in (noisy, made))
    assert after < before / 2
    assert made.min() >= 0 and made.dtype == np.float32
    thousand = zero_shot.denoised(1000 * noisy, 8, 1)
    np.testing.assert_allclose(thousand, 1000 * made, rtol=1e-2, atol=1)  # float32, 300 steps


def test_more_channels_fit_more_noise() -> None:
    _, noisy = tube(0)
    few, many = (
        float(np.square(zero_shot.denoised(noisy, channels, 1) - noisy).mean())
        for channels in (4, 32)
    )
    assert many < few


def test_its_shape_is_that_of_the_volume_and_its_weights_are_few() -> None:
    torch.manual_seed(0)
    decoder = zero_shot.Decoder(4, (22, 128, 127))
    assert decoder().shape == (22, 128, 127)
    # by hand: 1 x 4 x 4 doubled five times; 4 x 4 mixes with scale and shift, and the last mix
    assert decoder.sizes[0] == [1, 4, 4] and len(decoder.sizes) == 6  # with the volume
    assert sum(p.numel() for p in decoder.parameters()) == 5 * (16 + 4 + 4) + 5


def test_a_tube_is_denoised_from_itself_alone() -> None:
    (_, one), (_, two) = tube(0), tube(1)
    names = np.repeat(["a", "b"], len(one))
    both = zero_shot.all_denoised(Pairs(np.concatenate([one, two]), None, names), 4, 7)  # type: ignore[arg-type]
    alone = zero_shot.all_denoised(Pairs(two, None, names[6:]), 4, 7)  # type: ignore[arg-type]
    np.testing.assert_array_equal(both[6:], alone)
    nothing = zero_shot.denoised(np.zeros(SHAPE, np.float32), 4, 1)
    assert np.isfinite(nothing).all()
    assert nothing.max() == pytest.approx(0, abs=0.05)
