"""Cross sections and scattering angles per material, from xraylib, as the kernels read them.

Energies run in steps of 1 keV to the 511 keV of annihilation. Cross sections are those of
`tubepet.phantom.materials`; Geant4's fit of Compton scattering is 0.7 % above EPDL97 for LYSO at
511 keV. Compton's angle is Klein-Nishina's times the incoherent scattering function, Rayleigh's is
Thomson's times the squared form factor. Simplified: no Doppler broadening. What becomes of the
energy in a crystal is in `electrons`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet.constants import ELECTRON_KEV, LYSO_ATOMS, LYSO_G_CM3
from tubepet.phantom.geometry import TUBE
from tubepet.phantom.materials import Material, attenuation_per_mm, by_atoms, of_labels

NUM_ENERGIES = 513  # 0 (a copy of 1) to 512 keV
ANGLE_STEP_KEV = 4.0
NUM_QUANTILES = 257
KEV_ANGSTROM = 12.398420  # h c


class Photons(NamedTuple):
    """What the kernels know of materials; m runs over the labels, crystals last.

    Attributes
    ----------
    mu_per_mm : float64 array, shape (m, NUM_ENERGIES, 3)
        Photoelectric, Compton and Rayleigh attenuation, 1/mm.
    cosine : float32 array, shape (2, m, energies, NUM_QUANTILES)
        Cosine of the Compton and Rayleigh angle at a quantile; energies in `ANGLE_STEP_KEV`.
    """

    mu_per_mm: NDArray[np.float64]
    cosine: NDArray[np.float32]


# Air and what tubes are made of, in the order of the labels; the crystals last of any materials.
VOXELS = of_labels(TUBE)
MATERIALS = (*VOXELS, by_atoms("LYSO", LYSO_ATOMS, LYSO_G_CM3))
AIR, CRYSTAL = 0, -1


def photons(voxels: Sequence[Material] = VOXELS) -> Photons:
    """Compute the tables of materials by label, and of the crystals."""
    materials = (*voxels, MATERIALS[CRYSTAL])
    energy_kev = np.maximum(np.arange(NUM_ENERGIES, dtype=float), 1.0)
    mu = np.array([attenuation_per_mm(m, energy_kev) for m in materials])
    cosine = np.array(
        [[_cosines(m, process) for m in materials] for process in ("compton", "rayleigh")]
    )
    return Photons(mu, cosine.astype(np.float32))


def klein_nishina(energy_kev: float, cosine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Klein-Nishina density in the cosine, not normalised."""
    rest = 1 / (1 + energy_kev / ELECTRON_KEV * (1 - cosine))
    return rest**2 * (rest + 1 / rest - 1 + cosine**2)


def _cosines(material: Material, process: str) -> NDArray[np.float64]:
    """Return quantiles of the scattering angle's cosine, shape (energies, NUM_QUANTILES)."""
    # q = E sin(theta/2) / hc; one fine table of the atoms' functions, then all energies from it
    q = np.geomspace(1e-3, 1.01 * NUM_ENERGIES / KEV_ANGSTROM, 600)
    weight = np.zeros_like(q)
    for z, share in material.shares.items():
        per_gram = share / xraylib.AtomicWeight(z)
        if process == "compton":
            weight += per_gram * np.array([xraylib.SF_Compt(z, v) for v in q])
        else:
            weight += per_gram * np.array([xraylib.FF_Rayl(z, v) ** 2 for v in q])
    one_minus = np.concatenate([[0.0], np.geomspace(1e-7, 2.0, 2000)])
    cosine = 1 - one_minus
    quantiles = np.linspace(0, 1, NUM_QUANTILES)
    table = []
    for energy_kev in np.maximum(np.arange(0, NUM_ENERGIES, ANGLE_STEP_KEV), 1.0):
        shape = np.interp(energy_kev * np.sqrt(one_minus / 2) / KEV_ANGSTROM, q, weight)
        if process == "compton":
            density = klein_nishina(energy_kev, cosine) * shape
        else:
            density = (1 + cosine**2) * shape
        steps = np.diff(one_minus) * (density[1:] + density[:-1]) / 2
        below = np.concatenate([[0.0], np.cumsum(steps)])
        table.append(1 - np.interp(quantiles, below / below[-1], one_minus))
    return np.array(table)
