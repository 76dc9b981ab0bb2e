"""Generated images of parts: from few real ones, and from drawings."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.unit.observers.test_hotelling import volumes

from tubepet.errors import InputError
from tubepet.generate.layers.scanner_twin import Blur, ScannerTwin
from tubepet.observers import generated, learned
from tubepet.reconstruct.projection import blur

IMAGING = generated.Imaging((1.0, 1.0, 1.0), 2.0, 1.0, (1.5, 1.5), 4)
NUM_REAL = 6


@pytest.fixture(scope="module")
def parts() -> np.ndarray:
    """Parts whose images another twin has made, with numbers that are not those of the start."""
    found = volumes(16)
    twin = ScannerTwin(
        found.shape[2:], IMAGING.voxel_mm, IMAGING.level_fwhm_mm, IMAGING.filter_fwhm_mm,
        IMAGING.model_mm, IMAGING.num_iterations,
    )  # fmt: skip
    twin.take(Blur(scale=1.5, counts=30.0, across_mm=2.8, along_mm=3.2))
    random = np.random.default_rng(5)
    for part in found:
        fluid = np.clip(part[3] + part[2], 0, 1)
        part[0] = 300 * twin.volume(fluid, random.random(fluid.shape, np.float32))
    return found


@pytest.fixture(scope="module")
def filled(parts: np.ndarray) -> np.ndarray:
    return generated.filled_up(parts, NUM_REAL, IMAGING, 7)


def test_real_images_stay_and_the_others_are_not_looked_at(
    parts: np.ndarray, filled: np.ndarray
) -> None:
    np.testing.assert_array_equal(filled[:NUM_REAL], learned.scaled(parts[:NUM_REAL]))
    np.testing.assert_array_equal(filled[:, 1:], parts[:, 1:])
    unknown = parts.copy()
    unknown[NUM_REAL:, 0] = np.nan
    np.testing.assert_array_equal(generated.filled_up(unknown, NUM_REAL, IMAGING, 7), filled)


def test_they_look_like_the_real_ones(parts: np.ndarray, filled: np.ndarray) -> None:
    real = learned.scaled(parts)[NUM_REAL:, 0]
    made = filled[NUM_REAL:, 0]
    inside = gaussian_filter(parts[0, 3], 1.0) > 0.9
    # ten parts of one drawing: level and noise of both are known to 5 %; the fit is to six others
    assert made[:, inside].mean() == pytest.approx(real[:, inside].mean(), rel=0.1)
    assert made[:, inside].std() == pytest.approx(real[:, inside].std(), rel=0.3)
    has_hole = parts[NUM_REAL:, 2].min(axis=(1, 2, 3)) < 0
    hole = parts[1, 2] < 0
    # a hole of 3 voxels is blurred by as many: a fifth is left of it, in the real ones too
    for images in (made, real):
        assert images[has_hole][:, hole].mean() < 0.9 * images[~has_hole][:, hole].mean()


def test_images_that_no_scanner_made_are_told(
    parts: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    other = parts.copy()
    noise = np.random.default_rng(4).standard_normal(other[:, 0].shape)
    made = gaussian_filter(other[:, 3] + 0.5 * noise, (0, 1, 1, 1))
    other[:, 0] = 300 * np.maximum(made, 0)  # as much of it outside as inside
    with caplog.at_level("WARNING"):
        generated.filled_up(other, NUM_REAL, IMAGING, 7)
    assert "the fit of the surrogate grew worse" in caplog.text


def test_seeds_give_other_noise(parts: np.ndarray, filled: np.ndarray) -> None:
    other = generated.filled_up(parts, NUM_REAL, IMAGING, 8)
    assert (other[NUM_REAL:, 0] != filled[NUM_REAL:, 0]).any(axis=(1, 2, 3)).all()


def test_a_network_learns_from_all_of_them(parts: np.ndarray, filled: np.ndarray) -> None:
    arm = learned.Arm(num_parts=NUM_REAL, has_generated=True)
    both = learned.scores(learned.train(filled, arm, 3, 1), parts)
    all_of_them = learned.scores(learned.train(filled, learned.Arm(), 3, 1), parts)
    np.testing.assert_array_equal(both, all_of_them)


@pytest.mark.parametrize("num_real", [0, 16])
def test_too_few_parts_are_named(parts: np.ndarray, num_real: int) -> None:
    with pytest.raises(InputError, match=r"few_parts: got \d+, expected fewer than .*, 16"):
        generated.filled_up(parts, num_real, IMAGING, 7)


def test_imaging_is_that_of_the_box() -> None:
    section = {
        "num_pixels": 64, "pixel_mm": 0.5, "num_slices": 32, "slice_mm": 1.0, "psf_fwhm_mm": 2.1,
        "filter_fwhm_mm": 1.5, "num_iterations": 16, "num_subsets": 2,
    }  # fmt: skip
    phantom = {
        "bore_radius_mm": [4, 8],
        "wall_mm": [2, 4],
        "bend_mm": [1, 2],
        "length_mm": [16, 24],
    }
    kernel = (blur.Gaussian(0.75, 2.0, 4.0), blur.Gaussian(0.25, 6.0, 8.0))
    found = generated.imaging(section, phantom, kernel)
    assert found == generated.Imaging((1.0, 1.0, 1.0), 2.1, 1.5, (3.0, 5.0), 32)
