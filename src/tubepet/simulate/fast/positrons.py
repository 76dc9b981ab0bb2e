"""Positrons in the voxels: what the kernels need to follow them from the decay to the annihilation.

Energy is lost continuously: Berger and Seltzer's collision stopping power of positrons (ICRU Report
37, 1984) with Sternheimer's density effect (1984, At. Data Nucl. Data Tables 30, 261); radiative
losses are below 1 % of it. Elastic scattering: the cross sections of `electrons`, with McKinley and
Feshbach's factor for positrons, as a mean free path of transport. The kernel goes down a ladder of
energies; on each rung the direction turns once, at a random place (a "random hinge",
Fernandez-Varea et al. 1993, Nucl. Instrum. Methods B 73, 447), by an angle whose mean cosine is
that of all collisions on the way.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet.constants import AVOGADRO, ELECTRON_KEV, ELECTRON_RADIUS_CM, FINE_STRUCTURE
from tubepet.phantom.materials import Material
from tubepet.simulate import sources
from tubepet.simulate.fast.tables import VOXELS

LEAST_KEV = 20.0  # the range of less is 9 um in water
ENERGY_RATIO = 0.9  # of neighbouring rungs
ROWS_PER_RUNG = 20  # of the integrals
PLASMA_EV = 28.816  # of a mole of electrons per cm3
# Mean excitation energy, eV: ICRU Report 90, as in Geant4's G4_AIR, G4_WATER and G4_Al; ICRU Report
# 37 of titanium, PMMA and paraffin (oil); alloys by Bragg's rule from its elements.
EXCITATION_EV = {
    "air": 85.7, "water": 78.0, "aluminium": 166.0, "steel": 282.0, "titanium": 233.0,
    "brass": 325.0, "pmma": 74.0, "oil": 55.9,
}  # fmt: skip
# Sternheimer's C, x0, x1, a, m; C of water for 78 eV. Of the others: `general_density_effect`.
DENSITY_EFFECT = {
    "air": (10.5961, 1.7418, 4.2759, 0.10914, 3.3994),
    "water": (3.5801, 0.2400, 2.8004, 0.09116, 3.4773),
    "aluminium": (4.2395, 0.1708, 3.0127, 0.08024, 3.6345),
}


class Positrons(NamedTuple):
    """Energies of the positrons and their ladder; m runs over the labels of voxels.

    Attributes
    ----------
    energies_kev : float64 array, shape (intervals + 1,)
        Borders of equally probable energies; empty if photon pairs start where the decay is.
    rungs_kev : float64 array, shape (rungs,)
        Rising, each `ENERGY_RATIO` of the next.
    range_mm : float64 array, shape (m, rungs)
        Path length from there to the lowest rung.
    bend : float64 array, shape (m, rungs)
        Path length in units of the mean free path of transport, summed likewise.
    """

    energies_kev: NDArray[np.float64]
    rungs_kev: NDArray[np.float64]
    range_mm: NDArray[np.float64]
    bend: NDArray[np.float64]


NONE = Positrons(np.zeros(0), np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)))


def positrons(isotope: str, voxels: Sequence[Material] = VOXELS) -> Positrons:
    """Compute the tables of an isotope in materials by label.

    Raises
    ------
    InputError
        If there are no data of the isotope.
    """
    energies_kev = sources.positron_kev(isotope)
    num_rungs = 2 + int(np.log(energies_kev[-1] / LEAST_KEV) / -np.log(ENERGY_RATIO))
    num_rows = (num_rungs - 1) * ROWS_PER_RUNG + 1
    fine_kev = LEAST_KEV * ENERGY_RATIO ** -np.linspace(0, num_rungs - 1, num_rows)
    range_mm, bend = [], []
    for material in voxels:
        per_kev = 1 / stopping_kev_per_mm(material, fine_kev)
        range_mm.append(_summed(per_kev, fine_kev)[::ROWS_PER_RUNG])
        turn = turning_per_mm(material, fine_kev)
        bend.append(_summed(turn * per_kev, fine_kev)[::ROWS_PER_RUNG])
    rungs_kev = fine_kev[::ROWS_PER_RUNG].copy()
    return Positrons(energies_kev, rungs_kev, np.array(range_mm), np.array(bend))


def stopping_kev_per_mm(
    material: Material, kinetic_kev: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the collision stopping power of positrons."""
    tau = kinetic_kev / ELECTRON_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    below = tau + 2
    term = 2 * np.log(2) - beta2 / 12 * (23 + 14 / below + 10 / below**2 + 4 / below**3)
    ratio = EXCITATION_EV[material.name] * 1e-3 / ELECTRON_KEV
    bracket = np.log(tau**2 * below / (2 * ratio**2)) + term - density_effect(material, tau)
    electrons_per_cm3 = _electrons_per_cm3(material)
    scale_cm2 = 2 * np.pi * ELECTRON_RADIUS_CM**2 * ELECTRON_KEV
    return electrons_per_cm3 * scale_cm2 / beta2 * bracket / 10


def density_effect(material: Material, tau: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Sternheimer's delta by the kinetic energy over the rest energy."""
    known = DENSITY_EFFECT.get(material.name)
    c, x0, x1, a, m = known if known else general_density_effect(material)
    x = np.log10(tau * (tau + 2)) / 2
    rising = 2 * np.log(10) * x - c + a * np.maximum(x1 - x, 0.0) ** m
    return np.where(x > x0, rising, 0.0)


def general_density_effect(material: Material) -> tuple[float, float, float, float, float]:
    """Return C, x0, x1, a and m of any solid or liquid.

    Sternheimer and Peierls 1971, Phys. Rev. B 3, 3681.
    """
    mean_ev = EXCITATION_EV[material.name]
    plasma_ev = PLASMA_EV * math.sqrt(_electrons_per_cm3(material) / AVOGADRO)
    c = 1 + 2 * math.log(mean_ev / plasma_ev)
    is_light = mean_ev < 100
    x1 = 2.0 if is_light else 3.0
    x0 = 0.2 if c < (3.681 if is_light else 5.215) else 0.326 * c - (1.0 if is_light else 1.5)
    return c, x0, x1, (c - 2 * math.log(10) * x0) / (x1 - x0) ** 3, 3.0


def _electrons_per_cm3(material: Material) -> float:
    return sum(
        z * material.g_cm3 * share * AVOGADRO / xraylib.AtomicWeight(z)
        for z, share in material.shares.items()
    )


def turning_per_mm(material: Material, kinetic_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse mean free path of transport: mean 1 - cosine of collisions, per mm."""
    tau = kinetic_kev / ELECTRON_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    momentum2 = tau * (tau + 2)
    half = np.geomspace(1e-9, 1.0, 1500)[:, None]  # (1 - cosine) / 2
    per_mm = np.zeros_like(tau)
    for z, share in material.shares.items():
        strength = z * FINE_STRUCTURE
        angle2 = (z ** (1 / 3) / 0.885 * FINE_STRUCTURE) ** 2 / momentum2
        screen = angle2 * (1.13 + 3.76 * strength**2 / beta2) / 4
        sine = np.sqrt(half)
        spin = 1 - beta2 * half - np.pi * strength * np.sqrt(beta2) * sine * (1 - sine)
        section_cm2 = np.pi * z * (z + 1) * ELECTRON_RADIUS_CM**2 / (momentum2 * beta2)
        mean = 2 * np.trapezoid(half * spin / (half + screen) ** 2, half, axis=0)
        per_cm3 = material.g_cm3 * share * AVOGADRO / xraylib.AtomicWeight(z)
        per_mm += per_cm3 * section_cm2 * mean / 10
    return per_mm


def _summed(values: NDArray[np.float64], kinetic_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.diff(kinetic_kev) * (values[1:] + values[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])
