"""Materials: composition and attenuation against NIST, and impossible materials."""

import numpy as np
import pytest
import xraylib
from numpy.testing import assert_allclose

from tubepet.errors import InputError
from tubepet.phantom import geometry, maps, materials
from tubepet.phantom.materials import MATERIALS, filling
from tubepet.validate import references

# Polymethyl methacrylate by its name in NIST's list of compounds.
NIST_NAMES = {
    "water": "Water, Liquid",
    "air": "Air, Dry (near sea level)",
    "pmma": "Polymethyl Methacralate (Lucite, Perspex)",
}


@pytest.mark.parametrize("name", NIST_NAMES)
def test_compositions_are_nists(name):
    known = xraylib.GetCompoundDataNISTByName(NIST_NAMES[name])
    material = MATERIALS[name]
    assert sorted(material.shares) == sorted(known["Elements"])
    shares = [material.shares[z] for z in known["Elements"]]
    assert_allclose(shares, known["massFractions"], atol=3e-4)  # atomic weights of two editions
    assert_allclose(material.g_cm3, known["density"], rtol=1e-3)


def test_shares_add_up_and_tubes_are_made_of_their_own_materials():
    for material in MATERIALS.values():
        assert_allclose(sum(material.shares.values()), 1, atol=1e-5)
    air, water, aluminium = materials.of_labels(geometry.TUBE)
    assert (air, water, aluminium) == tuple(MATERIALS[n] for n in ("air", "water", "aluminium"))


def test_steel_weakens_as_nist_says_of_iron():
    """Chromium and nickel stand on both sides of iron: 1 % together with Geant4's Compton fit."""
    low, high = (references.TOTAL_CM2_G["Fe"][references.KEV.index(kev)] for kev in (500, 600))
    at_511 = low * (511 / 500) ** (np.log(high / low) / np.log(600 / 500))
    steel = maps.filling_mu_per_mm(filling("test", "steel", None, 0.0))
    assert_allclose(steel, at_511 * 8.0 / 10, rtol=0.01)
    assert_allclose(maps.filling_mu_per_mm(filling("test", "steel", 4.0, 0.0)), steel / 2)


@pytest.mark.parametrize("name", MATERIALS)
def test_attenuation_is_near_xraylibs_own_total(name):
    """Geant4's fit of Compton scattering is up to 0.8 % above EPDL97."""
    per_g = sum(s * xraylib.CS_Total(z, 511.0) for z, s in MATERIALS[name].shares.items())
    one = filling("test", name, None, 0.0)
    assert_allclose(maps.filling_mu_per_mm(one), per_g * MATERIALS[name].g_cm3 / 10, rtol=8e-3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("bronze", None, 0.0), "x: got material 'bronze', expected one of air, water, alum"),
        (("steel", 7850.0, 0.0), "x: got a density of 7850 g/cm3, expected 0.001 to 22.6"),
        (("water", None, 600.0), "x: got an activity of 600, expected 0 to 1, the share of"),
    ],
)
def test_no_such_material(asked, message):
    with pytest.raises(InputError, match=message):
        filling("x", *asked)
