"""Lines of response (LORs) in cylindrical coordinates, and which of them meet a cylinder."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Listmode, Scanner

Array = NDArray[np.float64]


class Lors(NamedTuple):
    """LORs by distance from the axis (mm), z of the middle (mm), and slope, |dz| per transaxial mm.

    The three arrays broadcast together.
    """

    distance_mm: Array
    middle_mm: Array
    slope: Array


@dataclass(frozen=True)
class Cylinder:
    """A cylinder around the scanner axis, mm."""

    radius_mm: float
    z_low_mm: float
    z_high_mm: float

    def widened(self, by_mm: float) -> "Cylinder":
        """Return the cylinder with this much more on all sides."""
        return Cylinder(self.radius_mm + by_mm, self.z_low_mm - by_mm, self.z_high_mm + by_mm)

    def meets(self, lors: Lors) -> NDArray[np.bool_]:
        """Which LORs meet the cylinder."""
        half_mm = self._half_chord_mm(lors)
        return (
            (lors.distance_mm <= self.radius_mm)
            & (lors.middle_mm - lors.slope * half_mm <= self.z_high_mm)
            & (lors.middle_mm + lors.slope * half_mm >= self.z_low_mm)
        )

    def chord_mm(self, lors: Lors) -> Array:
        """Length of LORs inside the cylinder."""
        half_mm = self._half_chord_mm(lors)
        rise = np.maximum(lors.slope, 1e-12)  # lines within a ring: the ends are then far away
        enter_mm = np.maximum(-half_mm, (self.z_low_mm - lors.middle_mm) / rise)
        leave_mm = np.minimum(half_mm, (self.z_high_mm - lors.middle_mm) / rise)
        return np.maximum(leave_mm - enter_mm, 0.0) * np.sqrt(1 + lors.slope**2)

    def _half_chord_mm(self, lors: Lors) -> Array:
        return np.sqrt(np.maximum(self.radius_mm**2 - lors.distance_mm**2, 0.0))


def enclosing_cylinder(is_object: NDArray[np.bool_], grid: Grid) -> Cylinder:
    """Return the smallest cylinder around the axis that holds all marked voxels."""
    z, y, x = grid.axes_mm()
    if not is_object.any():
        return Cylinder(0.0, 0.0, 0.0)
    z_used = z[is_object.any(axis=(1, 2))]
    half_z, half_y, half_x = (size / 2 for size in grid.voxel_mm)
    corner_mm = np.hypot(np.abs(y)[:, None] + half_y, np.abs(x)[None, :] + half_x)
    return Cylinder(
        float(corner_mm[is_object.any(axis=0)].max()),
        float(z_used[0] - half_z),
        float(z_used[-1] + half_z),
    )


def of_events(events: Listmode, scanner: Scanner) -> Lors:
    """Return the LOR of every event, shape (n,)."""
    return _lors(scanner, geometry.column_steps(events, scanner), *geometry.rings(events, scanner))


def of_scanner(scanner: Scanner) -> Lors:
    """Return all LORs up to symmetry, shape (num_columns // 2 + 1, num_rings, num_rings)."""
    shape = scanner.num_columns // 2 + 1, scanner.num_rings, scanner.num_rings
    return _lors(scanner, *np.ogrid[: shape[0], : shape[1], : shape[2]])


def exposures_mm2(scanner: Scanner, areas_mm2: Array) -> Array:
    """Return the total area of all LORs that symmetry makes equal, shape as `of_scanner`."""
    ring = np.arange(scanner.num_rings)
    number = geometry.num_column_pairs(scanner)[:, None, None]
    return number * areas_mm2[:, np.abs(ring[:, None] - ring)]


def _lors(
    scanner: Scanner,
    step: NDArray[np.integer],
    ring1: NDArray[np.integer],
    ring2: NDArray[np.integer],
) -> Lors:
    z_mm = geometry.ring_positions_mm(scanner)
    chord_mm = (
        2 * geometry.detection_radius_mm(scanner) * np.sin(np.pi * step / scanner.num_columns)
    )
    # step 0 is no LOR (its area is 0); any finite slope will do
    slope = np.abs(z_mm[ring2] - z_mm[ring1]) / np.where(step > 0, chord_mm, 1.0)
    middle_mm = (z_mm[ring1] + z_mm[ring2]) / 2
    return Lors(geometry.axis_distances_mm(scanner)[step], middle_mm, slope)
