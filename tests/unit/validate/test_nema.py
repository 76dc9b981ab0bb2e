import numpy as np
import pandas as pd
import pytest

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.errors import InputError
from tubepet.reconstruct.projection import blur
from tubepet.simulate import water_phantoms
from tubepet.types import Grid, Volume
from tubepet.validate import nema, reconstruction

GRID = Grid.centred((40, 60, 60), (0.5, 0.5, 0.5))
Z, Y, X = np.meshgrid(*GRID.axes_mm(), indexing="ij")


def test_width_of_a_triangle_by_hand():
    # 0 1 2 1 0: the parabola through 1 2 1 peaks at 2, half of it is met at the neighbours
    assert nema.width_mm(np.array([0.0, 1, 2, 1, 0]), 0.5) == pytest.approx(1.0)
    # a tenth of 2 is met 0.2 samples before the zeros
    assert nema.width_mm(np.array([0.0, 1, 2, 1, 0]), 0.5, 0.1) == pytest.approx(1.8)


def test_width_needs_a_whole_peak():
    with pytest.raises(InputError, match="peak at the rim"):
        nema.width_mm(np.array([3.0, 2, 1]), 1.0)
    with pytest.raises(InputError, match=r"no fall below 0\.5 of its peak"):
        nema.width_mm(np.array([0.0, 2, 3, 2.5, 2]), 1.0)


def test_widths_of_a_gaussian():
    sigma = np.array([1.5, 0.8, 1.1])
    square = sum(((a - 0.2) / s) ** 2 for a, s in zip((Z, Y, X), sigma, strict=True))
    image = Volume(np.exp(-square / 2), GRID)
    # linear interpolation between samples of 0.5 mm is good to 2 %, in the curved tail to 5 %
    assert nema.point_widths_mm(image) == pytest.approx(FWHM_PER_SIGMA * sigma, rel=0.02)
    assert nema.point_widths_mm(image, 0.1) == pytest.approx(4.2919 * sigma, rel=0.05)


def test_recovery_finds_the_rod():
    rod = np.where(np.hypot(X - 4.25, Y) < 1.6, 5.0, 0.0) + np.where(np.hypot(X + 6, Y) < 2, 9.0, 0)
    value, spread = nema.recovery(Volume(rod, GRID), 4.0, 0.0, 3.0, -5, 5)
    assert (value, spread) == (5.0, 0.0)


@pytest.mark.parametrize(("radius_mm", "error_mm"), [(4.0, 0.45), (7.3, 0.1), (9.1, 0.05)])
def test_diameter_of_a_blurred_disc(radius_mm, error_mm):
    fine = Grid.centred((1, 300, 300), (1.0, 0.1, 0.1))
    _, y, x = np.meshgrid(*fine.axes_mm(), indexing="ij")
    disc = blur.blurred((np.hypot(x, y) < radius_mm).astype(float), fine, blur.gaussian(2.5))
    coarse = disc[0].reshape(60, 5, 60, 5).mean(axis=(1, 3))
    # neither blur nor curvature enters, but that a radius of 4 mm leaves hardly a plateau
    assert nema.equivalent_diameter_mm(coarse, 0.5) == pytest.approx(2 * radius_mm, abs=error_mm)


@pytest.mark.parametrize("noise", [0.1, 0.2])
def test_diameter_is_unbiased_by_noise(noise):
    """Noise as in images of 0.1 s: in proportion to the activity, correlated over 2 mm."""
    _, y, x = np.meshgrid(*Grid.centred((1, 320, 320), (1.0, 0.1, 0.1)).axes_mm(), indexing="ij")
    pixels = Grid.centred((1, 64, 64), (1.0, 0.5, 0.5))
    kernel = (blur.Gaussian(1.0, 2.5, 0.0),)
    errors = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shift, radius_mm = rng.uniform(-1, 1, 2), rng.uniform(6, 9)
        disc = (np.hypot(x - shift[0], y - shift[1]) < radius_mm).astype(float)
        disc = blur.blurred(disc.reshape(1, 64, 5, 64, 5).mean(axis=(2, 4)), pixels, kernel)
        grain = blur.blurred(rng.normal(size=disc.shape), pixels, (blur.Gaussian(1.0, 2.0, 0.0),))
        section = np.maximum(disc * (1 + noise * grain / grain.std()), 0)[0]
        errors.append(nema.equivalent_diameter_mm(section, 0.5) - 2 * radius_mm)
    # single errors have a deviation of 0.11 and 0.22 mm: 0.02 mm in the mean of 100, and over 200
    # their mean was 0.03 and -0.02 mm
    assert np.mean(errors) == pytest.approx(0, abs=0.08)


def test_smallest_pit_is_interpolated():
    pits = pd.DataFrame(
        {
            "duration_s": [0.1, 0.1, 0.1, 1.0, 1.0, 1.0],
            "pit_mm": [1.0, 2.0, 3.0] * 2,
            "contrast_to_noise": [0.1, 1.0, 2.0, 1.0, 2.0, 6.0],
        }
    )
    assert reconstruction.smallest_pits_mm(pits) == {"0.1": None, "1": 2.25}


def test_painted_volumes_agree():
    labels, activity, mu, _ = water_phantoms.painted(
        5.0, 8.0, 20.0, 0.5, lambda x, y, z: 3.0 + 0 * x, lambda x, y, z: x > 0
    )
    assert ((labels.array == 1) == (activity.array > 0)).all()
    assert ((labels.array == 1) == (mu.array > 0)).all()
    volume_mm3 = (labels.array == 1).sum() * labels.grid.voxel_volume_mm3
    assert volume_mm3 == pytest.approx(np.pi * 25 * 8 / 2, rel=0.02)
    assert labels.grid.axes_mm()[2].mean() == pytest.approx(20.0)
