"""Data classes that the stages share, and the definition of the coordinate system.

Coordinates are right-handed, in mm, with the origin at the scanner centre and z along its axis;
they are the physical (LPS) coordinates of ITK. Arrays are C-order (z, y, x), so the tuples of a
`Grid` are in that order too. Points are rows of (x, y, z) mm. `origin_mm` is the centre of the
first voxel.

Crystals: ring 0..num_rings-1 along +z, column 0..num_columns-1 counter-clockwise seen from +z, the
centre of column 0 on +x. crystal = ring * num_columns + column. Those of modules: `tubepet.layout`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid.

    Attributes
    ----------
    shape : tuple of int
        (nz, ny, nx).
    voxel_mm, origin_mm : tuple of float
        Voxel size, and centre of voxel [0, 0, 0], both (z, y, x).
    """

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @staticmethod
    def centred(shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]) -> "Grid":
        """Return the grid of this shape whose middle is the scanner centre."""
        origin = [-(n - 1) / 2 * d for n, d in zip(shape, voxel_mm, strict=True)]
        return Grid(shape, voxel_mm, (origin[0], origin[1], origin[2]))

    def axes_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the voxel centres along z, y and x."""
        z, y, x = (
            o + d * np.arange(n, dtype=np.float64)
            for n, d, o in zip(self.shape, self.voxel_mm, self.origin_mm, strict=True)
        )
        return z, y, x

    def edges_mm(self, axis: int) -> tuple[float, float]:
        """Return the outer edges along an axis (0: z, 1: y, 2: x)."""
        size_mm = self.voxel_mm[axis]
        start_mm = self.origin_mm[axis] - size_mm / 2
        return start_mm, start_mm + self.shape[axis] * size_mm

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm3."""
        return float(np.prod(self.voxel_mm))


@dataclass(frozen=True)
class Volume:
    """An array on a grid, with a note that travels in the file header (at most 79 characters)."""

    array: NDArray[Any]
    grid: Grid
    note: str = ""


@dataclass(frozen=True)
class Scanner:
    """A PET scanner; the fields are the keys of the config section `scanner`.

    Without `modules` it is one ring of equal crystals, of the first seven keys.
    """

    num_rings: int
    num_columns: int
    inner_radius_mm: float
    crystal_depth_mm: float
    crystal_width_mm: float
    crystal_height_mm: float
    axial_pitch_mm: float
    energy_resolution: float
    time_resolution_ps: float
    energy_window_kev: tuple[float, float]
    coincidence_window_ns: float
    min_transaxial_distance_mm: float
    time_resolution_per: str = "pair"
    dead_time_ns: float = 0.0
    dead_time_kind: str = "paralysable"
    pile_up_ns: float = 0.0
    readout_block: tuple[int, int] = (1, 1)
    modules: Sequence[Mapping[str, Any]] = ()
    dead_crystals: Sequence[int] = ()
    efficiencies: str = ""

    @property
    def num_crystals(self) -> int:
        """Number of crystals."""
        if not self.modules:
            return self.num_rings * self.num_columns
        return sum(
            family["around"] * len(family["z_mm"]) * family["rings"] * family["columns"]
            for family in self.modules
        )

    @property
    def is_even_ring(self) -> bool:
        """Whether all crystals are equal, and turns and shifts map them onto each other."""
        return not (self.modules or self.dead_crystals or self.efficiencies)

    @property
    def single_fwhm_ps(self) -> float:
        """FWHM of the time of one single; a pair has two, so its FWHM is sqrt(2) times as large."""
        is_of_pair = self.time_resolution_per == "pair"
        return self.time_resolution_ps / (math.sqrt(2) if is_of_pair else 1.0)

    @property
    def has_electronics(self) -> bool:
        """Whether blocks, pile-up or dead time stand between crystals and singles."""
        block = tuple(self.readout_block)
        return block != (1, 1) or self.dead_time_ns != 0 or self.pile_up_ns != 0


@dataclass(frozen=True)
class Listmode:
    """Coincidences in memory.

    Attributes
    ----------
    crystal1, crystal2 : int32 array, shape (n,)
    time_difference_ns : float64 array, shape (n,)
        t2 - t1.
    truth : uint8 array, shape (n,)
        0 true, 1 scatter (in the object), 2 random, 3 intrinsic (one decay of 176Lu in a crystal).
        For validation; no reconstruction reads it.
    time_s : float64 array, shape (n,)
        Time of the first photon since the start of the acquisition; shape (0,): unknown.
    """

    crystal1: NDArray[np.int32]
    crystal2: NDArray[np.int32]
    time_difference_ns: NDArray[np.float64]
    truth: NDArray[np.uint8]
    time_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.crystal1)

    def at(self, rows: NDArray[Any]) -> "Listmode":
        """Return some of the coincidences, by index or mask."""
        time_s = self.time_s[rows] if len(self.time_s) == len(self) else self.time_s
        first, second = self.crystal1[rows], self.crystal2[rows]
        return Listmode(first, second, self.time_difference_ns[rows], self.truth[rows], time_s)
