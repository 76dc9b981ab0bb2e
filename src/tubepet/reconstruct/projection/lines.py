"""Project voxel images along measured lines of response, and backproject.

Line integrals follow Joseph's method (1982, doi:10.1109/TMI.1982.4307572), with their exact
adjoint. A walk goes along the axis on which the line is longest (mm). It interpolates bilinearly in
each voxel plane and weights with the line's length per plane. Lines may run in any direction; a
line that ends inside the image counts the planes between its ends.

Lines are followed in float32, which is good to 1e-6. Sums over lines are float64, in parts that are
added in order, so results do not depend on the number of threads.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.projection import kernels, parallelproj
from tubepet.types import Grid

Array = NDArray[Any]

TOF_REACH_SIGMAS = 3
# linear interpolation is then good to 2e-6 of the kernel's peak
TOF_POINTS_PER_SIGMA = 256


def tof_table(sigma_mm: float) -> NDArray[np.float32]:
    """Tabulate the time-of-flight kernel for `kernels.weigh`.

    A Gaussian around the measured position along the line, cut at `TOF_REACH_SIGMAS` and normalised
    to 1.

    Parameters
    ----------
    sigma_mm : float
        Standard deviation of the position along the line, mm (`time_of_flight.sigma_mm`).

    Returns
    -------
    float32 array
        1/mm; the last two entries are the reach (mm) and the points per mm.
    """
    reach_mm = TOF_REACH_SIGMAS * sigma_mm
    num = 2 * TOF_REACH_SIGMAS * TOF_POINTS_PER_SIGMA + 1
    at_sigmas = np.linspace(-TOF_REACH_SIGMAS, TOF_REACH_SIGMAS, num)
    kernel = np.exp(-(at_sigmas**2) / 2) / (math.sqrt(2 * math.pi) * sigma_mm)
    kernel /= math.erf(TOF_REACH_SIGMAS / math.sqrt(2))
    # one entry more, for the interpolation at the very end
    entries = [*kernel, 0.0, reach_mm, TOF_POINTS_PER_SIGMA / sigma_mm]
    return np.array(entries, dtype=np.float32)


@dataclass(frozen=True)
class Lines:
    """Lines through the voxels of a grid, one per event: P, and what is added to P x.

    Attributes
    ----------
    grid : Grid
        Grid of the image.
    points : float64 array, shape (m, 3)
        Possible end points (x, y, z), mm.
    first, second : int array, shape (n,)
        Line n joins ``points[first[n]]`` and ``points[second[n]]``.
    additive : float64 array, shape (n,)
        r_i / m_i of `em`, Bq/mm2; with time of flight per mm of `tof_mm`, Bq/mm3. `forward` and
        `back` do not use it, so it may be empty for them.
    tof_mm : float32 array, shape (n,), optional
        Measured position along the line from its middle toward the second end, mm.
    tof_table : float32 array, optional
        `tof_table`: the image is weighted along each line by the kernel around `tof_mm` (1/mm).
        Empty: no time of flight.
    """

    grid: Grid
    points: NDArray[np.float64]
    first: NDArray[np.integer]
    second: NDArray[np.integer]
    additive: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    tof_mm: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    tof_table: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.first)

    def part(self, rows: NDArray[np.integer]) -> "Lines":
        """Return some of the lines; a row may be given more than once (bootstrap)."""
        tof_mm = self.tof_mm[rows] if len(self.tof_table) > 0 else self.tof_mm
        first, second, additive = self.first[rows], self.second[rows], self.additive[rows]
        return replace(self, first=first, second=second, additive=additive, tof_mm=tof_mm)

    def forward(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (P x)_i of every line, without its additive term, shape (n,).

        Unit of the image times mm (with time of flight: unit of the image).
        """
        assert image.shape == self.grid.shape
        return kernels.forward_sums(kernels.padded(image), *self._walks())

    def back(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P^T values, shape (nz, ny, nx): the adjoint of `forward`."""
        total, private = np.zeros(kernels.num_padded(self.grid)), kernels.private_images(self.grid)
        kernels.back_sums(np.asarray(values, np.float64), *self._walks(), private, total)
        return kernels.unpadded(total, self.grid)

    def em_sums(
        self, image: NDArray[np.floating], subset: int = 0, num_subsets: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project, divide and backproject events subset, subset + num_subsets, ... in one pass.

        Returns
        -------
        float64 array, shape (nz, ny, nx)
            sum P_i^T 1 / ((P x)_i + additive_i).
        float64 array
            (P x)_i + additive_i of these events.
        """
        points, first, second, tof_mm, table, numbers = self._walks()
        total, private = np.zeros(kernels.num_padded(self.grid)), kernels.private_images(self.grid)
        expected = kernels.em_sums(
            kernels.padded(image), points, first, second, self.additive, tof_mm, table, numbers,
            subset, num_subsets, private, total,
        )  # fmt: skip
        return kernels.unpadded(total, self.grid), expected

    def _walks(self) -> tuple[Array, Array, Array, Array, Array, Array]:
        numbers = kernels.grid_numbers(self.grid)
        return self.points, self.first, self.second, self.tof_mm, self.tof_table, numbers


class ParallelprojLines(Lines):
    """Lines that libparallelproj projects."""

    def forward(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        """As `Lines.forward`."""
        return parallelproj.forward(image, *self._prepared())

    def back(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `Lines.back`."""
        return parallelproj.back(values, *self._prepared())

    def em_sums(
        self, image: NDArray[np.floating], subset: int = 0, num_subsets: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `Lines.em_sums`, in two passes."""
        part = self.part(np.arange(subset, len(self), num_subsets))
        expected = part.forward(image) + part.additive
        ratio = np.divide(1.0, expected, out=np.zeros(len(expected)), where=expected > 0)
        return part.back(ratio), expected

    def _prepared(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        prepared = parallelproj.prepare(self.grid, self.points, self.first, self.second)
        if len(self.tof_table) == 0:
            return prepared, ()
        sigma_mm = float(self.tof_table[-2]) / TOF_REACH_SIGMAS
        return prepared, parallelproj.tof_arguments(self.tof_mm, sigma_mm, TOF_REACH_SIGMAS)


BACKENDS = {"numba": Lines, "parallelproj": ParallelprojLines}
