"""Compare the photon cross sections of both engines with independent tables."""

from typing import Any

import numpy as np
import xraylib

from tubepet.constants import AVOGADRO
from tubepet.phantom.materials import MATERIALS as KNOWN
from tubepet.phantom.materials import Material, compton_barn
from tubepet.simulate.fast import tables
from tubepet.validate import references

# Materials of the tables, by the names of `references.ATOMS`.
MATERIALS = {
    "G4_WATER": KNOWN["water"],
    "G4_Al": KNOWN["aluminium"],
    "iron": Material("iron", {26: 1.0}, 7.874),
    "LYSO": tables.MATERIALS[tables.CRYSTAL],
}
PROCESSES = ("photo", "incoherent", "coherent")
PARTS = {
    "photo": references.PHOTO_CM2_G,
    "incoherent": references.INCOHERENT_CM2_G,
    "coherent": references.COHERENT_CM2_G,
}


def compare() -> list[dict[str, Any]]:
    """Return cross sections in cm2/g of all materials at all energies of `references.KEV`.

    Returns
    -------
    list of dict
        material, energy_kev; nist (total); xraylib, geant4, llnl and engine, a dict each with total
        and `PROCESSES`. geant4 is what both engines use: Compton by Geant4's fit, the others by
        xraylib. engine is from the fast engine's own tables; None for iron and above their end.
    """
    photons = tables.photons()
    rows = []
    for name, material in MATERIALS.items():
        total = references.mixed(references.TOTAL_CM2_G, name)
        parts = {key: references.mixed(PARTS[key], name) for key in PROCESSES}
        for i, kev in enumerate(references.KEV):
            by_xraylib = {
                "photo": _mixed(xraylib.CS_Photo, material, kev),
                "incoherent": _mixed(xraylib.CS_Compt, material, kev),
                "coherent": _mixed(xraylib.CS_Rayl, material, kev),
            }
            fit = {**by_xraylib, "incoherent": _mixed(_compton_fit_cm2_g, material, kev)}
            engine = None
            if material in tables.MATERIALS and kev < tables.NUM_ENERGIES:
                mu = photons.mu_per_mm[tables.MATERIALS.index(material), kev]
                engine = _with_total(dict(zip(PROCESSES, 10 * mu / material.g_cm3, strict=True)))
            rows.append(
                {
                    "material": name,
                    "energy_kev": kev,
                    "nist": float(total[i]),
                    "xraylib": _with_total(by_xraylib),
                    "geant4": _with_total(fit),
                    "llnl": _with_total({key: values[i] for key, values in parts.items()}),
                    "engine": engine,
                }
            )
    return rows


def _mixed(function: Any, material: Material, kev: int) -> float:
    return sum(share * float(function(z, float(kev))) for z, share in material.shares.items())


def _compton_fit_cm2_g(z: int, kev: float) -> float:
    barn = float(compton_barn(z, np.array(kev)))
    return barn * 1e-24 * AVOGADRO / float(xraylib.AtomicWeight(z))


def _with_total(parts: dict[str, Any]) -> dict[str, float]:
    plain = {key: float(value) for key, value in parts.items()}
    return {"total": sum(plain.values()), **plain}
