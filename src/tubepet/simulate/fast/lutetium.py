"""The decay of 176Lu in the crystals: its activity, and tables from which kernels draw decays.

Energies, gamma rays and conversion electrons per decay: ICRP Publication 107 (2008, Ann. ICRP 38),
whose tables come from ENSDF. The spectra of the beta particles have the allowed shape with the
relativistic Fermi function (Konopinski 1966); both transitions are first forbidden, and no shape
factor is applied: one was measured (Quarati et al. 2023, Phys. Rev. C 107, 024313), its numbers
are not at hand. Simplified: gamma rays of a cascade are emitted at once (the level at 88 keV lives
2 ns) and their directions are independent; of a vacancy the K X-ray leaves the atom, all else (L
X-rays, Auger electrons) stays where it is.
"""

import math
from typing import NamedTuple

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet import layout
from tubepet.constants import AVOGADRO, ELECTRON_KEV
from tubepet.simulate import sources
from tubepet.simulate.fast import electrons
from tubepet.simulate.fast.tables import CRYSTAL, MATERIALS
from tubepet.types import Scanner

LUTETIUM, HAFNIUM, NUCLEONS = 71, 72, 176
ABUNDANCE = 0.02599  # of 176Lu, IUPAC (Meija et al. 2016, DOI 10.1515/pac-2015-0503)
# Decay constant: Soderlund et al. 2004, DOI 10.1016/S0012-821X(04)00012-3.
DECAYS_PER_S = 1.867e-11 / 3.15576e7
END_POINT_KEV = (595.77, 194.67)  # of the beta particles to the levels at 597.03 and 998.13 keV
UPPER_SHARE = 0.0039  # of the decays to the upper level
# Transitions from 998 keV down: energy, then per decay gamma rays, and conversion electrons of the
# shells K, L1, L2, L3, M, and N and beyond.
TRANSITIONS = (
    (401.10, 3.744e-3, (9.68122e-5, 1.22818e-5, 8.71866e-6, 4.59434e-6, 6.08733e-6, 1.70747e-6)),
    (306.84, 0.936, (0.0485484, 0.00592475, 0.00653331, 0.00388502, 0.00394423, 0.00109733)),
    (201.83, 0.779688, (0.126636, 0.0142902, 0.0326724, 0.0232852, 0.0172746, 0.00474001)),
    (88.36, 0.14508, (0.16878, 0.0179968, 0.255466, 0.244369, 0.129651, 0.0351206)),
)
BINDING_KEV = (65.482, 11.245, 10.763, 9.558, 2.099, 0.0)  # of these shells in hafnium
NUM_QUANTILES, NUM_POINTS = 1025, 20000


class Lutetium(NamedTuple):
    """What the kernels know of the decay.

    Attributes
    ----------
    upper_share : float
        Of the decays to the upper level.
    beta_kev : float64 array, shape (2, `NUM_QUANTILES`)
        Energy of the beta particle, by level (lower, upper) and quantile.
    transition_kev : float64 array, shape (transitions,)
        From the upper level down.
    shares : float64 array, shape (transitions, 1 + shells)
        Cumulative probabilities: a gamma ray, then a conversion electron of each shell.
    binding_kev : float64 array, shape (shells,)
    lines_kev, lines : float64 array, shape (num_lines,)
        K X-rays of hafnium, and their cumulative probabilities per vacancy.
    """

    upper_share: float
    beta_kev: NDArray[np.float64]
    transition_kev: NDArray[np.float64]
    shares: NDArray[np.float64]
    binding_kev: NDArray[np.float64]
    lines_kev: NDArray[np.float64]
    lines: NDArray[np.float64]


def activity_bq(scanner: Scanner) -> float:
    """Return the activity of all crystals of a scanner."""
    crystal = MATERIALS[CRYSTAL]
    sizes_mm = scanner.crystal_depth_mm, scanner.crystal_width_mm, scanner.crystal_height_mm
    volume_mm3 = scanner.num_crystals * math.prod(sizes_mm)
    if scanner.modules:
        volume_mm3 = float(layout.table(scanner).sizes_mm.prod(axis=1).sum())
    grams = volume_mm3 * 1e-3 * crystal.g_cm3 * crystal.shares[LUTETIUM]
    return grams / xraylib.AtomicWeight(LUTETIUM) * AVOGADRO * ABUNDANCE * DECAYS_PER_S


def table() -> Lutetium:
    """Compute what the kernels need."""
    ways = np.array([[gamma, *converted] for _, gamma, converted in TRANSITIONS])
    lines_kev, lines = electrons.k_lines(HAFNIUM)
    return Lutetium(
        upper_share=UPPER_SHARE,
        beta_kev=np.array([_quantiles_kev(end_kev) for end_kev in END_POINT_KEV]),
        transition_kev=np.array([kev for kev, _, _ in TRANSITIONS]),
        shares=np.cumsum(ways / ways.sum(axis=1, keepdims=True), axis=1),
        binding_kev=np.array(BINDING_KEV),
        lines_kev=lines_kev,
        lines=np.cumsum(lines),
    )


def beta_spectrum(kinetic_kev: NDArray[np.float64], end_kev: float) -> NDArray[np.float64]:
    """Return the allowed spectrum with the Fermi function of hafnium, not normalised.

    Parameters
    ----------
    kinetic_kev : float64 array, shape (n,)
        Above 0, up to `end_kev`.
    """
    energy, end = 1 + kinetic_kev / ELECTRON_KEV, 1 + end_kev / ELECTRON_KEV
    momentum = np.sqrt(energy**2 - 1)
    fermi = sources.fermi_function(energy, HAFNIUM, NUCLEONS)
    return fermi * momentum * energy * (end - energy) ** 2


def _quantiles_kev(end_kev: float) -> NDArray[np.float64]:
    """Quantiles of the energy of a beta particle, by the middles of narrow bins."""
    edges_kev = np.linspace(0, end_kev, NUM_POINTS + 1)
    below = np.cumsum(beta_spectrum((edges_kev[1:] + edges_kev[:-1]) / 2, end_kev))
    below = np.concatenate([[0.0], below / below[-1]])
    return np.interp(np.linspace(0, 1, NUM_QUANTILES), below, edges_kev)
