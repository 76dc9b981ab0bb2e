import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xraylib

from tubepet.errors import InputError
from tubepet.simulate.geant4 import em_tables


def official(folder: Path) -> Path:
    """Make folders with the names of the official data sets."""
    for name in em_tables.DATA_SETS.values():
        (folder / name).mkdir(parents=True)
    return folder


def test_auto_without_official_tables_builds_the_substitute(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match=r"g4_data_dir: got .*empty without G4EMLOW8\.8"):
        empty.mkdir()
        em_tables.prepare("auto", str(empty), tmp_path / "g4data")
    facts = em_tables.prepare("substitute", "", tmp_path / "g4data")
    assert facts["tables"] == "substitute" and facts["xraylib_version"] == xraylib.__version__
    assert "not" not in facts["root"] and (tmp_path / "g4data" / em_tables.MARKER).is_file()
    assert em_tables.prepare("substitute", "", tmp_path / "g4data") == facts  # over an old one
    em_tables.check(facts, "G4EmStandardPhysics")


def test_official_tables_are_used_when_there(tmp_path: Path) -> None:
    folder = official(tmp_path / "official")
    for choice in ("auto", "official"):
        facts = em_tables.prepare(choice, str(folder), tmp_path / "g4data")
        assert (facts["tables"], facts["root"]) == ("official", str(folder))
    em_tables.check(facts, "G4EmStandardPhysics_option4")
    assert em_tables.environment(facts["root"])["G4LEDATA"] == str(folder / "G4EMLOW8.8")
    assert em_tables.prepare("substitute", "", tmp_path / "g4data")["tables"] == "substitute"


def test_official_tables_missing_or_substituted(tmp_path: Path) -> None:
    folder = official(tmp_path / "official")
    (folder / "G4EMLOW8.8").rmdir()
    with pytest.raises(InputError, match=r"got 'official', but folder G4EMLOW8\.8 is missing"):
        em_tables.prepare("official", str(folder), tmp_path / "g4data")
    substitute = tmp_path / "substitute"
    em_tables.prepare("substitute", "", substitute)
    with pytest.raises(InputError, match=r"g4_data_dir: got .* with SUBSTITUTE\.txt"):
        em_tables.prepare("auto", str(substitute), tmp_path / "g4data")
    assert not (tmp_path / "g4data").exists()


def test_a_missing_element_file_is_named(tmp_path: Path) -> None:
    facts = em_tables.prepare("substitute", "", tmp_path / "g4data")
    lost = tmp_path / "g4data" / "G4EMLOW8.8" / "epics2017" / "rayl" / "re-cs-13.dat"
    lost.unlink()
    with pytest.raises(InputError, match=r"re-cs-13\.dat: missing Geant4 data"):
        em_tables.check(facts, "G4EmStandardPhysics")


def test_lists_that_need_official_tables(tmp_path: Path) -> None:
    facts = em_tables.prepare("substitute", "", tmp_path / "g4data")
    with pytest.raises(InputError, match="physics_list: got G4EmLivermorePhysics"):
        em_tables.check(facts, "G4EmLivermorePhysics")


def read_vector(text: str) -> np.ndarray[Any, Any]:
    return np.array([line.split() for line in text.splitlines()[2:]], dtype=float)


@pytest.mark.parametrize("symbol", em_tables.ELEMENTS)
def test_tables_hold_xraylibs_cross_sections(symbol: str) -> None:
    z = xraylib.SymbolToAtomicNumber(symbol)
    files = em_tables.photoelectric_files(symbol) | em_tables.rayleigh_files(symbol)
    folder = "G4EMLOW8.8/epics2017"
    photo = read_vector(files[f"{folder}/phot/pe-cs-{z}.dat"])
    rayleigh = read_vector(files[f"{folder}/rayl/re-cs-{z}.dat"])
    for table, power, unit, reference in (
        (photo, 3, 1.0, xraylib.CSb_Photo),
        (rayleigh, 2, 1e-22, xraylib.CSb_Rayl),
    ):
        assert (np.diff(table[:, 0]) > 0).all()
        found = np.interp(np.log(0.511), np.log(table[:, 0]), np.log(table[:, 1]))
        # 0.1 %: linear interpolation on the logarithmic grid.
        assert np.exp(found) == pytest.approx(0.511**power * unit * reference(z, 511.0), rel=1e-3)


def test_fit_above_the_tables_is_continuous() -> None:
    lines = em_tables.photoelectric_files("Lu")["G4EMLOW8.8/epics2017/phot/pe-high-71.dat"]
    rows = np.array([line.split() for line in lines.splitlines()[1:]], dtype=float)
    total = rows[-1, 1:]  # shares are cumulative: the last row is the whole
    for energy, tolerance in ((0.75, 1e-6), (0.95, 0.02)):
        fit = sum(a * energy ** -(i + 1) for i, a in enumerate(total))
        assert fit == pytest.approx(xraylib.CSb_Photo(71, 1e3 * energy), rel=tolerance)


def test_bremsstrahlung_of_slow_electrons() -> None:
    """Slow electrons: the non-relativistic Bethe-Heitler formula with the Elwert factor.

    k dsigma/dk = (16/3) alpha r0^2 Z^2 / beta0^2 ln((p0 + p) / (p0 - p)), here at 1 keV, where the
    difference is of the order T / mc^2 = 0.2 %.
    """
    z, kinetic_mev = 13, 1e-3
    for share in (0.2, 0.5, 0.8):
        beta0, beta = (
            math.sqrt(2 * t / em_tables.ELECTRON_MASS_MEV)
            for t in (kinetic_mev, kinetic_mev * (1 - share))
        )
        log_term = math.log((beta0 + beta) / (beta0 - beta))
        born = 16 / 3 * em_tables.FINE_STRUCTURE * em_tables.R0_SQUARED_MBARN * log_term
        strength = 2 * math.pi * em_tables.FINE_STRUCTURE * z
        elwert = beta0 / beta * math.expm1(-strength / beta0) / math.expm1(-strength / beta)
        found = em_tables.scaled_brems_mbarn(z, np.array(kinetic_mev), np.array(share))
        assert found == pytest.approx(born * elwert, rel=0.01)


def test_tables_of_other_elements_are_refused(tmp_path: Path) -> None:
    facts = em_tables.prepare("substitute", "", tmp_path / "g4data")
    facts["elements"] = [symbol for symbol in facts["elements"] if symbol != "Lu"]
    with pytest.raises(InputError, match=r"g4data: got tables without Lu, expected all elements"):
        em_tables.check(facts, "G4EmStandardPhysics")


def test_sentence_names_the_substitute() -> None:
    if em_tables.find_official("auto", "") is None:
        assert "substitute" in em_tables.sentence("") and em_tables.sentence("").count("\n") == 0
