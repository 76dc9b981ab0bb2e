"""A scanner as a plain table of crystals, and the weights of its pairs.

Nothing is assumed about symmetry, so any scanner can be such a table. The weight of a pair is the
étendue of its faces over 2 pi times the efficiency, as in `geometry.lor_areas_mm2`.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tubepet import layout
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Scanner

NUM_ANGLE_TERMS = 5  # of `angle_features`


@dataclass(frozen=True)
class Crystals:
    """Crystals in any arrangement.

    Attributes
    ----------
    points_mm : float64 array, shape (n, 3)
        LOR end points (x, y, z), mm, origin of the image's frame (`tubepet.types`).
    normals : float64 array, shape (n, 3)
        Unit normals of the faces, towards the object.
    areas_mm2 : float64 array, shape (n,)
        Areas of the faces.
    efficiency : float64 array, shape (n,)
        A pair through both faces is counted with the product of both efficiencies.
    angle_terms : float64 array, shape (0,) or (5,)
        The efficiency of each leg of a pair is exp(`angle_features` @ these) times as large.
    readouts_mm : float64 array, shape (0, 2) or (n, 2)
        Readout positions of singles (x, y), mm, for the least distance of a coincidence.
    sizes_mm : float64 array, shape (0, 3) or (n, 3)
        Depth, width (across the axis) and height, if they are known.
    behind_mm : float64 array, shape (0,) or (n,)
        Distance of the end points behind the front faces.
    least_distance_mm : float
        Pairs whose readouts are nearer to each other are no coincidences.
    most_axial_mm : float
        Pairs of crystals that are further apart along the axis are no coincidences.
    groups : int64 array, shape (0,) or (n,)
        Part of the scanner that each crystal belongs to.
    is_paired : bool array, shape (m, m)
        Which groups are in coincidence with which, symmetric. Not used without groups.
    """

    points_mm: NDArray[np.float64]
    normals: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    angle_terms: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    readouts_mm: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    sizes_mm: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    behind_mm: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    least_distance_mm: float = 0.0
    most_axial_mm: float = math.inf
    groups: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    is_paired: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), np.bool_))

    def __len__(self) -> int:
        return len(self.points_mm)


def of_scanner(scanner: Scanner) -> Crystals:
    """Return the crystals of a scanner by id, with efficiency 1, or 0 if they are dead."""
    found = layout.table(scanner)
    sizes_mm, is_alive = found.sizes_mm, np.ones(len(found))
    is_alive[list(scanner.dead_crystals)] = 0.0
    depths_mm = np.array([geometry.mean_interaction_depth_mm(d) for d in sizes_mm[:, 0]])
    return Crystals(
        found.points_mm(depths_mm), -found.outwards, sizes_mm[:, 1] * sizes_mm[:, 2], is_alive,
        readouts_mm=found.centres_mm[:, :2], sizes_mm=sizes_mm, behind_mm=depths_mm,
        least_distance_mm=scanner.min_transaxial_distance_mm,
    )  # fmt: skip


def angle_features(normals: NDArray[np.float64], ways: NDArray[np.float64]) -> NDArray[np.float64]:
    """Describe how obliquely photons meet the faces.

    Parameters
    ----------
    normals : float64 array, shape (..., 3)
        Of the faces.
    ways : float64 array, shape (..., 3)
        Unit vectors along the lines, of either sign.

    Returns
    -------
    float64 array, shape (..., 5)
        u, v, u^2, u v and v^2 of the squared sines across the axis (u) and along it (v).
    """
    along2 = ways[..., 2] ** 2
    across2 = (ways[..., 1] * normals[..., 0] - ways[..., 0] * normals[..., 1]) ** 2
    return np.stack([across2, along2, across2**2, across2 * along2, along2**2], axis=-1)


def angle_factors(
    normals: NDArray[np.float64], ways: NDArray[np.float64], terms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the factor of the efficiency of legs; see `angle_features` and `Crystals`."""
    if len(terms) == 0:
        return np.ones(ways.shape[:-1])
    return np.asarray(np.exp(angle_features(normals, ways) @ terms))


def is_coincidence(
    crystals: Crystals, first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Which pairs can be in coincidence, shape (k,)."""
    is_allowed = np.asarray(first != second)
    if len(crystals.groups) > 0:
        is_allowed &= crystals.is_paired[crystals.groups[first], crystals.groups[second]]
    if np.isfinite(crystals.most_axial_mm):
        z_mm = crystals.points_mm[:, 2]
        is_allowed &= np.abs(z_mm[first] - z_mm[second]) <= crystals.most_axial_mm
    if len(crystals.readouts_mm) == 0:
        return is_allowed
    apart_mm = np.linalg.norm(crystals.readouts_mm[first] - crystals.readouts_mm[second], axis=1)
    # rounding may shorten the distance of opposite crystals
    is_far = apart_mm >= crystals.least_distance_mm - 1e-9
    return is_allowed & is_far


def pair_areas_mm2(
    crystals: Crystals, first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Compute the expected counts of pairs per unit line integral of activity and second.

    eff_i eff_j A_i A_j cos_i cos_j / d^2 / (2 pi), and 0 where a face looks away from the other
    (the formula and its reason: `geometry.lor_areas_mm2`) and for pairs that are no coincidences.

    Returns
    -------
    float64 array, shape (k,)
        mm2.
    """
    way = crystals.points_mm[second] - crystals.points_mm[first]
    square_mm2 = np.maximum((way**2).sum(axis=1), np.finfo(float).tiny)
    cosine1 = np.maximum((crystals.normals[first] * way).sum(axis=1), 0.0)
    cosine2 = np.maximum(-(crystals.normals[second] * way).sum(axis=1), 0.0)
    strength = crystals.efficiency * crystals.areas_mm2
    # both cosines still carry a factor d
    weight = strength[first] * strength[second] * cosine1 * cosine2 / square_mm2**2 / (2 * np.pi)
    if len(crystals.angle_terms) > 0:
        way /= np.sqrt(square_mm2)[:, None]
        for which in (first, second):
            weight *= angle_factors(crystals.normals[which], way, crystals.angle_terms)
    return np.where(is_coincidence(crystals, first, second), weight, 0.0)


def ends_mm(scanner: Scanner, efficiency: NDArray[np.float64] | Crystals) -> NDArray[np.float64]:
    """Return where lines end, (n, 3) of x, y, z by crystal, in a ring or any arrangement."""
    if isinstance(efficiency, Crystals):
        return efficiency.points_mm
    return geometry.crystal_points_mm(scanner)


def numbered_pairs(number: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the pairs (i < j) numbered 0, 1, 2, ... as (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    second = ((1 + np.sqrt(1 + 8 * number.astype(np.float64))) / 2).astype(np.int64)
    second -= second * (second - 1) // 2 > number  # rounding of the root
    second += second * (second + 1) // 2 <= number
    first = number - second * (second - 1) // 2
    return first.astype(np.int32), second.astype(np.int32)
