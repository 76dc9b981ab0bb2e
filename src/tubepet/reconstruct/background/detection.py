"""How photons scatter, and how often crystals count a scattered one in the energy window."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from tubepet import layout, rng
from tubepet.constants import PHOTON_KEV
from tubepet.errors import InputError
from tubepet.simulate.fast import kernels as fast
from tubepet.simulate.fast import setup, tables
from tubepet.types import Scanner

Array = NDArray[np.float64]

NUM_PHOTONS = 24000  # per energy and obliquity of the table of detection
# One over the cosine of incidence: up to 1.4 in a ring as long as it is wide. A parabola is fitted
# to the Monte Carlo's values at NUM_SECANTS of them.
MAX_SECANT, NUM_SECANTS = 1.45, 4
NUM_OBLIQUITIES = 16  # of the tables of the kernels
NUM_ENERGIES, BELOW_WINDOW_KEV = 17, 80.0
# Shares of Compton and of Rayleigh scattering in the attenuation at 511 keV of water, aluminium and
# iron, by that attenuation (1/mm): Compton by Geant4's fit, the others EPDL97's, as both engines
# have them. Shares are interpolated; below water and above iron they are those of water and iron.
MATERIAL_PER_MM = (0.009638, 0.02269, 0.06589)
COMPTON_SHARE, RAYLEIGH_SHARE = (0.9976, 0.9920, 0.9602), (0.0022, 0.0065, 0.0199)


def klein_nishina_total(energy_kev: Array) -> Array:
    """Return the total cross section in squared classical electron radii."""
    k = np.asarray(energy_kev, np.float64) / PHOTON_KEV
    log = np.log(1 + 2 * k)
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k)
    return 2 * np.pi * (first + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2)


def attenuation_per_mm(mu_per_mm: Array) -> Array:
    """Return the attenuation at 511 keV without Rayleigh scattering, which loses no photon."""
    return mu_per_mm * (1 - np.interp(mu_per_mm, MATERIAL_PER_MM, RAYLEIGH_SHARE))


def scattering_shares(mu_per_mm: Array) -> tuple[Array, Array]:
    """Return the shares of Compton and of Rayleigh scattering in `attenuation_per_mm`."""
    compton, rayleigh = (
        np.interp(mu_per_mm, MATERIAL_PER_MM, shares) for shares in (COMPTON_SHARE, RAYLEIGH_SHARE)
    )
    return compton / (1 - rayleigh), rayleigh / (1 - rayleigh)


def table_kev(scanner: Scanner) -> Array:
    """Return the energies of `detection_table`, from below the energy window to 511 keV."""
    lowest_kev = max(scanner.energy_window_kev[0] - BELOW_WINDOW_KEV, 10.0)
    return np.linspace(lowest_kev, PHOTON_KEV, NUM_ENERGIES)


def least_cosine(scanner: Scanner) -> float:
    """Return the cosine of the largest scattering angle after which a photon may be seen."""
    return float(max(2 - PHOTON_KEV / table_kev(scanner)[0], -1.0))


def detection_table(scanner: Scanner) -> Array:
    """Simulate how many singles in the energy window a photon at the crystals makes on average.

    All energies share their random numbers, so ratios are more precise than values.

    Returns
    -------
    float64 array, shape (NUM_OBLIQUITIES, NUM_ENERGIES)
        By one over the cosine to the crystals' depth (1 to `MAX_SECANT`) and by `table_kev`.
    """
    scanner = _as_ring(scanner)
    photons = tables.photons()
    # the function asks for a source, of which only the box of air is used
    _, *ring = setup.fixed(*setup.cylinder(1.0, 1.0, scanner, photons), scanner, photons)
    seed = rng.derived_seed(0, "reconstruct", "detection")

    def singles(energy_kev: float, secant: float) -> float:
        num = fast.singles_of_photons(seed, NUM_PHOTONS, energy_kev, secant, *ring)
        return float(num) / NUM_PHOTONS

    secants = np.linspace(1, MAX_SECANT, NUM_SECANTS)
    found = [[singles(energy, secant) for energy in table_kev(scanner)] for secant in secants]
    wanted = np.linspace(1, MAX_SECANT, NUM_OBLIQUITIES)
    return np.vander(wanted, 3) @ np.polyfit(secants, found, 2)


def of_calibration(path: object, content: Mapping[str, Any]) -> Array | None:
    """Return the `detection_table` that a ``calibration.json`` holds; None if it holds none.

    Raises
    ------
    InputError
        If it is no such table; the message names `path`.
    """
    if (rows := content.get("seen_kev")) is None:
        return None
    try:
        table = np.asarray(rows, np.float64)
    except (TypeError, ValueError, OverflowError):
        table = np.empty(0)
    shape = NUM_OBLIQUITIES, NUM_ENERGIES
    if table.shape != shape or not (np.isfinite(table) & (table >= 0)).all():
        raise InputError(f"{path}: seen_kev: expected {shape[0]} rows of {shape[1]} numbers >= 0")
    if not (table[:, -1] > 0).all():
        raise InputError(f"{path}: seen_kev: expected the last number of each row > 0")
    return table


def _as_ring(scanner: Scanner) -> Scanner:
    """Return a closed ring of the crystals of the first family of modules."""
    if not scanner.modules:
        return scanner
    one = layout.families(scanner)[0]
    around_mm = 2 * np.pi * (one.inner_radius_mm + one.crystal_depth_mm / 2)
    return replace(
        scanner,
        modules=(),
        num_columns=int(around_mm / one.pitch_width_mm),
        inner_radius_mm=one.inner_radius_mm,
        crystal_depth_mm=one.crystal_depth_mm,
        crystal_width_mm=one.crystal_width_mm,
        crystal_height_mm=one.crystal_height_mm,
        axial_pitch_mm=one.pitch_height_mm,
    )


def _total_ratio(energies_kev: Array) -> Array:
    """Klein and Nishina's total cross section over that at 511 keV."""
    return np.asarray(klein_nishina_total(energies_kev) / klein_nishina_total(np.array(PHOTON_KEV)))


def by_kev(detection: Array, scanner: Scanner) -> tuple[Array, Array]:
    """Tabulate detection and cross section for `kernels`, by energies of 0 to 511 keV.

    Returns
    -------
    float64 array, shape (NUM_OBLIQUITIES, 512)
        D(E) / D(511), with D of `detection_table`, by `obliquity_row`: the softer a photon, the
        less it gains from a longer way through the crystals.
    float64 array, shape (512,)
        Klein and Nishina's total cross section over that at 511 keV.
    """
    energies_kev = np.maximum(np.arange(512.0), 1.0)
    known_kev = table_kev(scanner)
    seen = CubicSpline(known_kev, detection / detection[:, -1:], axis=1)(energies_kev)
    seen = np.where(energies_kev < known_kev[0], 0.0, np.maximum(seen, 0.0))
    return seen, _total_ratio(energies_kev)


def obliquity_row(cosine: Array) -> Array:
    """Return the row of `detection_table` for the cosine between a photon and crystals' depth."""
    row = (1 / np.maximum(cosine, 1e-6) - 1) / (MAX_SECANT - 1) * (NUM_OBLIQUITIES - 1)
    return np.minimum(np.rint(row), NUM_OBLIQUITIES - 1)
