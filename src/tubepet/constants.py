"""Physical constants, and numbers of the scanner's material."""

import math

# LYSO with 10 % yttrium, Lu1.8 Y0.2 Si O5, 7.1 g/cm3: data sheets of Saint-Gobain PreLude 420.
LYSO_ATOMS = {"Lu": 18, "Y": 2, "Si": 10, "O": 50}
LYSO_G_CM3 = 7.1

MM_PER_NS = 149.896229  # half the speed of light
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))

AVOGADRO = 6.02214076e23
ELECTRON_KEV = 510.99895  # rest energy, CODATA 2018
ELECTRON_RADIUS_CM = 2.8179403e-13
INVERSE_FINE_STRUCTURE = 137.035999
FINE_STRUCTURE = 1 / INVERSE_FINE_STRUCTURE

PHOTON_KEV = 511.0  # the energy at which the energy resolution is stated
