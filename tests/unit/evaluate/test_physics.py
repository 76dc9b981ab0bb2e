"""Bore radius, intensities and noise against images with known answers."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tubepet.evaluate import physics

Y, X = np.mgrid[:64, :64] - 31.5


def disc(radius_px: float) -> np.ndarray:
    """Return a disc at the resolution of the default images, a FWHM of 5 pixels."""
    fine = np.mgrid[:256, :256] - 127.5
    sharp = (np.hypot(*fine) < 4 * radius_px).reshape(64, 4, 64, 4).mean((1, 3))
    return gaussian_filter(sharp, 2.1).astype(np.float32)


@pytest.mark.parametrize("radius_px", [12.0, 12.4, 16.0])
def test_radius_is_finer_than_a_pixel(radius_px: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (64, 64))
    found = physics.bore_radius_px(np.stack([disc(radius_px), disc(radius_px) * (1 + noise)]))
    # a blurred convex edge moves inwards by sigma^2 / 2 r = 0.2 px; noise of 10 % adds 0.1 px
    assert found == pytest.approx([radius_px, radius_px], abs=0.3)
    assert abs(found[0] - found[1]) < 0.15


def test_two_bores_count_by_the_larger_and_none_is_zero() -> None:
    image = np.zeros((1, 64, 64), np.float32)
    assert physics.bore_radius_px(image)[0] == 0
    image[0, 5:8, 5:8] = 1
    image[0, 20:40, 20:40] = 1
    # 20 x 20 pixels at half height, corners cut: between the radii of 19 x 19 and 20 x 20
    assert np.sqrt(19**2 / np.pi) < physics.bore_radius_px(image)[0] < np.sqrt(20**2 / np.pi)


def test_histogram_distance_by_hand() -> None:
    first, second = (
        physics.intensity_histogram(np.array([values], np.float32))[0]
        for values in ([[0.0, 0.205], [0.405, 0.605]], [[0.0, 0.305], [0.505, 0.605]])
    )
    # two of four pixels move by 0.1: W1 = 0.05; spread of (0, .3, .5, .6) = 0.229
    assert physics.histogram_w1(first, second) == pytest.approx(0.05 / 0.2291, rel=0.02)
    assert physics.histogram_w1(second, second) == 0
    flat = physics.intensity_histogram(np.zeros((1, 8, 8), np.float32))[0]
    assert physics.histogram_w1(flat, flat) is None


def test_noise_power_of_white_noise_grows_as_its_variance_and_ignores_the_shape() -> None:
    noise = np.random.default_rng(1).normal(size=(20, 64, 64))
    clean, base = disc(16.0), 0.05
    weak, strong = (physics.noise_power(clean + s * noise) for s in (base, 2 * base))
    # the shape itself counts as noise of less than 2 %, in the lowest bands; the rest is noise
    assert physics.noise_power(clean[None]).max() < 0.02**2
    assert strong.mean(0)[3:] == pytest.approx(4 * weak.mean(0)[3:], rel=0.05)
    # the highest band passes the smoothing whole: white noise has power sigma^2 per pixel
    assert weak.mean(0)[-1] == pytest.approx(base**2, rel=0.15)
    assert np.isnan(physics.noise_power(np.zeros((1, 64, 64), np.float32))).all()
