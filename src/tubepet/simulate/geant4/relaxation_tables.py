"""Atomic relaxation for Geant4's substitute tables: binding energies and characteristic X-rays.

From xraylib (Schoonjans et al. 2011, DOI 10.1016/j.sab.2011.09.011): edges, fluorescence yields of
the K, L and M shells, and radiative rates. Formats as Geant4 11.4 reads them (G4ShellData,
G4FluoData, G4AugerData); it wants all elements from carbon on, in use or not. Auger electrons carry
a few keV a few micrometres: their energy is deposited on the spot, and their tables are empty.
"""

import xraylib

FOLDER = "fluor"
LAST_ELEMENT = 104  # that Geant4 asks for; xraylib ends at 98, whose data stand for the rest
LAST_KNOWN = 98
FIRST_WITH_LINES = 6
# Designators of the subshells in EADL, by name.
SHELLS = {
    "K": 1, "L1": 3, "L2": 5, "L3": 6, "M1": 8, "M2": 10, "M3": 11, "M4": 13, "M5": 14, "N1": 16,
    "N2": 18, "N3": 19, "N4": 21, "N5": 22, "N6": 24, "N7": 25, "O1": 27, "O2": 29, "O3": 30,
    "O4": 32, "O5": 33, "O6": 35, "O7": 36, "P1": 41, "P2": 43, "P3": 44, "P4": 46, "P5": 47,
}  # fmt: skip
WITH_YIELD = ("K", "L1", "L2", "L3", "M1", "M2", "M3", "M4", "M5")


def files() -> dict[str, str]:
    """Return the texts of all files, by path below the data set of electromagnetic tables."""
    texts = {f"{FOLDER}/binding.dat": _bindings()}
    for z in range(1, LAST_ELEMENT + 1):
        if z >= FIRST_WITH_LINES:
            texts[f"{FOLDER}/fl-tr-pr-{z}.dat"] = _lines(min(z, LAST_KNOWN))
        texts[f"auger/au-tr-pr-{z}.dat"] = "-2 -2 -2 -2\n"
    return texts


def edges_mev(z: int) -> dict[str, float]:
    """Return the binding energy of each known subshell, MeV, innermost first."""
    known = {}
    for i, name in enumerate(SHELLS):
        try:
            known[name] = 1e-3 * xraylib.EdgeEnergy(z, i)
        except ValueError:  # this element has no such shell
            continue
    return known


def _bindings() -> str:
    text = ""
    for z in range(1, LAST_ELEMENT + 1):
        rows = edges_mev(min(z, LAST_KNOWN)).items()
        text += "".join(f"{SHELLS[name]} {mev:.8g}\n" for name, mev in rows) + "-1 -1\n"
    return text + "-2 -2\n"


def _lines(z: int) -> str:
    """Radiative transitions of an element: shell of the vacancy; origin, probability, MeV."""
    edges = edges_mev(z)
    text = ""
    for vacancy in WITH_YIELD:
        rows = ""
        if vacancy in edges:
            for origin in list(edges)[list(edges).index(vacancy) + 1 :]:
                chance = _chance(z, vacancy, origin)
                energy_mev = edges[vacancy] - edges[origin]
                if chance > 0 or (vacancy == "K" and not rows):  # Geant4 wants one line at least
                    rows += f"{SHELLS[origin]} {chance:.6g} {energy_mev:.8g}\n"
        if rows:
            text += f"{SHELLS[vacancy]} {SHELLS[vacancy]} {SHELLS[vacancy]}\n{rows}-1 -1 -1\n"
    return text + "-2 -2 -2\n"


def _chance(z: int, vacancy: str, origin: str) -> float:
    """Probability that a vacancy is filled from a subshell with an X-ray."""
    line = getattr(xraylib, f"{vacancy}{origin}_LINE", None)
    if line is None:
        return 0.0
    try:
        shell = getattr(xraylib, f"{vacancy}_SHELL")
        return float(xraylib.FluorYield(z, shell) * xraylib.RadRate(z, line))
    except ValueError:  # not tabulated: forbidden or never seen
        return 0.0
