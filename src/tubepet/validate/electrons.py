"""Compare Geant4's electrons with ESTAR, and bound what bremsstrahlung changes in the singles."""

from pathlib import Path
from typing import Any

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet import rng
from tubepet.constants import AVOGADRO, LYSO_G_CM3, PHOTON_KEV
from tubepet.constants import ELECTRON_KEV as REST_KEV
from tubepet.simulate.geant4 import em_tables, gate
from tubepet.validate import references

NUM_ELECTRONS = 5  # of each beam; all paths are equal
DENSITY_G_CM3 = {"G4_WATER": 1.0, "G4_Al": 2.699, "LYSO": LYSO_G_CM3}
# Of the electron that a 511 keV photon frees from lutetium's K shell; it can radiate no more.
PHOTOELECTRON_KEV = PHOTON_KEV - 63.3
BREMS_ERROR = 0.4  # relative; its effect on the singles is stated
BARN_CM2 = 1e-24
Array = NDArray[np.float64]


def measure(
    folder: Path, physics_list: str, facts: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """Let electrons stop in blocks; return their mean paths beside ESTAR's CSDA ranges.

    Parameters
    ----------
    folder : Path
        Existing and empty.
    physics_list, facts, seed
        As in `physics.measure`.

    Returns
    -------
    list of dict
        material, energy_kev, range_mm, spread_mm (0), reference_mm; of all beams.
    """
    beams: list[dict[str, Any]] = [
        {"material": material, "energy_kev": kev}
        for material in DENSITY_G_CM3
        for kev in references.ELECTRON_KEV
    ]
    job = {
        "folder": str(folder.resolve()),
        "seed": rng.derived_seed(seed, "physics", "electrons"),
        "physics_list": physics_list,
        "num_electrons": NUM_ELECTRONS,
        "beams": beams,
    }
    environment = em_tables.environment(facts["root"])
    found = gate.run_worker("electrons", job, environment, "tubepet.validate.electron_worker")
    rows = []
    for i, beam in enumerate(beams):
        ranges = references.range_g_cm2(beam["material"])
        at = references.ELECTRON_KEV.index(beam["energy_kev"])
        rows.append(
            beam
            | {
                "range_mm": found["mean_mm"][i],
                "spread_mm": found["spread_mm"][i],
                "reference_mm": 10 * float(ranges[at]) / DENSITY_G_CM3[beam["material"]],
            }
        )
    return rows


def radiative_rows() -> list[dict[str, Any]]:
    """Compare the substitute's integrated bremsstrahlung with ESTAR's radiative stopping power.

    Returns
    -------
    list of dict
        element, energy_kev, mev_cm2_g and reference_mev_cm2_g.
    """
    kev = np.array(references.ELECTRON_KEV, float)
    share = (np.arange(1000) + 0.5) / 1000
    rows = []
    for symbol in ("O", "Al", "Si", "Y", "Lu"):
        z = xraylib.SymbolToAtomicNumber(symbol)
        scaled = em_tables.scaled_brems_mbarn(z, 1e-3 * kev[:, None], share[None])
        per_g = AVOGADRO / xraylib.AtomicWeight(z)
        radiated = scaled.mean(axis=1) * 1e-3 * BARN_CM2 * z**2 / _beta2(kev) * 1e-3 * kev * per_g
        for i, energy_kev in enumerate(references.ELECTRON_KEV):
            rows.append(
                {
                    "element": symbol,
                    "energy_kev": energy_kev,
                    "mev_cm2_g": float(radiated[i]),
                    "reference_mev_cm2_g": references.RADIATIVE_MEV_CM2_G[symbol][i],
                }
            )
    return rows


def _beta2(kev: Array) -> Array:
    return np.asarray(1 - 1 / (1 + kev / REST_KEV) ** 2)


def bremsstrahlung(low_kev: float) -> dict[str, float]:
    """Bound what bremsstrahlung in LYSO does to the singles of the photopeak.

    A photoelectron slows down from `PHOTOELECTRON_KEV` by ESTAR's stopping powers. Its deposit
    leaves the window if it radiates a photon harder than 511 keV less the window's lower edge, and
    that photon escapes. Most are stopped nearby, so to count all gives an upper bound.

    Parameters
    ----------
    low_kev : float
        Lower edge of the energy window.

    Returns
    -------
    dict
        yield: share of the electron's energy that is radiated; lost_singles: upper bound of the
        share of photopeak singles that leave the window; error_of_singles: change of the singles in
        per cent if all bremsstrahlung is wrong by `BREMS_ERROR`.
    """
    kev = np.linspace(10.0, PHOTOELECTRON_KEV, 500)
    collision, radiative = (
        np.exp(np.interp(np.log(kev), np.log(references.ELECTRON_KEV), np.log(row)))
        for row in (
            references.mixed(references.COLLISION_MEV_CM2_G, "LYSO"),
            references.mixed(references.RADIATIVE_MEV_CM2_G, "LYSO"),
        )
    )
    stopping = collision + radiative  # constant below 100 keV, too small there: paths too long
    least_kev = PHOTON_KEV - low_kev
    photons = np.zeros_like(kev)  # harder than `least_kev`, per g/cm2
    for symbol, share in references.mass_shares("LYSO").items():
        z = xraylib.SymbolToAtomicNumber(symbol)
        for i in np.flatnonzero(kev > least_kev):
            k = np.linspace(least_kev, kev[i], 200)
            scaled = em_tables.scaled_brems_mbarn(z, np.array(1e-3 * kev[i]), k / kev[i]) / k
            per_atom = np.trapezoid(scaled, k) * 1e-3 * BARN_CM2 * z**2 / _beta2(kev[i])
            photons[i] += share * per_atom * AVOGADRO / xraylib.AtomicWeight(z)
    lost = float(np.trapezoid(photons / stopping, 1e-3 * kev))
    share_radiated = float(np.trapezoid(radiative / stopping, kev) / PHOTOELECTRON_KEV)
    return {
        "yield": share_radiated,
        "lost_singles": lost,
        "error_of_singles": 100 * BREMS_ERROR * lost,
    }
