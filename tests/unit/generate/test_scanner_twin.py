"""The scanner in image space: counts, MLEM, filters, and recovery of numbers by the fit."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import poisson

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.errors import InputError
from tubepet.generate.layers import scanner_twin
from tubepet.generate.layers.scanner_twin import Blur, ScannerTwin

SHAPE, VOXEL_MM = (16, 24, 24), (1.0, 1.0, 1.0)
TRUE = Blur(scale=0.8, counts=4.0, tail=0.1, across_mm=2.0, along_mm=3.2)


def twin(blur: Blur = TRUE, **changes) -> ScannerTwin:
    keys = {"level_fwhm_mm": 2.6, "filter_fwhm_mm": 1.5, "model_mm": (2.3, 3.0)}
    made = ScannerTwin(SHAPE, VOXEL_MM, **keys | {"num_iterations": 8} | changes)
    made.take(blur)
    return made


def cylinders(num: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    radius, half = rng.uniform(5, 8, num), rng.uniform(4.5, 6.5, num)
    across = np.hypot(y[:, None], x)[None, None] < radius[:, None, None, None]
    return (across & (np.abs(z)[None, :, None, None] < half[:, None, None, None])).astype("f")


def uniforms(num: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((num, *SHAPE), np.float32)


def test_counts_are_those_of_scipy_at_the_same_quantiles() -> None:
    rng = np.random.default_rng(0)
    rate, uniform = rng.gamma(1.0, 4.0, 5000).astype("f"), rng.random(5000, np.float32)
    found = scanner_twin._poisson(rate, uniform)
    assert np.array_equal(found, poisson.ppf(uniform.astype(float), rate.astype(float)))


def test_without_lines_and_noise_it_is_richardson_and_lucy_with_gaussians() -> None:
    blur = Blur(scale=1.0, counts=1e2, corner_per_mm=1e6, tail=0.0, across_mm=2.0, along_mm=3.2)
    fluid = cylinders(1)[0]
    made = twin(blur)
    # counts of 100 have noise: give both the same rounded data, in whole counts
    data = scanner_twin._poisson(
        np.float32(100) * np.maximum(scanner_twin._filtered(fluid, made._transfers()[1]), 0),
        np.full(SHAPE, 0.5, np.float32),
    ) / np.float32(100)
    sigma = np.array([3.0, 2.3, 2.3]) / FWHM_PER_SIGMA

    def seen(image):
        return gaussian_filter(image, sigma, mode="reflect", truncate=6.0)

    image = np.full(SHAPE, data.mean(), float)
    for _ in range(8):
        image *= seen(data / np.maximum(seen(image), 1e-6))
    found = made.reconstructed(fluid, np.full(SHAPE, 0.5, np.float32))
    # the same Gaussians sampled in space and in frequency: within a per cent of the fluid's level
    np.testing.assert_allclose(found, image, rtol=0, atol=0.01)


def test_an_even_drawing_stays_even_with_its_scale() -> None:
    blur = Blur(scale=0.8, counts=300.0)
    made = twin(blur).volume(np.ones(SHAPE, np.float32), np.full(SHAPE, 0.5, np.float32))
    assert np.ptp(made) < 1e-4  # float32
    assert made.mean() == pytest.approx(0.8, rel=0.005)  # the median of 240 is whole


def test_the_last_filter_is_that_of_the_reconstruction() -> None:
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    found = scanner_twin._filtered(image, twin().last_filter())
    wanted = gaussian_filter(image.astype(float), 1.5 / FWHM_PER_SIGMA, mode="reflect")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)  # float32


def test_the_same_numbers_give_the_same_volume_and_no_fluid_none() -> None:
    made, (fluid,), (first, second) = twin(), cylinders(1), uniforms(2)
    assert np.array_equal(made.volume(fluid, first), made.volume(fluid, first))
    assert not np.array_equal(made.volume(fluid, first), made.volume(fluid, second))
    assert made.volume(np.zeros_like(fluid), first).max() < 1e-4


def test_noise_is_correlated_along_the_axis_and_falls_with_counts() -> None:
    fluid, chance = cylinders(1)[0], uniforms(6)
    noise = {}
    for counts in (2.0, 18.0):
        many = np.array([twin(Blur(counts=counts)).volume(fluid, u) for u in chance])
        noise[counts] = (many - many.mean(0))[:, 5:11, 8:16, 8:16]
    # nine times the counts: a third of the noise; 6 volumes, MLEM is not linear
    assert noise[2.0].std() / noise[18.0].std() == pytest.approx(3, rel=0.25)
    neighbours = (noise[2.0][:, 1:] * noise[2.0][:, :-1]).mean() / noise[2.0].var()
    assert neighbours > 0.6  # 3 mm of resolution; white noise would have 0


def test_a_part_of_twice_the_usual_volume_has_counts_by_the_power_of_two() -> None:
    fluid, chance = cylinders(1)[0], uniforms(1)[0]
    grown, plain = twin(), twin(Blur(**vars(TRUE) | {"counts": TRUE.counts * np.sqrt(2)}))
    grown.growth[:] = torch.tensor([grown.volume_mm3(fluid) / 2, 0.5])
    np.testing.assert_allclose(grown.volume(fluid, chance), plain.volume(fluid, chance), atol=1e-5)


def test_a_fit_finds_how_counts_grow_with_the_part() -> None:
    fluids, chance = cylinders(24, seed=3), uniforms(24, seed=4)
    found = []
    for exponent in (-0.6, 0.6):
        true, fresh = twin(), twin()
        true.growth[:] = torch.tensor([1000.0, exponent])
        images = np.array([true.volume(f, u) for f, u in zip(fluids, chance, strict=True)])
        scanner_twin._fit_corrections(fresh, images, fluids, uniforms(24, seed=5))
        found.append(float(fresh.growth[1]))
    # noise of 24 parts moves both alike; the prior, and drawings in these frequencies, shrink it
    assert 0.5 < found[1] - found[0] < 1.3


@pytest.fixture(scope="module")
def found() -> tuple[ScannerTwin, np.ndarray]:
    fluids = cylinders(12)
    images = np.array([twin().volume(f, u) for f, u in zip(fluids, uniforms(12), strict=True)])
    fresh = twin(Blur())
    rounds = scanner_twin.fit(fresh, images, fluids)
    assert list(rounds["step"]) == list(range(1, scanner_twin.NUM_ROUNDS + 1))
    return fresh, images


def test_a_fit_finds_level_noise_and_power_again(found) -> None:
    fitted, images = found
    fluids = cylinders(12)
    chance = uniforms(36, seed=9)  # other noise
    made = np.array([fitted.volume(fluids[i % 12], u) for i, u in enumerate(chance)])
    inside = gaussian_filter(fluids, (0, 2, 2, 2)) > 0.9
    thrice = np.tile(inside, (3, 1, 1, 1))
    assert made[thrice].mean() == pytest.approx(images[inside].mean(), rel=0.02)
    assert made[thrice].std() == pytest.approx(images[inside].std(), rel=0.15)  # 12 volumes

    def power(volumes):
        spectra = np.fft.rfft(volumes, axis=1)
        return np.square(np.abs(spectra)).mean((0, 2, 3))[:5]  # up to a quarter per mm

    np.testing.assert_allclose(power(made) / power(images), 1, atol=0.15)


def test_a_fit_is_deterministic(found) -> None:
    fitted, images = found
    again = twin(Blur())
    scanner_twin.fit(again, images, cylinders(12))
    for name, values in fitted.state_dict().items():
        assert torch.equal(values, again.state_dict()[name]), name


def test_empty_volumes_and_a_single_one_are_fitted_too() -> None:
    fitted = twin(Blur())
    scanner_twin.fit(fitted, np.zeros((1, *SHAPE), np.float32), cylinders(1))
    assert all(values.isfinite().all() for values in fitted.state_dict().values())
    assert np.isfinite(fitted.volume(cylinders(1)[0], uniforms(1)[0])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filter_fwhm_mm": 40.0}, "filter_fwhm_mm: got 40.0 for volumes of 16 mm"),
        ({"model_mm": (2.0, -1.0)}, "model_mm: got"),
        ({"num_iterations": 0}, "num_iterations: got 0, expected 1 to"),
    ],
)
def test_impossible_numbers_are_named(change, message) -> None:
    with pytest.raises(InputError, match=message):
        twin(**change)
