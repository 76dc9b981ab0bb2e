import numpy as np
import pytest

from tubepet import constants
from tubepet.reconstruct import resolution
from tubepet.reconstruct.problem import Acquisition
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid

GRID = Grid.centred((20, 30, 24), (1.0, 0.5, 0.5))
MIXTURE = (blur.Gaussian(0.7, 2.0, 4.0), blur.Gaussian(0.3, 5.0, 5.0))


def test_widths_of_a_blurred_point():
    point = np.zeros(GRID.shape)
    point[10, 15, 12] = 1.0
    image = blur.blurred(point, GRID, (blur.Gaussian(1.0, 2.0, 4.0),))
    for axis, fwhm_mm in ((0, 4.0), (1, 2.0), (2, 2.0)):
        profile = image.sum(axis=tuple(a for a in range(3) if a != axis))
        place = GRID.voxel_mm[axis] * np.arange(len(profile))
        mean = (profile * place).sum()
        sigma_mm = np.sqrt((profile * (place - mean) ** 2).sum())
        # the filter is cut at four sigma: 0.1 %
        assert sigma_mm * constants.FWHM_PER_SIGMA == pytest.approx(fwhm_mm, rel=5e-3)


def test_blur_is_its_own_adjoint_and_keeps_the_total():
    one, other = np.random.default_rng(0).uniform(size=(2, *GRID.shape))
    forth = (blur.blurred(one, GRID, MIXTURE) * other).sum()
    assert forth == pytest.approx((one * blur.blurred(other, GRID, MIXTURE)).sum(), rel=1e-12)
    assert blur.blurred(one, GRID, MIXTURE).sum() == pytest.approx(one.sum(), rel=1e-12)
    np.testing.assert_array_equal(blur.blurred(one, GRID, blur.gaussian(0.0)), one)


def test_kernel_by_key():
    assert blur.chosen("gaussian", 3.0, MIXTURE) == blur.gaussian(3.0)
    assert blur.chosen("fitted", 3.0, MIXTURE) == MIXTURE
    assert blur.chosen("core", 3.0, MIXTURE) == (blur.Gaussian(1.0, 2.0, 4.0),)
    assert blur.from_rows([list(part) for part in MIXTURE]) == MIXTURE


def test_points_keep_their_distance():
    places = resolution.points_mm(12.0, 9.0, np.random.default_rng(1))
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert len(places) > 20
    assert apart[np.triu_indices(len(places), 1)].min() >= resolution.SPACING_MM
    assert np.hypot(places[:, 0], places[:, 1]).max() <= 12.0


def test_fit_finds_the_kernel_that_made_the_events(scanner):
    """Counts drawn from the model itself: points, blurred by a known kernel, on random lines."""
    grid = Grid.centred((40, 40, 40), (0.5, 0.5, 0.5))
    truth = np.zeros(grid.shape)
    truth[10:31:10, 10:31:10, 10:31:10] = 100.0
    rng = np.random.default_rng(3)
    points = geometry.crystal_points_mm(scanner)
    first, second = rng.integers(0, scanner.num_crystals, (2, 600_000)).astype(np.int32)
    hits = Lines(grid, points, first, second).forward(np.ones(grid.shape)) > 0
    lines = Lines(grid, points, first[hits], second[hits], np.full(hits.sum(), 1e-9))
    made = (blur.Gaussian(0.75, 2.0, 3.0), blur.Gaussian(0.25, 6.0, 6.0))
    sums = lines.forward(blur.blurred(truth, grid, made))
    scale = 60_000 / sums.sum()
    rows = np.repeat(np.arange(len(sums)), rng.poisson(scale * sums))
    seen = lines.back(np.full(len(lines), scale))
    found = resolution.fit_kernel(Acquisition(lines.part(rows), seen, truth), truth, 4.0)
    core, tail = found.kernel
    # 6e4 events tell widths to 1 to 3 %, and the share of the tail to 0.01
    assert (core.transaxial_mm, core.axial_mm) == pytest.approx((2.0, 3.0), rel=0.05)
    assert (tail.share, tail.transaxial_mm) == pytest.approx((0.25, 6.0), rel=0.15)
    assert found.gain > 100
