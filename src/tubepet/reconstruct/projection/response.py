"""How the lines of a calibrated scanner see a part: blur, detection and counts by class of slopes.

Images are made with one kernel for all lines. An inspection compares single lines with a drawing,
so it needs this finer model (`line_blur`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.problem import Efficiency, Instrument
from tubepet.reconstruct.projection import line_blur, sensitivity
from tubepet.reconstruct.projection.blur import Kernel
from tubepet.reconstruct.projection.line_blur import LineBlur, Sensed
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Volume

Array = NDArray[np.float64]


class Response(NamedTuple):
    """How the scanner responds to a part.

    Attributes
    ----------
    psfs : sequence of Kernel
        Blur of lines, by class of slopes (`line_blur`).
    stretch : float
        Distance of lines from the axis over the one that their ends give
        (`resolution.fit_by_slope`).
    sensitivity_stride : int
        `stride` of `sensitivity.attenuated_sensitivity`.
    line_factors : float64 array, shape (classes, num_columns // 2 + 1), optional
        Counts of the lines of a ring over those of the model, by class and column step
        (`line_factors`). None for other scanners: 1.
    """

    psfs: Sequence[Kernel]
    stretch: float
    sensitivity_stride: int
    line_factors: Array | None = None


def blur_of(
    lines: Lines, drawn: Volume, mu: Volume, duration_s: float, instrument: Instrument,
    response: Response,
) -> LineBlur:  # fmt: skip
    """Compute how the lines of an acquisition see a part.

    Parameters
    ----------
    lines : Lines
        Lines from crystal to crystal, on the grid of the image.
    drawn : Volume
        Fluid fraction of the part on that grid.
    mu : Volume
        Attenuation of the part at 511 keV on its own grid, 1/mm.
    duration_s : float
        Of the acquisition.
    """
    wide, edges = line_blur.around(instrument.grid), line_blur.EDGES
    stride, by_distance = response.sensitivity_stride, _by_distance(instrument)
    known = _of_lines(instrument, response)
    crossing, in_air = (
        duration_s * sensitivity.by_slope(instrument, one, wide, edges, response.stretch, stride)
        for one in _even_and_sharpened(known, by_distance, response)
    )
    left = sensitivity.left_by_slope(instrument, wide, None, [mu] * len(crossing), edges, stride)
    sensed = Sensed(line_blur.amid_zeros(drawn).array, crossing, in_air, left, by_distance)
    found = line_blur.of_lines(lines, sensed, mu, response.psfs, response.stretch)
    if response.line_factors is None:
        return found
    steps = geometry.steps_between(lines.first, lines.second, instrument.scanner)
    return replace(found, counted=found.counted * response.line_factors[found.kind, steps, None])


def _of_lines(instrument: Instrument, response: Response) -> Efficiency:
    """Return the efficiency with the factors of the lines."""
    known, factors = instrument.efficiency, response.line_factors
    if factors is None or isinstance(known, Crystals):
        return known
    kind = np.digitize(geometry.lor_slopes(instrument.scanner), line_blur.EDGES)
    return known * factors[kind, np.arange(len(known))[:, None]]


def _even_and_sharpened(
    known: Efficiency, by_distance: tuple[Array, Array], response: Response
) -> tuple[Efficiency, Efficiency]:
    """Return the efficiency if all distances were detected alike, and as `line_blur.sharpened`."""
    if isinstance(known, Crystals):
        return known, known
    even = known / by_distance[1][::-1, None]
    return even, even * line_blur.sharpened(by_distance, response.psfs[0])[::-1, None]


def _by_distance(instrument: Instrument) -> tuple[Array, Array]:
    """Probability of detection by the distance of a line from the axis of a ring (mm)."""
    if isinstance(instrument.efficiency, Crystals):  # unknown for other scanners
        return np.zeros(1), np.ones(1)
    by_step = instrument.efficiency[:, 0]
    return geometry.axis_distances_mm(instrument.scanner)[::-1], by_step[::-1]
