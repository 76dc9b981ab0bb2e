"""Resolution in image space: convolution with a mixture of Gaussians, the kernel.

The response has a core of half a crystal and tails, for scatter moves an event by one or two
crystals. It is wider along the axis than across it, as oblique lines end at one mean depth. One
Gaussian cannot be all this. A sum of separable Gaussians is cheap, and its own adjoint.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.types import Grid


class Gaussian(NamedTuple):
    """A part of a kernel: its share of the whole, and widths (FWHM) across and along the axis."""

    share: float
    transaxial_mm: float
    axial_mm: float


Kernel = tuple[Gaussian, ...]  # shares add up to 1; empty: no blur


def gaussian(fwhm_mm: float) -> Kernel:
    """Return a single Gaussian, the same in all directions; 0: no blur."""
    return (Gaussian(1.0, fwhm_mm, fwhm_mm),) if fwhm_mm > 0 else ()


def chosen(which: str, fwhm_mm: float, fitted: Kernel) -> Kernel:
    """Return the kernel of the config keys `reconstruct.psf` and `psf_fwhm_mm`.

    Parameters
    ----------
    which : str
        ``fitted``; ``core``: the first part of it with a share of 1; ``gaussian``.
    fwhm_mm : float
        Width of ``gaussian``.
    fitted : Kernel
        Kernel of `resolution`; not used for ``gaussian``.
    """
    if which == "gaussian":
        return gaussian(fwhm_mm)
    return fitted if which == "fitted" else (fitted[0]._replace(share=1.0),)


def mean_mm(kernel: Kernel) -> tuple[float, float]:
    """Return the mean widths (FWHM) across and along the axis; no blur: 0."""
    across_mm = sum(part.share * part.transaxial_mm for part in kernel)
    return across_mm, sum(part.share * part.axial_mm for part in kernel)


def from_rows(rows: list[list[float]]) -> Kernel:
    """Read a kernel as JSON stores it: share, width across, width along, of every part."""
    return tuple(Gaussian(*row) for row in rows)


def sigmas_mm(kernel: Kernel) -> list[tuple[float, float, float]]:
    """Return share and standard deviations (across, along the axis) of every part; no blur: 0."""
    parts = kernel or (Gaussian(1.0, 0.0, 0.0),)
    return [
        (part.share, part.transaxial_mm / FWHM_PER_SIGMA, part.axial_mm / FWHM_PER_SIGMA)
        for part in parts
    ]


def blurred(image: NDArray[np.floating], grid: Grid, kernel: Kernel) -> NDArray[np.float64]:
    """Convolve with a kernel, mirrored at the borders.

    Mirroring makes the operator symmetric (its own adjoint) and keeps the total.

    Parameters
    ----------
    image : array, shape (nz, ny, nx)
    kernel : Kernel

    Returns
    -------
    float64 array, shape (nz, ny, nx)
    """
    sharp: NDArray[np.float64] = np.asarray(image, dtype=np.float64)
    if not kernel:
        return sharp
    total: NDArray[np.float64] = np.zeros(sharp.shape)
    for part in kernel:
        widths_mm = (part.axial_mm, part.transaxial_mm, part.transaxial_mm)
        sigma = [w / FWHM_PER_SIGMA / d for w, d in zip(widths_mm, grid.voxel_mm, strict=True)]
        total += part.share * gaussian_filter(sharp, sigma, mode="reflect")
    return total


def smoothed(image: NDArray[np.floating], grid: Grid, fwhm_mm: float) -> NDArray[np.float64]:
    """Convolve with one Gaussian; a width of 0 changes nothing."""
    return blurred(image, grid, gaussian(fwhm_mm))
