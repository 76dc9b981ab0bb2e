"""The blur of lines by slope: by hand, adjoint, against the blur of images, and its fit."""

from itertools import pairwise

import numpy as np
import pytest

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.reconstruct import resolution
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import blur, line_blur, sensitivity
from tubepet.reconstruct.projection.blur import Gaussian
from tubepet.reconstruct.projection.line_blur import LINES_ADD, MEANS_ADD, NUM_CLASSES, LineBlur
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Scanner, Volume

GRID = Grid.centred((12, 16, 16), (1.0, 1.0, 1.0))
PSFS = tuple(
    (Gaussian(0.8, 2.4, 2.4 + k), Gaussian(0.15, 5.0, 5.0 + k), Gaussian(0.05, 9.0, 10.0))
    for k in range(NUM_CLASSES)
)


def of_some_lines(num: int) -> tuple[LineBlur, Lines]:
    """Lines across the axis with slopes from 0 to 1, every third in each of three classes."""
    random = np.random.default_rng(1)
    angle, tilt = random.uniform(0, np.pi, num), random.uniform(0, 1, num)
    way = np.stack([np.cos(angle), np.sin(angle), tilt], axis=1)
    middle = random.uniform(-4, 4, (num, 3))
    points = np.concatenate([middle - 60 * way, middle + 60 * way])
    lines = Lines(GRID, points, np.arange(num), np.arange(num) + num, np.zeros(num))
    seen = np.full((NUM_CLASSES, *GRID.shape), 1 / NUM_CLASSES)
    kind = np.arange(num) % NUM_CLASSES
    return LineBlur(PSFS, kind, random.uniform(0.8, 1.2, num), seen), lines


def test_slopes_by_hand() -> None:
    points = np.array([[0.0, 0, 0], [3.0, 4, 10], [0.0, 0, 5]])
    got = geometry.slopes_of(points, np.array([0, 1, 0]), np.array([1, 0, 2]))
    assert got.tolist() == [2.0, 2.0, np.inf]


def test_slopes_of_a_ring_are_those_of_its_points(scanner: Scanner) -> None:
    table, points = geometry.lor_slopes(scanner), geometry.crystal_points_mm(scanner)
    ring, step = 1, scanner.num_columns // 2 - 1
    other = ring * scanner.num_columns + step
    got = geometry.slopes_of(points, np.array([0]), np.array([other]))[0]
    assert table[step, ring] == pytest.approx(got, rel=1e-12)
    assert np.isinf(table[0, 1]) and table[step, 0] == 0


def test_one_class_blurs_as_an_image_is_blurred() -> None:
    """But for what voxels add themselves."""
    image = np.random.default_rng(2).random(GRID.shape)
    of_lines, _ = of_some_lines(6)
    added = FWHM_PER_SIGMA**2 * (LINES_ADD + MEANS_ADD)
    psf = tuple(Gaussian(p[0], *np.sqrt(np.square(p[1:]) - added)) for p in PSFS[3])
    core, tail = of_lines.blurred(image, GRID)[3]
    # the same sums in another order
    assert core == pytest.approx(blur.blurred(image, GRID, psf[:1]), rel=1e-9)
    assert tail == pytest.approx(blur.blurred(image, GRID, psf[1:]), rel=1e-9)


def test_back_and_gathered_are_the_adjoint() -> None:
    of_lines, lines = of_some_lines(60)
    random = np.random.default_rng(3)
    # away from the borders, where two mirrored blurs are not one of both variances
    image = np.pad(random.random((4, 6, 6)), ((4, 4), (5, 5), (5, 5)))
    values = random.random(60)
    seen = of_lines.forward(lines, of_lines.blurred(image, GRID), np.arange(60))
    back = of_lines.gathered(of_lines.back(lines, values), GRID)
    # lines are followed in single precision
    assert float(seen @ values) == pytest.approx(float((image * back).sum()), rel=2e-3)


def test_photons_of_the_tail_were_weakened_elsewhere() -> None:
    of_lines, lines = of_some_lines(12)
    images = of_lines.blurred(np.ones(GRID.shape), GRID)
    every = np.arange(12)
    core = of_lines.forward(lines, images * [[[[[1.0]]], [[[0.0]]]]], every)
    tail = of_lines.forward(lines, images * [[[[[0.0]]], [[[1.0]]]]], every)
    # a flat image is flat after any blur: a fifth of it is tail
    assert tail == pytest.approx(core * of_lines.elsewhere / 4, rel=1e-5)


def test_classes_share_the_sensitivity(scanner: Scanner) -> None:
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.1)
    plain = sensitivity.geometric_sensitivity(scanner, GRID, efficiency)
    instrument = Instrument(scanner, efficiency, Volume(plain, GRID))
    mu = Volume(np.full(GRID.shape, 0.01), GRID)
    edges = [0.0, *line_blur.EDGES, np.inf]
    parts = [sensitivity.of_slopes(instrument, mu, 2, low, high) for low, high in pairwise(edges)]
    whole = sensitivity.of_slopes(instrument, mu, 2, 0.0, np.inf)
    for k in range(2):  # plain, and attenuated; sums in single precision
        assert sum(part[k] for part in parts) == pytest.approx(whole[k], rel=1e-4)
    assert (whole[1] < whole[0]).all()
    # every other line: half the sum, and its pattern
    assert whole[0].sum() == pytest.approx(plain.sum() / 2, rel=0.05)
    points = geometry.crystal_points_mm(scanner)
    some = np.arange(scanner.num_columns // 2)
    lines = Lines(GRID, points, some, some + scanner.num_columns // 2, np.zeros(len(some)))
    activity = Volume(np.ones(GRID.shape), GRID)
    got = line_blur.of_lines(lines, activity, instrument, mu, PSFS, 2)
    assert got.seen.sum(axis=0) == pytest.approx(np.ones(GRID.shape))
    assert (got.kind == 0).all()
    through = np.exp(-Lines(mu.grid, points, lines.first, lines.second).forward(mu.array))
    survival = parts[0][1].sum() / parts[0][0].sum()
    assert got.elsewhere * through == pytest.approx(np.full(len(some), survival), rel=1e-4)


def drawn(num: int, random: np.random.Generator) -> np.ndarray:
    """Distances of lines: a core of 2.0 mm, 2.0 to 6.8 mm along the axis, and a tail of 7 mm."""
    slopes = random.uniform(0, 0.9, num)
    is_tail = random.random(num) < 0.2
    across = np.where(is_tail, 7.0, 2.0)
    along = np.where(is_tail, 7.0, np.hypot(2.0, 7.2 * slopes))
    widths = np.stack([across, along], axis=1) / FWHM_PER_SIGMA
    return np.column_stack([random.normal(size=(num, 2)) * widths, slopes])


def test_kernels_are_found_in_the_distances_of_lines() -> None:
    kernels = resolution.kernels_of(drawn(200_000, np.random.default_rng(4)))
    assert len(kernels) == NUM_CLASSES
    for kernel, slope in zip(kernels, [0.075, 0.225, 0.375, 0.525, 0.7, 0.85], strict=True):
        assert sum(part.share for part in kernel) == pytest.approx(1)
        variance = sum(part.share * part.axial_mm**2 for part in kernel)
        # the variance of 33,000 lines is good to 2 %; a class is 0.15 wide
        expected = 0.8 * (2.0**2 + (7.2 * slope) ** 2) + 0.2 * 7.0**2
        assert variance == pytest.approx(expected, rel=0.06)
        # three Gaussians for two: the narrowest is the core, within some per cent
        assert kernel[0].transaxial_mm == pytest.approx(2.0, rel=0.06)


def test_few_lines_are_one_class() -> None:
    few = drawn(900, np.random.default_rng(5))
    kernels = resolution.kernels_of(few)
    assert kernels == [kernels[0]] * NUM_CLASSES
    flat = few.copy()
    flat[:, 2] = 0.1
    # enough of one slope: the others take that kernel, which is of the same lines
    twice = resolution.kernels_of(np.tile(flat, (2, 1)))[5]
    assert np.array(twice) == pytest.approx(np.array(kernels[0]), rel=1e-6)
