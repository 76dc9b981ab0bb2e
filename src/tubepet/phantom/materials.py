"""Materials of parts: composition and density by name, and the attenuation in both engines.

Photoelectric and Rayleigh cross sections are EPDL97's, from xraylib. The total of Compton
scattering is Geant4's own fit (Geant4 Physics Reference Manual, Compton scattering, standard
model), since the fast engine has to agree with GATE's standard physics list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet.constants import AVOGADRO, ELECTRON_KEV
from tubepet.errors import InputError
from tubepet.phantom.geometry import Filling

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


def by_atoms(name: str, atoms: dict[str, int], g_cm3: float) -> Material:
    """Return a material from numbers of atoms."""
    numbers = {xraylib.SymbolToAtomicNumber(s): n for s, n in atoms.items()}
    mass = {z: n * xraylib.AtomicWeight(z) for z, n in numbers.items()}
    return Material(name, {z: m / sum(mass.values()) for z, m in mass.items()}, g_cm3)


# Air, water, aluminium, stainless steel 18-8, titanium and PMMA (plexiglass) as NIST and Geant4
# have them; brass CuZn37 (EN 12163); mineral oil as a saturated chain of 20 carbons.
AIR = Material("air", {6: 0.000124, 7: 0.755268, 8: 0.231781, 18: 0.012827}, 0.00120479)
WATER = by_atoms("water", {"H": 2, "O": 1}, 1.0)
ALUMINIUM = Material("aluminium", {13: 1.0}, 2.699)
MATERIALS = {
    material.name: material
    for material in (
        AIR,
        WATER,
        ALUMINIUM,
        by_atoms("steel", {"Fe": 74, "Cr": 18, "Ni": 8}, 8.0),
        Material("titanium", {22: 1.0}, 4.54),
        Material("brass", {29: 0.63, 30: 0.37}, 8.44),
        by_atoms("pmma", {"C": 5, "H": 8, "O": 2}, 1.19),
        by_atoms("oil", {"C": 20, "H": 42}, 0.87),
    )
}
# Names in Geant4's own database of those that GATE takes from there, at their own density.
GEANT4_NAMES = {"air": "G4_AIR", "water": "G4_WATER", "aluminium": "G4_Al"}
# Foams and osmium: a density beyond these is a slip of the unit.
LEAST_G_CM3, MOST_G_CM3 = 0.001, 22.6


def filling(where: str, name: str, g_cm3: float | None, activity: float) -> Filling:
    """Check a material of a part, and return it as a filling.

    Parameters
    ----------
    where : str
        Key or file and row, for the message.
    name : str
        One of `MATERIALS`.
    g_cm3 : float or None
        None: the material's own.
    activity : float
        Share of the concentration of the run, 0 to 1.

    Raises
    ------
    InputError
        If there is no such material, or a number is impossible.
    """
    if name not in MATERIALS:
        raise InputError(
            f"{where}: got material {name!r}, expected one of {', '.join(MATERIALS)} (another "
            "alloy: the nearest of them with a density in g/cm3)"
        )
    own = MATERIALS[name].g_cm3 if g_cm3 is None else g_cm3
    if not LEAST_G_CM3 <= own <= MOST_G_CM3:
        raise InputError(
            f"{where}: got a density of {own:g} g/cm3, expected {LEAST_G_CM3} to {MOST_G_CM3} g/cm3"
        )
    if not 0 <= activity <= 1:
        raise InputError(
            f"{where}: got an activity of {activity:g}, expected 0 to 1, the share of "
            "protocol.activity_bq"
        )
    return Filling(name, float(own), float(activity))


def of_labels(fillings: Sequence[Filling]) -> tuple[Material, ...]:
    """Return the material of each label: air, then the fillings in their order."""
    return AIR, *(replace(MATERIALS[one.material], g_cm3=one.g_cm3) for one in fillings)


def compton_barn(z: int, energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Compton cross section per atom by Geant4's fit (flat below 15 keV, H 40 keV)."""
    k = np.maximum(energy_kev, 40.0 if z == 1 else 15.0) / ELECTRON_KEV
    p1, p2, p3, p4 = (z * (d + e * z + f * z * z) for d, e, f in COMPTON_FIT)
    ratio = (p2 + p3 * k + p4 * k**2) / (1 + 20 * k + 230 * k**2 + 440 * k**3)
    return p1 * np.log(1 + 2 * k) / k + ratio


def attenuation_per_mm(material: Material, energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return photoelectric, Compton and Rayleigh attenuation, shape (n, 3), 1/mm."""
    mu = np.zeros((len(energy_kev), 3))
    for z, share in material.shares.items():
        compton_cm2_g = compton_barn(z, energy_kev) * 1e-24 * AVOGADRO / xraylib.AtomicWeight(z)
        photo = [xraylib.CS_Photo(z, e) for e in energy_kev]
        rayleigh = [xraylib.CS_Rayl(z, e) for e in energy_kev]
        mu += share * np.stack([photo, compton_cm2_g, rayleigh], axis=1)
    return mu * material.g_cm3 / 10
