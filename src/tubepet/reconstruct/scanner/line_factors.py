"""Counts of the lines of a ring over those of the model, by class of slopes and column step.

Detection is traced through the crystals, and blur is a kernel that all distances from the axis
share (`response`). Photons that scatter between crystals, or enter them beside a wedge, do not keep
to that: lines through the axis have 0.5 % fewer counts than the next ones, of what the model gives
them, and the steepest class has 2 % more than the others. A defect of 3 mm changes a line by 10 %.

So, as normalisations do (Badawi and Marsden 1999, doi:10.1088/0031-9155/44/2/020), the counts of a
wide uniform cylinder in air are compared with the model's. Factors of few counts are drawn to 1.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tubepet.logs import Bar, log
from tubepet.reconstruct.problem import Efficiency, Instrument
from tubepet.reconstruct.projection import line_blur, sensitivity
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.projection.response import Response, blur_of
from tubepet.reconstruct.scanner import geometry
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.simulate import water_phantoms
from tubepet.simulate.water_phantoms import Engine, Phantom
from tubepet.types import Listmode, Scanner, Volume

Array = NDArray[np.float64]

VOXEL_MM = 0.5
# The source lies within the image. Lines near its rim are not used: they depend on the blur.
SIDE_MM, END_SHARE, RIM_MM = 1.0, 0.75, 3.5
ACTIVITY_BQ = 1e4  # randoms are one count in 3,000
MOST_DECAYS = 1e7  # of one acquisition
# How much steps and classes differ, and single cells beyond both.
PRIOR, CELL_PRIOR = 0.01, 0.003


def fit(
    engine: Engine, efficiency: Efficiency, response: Response, half_width_mm: float,
    half_length_mm: float, decays: float,
) -> Array | None:  # fmt: skip
    """Simulate the source, and compare the counts of its lines with the model's.

    Parameters
    ----------
    engine : Engine
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings), or Crystals
        As `Instrument`.
    response : Response
        Without factors.
    half_width_mm, half_length_mm : float
        Of the image.
    decays : float
        Expected number of decays.

    Returns
    -------
    float64 array, shape (classes, num_columns // 2 + 1), or None
        Lines beyond the source have the factor of the outermost ones within. None if the scanner is
        no ring of equal crystals, whose lines have efficiencies of their own.
    """
    scanner = engine.scanner
    if isinstance(efficiency, Crystals):
        return None
    grid = water_phantoms.grid_within(half_width_mm, half_length_mm, VOXEL_MM)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij", sparse=True)
    radius_mm = half_width_mm - SIDE_MM
    is_source = (np.hypot(x, y) < radius_mm) & (np.abs(z) < END_SHARE * half_length_mm)
    activity = is_source * (ACTIVITY_BQ / is_source.sum() / VOXEL_MM**3)
    source = water_phantoms.in_air(Volume(activity.astype(np.float32), grid))
    seen = _counts(engine, source, decays)
    geometric = Volume(sensitivity.geometric_sensitivity(scanner, grid, efficiency), grid)
    instrument = Instrument(scanner, efficiency, geometric)
    distances_mm = response.stretch * geometry.axis_distances_mm(scanner)
    used = np.flatnonzero(distances_mm < radius_mm - RIM_MM)
    image = activity * (decays / ACTIVITY_BQ)
    expected = _expected(instrument, response, Volume(image, grid), used)
    factors = np.ones((line_blur.NUM_CLASSES, len(distances_mm)))
    if len(used):
        factors[:, used] = factors_of(seen[:, used], expected)
        factors[:, : used[0]] = factors[:, used[:1]]  # steps rise towards the axis
    log.info(
        "%d coincidences; factors of %d lines up to %.1f mm from the axis: %.4f to %.4f",
        seen.sum(), len(used), max(distances_mm[used], default=0.0), factors.min(), factors.max(),
    )  # fmt: skip
    return factors


def factors_of(seen: Array, expected: Array) -> Array:
    """Return counts over expected ones, (classes, steps): of the step, of the class, and the rest.

    Each is drawn to 1 by its error: cells have few counts, steps and classes many.
    """
    steps = shrunk(seen.sum(axis=0), expected.sum(axis=0), PRIOR)
    classes = shrunk(seen.sum(axis=1), (expected * steps).sum(axis=1), PRIOR)
    both = steps * classes[:, None]
    return both * shrunk(seen, expected * both, CELL_PRIOR)


def shrunk(seen: Array, expected: Array, prior: float) -> Array:
    """Return the mean of seen / expected, given the counts and a normal prior around 1."""
    ratio = np.divide(seen, expected, out=np.ones(seen.shape), where=expected > 0)
    return 1 + (ratio - 1) * prior**2 * expected / (prior**2 * expected + 1)


def by_class(events: Listmode, scanner: Scanner) -> Array:
    """Count events by class of slopes and column step."""
    points_mm = geometry.crystal_points_mm(scanner)
    slopes = geometry.slopes_of(points_mm, events.crystal1, events.crystal2)
    counts = np.zeros((line_blur.NUM_CLASSES, scanner.num_columns // 2 + 1))
    steps = geometry.column_steps(events, scanner)
    np.add.at(counts, (np.digitize(slopes, line_blur.EDGES), steps), 1.0)
    return counts


def _counts(engine: Engine, source: Phantom, decays: float) -> Array:
    """Simulate a source; return its counts as `by_class`."""
    num = math.ceil(decays / MOST_DECAYS)
    counts = np.zeros((line_blur.NUM_CLASSES, engine.scanner.num_columns // 2 + 1))
    for i in Bar(range(num), desc="acquisitions", unit="acquisition"):
        duration_s = decays / num / ACTIVITY_BQ
        events, _ = water_phantoms.acquire(engine, f"lines {i}", source, duration_s)
        counts += by_class(events, engine.scanner)
    return counts


def _expected(
    instrument: Instrument, response: Response, image: Volume, steps: NDArray[np.int64]
) -> Array:
    """Sum the model's counts over all lines of some column steps, shape (classes, steps).

    Parameters
    ----------
    image : Volume
        Decays per mm3, in air.
    """
    known = instrument.efficiency
    assert not isinstance(known, Crystals)
    scanner, num = instrument.scanner, len(steps)
    # a line of each step and class, for what it counts
    kind = np.digitize(geometry.lor_slopes(scanner), line_blur.EDGES)[steps]
    classes = np.arange(line_blur.NUM_CLASSES)[:, None]
    rings = np.argmax(kind == classes[:, :, None], axis=2)
    first, second = np.zeros(rings.size, np.int64), (rings * scanner.num_columns + steps).ravel()
    points_mm = geometry.crystal_points_mm(scanner)
    lines = Lines(instrument.grid, points_mm, first, second, np.zeros(rings.size))
    mu = Volume(np.zeros(image.array.shape, np.float32), image.grid)
    blur = blur_of(lines, image, mu, 1.0, instrument, response)
    counted = blur.counted.reshape(len(classes), num, 2)
    images, total = blur.blurred(image.array), np.zeros((len(classes), num))
    for i, step in enumerate(steps):
        own = np.where(np.arange(len(known))[:, None] == step, known, 0.0)
        seen = sensitivity.by_slope(
            instrument, own, blur.grid, line_blur.EDGES, response.stretch,
            response.sensitivity_stride,
        )  # fmt: skip
        total[:, i] = np.einsum("kc,kzyx,kczyx->k", counted[:, i], seen, images, optimize=True)
    return total
