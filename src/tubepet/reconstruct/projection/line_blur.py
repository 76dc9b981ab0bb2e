"""The blur of lines by their slope: the steeper a line, the less sharp it is along the axis.

A line ends in the middle of a crystal, wherever in its depth the photon was absorbed. An end that
is off by a depth d moves a line of slope t (of z over the distance from the axis) by t d / 2 along
the axis. In a simulated ring of crystals 20 mm deep the core is 2.3 mm wide (FWHM) along the axis
for lines of slope 0.1, and 7 mm for those of slope 0.8 (docs/inspection.md). So each class of
slopes has a kernel: a narrow core, and tails of photons that were scattered in the crystals.

Photons of a tail crossed the part elsewhere than their line does, and were weakened there: on
average as all that this class sees of the part, not as on the line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.blur import Gaussian, Kernel
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]

EDGES = np.array([0.15, 0.3, 0.45, 0.6, 0.8])  # slopes between classes
NUM_CLASSES = len(EDGES) + 1
SHARE_SIGMA_VOXELS = 1.0  # of what each class sees, which varies slowly
# Variance that voxels add, in squares of their width: line integrals interpolate between voxels,
# and an image holds means over voxels.
LINES_ADD, MEANS_ADD = 1 / 6, 1 / 12
CORE, TAIL = 0, 1
LEAST_VARIANCE = 1e-4  # in squares of a voxel; below, there is no blur


@dataclass(frozen=True)
class LineBlur:
    """How the lines of one acquisition are blurred.

    Attributes
    ----------
    psfs : tuple of Kernel
        Of each class, the core first; they differ in shares and in widths along the axis.
    kind : int64 array, shape (n,)
        Class of every line.
    elsewhere : float64 array, shape (n,)
        Survival of photons of the tail over that on the line.
    seen : float64 array, shape (classes, nz, ny, nx)
        Share of the sensitivity; they add up to 1.
    """

    psfs: tuple[Kernel, ...]
    kind: NDArray[np.int64]
    elsewhere: Array
    seen: Array

    def blurred(self, image: NDArray[np.floating], grid: Grid) -> Array:
        """Blur an image of means over voxels: core and tail of each class, mirrored at the borders.

        Returns
        -------
        float64 array, shape (classes, 2, nz, ny, nx)
        """
        sharp = np.asarray(image, np.float64)
        total = np.zeros((len(self.psfs), 2, *sharp.shape))
        for i, parts in enumerate(zip(*self.psfs, strict=True)):
            sigmas = [_left(parts[0].transaxial_mm, voxel_mm) for voxel_mm in grid.voxel_mm[1:]]
            across = gaussian_filter(sharp, sigmas, axes=(1, 2), mode="reflect")
            for k, part in enumerate(parts):
                along = _along(len(sharp), _left(part.axial_mm, grid.voxel_mm[0]))
                total[k, min(i, TAIL)] += np.tensordot(part.share * along, across, 1)
        return total

    def gathered(self, images: Array, grid: Grid) -> Array:
        """Return the adjoint of `blurred`, shape (nz, ny, nx)."""
        shared = self.shared()
        rest = self.gathered_but(shared, images, grid)
        sigmas = [_left(shared.transaxial_mm, voxel_mm) for voxel_mm in grid.voxel_mm]
        sigmas[0] = _left(shared.axial_mm, grid.voxel_mm[0])
        return np.asarray(gaussian_filter(rest, sigmas, mode="reflect"))

    def shared(self) -> Gaussian:
        """Return as much of the blur as all parts of all kernels have."""
        widths = [part[1:] for psf in self.psfs for part in psf]
        return Gaussian(1.0, *(min(each) for each in zip(*widths, strict=True)))

    def gathered_but(self, shared: Gaussian, images: Array, grid: Grid) -> Array:
        """Return the adjoint of `blurred`, without what voxels add and without what is shared."""
        total = np.zeros(grid.shape)
        for i, parts in enumerate(zip(*self.psfs, strict=True)):
            pieces = np.zeros(grid.shape)
            for k, part in enumerate(parts):
                along = _along(len(pieces), _rest(part.axial_mm, shared.axial_mm, grid.voxel_mm[0]))
                pieces += np.tensordot(part.share * along, images[k, min(i, TAIL)], 1)
            sigmas = [
                _rest(parts[0].transaxial_mm, shared.transaxial_mm, voxel_mm)
                for voxel_mm in grid.voxel_mm[1:]
            ]
            total += gaussian_filter(pieces, sigmas, axes=(1, 2), mode="reflect")
        return total

    def of_defects(self) -> tuple[Kernel, ...]:
        """Return the kernels with one tail: what is small needs no more than its variance."""
        return tuple((psf[CORE], *_one(psf[TAIL:])) for psf in self.psfs)

    def forward(self, lines: Lines, images: Array, rows: NDArray[np.int64]) -> Array:
        """Integrate images of `blurred` along some lines, shape (rows,)."""
        found = np.empty(len(rows))
        for k, (core, tail) in enumerate(images):
            here = np.flatnonzero(self.kind[rows] == k)
            part = lines.part(rows[here])
            found[here] = part.forward(core) + self.elsewhere[rows[here]] * part.forward(tail)
        return found

    def back(self, lines: Lines, values: Array) -> Array:
        """Return the adjoint of `forward` for all lines, of the shape of `blurred`."""
        found = np.empty((len(self.psfs), 2, *lines.grid.shape))
        for k, both in enumerate(found):
            here = np.flatnonzero(self.kind == k)
            part = lines.part(here)
            both[CORE] = part.back(values[here])
            both[TAIL] = part.back(self.elsewhere[here] * values[here])
        return found


def of_lines(
    lines: Lines, activity: Volume, instrument: Instrument, mu: Volume, psfs: Sequence[Kernel],
    stride: int,
) -> LineBlur:  # fmt: skip
    """Put the lines of an acquisition into classes.

    Parameters
    ----------
    activity : Volume
        Of the part, in any unit, on the grid of the image.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    psfs : sequence of Kernel
        By class, `NUM_CLASSES`.
    stride : int
        As of `sensitivity.attenuated_sensitivity`.
    """
    kind = np.digitize(geometry.slopes_of(lines.points, lines.first, lines.second), EDGES)
    edges = np.concatenate([[0.0], EDGES, [np.inf]])
    seen, survival = np.empty((NUM_CLASSES, *lines.grid.shape)), np.ones(NUM_CLASSES)
    for k in range(NUM_CLASSES):
        plain, weakened = sensitivity.of_slopes(instrument, mu, stride, edges[k], edges[k + 1])
        if (whole := float((plain * activity.array).sum())) > 0:
            survival[k] = float((weakened * activity.array).sum()) / whole
        seen[k] = gaussian_filter(weakened, SHARE_SIGMA_VOXELS, mode="reflect")
    total = seen.sum(axis=0)
    # where nothing is seen there is nothing to share
    seen = np.divide(seen, total, out=np.full(seen.shape, 1 / NUM_CLASSES), where=total > 0)
    through = Lines(mu.grid, lines.points, lines.first, lines.second).forward(mu.array)
    return LineBlur(tuple(psfs), kind, survival[kind] * np.exp(through), seen)


def _along(num: int, sigma: float) -> Array:
    """Return the matrix that blurs along the axis, by voxels; it is symmetric."""
    if sigma**2 < LEAST_VARIANCE:
        return np.eye(num)
    return np.asarray(gaussian_filter1d(np.eye(num), sigma, axis=0, mode="reflect"))


def _rest(fwhm_mm: float, shared_mm: float, voxel_mm: float) -> float:
    """Return the standard deviation in voxels, without what is shared."""
    return math.sqrt(max(fwhm_mm**2 - shared_mm**2, 0.0)) / FWHM_PER_SIGMA / voxel_mm


def _one(parts: Kernel) -> Kernel:
    """Return one Gaussian of the share and the variances of several; of none, none."""
    share = sum(part.share for part in parts)
    if share == 0:
        return parts[:1]
    widths = (math.sqrt(sum(part.share * part[i] ** 2 for part in parts) / share) for i in (1, 2))
    return (Gaussian(share, *widths),)


def _left(fwhm_mm: float, voxel_mm: float) -> float:
    """Return the standard deviation in voxels, without what voxels add."""
    variance = (fwhm_mm / FWHM_PER_SIGMA / voxel_mm) ** 2 - LINES_ADD - MEANS_ADD
    return math.sqrt(max(variance, LEAST_VARIANCE))
