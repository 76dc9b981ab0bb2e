"""Cross sections and scattering angles per material, from xraylib, as the kernels read them.

Energies run in steps of 1 keV to the 511 keV of annihilation. Photoelectric and Rayleigh cross
sections are EPDL97's. The total of Compton scattering is Geant4's own fit (Geant4 Physics Reference
Manual, Compton scattering, standard model), since GATE's plain list is what this engine has to
agree with: 0.7 % above EPDL97 for LYSO at 511 keV. Compton's angle is Klein-Nishina's times the
incoherent scattering function, Rayleigh's is Thomson's times the squared form factor. Simplified:
no Doppler broadening. What becomes of the energy in a crystal is in `electrons`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet.constants import ELECTRON_KEV, LYSO_ATOMS, LYSO_G_CM3

NUM_ENERGIES = 513  # 0 (a copy of 1) to 512 keV
ANGLE_STEP_KEV = 4.0
NUM_QUANTILES = 257
AVOGADRO = 6.02214076e23
KEV_ANGSTROM = 12.398420  # h c
# Geant4's fit in barn, one row for each p_i(Z) = Z (d + e Z + f Z^2).
COMPTON_FIT = (
    (2.7965e-1, 1.9756e-5, -3.9178e-7),
    (-1.8300e-1, -1.0205e-2, 6.8241e-5),
    (6.7527, -7.3913e-2, 6.0480e-5),
    (-1.9798e1, 2.7079e-2, 3.0274e-4),
)


@dataclass(frozen=True)
class Material:
    """A mixture: mass shares by atomic number, and density in g/cm3."""

    name: str
    shares: dict[int, float]
    g_cm3: float


class Photons(NamedTuple):
    """What the kernels know of materials; m runs over `MATERIALS`.

    Attributes
    ----------
    mu_per_mm : float64 array, shape (m, NUM_ENERGIES, 3)
        Photoelectric, Compton and Rayleigh attenuation, 1/mm.
    cosine : float32 array, shape (2, m, energies, NUM_QUANTILES)
        Cosine of the Compton and Rayleigh angle at a quantile; energies in `ANGLE_STEP_KEV`.
    """

    mu_per_mm: NDArray[np.float64]
    cosine: NDArray[np.float32]


def by_atoms(name: str, atoms: dict[str, int], g_cm3: float) -> Material:
    """Return a material from numbers of atoms."""
    numbers = {xraylib.SymbolToAtomicNumber(s): n for s, n in atoms.items()}
    mass = {z: n * xraylib.AtomicWeight(z) for z, n in numbers.items()}
    return Material(name, {z: m / sum(mass.values()) for z, m in mass.items()}, g_cm3)


# Geant4's G4_AIR, G4_WATER and G4_Al, in the order of the labels; the crystals last.
MATERIALS = (
    Material("air", {6: 0.000124, 7: 0.755268, 8: 0.231781, 18: 0.012827}, 0.00120479),
    by_atoms("water", {"H": 2, "O": 1}, 1.0),
    Material("aluminium", {13: 1.0}, 2.699),
    by_atoms("LYSO", LYSO_ATOMS, LYSO_G_CM3),
)
AIR, CRYSTAL = 0, len(MATERIALS) - 1


def photons() -> Photons:
    """Compute the tables of all `MATERIALS`."""
    mu = np.array([_attenuation_per_mm(m) for m in MATERIALS])
    cosine = np.array(
        [[_cosines(m, process) for m in MATERIALS] for process in ("compton", "rayleigh")]
    )
    return Photons(mu, cosine.astype(np.float32))


def compton_barn(z: int, energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Compton cross section per atom by Geant4's fit (flat below 15 keV, H 40 keV)."""
    k = np.maximum(energy_kev, 40.0 if z == 1 else 15.0) / ELECTRON_KEV
    p1, p2, p3, p4 = (z * (d + e * z + f * z * z) for d, e, f in COMPTON_FIT)
    ratio = (p2 + p3 * k + p4 * k**2) / (1 + 20 * k + 230 * k**2 + 440 * k**3)
    return p1 * np.log(1 + 2 * k) / k + ratio


def _attenuation_per_mm(material: Material) -> NDArray[np.float64]:
    energy_kev = np.maximum(np.arange(NUM_ENERGIES, dtype=float), 1.0)
    mu = np.zeros((NUM_ENERGIES, 3))
    for z, share in material.shares.items():
        compton_cm2_g = compton_barn(z, energy_kev) * 1e-24 * AVOGADRO / xraylib.AtomicWeight(z)
        photo = [xraylib.CS_Photo(z, e) for e in energy_kev]
        rayleigh = [xraylib.CS_Rayl(z, e) for e in energy_kev]
        mu += share * np.stack([photo, compton_cm2_g, rayleigh], axis=1)
    return mu * material.g_cm3 / 10


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
