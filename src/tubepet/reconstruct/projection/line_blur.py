"""The blur of lines by their slope: the steeper a line, the less sharp it is along the axis.

A line ends in the middle of a crystal, at whatever depth the photon was absorbed. An end that is
off by a depth d moves a line of slope t (z over the distance across the axis) by t d / 2 along the
axis. In a simulated ring of crystals 20 mm deep the core is 2.3 mm wide (FWHM) along the axis for
lines of slope 0.1, and 7 mm for those of slope 0.8 (docs/inspection-physics.md). So each class of
slopes has a kernel: a narrow core, and tails of photons that scattered in the crystals.

Attenuation and detection act where photons fly, before the blur. Photons of a tail crossed the part
away from their line, so they take the mean attenuation of their voxel. Photons of the core crossed
it near their line, preferably where more survive. A Gaussian of width w times exp(g u) is a
Gaussian displaced by w^2 g, so the line is displaced by that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.reconstruct.projection.blur import Gaussian, Kernel
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]

EDGES = np.array([0.15, 0.3, 0.45, 0.6, 0.8])  # slopes between classes
NUM_CLASSES = len(EDGES) + 1
# Lines are followed so far beyond the borders of an image, for blur carries activity there.
AROUND_MM = (8.0, 4.0, 4.0)  # z, y, x
# Of a line: at sharp edges the formulas give too much.
MOST_MOVED_MM, MOST_GAINED = 0.5, 0.1
# Variance that voxels add, in squares of their width: line integrals interpolate between voxels,
# and an image holds means over voxels.
LINES_ADD, MEANS_ADD = 1 / 6, 1 / 12
CORE, TAIL = 0, 1
NUM_NODES = 5  # of a Gaussian mean
LEAST_MM = 1e-9  # shortest length of a line across the axis
LEAST_VARIANCE = 1e-4  # in squares of a voxel; below, there is no blur


class Sensed(NamedTuple):
    """A part, and what the scanner sees of it, on the grid of the image and `AROUND_MM`.

    Attributes
    ----------
    activity : float64 array, shape (nz, ny, nx)
        In any unit.
    crossing : float64 array, shape (classes, nz, ny, nx)
        Sensitivity without attenuation, if lines at all distances from the axis were detected
        alike, with probability 1 in the unit of `by_distance`.
    in_air : float64 array, shape (classes, nz, ny, nx)
        Sensitivity without attenuation; detection by distance is `sharpened`.
    left : float64 array, shape (classes, nz, ny, nx)
        Share of photon pairs that are not attenuated: steep lines cross more.
    by_distance : float64 arrays, shape (m,)
        Distances of lines from the axis (mm, rising), and probabilities that their photons are
        detected, in any unit.
    """

    activity: Array
    crossing: Array
    in_air: Array
    left: Array
    by_distance: tuple[Array, Array]


@dataclass(frozen=True)
class LineBlur:
    """How the lines of one acquisition are blurred.

    Attributes
    ----------
    psfs : tuple of Kernel
        Kernel of each class, the core first; they differ in shares and in widths along the axis.
    lines : Lines
        The displaced lines of the core, on the grid of the part and `AROUND_MM`.
    straight : Lines
        The lines as they are, for the tail.
    kind : int64 array, shape (n,)
        Class of every line.
    counted : float64 array, shape (n, 2)
        Probability that photons of the core, and of the tail, are counted, over that of photons
        exactly on the line.
    survival : float64 array, shape (nz, ny, nx)
        Share of photon pairs of any slope that are counted, over its mean in the part.
    expected : float64 array, shape (classes, 2, nz, ny, nx)
        Sensitivity to the images of `blurred`, in the unit of `Sensed.in_air`.
    """

    psfs: tuple[Kernel, ...]
    lines: Lines
    straight: Lines
    kind: NDArray[np.int64]
    counted: Array
    survival: Array
    expected: Array

    @property
    def grid(self) -> Grid:
        """The grid of the images that lines cross."""
        return self.lines.grid

    def blurred(self, image: NDArray[np.floating]) -> NDArray[np.float32]:
        """Blur an image of means over voxels of the part: core and tail of each class.

        Returns
        -------
        float32 array, shape (classes, 2, nz, ny, nx)
            On `grid`. Lines are followed in float32, too.
        """
        sharp = _amid_zeros(image, self.grid)
        total = np.zeros((len(self.psfs), 2, *sharp.shape), np.float32)
        full = sharp.any(axis=(1, 2))  # the other planes hold nothing to blur
        sources = [one[full].astype(np.float32) for one in (sharp, self.survival * sharp)]
        z_mm, _, x_mm = self.grid.voxel_mm
        across = np.stack(
            [
                _across(sources[min(i, TAIL)], _left(part.transaxial_mm, x_mm))
                for i, part in enumerate(self.psfs[0])
            ]
        )
        for both, psf in zip(total, self.psfs, strict=True):
            along = [
                part.share * _smearing(len(sharp), _left(part.axial_mm, z_mm))[:, full]
                for part in psf
            ]
            for one, mine in zip(both, (slice(TAIL), slice(TAIL, len(psf))), strict=True):
                if along[mine]:  # one product for all tails, straight to where it belongs
                    planes = across[mine].reshape(-1, sharp[0].size)
                    weights = np.hstack(along[mine]).astype(np.float32)
                    np.matmul(weights, planes, out=one.reshape(len(sharp), -1))
        return total

    def shared(self) -> Gaussian:
        """Return the blur that all parts of all kernels share: their smallest widths."""
        widths = [part[1:] for psf in self.psfs for part in psf]
        return Gaussian(1.0, *(min(each) for each in zip(*widths, strict=True)))

    def gathered_but_shared(self, images: Array) -> Array:
        """Return the adjoint of `blurred`, without what voxels add and without what is shared.

        Returns
        -------
        float64 array, shape (nz, ny, nx)
            On `grid`; `sharing` adds the shared blur.
        """
        shared, (z_mm, _, x_mm) = self.shared(), self.grid.voxel_mm
        total = np.zeros((2, *self.grid.shape))
        for i, parts in enumerate(zip(*self.psfs, strict=True)):
            part_of, sum_of = min(i, TAIL), np.zeros(self.grid.shape)
            for both, part in zip(images, parts, strict=True):
                rest = _rest(part.axial_mm, shared.axial_mm, z_mm)
                sum_of += part.share * _along(both[part_of], rest)
            rest = _rest(parts[0].transaxial_mm, shared.transaxial_mm, x_mm)
            total[part_of] += _across(sum_of, rest)
        return np.asarray(total[CORE] + self.survival * total[TAIL], np.float64)

    def sharing(self, image: Array) -> Array:
        """Blur by what all kernels share, without what voxels add."""
        shared, (z_mm, _, x_mm) = self.shared(), self.grid.voxel_mm
        along = _along(image, _left(shared.axial_mm, z_mm))
        return _across(along, _left(shared.transaxial_mm, x_mm))

    def of_defects(self) -> tuple[Kernel, ...]:
        """Return the kernels with one tail, enough for small defects."""
        return tuple((psf[CORE], *_one(psf[CORE], psf[TAIL:])) for psf in self.psfs)

    def forward(self, images: NDArray[np.floating], rows: NDArray[np.int64]) -> Array:
        """Integrate images of `blurred` along some lines, shape (rows,)."""
        found = np.empty(len(rows))
        for k, both in enumerate(images):
            here = np.flatnonzero(self.kind[rows] == k)
            counted, chosen = self.counted[rows[here]].T, rows[here]
            found[here] = sum(
                c * lines.part(chosen).forward(image)
                for c, lines, image in zip(counted, (self.lines, self.straight), both, strict=True)
            )
        return found

    def back(self, values: Array) -> Array:
        """Return the adjoint of `forward` for all lines, of the shape of `blurred`."""
        found = np.empty((len(self.psfs), 2, *self.grid.shape))
        for k, both in enumerate(found):
            here = np.flatnonzero(self.kind == k)
            both[:] = [
                lines.part(here).back(c * values[here])
                for c, lines in zip(self.counted[here].T, (self.lines, self.straight), strict=True)
            ]
        return found

    def as_core(self, mu: Volume) -> list[Volume]:
        """Return a map (`amid_zeros`) as photons of the core see it, for each class of slopes."""
        return [Volume(_as_core(psf, mu.array, mu.grid), mu.grid) for psf in self.psfs]

    def through(self, maps: Sequence[Volume]) -> Array:
        """Integrate maps, one for each class, along the lines of the class, shape (n,)."""
        found = np.empty(len(self.lines))
        for k, own in enumerate(maps):
            here = np.flatnonzero(self.kind == k)
            found[here] = replace(self.lines.part(here), grid=own.grid).forward(own.array)
        return found


def around(grid: Grid) -> Grid:
    """Return the grid of the images that lines cross (`LineBlur.grid`)."""
    more = [math.ceil(mm / own) for mm, own in zip(AROUND_MM, grid.voxel_mm, strict=True)]
    (nz, ny, nx), (z, y, x) = (
        (n + 2 * m for n, m in zip(grid.shape, more, strict=True)),
        (o - m * mm for o, m, mm in zip(grid.origin_mm, more, grid.voxel_mm, strict=True)),
    )
    return Grid((nz, ny, nx), grid.voxel_mm, (z, y, x))


def amid_zeros(image: Volume) -> Volume:
    """Return an image on the grid `around` its own, with nothing beyond it."""
    wide = around(image.grid)
    return Volume(_amid_zeros(image.array, wide), wide)


def of_lines(
    lines: Lines, part: Sensed, mu: Volume, psfs: Sequence[Kernel], stretch: float
) -> LineBlur:
    """Put the lines of an acquisition into classes, and compute what they count.

    Parameters
    ----------
    lines : Lines
        On the grid of the image.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    psfs : sequence of Kernel
        By class, `NUM_CLASSES`.
    stretch : float
        Distance of lines from the axis over the one that their ends give.
    """
    # by their ends, as sensitivity and kernels are: few ring differences are near an edge, but each
    # has a tenth of a class
    kind = np.digitize(geometry.slopes_of(lines.points, lines.first, lines.second), EDGES)
    lines = replace(lines, points=lines.points * [stretch, stretch, 1.0])
    first, second = lines.points[lines.first], lines.points[lines.second]
    x, y = (second - first)[:, :2].T
    normal = np.stack([-y, x]) / np.maximum(np.hypot(x, y), LEAST_MM)
    from_axis_mm = np.einsum("in,ni->n", normal, first[:, :2])  # signed
    mu = amid_zeros(mu)
    in_metal = replace(lines, grid=mu.grid)
    survives = np.exp(-in_metal.forward(mu.array)) * _detected(from_axis_mm, part.by_distance, 0.0)
    near, moved_mm = _of_core(in_metal, kind, mu, psfs, part.by_distance, normal, from_axis_mm)
    # photons of a tail come from anywhere in the part
    seen = part.in_air * part.left
    counts, crossing = ((one * part.activity).sum(axis=(1, 2, 3)) for one in (seen, part.crossing))
    mean = np.divide(counts, crossing, out=np.ones(len(psfs)), where=crossing > 0)
    of_tail = part.crossing * mean[:, None, None, None]
    total = of_tail.sum(axis=0)
    survival = np.divide(seen.sum(axis=0), total, out=np.ones(total.shape), where=total > 0)
    wide = around(lines.grid)
    # photons are weakened before the blur and counted after it: 2 s - K s, blurred, is nearly s
    of_core = part.in_air * np.stack([
        2 * one - _as_core(psf, one, wide, "nearest")
        for psf, one in zip(psfs, part.left, strict=True)
    ])  # fmt: skip

    every, ends = np.arange(len(lines)), np.vstack([first + moved_mm, second + moved_mm])
    return LineBlur(
        tuple(psfs),
        Lines(wide, ends, every, every + len(lines), lines.additive),
        replace(lines, grid=wide),
        kind,
        np.stack([near / survives, mean[kind] / survives], axis=1),
        survival,
        np.stack([of_core, of_tail], axis=1),
    )


def _of_core(
    in_metal: Lines, kind: NDArray[np.int64], mu: Volume, psfs: Sequence[Kernel],
    by_distance: tuple[Array, Array], normal: Array, from_axis_mm: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Return what survives near each line and the displacement (mm), both means over the core."""
    across_mm = psfs[0][CORE].transaxial_mm / FWHM_PER_SIGMA
    near, beside = (
        _detected(from_axis_mm + mm, by_distance, across_mm) for mm in (0, across_mm / 2)
    )
    aside = np.log(beside / near) / (across_mm / 2) * normal
    moved_mm = np.zeros((len(kind), 3))
    for k, psf in enumerate(psfs):
        here, along_mm = np.flatnonzero(kind == k), psf[CORE].axial_mm / FWHM_PER_SIGMA
        blurred = _as_core(psf, mu.array, mu.grid)
        part, to_side = in_metal.part(here), normal[:, here]
        dz, dy, dx = (part.forward(d) for d in np.gradient(blurred, *mu.grid.voxel_mm))
        slope = aside[:, here] - to_side * (to_side[0] * dx + to_side[1] * dy)
        moved_mm[here] = np.stack([*(across_mm**2 * slope), -(along_mm**2) * dz], axis=1)
        # the mean over a Gaussian of exp(g u) is exp(w^2 g^2 / 2); `near` has that of detection
        square = across_mm**2 * ((slope**2).sum(axis=0) - (aside[:, here] ** 2).sum(axis=0))
        square += (along_mm * dz) ** 2
        near[here] *= np.exp(np.minimum(square / 2, MOST_GAINED) - part.forward(blurred))
    return near, np.clip(moved_mm, -MOST_MOVED_MM, MOST_MOVED_MM)


def _as_core(
    psf: Kernel, image: NDArray[np.floating], grid: Grid, mode: str = "constant"
) -> NDArray[np.floating[Any]]:
    """Blur an image as the core of lines is blurred."""
    widths_mm = np.array([psf[CORE].axial_mm, *[psf[CORE].transaxial_mm] * 2]) / FWHM_PER_SIGMA
    return np.asarray(gaussian_filter(image, widths_mm / grid.voxel_mm, mode=mode))


def sharpened(by_distance: tuple[Array, Array], psf: Kernel) -> Array:
    """Return the probability of detection by distance that is itself once the core is blurred."""
    distances_mm, detected = by_distance
    across_mm = psf[CORE].transaxial_mm / FWHM_PER_SIGMA
    return 2 * detected - _detected(distances_mm, by_distance, across_mm)


def _detected(distances_mm: Array, by_distance: tuple[Array, Array], sigma_mm: float) -> Array:
    """Return the probability of detection, mean over a Gaussian around each distance."""
    total = np.zeros(len(distances_mm))
    for node, weight in zip(*np.polynomial.hermite_e.hermegauss(NUM_NODES), strict=True):
        near_mm = np.abs(distances_mm + sigma_mm * node)
        total += weight / math.sqrt(2 * math.pi) * np.interp(near_mm, *by_distance)
    return total


def _amid_zeros(array: NDArray[np.floating], wide: Grid) -> Array:
    """Return an array on a wider grid (`around`)."""
    return np.pad(np.asarray(array, np.float64), margins(array.shape, wide))


def within(image: Array, shape: tuple[int, ...]) -> Array:
    """Return what lies on the grid of this shape of an image on a wider one (`around`)."""
    first = [(wide - own) // 2 for wide, own in zip(image.shape, shape, strict=True)]
    return image[tuple(slice(i, i + own) for i, own in zip(first, shape, strict=True))]


def margins(shape: tuple[int, ...], wide: Grid) -> list[tuple[int, int]]:
    """Return what `numpy.pad` takes to put an array on a wider grid (`around`)."""
    return [
        ((num - own) // 2, (num - own) // 2) for num, own in zip(wide.shape, shape, strict=True)
    ]


def _across(image: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Blur across the axis by sigma voxels; a product with matrices is faster than a filter."""
    y, x = (_smearing(num, sigma).astype(image.dtype) for num in image.shape[1:])
    return np.asarray(y @ (image @ x))


def _along(image: Array, sigma: float) -> Array:
    """Blur along the axis by sigma voxels."""
    return np.asarray(np.tensordot(_smearing(len(image), sigma), image, 1))


@lru_cache(maxsize=256)
def _smearing(num: int, sigma: float) -> Array:
    """Return the symmetric matrix that blurs along one axis."""
    if sigma**2 < LEAST_VARIANCE:
        return np.eye(num)
    return np.asarray(gaussian_filter1d(np.eye(num), sigma, axis=0, mode="constant"))


def _rest(fwhm_mm: float, shared_mm: float, voxel_mm: float) -> float:
    """Return the standard deviation in voxels, without what is shared."""
    return math.sqrt(max(fwhm_mm**2 - shared_mm**2, 0.0)) / FWHM_PER_SIGMA / voxel_mm


def _one(core: Gaussian, parts: Kernel) -> Kernel:
    """Merge tails into one that overlaps with the core as much as they do; none stays none.

    One of their variance is too flat: it made z of a defect 1.6 % too large.
    """
    share = sum(part.share for part in parts)
    if share == 0:
        return parts[:1]
    together = [sum(p.share / (core[i] ** 2 + p[i] ** 2) for p in parts) for i in (1, 2)]
    across, along = (share / one - core[i] ** 2 for i, one in enumerate(together, start=1))
    return (Gaussian(share, math.sqrt(across), math.sqrt(along)),)


def _left(fwhm_mm: float, voxel_mm: float) -> float:
    """Return the standard deviation in voxels, without what voxels add."""
    variance = (fwhm_mm / FWHM_PER_SIGMA / voxel_mm) ** 2 - LINES_ADD - MEANS_ADD
    return math.sqrt(max(variance, LEAST_VARIANCE))
