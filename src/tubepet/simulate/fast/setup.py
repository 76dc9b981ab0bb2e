"""What the kernels are told: source, voxels, ring, air and readout, as plain tuples of arrays."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet import layout
from tubepet.constants import FWHM_PER_SIGMA, PHOTON_KEV
from tubepet.errors import InputError
from tubepet.simulate.fast import electrons, kernels
from tubepet.simulate.fast.positrons import NONE, Positrons
from tubepet.simulate.fast.tables import AIR, CRYSTAL, Photons
from tubepet.types import Grid, Scanner, Volume

SIGMA_PER_FWHM = 1 / FWHM_PER_SIGMA
ACCOLINEARITY_DEG = 0.5  # FWHM in each of two directions, as in GATE (Moses 2011)
LEAST_PULSE_KEV = 1.0  # in one crystal, before blocks add up; the tables begin there
# A deposit this many sigma below the window is not followed: it is seen once in 3.5 million.
SIGMAS_BELOW_WINDOW = 5.0
CELLS_ACROSS = 128  # of the square around modules: most cells meet one tower or none


class Source(NamedTuple):
    """Where decays are: voxels by the alias method (Walker 1977), or a cylinder along z."""

    voxels: NDArray[np.int16]  # (n, 3): z, y, x
    threshold: NDArray[np.float64]  # (n,)
    alias: NDArray[np.int32]  # (n,)
    radius_mm: float  # of the cylinder that fills the box; 0: voxels
    bend2: float  # variance of the accolinearity, rad2
    positrons: Positrons = NONE


class Box(NamedTuple):
    """The voxels; vectors are x, y, z."""

    labels: NDArray[np.uint8]  # (z, y, x)
    low_mm: NDArray[np.float64]
    high_mm: NDArray[np.float64]
    per_mm: NDArray[np.float64]  # voxels per mm
    free_mm: NDArray[np.float64]  # (energies,): free path in the densest material present
    shares: NDArray[np.float64]  # (materials, energies, 3): cumulative, of the majorant


class Air(NamedTuple):
    """The air between voxels and ring."""

    free_mm: NDArray[np.float64]
    shares: NDArray[np.float64]  # (1, energies, 3)


class Ring(NamedTuple):
    """The crystals; `circle` has cosine and sine of each column's azimuth.

    The last five tell where modules are; a tower is all modules of a family at one azimuth. Of one
    ring they are not used, and of modules those from `circle` to `pitch_mm` are not, but for
    `inner_mm`, `reach_mm` and `half_length_mm`.
    """

    num_columns: int  # 0: modules
    num_rings: int
    circle: NDArray[np.float64]
    half_sector: float  # tangent of half the angle between columns
    inner_mm: float
    outer_mm: float  # of the crystals' outer faces
    reach_mm: float  # of their outermost edges
    half_width_mm: float
    half_height_mm: float
    half_length_mm: float
    pitch_mm: float
    free_mm: NDArray[np.float64]
    shares: NDArray[np.float64]  # (1, energies, 3)
    cells: NDArray[np.int32]  # (y, x, 2): of the square around, where its towers start and end
    in_cells: NDArray[np.int32]  # towers of all cells, cell by cell
    towers: NDArray[np.float64]  # (towers, 14): see `kernels.COSINE`...
    heights_mm: NDArray[np.float64]  # middles of modules along the axis, family by family
    tower_of: NDArray[np.int32]  # (crystals,): the tower of each


class Readout(NamedTuple):
    """Blur and window of the singles."""

    relative_sigma: float
    photon_kev: float
    sigma_ns: float
    low_kev: float
    high_kev: float
    least_kev: float


def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return thresholds and partners that draw i with probability weights[i] (Vose 1991)."""
    threshold = weights * (len(weights) / weights.sum())
    alias = np.arange(len(weights), dtype=np.int32)
    small, large = list(np.flatnonzero(threshold < 1)), list(np.flatnonzero(threshold >= 1))
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        threshold[rich] -= 1 - threshold[poor]
        if threshold[rich] < 1:
            small.append(large.pop())
    threshold[small + large] = 1.0  # what rounding left over
    return threshold, alias


def tube(
    labels: Volume, activity: Volume, scanner: Scanner, photons: Photons
) -> tuple[Source, Box]:
    """Return source and voxels of a tube.

    Raises
    ------
    InputError
        If a label has no material, an activity is negative or no number, the grids differ, or the
        voxels do not fit into the bore.
    """
    array = activity.array.astype(np.float64)
    if activity.grid != labels.grid:
        raise InputError(f"activity: got {activity.grid}, expected the labels' {labels.grid}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise InputError("activity: got a negative value or NaN, expected Bq/mm3 >= 0")
    last = len(photons.mu_per_mm) - 2  # the crystals have none
    if labels.array.min() < 0 or labels.array.max() > last:
        raise InputError(
            f"labels: got {labels.array.min()} to {labels.array.max()}, expected labels of a "
            f"material, 0 (air) to {last}"
        )
    used = np.argwhere(array > 0)
    threshold, alias = alias_table(array[tuple(used.T)])
    box = _box(np.ascontiguousarray(labels.array, np.uint8), labels.grid, scanner, photons)
    return Source(used.astype(np.int16), threshold, alias, 0.0, _bend2()), box


def cylinder(
    radius_mm: float, length_mm: float, scanner: Scanner, photons: Photons
) -> tuple[Source, Box]:
    """Return a uniform source along z in air, which fills its box."""
    grid = Grid.centred((1, 1, 1), (length_mm, 2 * radius_mm, 2 * radius_mm))
    box = _box(np.full((1, 1, 1), AIR, np.uint8), grid, scanner, photons)
    threshold, alias = alias_table(np.ones(1))
    return Source(np.zeros((1, 3), np.int16), threshold, alias, radius_mm, _bend2()), box


def _bend2() -> float:
    return math.radians(ACCOLINEARITY_DEG * SIGMA_PER_FWHM) ** 2


def _box(labels: NDArray[np.uint8], grid: Grid, scanner: Scanner, photons: Photons) -> Box:
    voxel_mm = np.array(grid.voxel_mm[::-1])
    low_mm = np.array(grid.origin_mm[::-1]) - voxel_mm / 2
    high_mm = low_mm + voxel_mm * grid.shape[::-1]
    reach_mm = float(np.hypot(*np.maximum(abs(low_mm), abs(high_mm))[:2]))
    if reach_mm >= layout.bore_mm(scanner):
        raise InputError(
            f"phantom: got voxels {reach_mm:.1f} mm from the axis, expected less than the "
            f"scanner's inner_radius_mm, {layout.bore_mm(scanner)} mm"
        )
    mu = photons.mu_per_mm[:CRYSTAL]
    majorant = mu[np.unique(labels)].sum(axis=2).max(axis=0)
    shares = np.cumsum(mu, axis=2) / majorant[:, None]
    return Box(labels, low_mm, high_mm, 1 / voxel_mm, 1 / majorant, shares)


def air(photons: Photons) -> Air:
    """Return the air between voxels and ring."""
    return Air(*_medium(photons.mu_per_mm[AIR]))


def ring(scanner: Scanner, photons: Photons) -> Ring:
    """Return the crystals of a scanner."""
    if scanner.modules:
        return _modules(scanner, photons)
    turn = 2 * np.pi * np.arange(scanner.num_columns) / scanner.num_columns
    outer_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm
    free_mm, shares = _medium(photons.mu_per_mm[CRYSTAL])
    gap_mm = scanner.axial_pitch_mm - scanner.crystal_height_mm
    return Ring(
        num_columns=scanner.num_columns,
        num_rings=scanner.num_rings,
        circle=np.stack([np.cos(turn), np.sin(turn)], axis=1),
        half_sector=math.tan(math.pi / scanner.num_columns),
        inner_mm=float(scanner.inner_radius_mm),
        outer_mm=outer_mm,
        reach_mm=math.hypot(outer_mm, scanner.crystal_width_mm / 2),
        half_width_mm=scanner.crystal_width_mm / 2,
        half_height_mm=scanner.crystal_height_mm / 2,
        half_length_mm=(scanner.num_rings * scanner.axial_pitch_mm - gap_mm) / 2,
        pitch_mm=float(scanner.axial_pitch_mm),
        free_mm=free_mm,
        shares=shares,
        cells=np.zeros((1, 1, 2), np.int32),
        in_cells=np.zeros(1, np.int32),
        towers=np.zeros((1, kernels.CRYSTALS_PER_HEIGHT + 1)),
        heights_mm=np.zeros(1),
        tower_of=np.zeros(1, np.int32),
    )


def pulses() -> Readout:
    """Return a readout that gives every pulse as it is, for `electronics`."""
    return Readout(0.0, PHOTON_KEV, 0.0, LEAST_PULSE_KEV, math.inf, LEAST_PULSE_KEV)


def _modules(scanner: Scanner, photons: Photons) -> Ring:
    """Return the crystals of modules."""
    free_mm, shares = _medium(photons.mu_per_mm[CRYSTAL])
    towers: list[list[float]] = []
    corners_mm, num_crystals = [], 0
    heights_mm: list[float] = []
    tower_of: list[NDArray[np.int32]] = []
    for one in layout.families(scanner):
        numbers = np.arange(len(towers), len(towers) + one.around, dtype=np.int32)
        tower_of.append(np.tile(np.repeat(numbers, one.num_per_module), len(one.z_mm)))
        for i, turn in enumerate(one.turns):
            towers.append([
                math.cos(turn), math.sin(turn), one.inner_radius_mm,
                one.inner_radius_mm + one.crystal_depth_mm,
                one.columns, one.pitch_width_mm, one.crystal_width_mm / 2,
                one.rings, one.pitch_height_mm, one.crystal_height_mm / 2,
                len(heights_mm), len(one.z_mm), num_crystals + i * one.num_per_module,
                one.around * one.num_per_module,
            ])  # fmt: skip
            corners_mm.append(layout.corners_mm(one, i))
        heights_mm += one.z_mm
        num_crystals += one.num_crystals
    reach_mm = layout.reach_mm(scanner)
    cells, in_cells = _cells(np.array(corners_mm), reach_mm)
    return Ring(
        num_columns=0,
        num_rings=0,
        circle=np.zeros((1, 2)),
        half_sector=0.0,
        inner_mm=layout.bore_mm(scanner),
        outer_mm=0.0,
        reach_mm=reach_mm,
        half_width_mm=0.0,
        half_height_mm=0.0,
        half_length_mm=layout.half_length_mm(scanner),
        pitch_mm=1.0,
        free_mm=free_mm,
        shares=shares,
        cells=cells,
        in_cells=in_cells,
        towers=np.array(towers, np.float64),
        heights_mm=np.array(heights_mm, np.float64),
        tower_of=np.concatenate(tower_of),
    )


def _cells(
    corners_mm: NDArray[np.float64], reach_mm: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sort towers (corners of each, shape (n, 4, 2)) into the cells that they may meet."""
    width_mm = 2 * reach_mm / CELLS_ACROSS
    middle_mm = (np.arange(CELLS_ACROSS) + 0.5) * width_mm - reach_mm
    y_mm, x_mm = np.meshgrid(middle_mm, middle_mm, indexing="ij")
    is_met = np.ones((*y_mm.shape, len(corners_mm)), bool)
    for k in range(4):  # no further beyond an edge than the cell reaches
        start, edge = corners_mm[:, k], corners_mm[:, (k + 1) % 4] - corners_mm[:, k]
        across = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.hypot(*edge.T)[:, None]
        off_mm = (
            np.multiply.outer(x_mm, across[:, 0]) + np.multiply.outer(y_mm, across[:, 1])
            - (start * across).sum(axis=1)
        )  # fmt: skip
        is_met &= off_mm <= math.sqrt(0.5) * width_mm
    ends = np.cumsum(is_met.sum(axis=2)).reshape(y_mm.shape)
    cells = np.stack([ends - is_met.sum(axis=2), ends], axis=2).astype(np.int32)
    in_cells = np.nonzero(is_met)[2].astype(np.int32)
    return cells, np.ascontiguousarray(in_cells)


def readout(scanner: Scanner) -> Readout:
    """Return blur and window.

    Raises
    ------
    InputError
        If the energy window is upside down.
    """
    low_kev, high_kev = (float(v) for v in scanner.energy_window_kev)
    if not low_kev < high_kev:
        raise InputError(
            f"scanner.energy_window_kev: got [{low_kev}, {high_kev}], expected low < high, keV"
        )
    relative_sigma = scanner.energy_resolution * SIGMA_PER_FWHM
    # low = E + n sigma(E) with sigma^2 = relative^2 * 511 keV * E, solved for sqrt(E)
    spread = SIGMAS_BELOW_WINDOW * relative_sigma * math.sqrt(PHOTON_KEV)
    least_kev = (math.sqrt(low_kev + spread**2 / 4) - spread / 2) ** 2
    sigma_ns = scanner.single_fwhm_ps * 1e-3 * SIGMA_PER_FWHM
    return Readout(relative_sigma, PHOTON_KEV, sigma_ns, low_kev, high_kev, least_kev)


def fixed(source: Source, box: Box, scanner: Scanner, photons: Photons) -> tuple[Any, ...]:
    """Return all that stays the same from slice to slice, in the order that kernels want it."""
    return (
        source, box, ring(scanner, photons), air(photons), photons.cosine, electrons.library(),
        pulses() if scanner.has_electronics else readout(scanner),
    )  # fmt: skip


def _medium(mu: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    total = mu.sum(axis=1)
    return 1 / total, np.cumsum(mu, axis=1)[None] / total[:, None]
