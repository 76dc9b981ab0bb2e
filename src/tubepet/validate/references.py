"""Published numbers that neither engine is made from, and the mixture rule for compounds.

Photon totals: Hubbell and Seltzer, NISTIR 5632 version 1.4 (2004), DOI 10.18434/T4D01F, as in the
PyPI package xrayatten 0.1.1. They are made from XCOM and include coherent scattering.

Partial cross sections: Boone and Chavez, Med. Phys. 23 (1996) 1997, DOI 10.1118/1.597899, as in the
PyPI package mucoeff 1.0.0 (CC BY 4.0), interpolated in log-log between its energies. They come from
tables of Lawrence Livermore of that time (LLNL here). Their coherent part dips and rises at
absorption edges (anomalous scattering); NIST's and xraylib's do not. They are older than EPDL97 and
not independent of it in theory: both take the photoelectric effect from Scofield 1973.

Electrons: ESTAR, NIST Standard Reference Database 124 (Berger, Coursey, Zucker and Chang), as
collected in clanElectrons 0.4.0 (github.com/claus-e-andersen/clanElectrons, February 2026).
"""

from collections.abc import Mapping

import numpy as np
import xraylib

from tubepet.constants import LYSO_ATOMS

KEV = (80, 100, 150, 200, 300, 400, 500, 600)
# Mass attenuation in cm2/g at KEV: NISTIR 5632.
TOTAL_CM2_G = {
    "H": (0.3091, 0.2944, 0.2651, 0.2429, 0.2112, 0.1893, 0.1729, 0.1599),
    "O": (0.1678, 0.1551, 0.1361, 0.1237, 0.1070, 0.09566, 0.08729, 0.0807),
    "Al": (0.2018, 0.1704, 0.1378, 0.1223, 0.1042, 0.09276, 0.08445, 0.07802),
    "Si": (0.2228, 0.1835, 0.1448, 0.1275, 0.1082, 0.09614, 0.08748, 0.08077),
    "Fe": (0.5952, 0.3717, 0.1964, 0.146, 0.1099, 0.094, 0.08414, 0.07704),
    "Y": (1.607, 0.9047, 0.3595, 0.2149, 0.1289, 0.1006, 0.08613, 0.07703),
    "Lu": (7.161, 4.033, 1.433, 0.713, 0.2981, 0.1799, 0.1305, 0.1046),
}
# Boone and Chavez, cm2/g at KEV.
PHOTO_CM2_G = {
    "H": (2.104e-6, 9.872e-7, 2.504e-7, 9.680e-8, 2.650e-8, 1.119e-8, 5.983e-9, 3.714e-9),
    "O": (6.499e-3, 3.110e-3, 8.300e-4, 3.251e-4, 9.242e-5, 3.935e-5, 2.121e-5, 1.328e-5),
    "Al": (0.03782, 0.01842, 5.011e-3, 2.013e-3, 5.769e-4, 2.497e-4, 1.357e-4, 8.464e-5),
    "Si": (0.05109, 0.02497, 6.851e-3, 2.739e-3, 7.922e-4, 3.411e-4, 1.865e-4, 1.164e-4),
    "Fe": (0.4057, 0.2044, 0.05877, 0.02441, 7.274e-3, 3.233e-3, 1.777e-3, 1.112e-3),
    "Y": (1.381, 0.7146, 0.2156, 0.09271, 0.02872, 0.01286, 7.191e-3, 4.641e-3),
    "Lu": (6.753, 3.733, 1.251, 0.5714, 0.1934, 0.09101, 0.05254, 0.03454),
}
COHERENT_CM2_G = {
    "H": (4.308e-4, 2.759e-4, 1.227e-4, 6.906e-5, 3.070e-5, 1.727e-5, 1.105e-5, 7.675e-6),
    "O": (9.125e-3, 5.976e-3, 2.726e-3, 1.549e-3, 6.936e-4, 3.912e-4, 2.507e-4, 1.742e-4),
    "Al": (0.02019, 0.01331, 6.148e-3, 3.514e-3, 1.583e-3, 8.949e-4, 5.741e-4, 3.992e-4),
    "Si": (0.02343, 0.01545, 7.158e-3, 4.091e-3, 1.845e-3, 1.044e-3, 6.697e-4, 4.657e-4),
    "Fe": (0.05832, 0.03885, 0.01815, 0.01041, 4.736e-3, 2.682e-3, 1.725e-3, 1.201e-3),
    "Y": (0.1108, 0.07374, 0.03458, 0.01979, 8.950e-3, 5.067e-3, 3.256e-3, 2.273e-3),
    "Lu": (0.2634, 0.1893, 0.09207, 0.05321, 0.02408, 0.01345, 8.574e-3, 5.972e-3),
}
INCOHERENT_CM2_G = {
    "H": (0.3082, 0.2940, 0.2645, 0.2420, 0.2106, 0.1888, 0.1725, 0.1596),
    "O": (0.1517, 0.1460, 0.1323, 0.1214, 0.1059, 0.09506, 0.08688, 0.08040),
    "Al": (0.1438, 0.1388, 0.1266, 0.1164, 0.1018, 0.09143, 0.08361, 0.07739),
    "Si": (0.1483, 0.1433, 0.1308, 0.1203, 0.1052, 0.09454, 0.08645, 0.08002),
    "Fe": (0.1335, 0.1301, 0.1200, 0.1112, 0.09781, 0.08784, 0.08049, 0.07450),
    "Y": (0.1214, 0.1192, 0.1110, 0.1035, 0.09138, 0.08231, 0.07553, 0.06996),
    "Lu": (0.1047, 0.1044, 0.0990, 0.09284, 0.08307, 0.07524, 0.06904, 0.06436),
}
ATOMS: dict[str, Mapping[str, int]] = {
    "G4_WATER": {"H": 2, "O": 1},
    "G4_Al": {"Al": 1},
    "iron": {"Fe": 1},
    "LYSO": LYSO_ATOMS,
}
ELECTRON_KEV = (100, 150, 200, 300, 400, 500)
# Collision and radiative stopping power (MeV cm2/g) and CSDA range (g/cm2) at ELECTRON_KEV: ESTAR.
# Water has values of its own; its atoms do not add up to it (I is 75 eV, of O alone 95 eV).
COLLISION_MEV_CM2_G = {
    "G4_WATER": (4.115, 3.238, 2.793, 2.355, 2.148, 2.034),
    "Al": (3.177, 2.513, 2.174, 1.839, 1.680, 1.592),
    "O": (3.586, 2.826, 2.441, 2.061, 1.882, 1.784),
    "Si": (3.265, 2.583, 2.236, 1.892, 1.729, 1.638),
    "Y": (2.524, 2.014, 1.753, 1.495, 1.373, 1.307),
    "Lu": (2.082, 1.672, 1.461, 1.251, 1.152, 1.098),
}
RADIATIVE_MEV_CM2_G = {
    "G4_WATER": (4.228e-3, 4.494e-3, 4.801e-3, 5.514e-3, 6.339e-3, 7.257e-3),
    "Al": (7.476e-3, 7.865e-3, 8.344e-3, 9.487e-3, 0.01082, 0.01230),
    "O": (4.607e-3, 4.889e-3, 5.215e-3, 5.975e-3, 6.856e-3, 7.838e-3),
    "Si": (8.389e-3, 8.821e-3, 9.349e-3, 0.01062, 0.01209, 0.01374),
    "Y": (0.02266, 0.02439, 0.02599, 0.02933, 0.03302, 0.03707),
    "Lu": (0.03946, 0.04424, 0.04824, 0.05557, 0.06288, 0.07041),
}
RANGE_G_CM2 = {
    "G4_WATER": (0.01431, 0.02817, 0.04488, 0.08421, 0.1288, 0.1766),
    "Al": (0.01872, 0.03659, 0.05804, 0.1083, 0.1652, 0.2260),
    "O": (0.01647, 0.03235, 0.05147, 0.09642, 0.1473, 0.2018),
    "Si": (0.01822, 0.03561, 0.05646, 0.1054, 0.1606, 0.2197),
    "Y": (0.02385, 0.04607, 0.07248, 0.1338, 0.2024, 0.2753),
    "Lu": (0.02923, 0.05573, 0.08697, 0.1589, 0.2385, 0.3226),
}


def mass_shares(material: str) -> dict[str, float]:
    """Return the share of each element in the mass of a material of `ATOMS`."""
    mass = {
        symbol: count * xraylib.AtomicWeight(xraylib.SymbolToAtomicNumber(symbol))
        for symbol, count in ATOMS[material].items()
    }
    return {symbol: m / sum(mass.values()) for symbol, m in mass.items()}


def mixed(table: Mapping[str, tuple[float, ...]], material: str) -> np.ndarray:
    """Return a table's row of a material: its own, or the mean of its elements by mass (Bragg)."""
    if material in table:
        return np.array(table[material])
    shares = mass_shares(material)
    return np.sum([share * np.array(table[symbol]) for symbol, share in shares.items()], axis=0)


def range_g_cm2(material: str) -> np.ndarray:
    """Return CSDA ranges of a mixture at `ELECTRON_KEV`, g/cm2.

    Stopping powers S add up by mass, ranges do not. Between two energies the range grows by the
    integral of 1 / S of the mixture, interpolated in log-log (0.2 % from ESTAR's own for lutetium).
    At the first energy 1 / range is the mean by mass, exact where all S have one shape.
    """
    if material in RANGE_G_CM2:
        return np.array(RANGE_G_CM2[material])
    start = 1 / float(mixed({k: (1 / v[0],) for k, v in RANGE_G_CM2.items()}, material)[0])
    stopping = mixed(COLLISION_MEV_CM2_G, material) + mixed(RADIATIVE_MEV_CM2_G, material)
    kev = np.linspace(ELECTRON_KEV[0], ELECTRON_KEV[-1], 401)
    fine = np.exp(np.interp(np.log(kev), np.log(ELECTRON_KEV), np.log(stopping)))
    steps = np.diff(kev) * 1e-3 * (1 / fine[1:] + 1 / fine[:-1]) / 2
    path = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(start + np.interp(ELECTRON_KEV, kev, path))
