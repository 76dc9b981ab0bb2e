"""Electrons in the crystals: how far they carry their energy, as a library of tracks.

A photon gives its energy to an electron of up to 450 keV, which goes a tenth of a millimetre in
LYSO: little in a crystal of 4 mm, yet one that is born near a face takes its energy out of the
crystal, and out of the energy window. `library` follows electrons collision by collision in an
unbounded crystal, and keeps where each was at `NUM_NODES` residual ranges. The kernels lay such a
track out where an electron is born ("track repeating", Li et al. 2000, DOI 10.1118/1.598917): from
the node of its energy on, turned into its direction, and stretched by the ratio of the ranges.

Elastic collisions: Rutherford's cross section with Moliere's screening (1947), Z (Z + 1) for the
electrons of the atom, times McKinley and Feshbach's factor for the spin (1948, Phys. Rev. 74,
1759). Energy loss: Berger and Seltzer's collision stopping power (ICRU Report 37, 1984), without
fluctuations; the density effect is below 1 % here. Bremsstrahlung: the cross section of GATE's
substitute tables, all of it where the electron is born, isotropic.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet import rng
from tubepet.constants import (
    AVOGADRO,
    ELECTRON_KEV,
    ELECTRON_RADIUS_CM,
    INVERSE_FINE_STRUCTURE,
)
from tubepet.phantom.materials import Material
from tubepet.simulate.fast import kernels
from tubepet.simulate.fast.tables import CRYSTAL, MATERIALS, NUM_ENERGIES
from tubepet.simulate.geant4 import em_tables

# Mean excitation energies of the elements, eV (ICRU Report 37, table 5.1, gases as gases).
EXCITATION_EV = {
    1: 19.2, 6: 78.0, 7: 82.0, 8: 95.0, 13: 166.0, 14: 173.0, 18: 188.0, 39: 379.0, 71: 694.0
}  # fmt: skip
LEAST_KEV, MOST_KEV = 10.0, 512.0
NUM_ROWS = 500  # of the tables, equidistant in the logarithm of the energy
NUM_TRACKS = 512
NUM_NODES, NODE_RATIO = 32, 0.83  # residual ranges: each this share of the one before
SHELLS_TO_KEV = 195.0  # end of xraylib's cross sections of subshells (Kissel)
LEAST_RAY_KEV = 15.0  # bremsstrahlung of less goes 30 um
NUM_QUANTILES = 65
LIBRARY_SEED = 0  # a library is a table: the same in every run


class Electrons(NamedTuple):
    """What the kernels know of electrons in the crystals.

    Attributes
    ----------
    places_mm, ways : float32 array, shape (tracks, `NUM_NODES`, 3)
        Where a track is at each node, if it starts at 0 along z, and its direction there.
    far_mm : float32 array, shape (`NUM_NODES`, tracks)
        How far from each node it gets later.
    node_mm, node_kev : float64 array, shape (`NUM_NODES`,)
        Residual ranges and energies at the nodes, falling.
    reach_mm, stretch : float64 array, shape (energies,)
        What no track exceeds in distance from its start, and range over that of `node`; by keV.
    node : int64 array, shape (energies,)
        Where a track starts, by keV.
    lines_kev, lines : float64 array, shape (num_lines,)
        Characteristic X-rays of the heaviest atom's K shell, and their cumulative probabilities.
    outer_kev, outer : float
        Mean energy of those of its L shells, and their number per photoelectric effect.
    vacancy : float64 array, shape (2, energies)
        Share of this shell in the photoelectric effect and in Compton scattering, by keV.
    binding_kev : float
        Its binding energy.
    radiation : float64 array, shape (energies,)
        Photons above `LEAST_RAY_KEV` that an electron radiates until rest, by keV.
    radiated_kev : float64 array, shape (energies, `NUM_QUANTILES`)
        Their energy, by keV and quantile.
    """

    places_mm: NDArray[np.float32]
    ways: NDArray[np.float32]
    far_mm: NDArray[np.float32]
    node_mm: NDArray[np.float64]
    node_kev: NDArray[np.float64]
    reach_mm: NDArray[np.float64]
    stretch: NDArray[np.float64]
    node: NDArray[np.int64]
    lines_kev: NDArray[np.float64]
    lines: NDArray[np.float64]
    outer_kev: float
    outer: float
    vacancy: NDArray[np.float64]
    binding_kev: float
    radiation: NDArray[np.float64]
    radiated_kev: NDArray[np.float64]


class Matter(NamedTuple):
    """Slowing down and scattering of electrons in a material, by `energies_kev`.

    Attributes
    ----------
    loss : float64 array, shape (`NUM_ROWS`,)
        Collision stopping power, keV/mm.
    range_mm : float64 array, shape (`NUM_ROWS`,)
        Path length until rest.
    collisions : float64 array, shape (`NUM_ROWS`,)
        Elastic collisions per mm, times the bound of the factor for the spin.
    shares, screening : float64 array, shape (elements, `NUM_ROWS`)
        Cumulative shares of the elements in the collisions, and Moliere's screening A.
    charge : float64 array, shape (elements,)
        Z.
    """

    loss: NDArray[np.float64]
    range_mm: NDArray[np.float64]
    collisions: NDArray[np.float64]
    shares: NDArray[np.float64]
    screening: NDArray[np.float64]
    charge: NDArray[np.float64]


def energies_kev() -> NDArray[np.float64]:
    """Return the energies of `Matter`."""
    return np.geomspace(LEAST_KEV, MOST_KEV, NUM_ROWS)


def stopping_kev_per_mm(
    material: Material, kinetic_kev: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the collision stopping power of electrons (Berger and Seltzer, ICRU Report 37)."""
    tau = kinetic_kev / ELECTRON_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    term = 1 - beta2 + (tau**2 / 8 - (2 * tau + 1) * np.log(2)) / (tau + 1) ** 2
    loss = np.zeros_like(tau)
    for z, share in material.shares.items():
        per_cm3 = material.g_cm3 * share * AVOGADRO / xraylib.AtomicWeight(z)
        ratio = EXCITATION_EV[z] * 1e-3 / ELECTRON_KEV
        bracket = np.log(tau**2 * (tau + 2) / (2 * ratio**2)) + term
        scale_cm2 = 2 * np.pi * ELECTRON_RADIUS_CM**2 * ELECTRON_KEV
        loss += per_cm3 * z * scale_cm2 / beta2 * bracket
    return loss / 10


def matter(material: Material) -> Matter:
    """Compute the tables of a material."""
    kinetic_kev = energies_kev()
    tau = kinetic_kev / ELECTRON_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    momentum2 = tau * (tau + 2)  # in units of (m c)^2
    charge = np.array(sorted(material.shares, key=lambda z: -material.shares[z] * z), float)
    per_mm, screening = [], []
    for z in charge:
        strength = z / INVERSE_FINE_STRUCTURE
        angle2 = (z ** (1 / 3) / (0.885 * INVERSE_FINE_STRUCTURE)) ** 2 / momentum2
        screen = angle2 * (1.13 + 3.76 * strength**2 / beta2) / 4
        width_cm2 = z * (z + 1) * ELECTRON_RADIUS_CM**2 / (momentum2 * beta2)
        section_cm2 = np.pi * width_cm2 / (screen * (1 + screen))
        share = material.shares[int(z)] / xraylib.AtomicWeight(int(z))
        per_mm.append(material.g_cm3 * share * AVOGADRO * section_cm2 / 10 * kernels.SPIN_BOUND)
        screening.append(screen)
    total = np.sum(per_mm, axis=0)
    loss = stopping_kev_per_mm(material, kinetic_kev)
    # below the first energy the loss grows about as 1 / energy, which leaves half of energy / loss
    steps = np.diff(kinetic_kev) * (1 / loss[1:] + 1 / loss[:-1]) / 2
    range_mm = LEAST_KEV / loss[0] / 2 + np.concatenate([[0.0], np.cumsum(steps)])
    shares = np.cumsum(per_mm, axis=0) / total
    return Matter(loss, range_mm, total, shares, np.array(screening), charge)


@cache
def library() -> Electrons:
    """Follow the electrons of the crystals' library (a third of a second)."""
    crystal = MATERIALS[CRYSTAL]
    slowing, kinetic_kev = matter(crystal), energies_kev()
    node_mm = slowing.range_mm[-1] * NODE_RATIO ** np.arange(NUM_NODES)
    places, ways = np.zeros((2, NUM_TRACKS, NUM_NODES, 3))
    seed = rng.derived_seed(LIBRARY_SEED, "simulate", "electrons")
    per_log = (NUM_ROWS - 1) / np.log(MOST_KEV / LEAST_KEV)
    for i in range(NUM_TRACKS):
        kernels.electron_track(
            seed, i, np.log(LEAST_KEV), per_log, *slowing[2:], node_mm, slowing.range_mm,
            places[i], ways[i],
        )  # fmt: skip
    far_mm = np.array(
        [
            np.linalg.norm(places[:, k:] - places[:, k : k + 1], axis=2).max(axis=1)
            for k in range(NUM_NODES)
        ]
    )
    energy_kev = np.arange(NUM_ENERGIES, dtype=float)
    range_mm = np.interp(energy_kev, kinetic_kev, slowing.range_mm)
    # the first node that is no higher; below the last one an electron stays where it is
    node = np.minimum(np.searchsorted(-node_mm, -range_mm), NUM_NODES - 1)
    stretch = range_mm / node_mm[node]
    heaviest = max(crystal.shares)
    radiation, radiated_kev = bremsstrahlung(crystal)
    lines_kev, lines = k_lines(heaviest)
    outer_kev, outer = _l_lines(heaviest)
    return Electrons(
        places_mm=places.astype(np.float32),
        ways=ways.astype(np.float32),
        far_mm=far_mm.astype(np.float32),
        node_mm=node_mm,
        node_kev=np.interp(node_mm, slowing.range_mm, kinetic_kev),
        reach_mm=stretch * far_mm.max(axis=1)[node],
        stretch=stretch,
        node=node,
        lines_kev=lines_kev,
        lines=np.cumsum(lines),
        outer_kev=outer_kev,
        outer=outer,
        vacancy=np.stack(
            [_k_share(crystal, heaviest, energy_kev), _k_electrons(crystal, heaviest, energy_kev)]
        ),
        binding_kev=float(xraylib.EdgeEnergy(heaviest, xraylib.K_SHELL)),
        radiation=radiation,
        radiated_kev=radiated_kev,
    )


def k_lines(z: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies (keV) and probabilities per K vacancy of an atom's X-rays."""
    names = ("KL2", "KL3", "KM2", "KM3", "KN2", "KN3")
    lines = [getattr(xraylib, f"{name}_LINE") for name in names]
    found = xraylib.FluorYield(z, xraylib.K_SHELL)
    energy_kev = np.array([xraylib.LineEnergy(z, line) for line in lines])
    return energy_kev, np.array([found * xraylib.RadRate(z, line) for line in lines])


def _l_lines(z: int) -> tuple[float, float]:
    """Mean energy (keV) and number of an atom's L X-rays per photoelectric effect in it.

    A K vacancy, four of five, leaves one in L3 or L2 by its X-ray; the others are nearly all in L.
    Coster-Kronig transitions are left out.
    """
    shells = {xraylib.L3_SHELL: xraylib.LA1_LINE, xraylib.L2_SHELL: xraylib.LB1_LINE}
    to_l3, to_l2 = (xraylib.RadRate(z, line) for line in (xraylib.KL3_LINE, xraylib.KL2_LINE))
    weights = np.array([to_l3, to_l2]) / (to_l3 + to_l2)
    found = weights * [xraylib.FluorYield(z, shell) for shell in shells]
    energy_kev = np.array([xraylib.LineEnergy(z, line) for line in shells.values()])
    return float(found @ energy_kev / found.sum()), float(found.sum())


def _k_share(material: Material, z: int, energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of an atom's K shell in the photoelectric effect; beyond `SHELLS_TO_KEV` the last."""
    shares = np.zeros(len(energy_kev))
    edge_kev = xraylib.EdgeEnergy(z, xraylib.K_SHELL)
    for i in np.flatnonzero(energy_kev > edge_kev):
        kev = min(energy_kev[i], SHELLS_TO_KEV)
        per_electron = xraylib.CSb_Photo_Partial(z, xraylib.K_SHELL, kev)
        of_shell = 2 * per_electron / xraylib.AtomicWeight(z)
        per_atom = {k: xraylib.CSb_Photo(k, kev) / xraylib.AtomicWeight(k) for k in material.shares}
        total = sum(share * per_atom[k] for k, share in material.shares.items())
        shares[i] = material.shares[z] * of_shell / total
    return shares


def _k_electrons(
    material: Material, z: int, energy_kev: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of an atom's K shell in Compton scattering: that of its electrons."""
    moles = {k: share / xraylib.AtomicWeight(k) for k, share in material.shares.items()}
    electrons = sum(k * number for k, number in moles.items())
    return np.full(len(energy_kev), 2 * moles[z] / electrons)


def bremsstrahlung(material: Material) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what an electron radiates until rest: photons, and quantiles of their energy.

    The sum over its way: of dsigma/dk per keV of loss, from its energy down to k.

    Returns
    -------
    float64 array, shape (energies,)
        Photons above `LEAST_RAY_KEV`, by keV of the electron.
    float64 array, shape (energies, `NUM_QUANTILES`)
        keV.
    """
    kinetic_kev, photon_kev = np.arange(float(NUM_ENERGIES)), np.arange(LEAST_RAY_KEV, MOST_KEV)
    slow = np.maximum(kinetic_kev, LEAST_KEV)
    tau = slow / ELECTRON_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    share = np.minimum(photon_kev / slow[:, None], 1.0)
    per_mm_kev = np.zeros((len(slow), len(photon_kev)))
    for z, part in material.shares.items():
        per_mm = material.g_cm3 * part * AVOGADRO / xraylib.AtomicWeight(z) / 10 * 1e-27
        scaled = em_tables.scaled_brems_mbarn(z, 1e-3 * slow[:, None], share)
        per_mm_kev += per_mm * scaled * z**2 / beta2[:, None] / photon_kev
    per_mm_kev[photon_kev >= kinetic_kev[:, None]] = 0.0
    # steps of 1 keV in the electron's energy and in the photon's
    spectrum = np.cumsum(per_mm_kev / stopping_kev_per_mm(material, slow)[:, None], axis=0)
    below = np.cumsum(spectrum, axis=1)
    number = below[:, -1]
    radiated_kev = np.zeros((len(slow), NUM_QUANTILES))
    for i in np.flatnonzero(number > 0):
        num = int(np.count_nonzero(spectrum[i]))  # photons of less than the electron's energy
        quantiles = np.linspace(0, below[i, num - 1], NUM_QUANTILES)
        radiated_kev[i] = np.interp(quantiles, below[i, :num], photon_kev[:num])
    return number, radiated_kev
