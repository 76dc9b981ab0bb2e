"""A scanner as a plain table of crystals, and the sensitivity of any such scanner.

Nothing is assumed about symmetry: pairs of crystals are summed one by one, all of them or a random
subset. The weight of a pair is the étendue of its faces, as in `geometry.lor_areas_mm2`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.scanner import geometry
from tubepet.types import Scanner


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
        A pair through both faces is counted with the product of its two efficiencies.
    """

    points_mm: NDArray[np.float64]
    normals: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]
    efficiency: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points_mm)


def cylinder(scanner: Scanner) -> Crystals:
    """Return the crystals of a cylindrical scanner, with efficiency 1, in its order of ids."""
    points_mm = geometry.crystal_points_mm(scanner)
    inwards = -points_mm * [1, 1, 0]
    ones: NDArray[np.float64] = np.ones(len(points_mm))
    face_mm2 = scanner.crystal_width_mm * scanner.crystal_height_mm
    normals = inwards / np.linalg.norm(inwards, axis=1)[:, None]
    return Crystals(points_mm, normals, face_mm2 * ones, ones)


def pair_areas_mm2(
    crystals: Crystals, first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Compute the expected counts of pairs per unit line integral of activity and second.

    eff_i eff_j A_i A_j cos_i cos_j / d^2 / (2 pi), and 0 where a face looks away from the other
    (the formula and its reason: `geometry.lor_areas_mm2`).

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
    return np.where(first == second, 0.0, weight)
