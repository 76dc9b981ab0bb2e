"""The blur of lines by slope: by hand, its adjoint, against the blur of images, its fit."""

from dataclasses import replace

import numpy as np
import pytest

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.reconstruct import resolution
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import blur, line_blur, sensitivity
from tubepet.reconstruct.projection.blur import Gaussian
from tubepet.reconstruct.projection.line_blur import LINES_ADD, MEANS_ADD, NUM_CLASSES, LineBlur
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import crystals, geometry
from tubepet.types import Grid, Scanner, Volume

GRID = Grid.centred((12, 16, 16), (1.0, 1.0, 1.0))
PSFS = tuple(
    (Gaussian(0.8, 2.4, 2.4 + k), Gaussian(0.15, 5.0, 5.0 + k), Gaussian(0.05, 9.0, 10.0))
    for k in range(NUM_CLASSES)
)


def of_some_lines(num: int) -> LineBlur:
    """Lines across the axis with slopes from 0 to 1, every third in each of three classes."""
    random = np.random.default_rng(1)
    angle, tilt = random.uniform(0, np.pi, num), random.uniform(0, 1, num)
    way = np.stack([np.cos(angle), np.sin(angle), tilt], axis=1)
    middle = random.uniform(-4, 4, (num, 3))
    points = np.concatenate([middle - 60 * way, middle + 60 * way])
    wide = line_blur.around(GRID)
    lines = Lines(wide, points, np.arange(num), np.arange(num) + num, np.zeros(num))
    survival = 1 + 0.1 * np.tanh(np.meshgrid(*wide.axes_mm(), indexing="ij")[0] / 20)
    counted, nothing = random.uniform(0.8, 1.2, (num, 2)), np.zeros((NUM_CLASSES, 2, *wide.shape))
    kind = np.arange(num) % NUM_CLASSES
    return LineBlur(PSFS, lines, lines, kind, counted, survival, nothing)


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


def test_classes_share_the_sensitivity(scanner: Scanner) -> None:
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.1)
    plain = sensitivity.geometric_sensitivity(scanner, GRID, efficiency)
    instrument = Instrument(scanner, efficiency, Volume(plain, GRID))
    edges = np.array([0.01, 0.03])
    parts = sensitivity.by_slope(instrument, efficiency, GRID, edges, 1.0, 1)
    assert parts.sum(axis=0) == pytest.approx(plain, rel=1e-4)  # sums in single precision
    # the same by lists of crystals, which need no ring
    known = crystals.of_scanner(scanner)
    whole = Volume(sensitivity.geometric_sensitivity(scanner, GRID, known), GRID)
    others = sensitivity.by_slope(Instrument(scanner, known, whole), known, GRID, edges, 1.0, 1)
    assert others.sum(axis=0) == pytest.approx(whole.array, rel=1e-6)
    shares = parts.sum(axis=(1, 2, 3)) / plain.sum()
    assert others.sum(axis=(1, 2, 3)) / whole.array.sum() == pytest.approx(shares, abs=0.02)
    # lines that pass 1 % further from the axis: what is seen moves outwards
    moved = sensitivity.by_slope(instrument, efficiency, GRID, edges, 1.01, 1).sum(axis=0)
    assert moved.sum() == pytest.approx(plain.sum(), rel=0.01)
    assert np.abs(moved / plain - 1).max() > 1e-3


def test_an_image_is_amid_what_lines_cross() -> None:
    wide = line_blur.around(Grid.centred((32, 64, 64), (1.0, 0.5, 0.5)))
    assert wide.shape == (48, 80, 80)
    assert wide.origin_mm == pytest.approx((-23.5, -19.75, -19.75))


def test_one_class_blurs_as_an_image_is_blurred() -> None:
    """But for what voxels add themselves, and for the weakening of the tail."""
    of_lines = of_some_lines(6)
    image = np.zeros(GRID.shape)
    image[4:8, 6:10, 5:9] = np.random.default_rng(2).random((4, 4, 4))
    added = FWHM_PER_SIGMA**2 * (LINES_ADD + MEANS_ADD)
    psf = tuple(Gaussian(p[0], *np.sqrt(np.square(p[1:]) - added)) for p in PSFS[3])
    core, tail = of_lines.blurred(image)[3]
    wide = line_blur.amid_zeros(Volume(image, GRID)).array
    assert wide.sum() == pytest.approx(image.sum())
    # far from the borders, where `blur` mirrors and this leaves zeros
    inner = (slice(8, 20), slice(4, 20), slice(4, 20))
    expected = blur.blurred(wide, of_lines.grid, psf[:1])[inner]
    assert core[inner] == pytest.approx(expected, rel=1e-5, abs=1e-6)  # single precision
    expected = blur.blurred(of_lines.survival * wide, of_lines.grid, psf[1:])[inner]
    assert tail[inner] == pytest.approx(expected, rel=0.01, abs=1e-4)


def test_back_and_gathered_are_the_adjoint() -> None:
    of_lines = of_some_lines(60)
    random = np.random.default_rng(3)
    # away from the borders, beyond which something is lost between two blurs
    image = np.pad(random.random((4, 6, 6)), ((4, 4), (5, 5), (5, 5)))
    values = random.random(60)
    seen = of_lines.forward(of_lines.blurred(image), np.arange(60))
    back = of_lines.sharing(of_lines.gathered_but_shared(of_lines.back(values)))
    # lines are followed in single precision, and the weakening of the tail varies a little
    expected = float((image * line_blur.within(back, image.shape)).sum())
    assert float(seen @ values) == pytest.approx(expected, rel=3e-3)


def test_core_and_tail_count_by_their_own_factors() -> None:
    of_lines = of_some_lines(12)
    images = np.ones((NUM_CLASSES, 2, *of_lines.grid.shape))
    every, only = np.arange(12), np.array([[1.0, 0.0], [0.0, 1.0]])[:, None, :, None, None, None]
    core, tail = (of_lines.forward(images * one, every) for one in only)
    assert tail * of_lines.counted[:, 0] == pytest.approx(core * of_lines.counted[:, 1], rel=1e-6)


AXIS = Grid.centred((24, 64, 64), (1.0, 0.5, 0.5))
PER_MM2 = 0.001


def beside_each_other() -> tuple[Lines, line_blur.Sensed, Volume]:
    """Lines along y through a box, in what attenuates more and more towards x."""
    x_mm = np.linspace(-9.0, 9.0, 19) + 0.25
    ends = [np.stack([x_mm, np.full(19, y), np.zeros(19)], axis=1) for y in (-100.0, 100.0)]
    lines = Lines(AXIS, np.vstack(ends), np.arange(19), np.arange(19) + 19, np.zeros(19))
    mu = Volume(PER_MM2 * (np.meshgrid(*AXIS.axes_mm(), indexing="ij")[2] + 20), AXIS)
    z, y, x = np.meshgrid(*line_blur.around(AXIS).axes_mm(), indexing="ij")
    box = ((np.abs(x) < 6) & (np.abs(y) < 8) & (np.abs(z) < 12)).astype(float)
    even = np.full((NUM_CLASSES, *box.shape), 1 / NUM_CLASSES)
    left = np.tile(np.exp(-32 * PER_MM2 * (x + 20)), (NUM_CLASSES, 1, 1, 1))
    return lines, line_blur.Sensed(box, even, even, left, (np.zeros(1), np.ones(1))), mu


def test_photons_are_weakened_where_they_fly_and_not_on_the_line() -> None:
    """Against a sum over the places where they fly, K(u - u') a(u') f(u')."""
    lines, sensed, mu = beside_each_other()
    psf = (Gaussian(1.0, 2.3, 2.3), Gaussian(0.0, 5.0, 5.0))
    got = line_blur.of_lines(lines, sensed, mu, (psf,) * NUM_CLASSES, 1.0)
    images, every = got.blurred(on_image(sensed.activity)), np.arange(19)
    on_line = replace(got, lines=got.straight, counted=np.ones((19, 2))).forward(images, every)
    u_mm, sigma_mm = np.arange(-16, 16, 0.01), 2.3 / FWHM_PER_SIGMA
    away_mm = u_mm - lines.points[:19, :1]
    blurred = np.exp(-0.5 * (away_mm / sigma_mm) ** 2) * (np.abs(u_mm) < 6)
    expected = (blurred * np.exp(-32 * PER_MM2 * away_mm)).sum(axis=1) / blurred.sum(axis=1)
    is_near = np.abs(lines.points[:19, 0]) < 6.5
    # a slope is exact but for the voxels of 0.5 mm on the edges of the box
    ratio = got.forward(images, every) / on_line
    assert ratio[is_near] == pytest.approx(expected[is_near], rel=0.01)
    assert np.abs(expected - 1)[is_near].max() > 0.03


def on_image(wide: np.ndarray) -> np.ndarray:
    """Cut an array on the grid of lines to that of the image."""
    ends = [((w - n) // 2, (w + n) // 2) for w, n in zip(wide.shape, AXIS.shape, strict=True)]
    return wide[tuple(slice(*both) for both in ends)]


def test_photons_of_the_tail_survive_as_those_of_the_part() -> None:
    lines, sensed, mu = beside_each_other()
    got = line_blur.of_lines(lines, sensed, mu, PSFS, 1.0)
    survives = np.exp(-lines.forward(mu.array))
    mean = np.average(sensed.left[0], weights=sensed.activity)
    assert got.counted[:, 1] == pytest.approx(mean / survives, rel=1e-6)
    # of the box as much as of any box that is as wide to both sides
    ratio = got.survival[20, 40, 40] / got.survival[20, 40, 44]
    assert ratio == pytest.approx(np.exp(32 * PER_MM2 * 2.0), rel=1e-6)


def test_counts_are_those_of_what_is_not_blurred() -> None:
    """Photons are counted where they fly. So blurred images are counted by what is less blurred."""
    lines, sensed, mu = beside_each_other()
    got = line_blur.of_lines(lines, sensed, mu, PSFS, 1.0)
    counts = (got.expected[:, 0] * got.blurred(on_image(sensed.activity))[:, 0]).sum()
    share = np.mean([psf[0].share for psf in PSFS])
    assert counts == pytest.approx(share * (sensed.activity * sensed.left[0]).sum(), rel=1e-3)


def test_lines_are_classed_by_their_ends() -> None:
    """A stretched line is less steep, and a tenth of a class may be near an edge."""
    lines, sensed, mu = beside_each_other()
    points = lines.points.copy()
    points[:19, 2] = 200 * line_blur.EDGES[0] * 1.001
    lines = replace(lines, points=points)
    got = line_blur.of_lines(lines, sensed, mu, PSFS, 1.01)
    assert (got.kind == 1).all()
    assert got.straight.points == pytest.approx(points * [1.01, 1.01, 1.0])


def test_lines_near_the_axis_slip_between_crystals() -> None:
    """What is detected is a mean over the core; and lines are displaced to where it is more."""
    lines, sensed, _ = beside_each_other()
    air = Volume(np.zeros(AXIS.shape), AXIS)
    by_distance = np.array([0.0, 2.0, 10.0]), np.array([0.5, 1.0, 1.0])
    sensed = sensed._replace(by_distance=by_distance)
    got = line_blur.of_lines(lines, sensed, air, PSFS, 1.0)
    x_mm = lines.points[:19, 0]
    near, far = np.argmin(np.abs(x_mm - 0.25)), np.argmin(np.abs(x_mm - 8.25))
    assert got.counted[near, 0] > 1.1 and got.counted[far, 0] == pytest.approx(1.0)
    moved_mm = got.lines.points[:19, 0] - x_mm
    assert moved_mm[x_mm > 0].max() > 0.05 and moved_mm[x_mm < 0].min() < -0.05
    assert moved_mm[far] == pytest.approx(0.0, abs=1e-6)


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


def test_lines_far_from_their_point_make_no_class() -> None:
    """Randoms alone have no kernel: such a class takes that of the next one."""
    random = np.random.default_rng(5)
    near = drawn(50_000, random)
    near = near[near[:, 2] < 0.6]
    far = np.column_stack([30 + random.random((4_000, 2)), np.full(4_000, 0.7)])
    kernels = resolution.kernels_of(np.concatenate([near, far]))
    assert np.isfinite(np.array(kernels)).all()
    assert kernels[4] == kernels[3] == resolution.kernels_of(near)[3]
