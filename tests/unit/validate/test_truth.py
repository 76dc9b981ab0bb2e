"""Independent references: published and official tables, mixtures, bremsstrahlung, a scanner."""

from pathlib import Path

import numpy as np
import pytest
import xraylib

from tubepet.constants import LYSO_ATOMS
from tubepet.errors import InputError
from tubepet.simulate.geant4 import em_tables
from tubepet.validate import cross_sections, electrons, official, references, sensitivity


def test_typed_photon_tables_add_up() -> None:
    """Three parts of one source against the total of another: a wrong digit stands out."""
    for symbol, total in references.TOTAL_CM2_G.items():
        parts = np.sum(
            [
                table[symbol]
                for table in (
                    references.PHOTO_CM2_G, references.COHERENT_CM2_G, references.INCOHERENT_CM2_G,
                )
            ],
            axis=0,
        )  # fmt: skip
        # 1 %: what the two differ by (anomalous scattering of Lu), and four digits
        np.testing.assert_allclose(parts, total, rtol=0.01, err_msg=symbol)


def test_typed_photon_tables_fall_smoothly() -> None:
    """The parts fall as powers of the energy, whose exponent changes little from step to step."""
    kev = np.log(references.KEV)
    for table in (references.PHOTO_CM2_G, references.COHERENT_CM2_G, references.INCOHERENT_CM2_G):
        for symbol, row in table.items():
            slope = np.diff(np.log(row)) / np.diff(kev)
            assert (slope < 0).all(), symbol
            assert np.abs(np.diff(slope)).max() < 0.6, symbol


def test_typed_electron_tables_hold_together() -> None:
    """Ranges grow by the integral of 1 / S: ESTAR's columns against each other."""
    kev = np.array(references.ELECTRON_KEV, float)
    fine = np.linspace(kev[0], kev[-1], 801)
    for name, ranges in references.RANGE_G_CM2.items():
        stopping = np.add(
            references.COLLISION_MEV_CM2_G[name], references.RADIATIVE_MEV_CM2_G[name]
        )
        inverse = 1 / np.exp(np.interp(np.log(fine), np.log(kev), np.log(stopping)))
        grown = np.concatenate([[0], np.cumsum(np.diff(fine) * (inverse[1:] + inverse[:-1]) / 2)])
        expected = ranges[0] + 1e-3 * np.interp(kev, fine, grown)
        np.testing.assert_allclose(
            ranges, expected, rtol=4e-3, err_msg=name
        )  # of the interpolation


def test_mixture_rule_by_hand() -> None:
    mass = {"H": 2 * 1.008, "O": 15.999}
    share = mass["H"] / sum(mass.values())
    assert references.mass_shares("G4_WATER")["H"] == pytest.approx(
        share, rel=3e-3
    )  # xraylib: 1.01
    by_hand = share * 0.1729 + (1 - share) * 0.08729  # at 500 keV
    water = references.mixed(references.TOTAL_CM2_G, "G4_WATER")[references.KEV.index(500)]
    assert water == pytest.approx(by_hand, rel=5e-4)
    assert water == pytest.approx(0.09687, rel=1e-3)  # NIST's own row of water
    assert references.mixed(references.RANGE_G_CM2, "G4_WATER")[0] == 0.01431  # its own
    # of a mixture of one element, its own range
    np.testing.assert_allclose(references.range_g_cm2("G4_Al"), references.RANGE_G_CM2["Al"], 4e-3)


def test_xraylib_is_nists_and_geant4s_fit_is_the_outlier() -> None:
    rows = {(r["material"], r["energy_kev"]): r for r in cross_sections.compare()}
    assert len(rows) == 4 * len(references.KEV)
    lyso = rows["LYSO", 500]
    off = {key: abs(lyso[key]["total"] / lyso["nist"] - 1) for key in ("xraylib", "llnl", "geant4")}
    assert off["xraylib"] < 1e-3 < off["llnl"] < off["geant4"] < 0.01
    # Compton by hand: Geant4's formula for lutetium, 500 keV, as in the Physics Reference Manual
    assert lyso["geant4"]["incoherent"] / lyso["xraylib"]["incoherent"] == pytest.approx(
        1.0098, abs=2e-3
    )
    formula = "".join(f"{symbol}{count}" for symbol, count in LYSO_ATOMS.items())
    assert lyso["xraylib"]["photo"] == pytest.approx(xraylib.CS_Photo_CP(formula, 500.0), rel=1e-6)
    assert rows["iron", 200]["engine"] is None
    assert rows["LYSO", 600]["engine"] is None


def test_bremsstrahlung_is_bounded() -> None:
    found = electrons.bremsstrahlung(350.0)
    # ESTAR's radiation yield at 448 keV lies between those of Y (1.5 %) and Lu (3.3 %)
    assert 0.015 < found["yield"] < 0.033
    assert 0 < found["lost_singles"] < found["yield"]
    assert found["error_of_singles"] == pytest.approx(40 * found["lost_singles"])
    assert electrons.bremsstrahlung(450.0)["lost_singles"] > found["lost_singles"]
    ratios = [row["mev_cm2_g"] / row["reference_mev_cm2_g"] for row in electrons.radiative_rows()]
    assert 0.85 < min(ratios) < max(ratios) < 1.06


@pytest.fixture
def official_tree(tmp_path: Path) -> Path:
    """Return a made-up official tree: the substitute, with known factors on three files."""
    root = tmp_path / "official"
    root.mkdir()
    em_tables.build_substitute(root)
    (root / em_tables.MARKER).unlink()
    low = root / em_tables.DATA_SETS["G4LEDATA"]
    for path, factor in (
        ("epics2017/phot/pe-cs-71.dat", 1.25), ("epics2017/rayl/re-cs-8.dat", 0.8),
    ):  # fmt: skip
        head, count, *pairs = (low / path).read_text().splitlines()
        scaled = [f"{p.split()[0]} {factor * float(p.split()[1]):.8g}" for p in pairs]
        (low / path).write_text("\n".join([head, count, *scaled]) + "\n")
    kind, x, y, *values = (low / "brem_SB/br71").read_text().splitlines()
    scaled = [" ".join(f"{1.6 * float(v):.6g}" for v in row.split()) for row in values]
    (low / "brem_SB/br71").write_text("\n".join([kind, x, y, *scaled]) + "\n")
    return root


def test_official_tables_are_compared_file_by_file(official_tree: Path, tmp_path: Path) -> None:
    rows = official.compare(official_tree, tmp_path)
    assert len(rows) == 3 * len(em_tables.ELEMENTS)
    worst = official.worst(rows)
    assert worst["photoelectric"][0] == "Lu" and worst["rayleigh"][0] == "O"
    assert worst["photoelectric"][2] == pytest.approx(1 / 1.25)
    assert worst["rayleigh"][2] == pytest.approx(1 / 0.8)
    assert worst["bremsstrahlung"][::2] == ("Lu", pytest.approx(1 / 1.6))
    others = np.concatenate([r["ratio"] for r in rows if r["element"] not in ("Lu", "O")])
    np.testing.assert_allclose(others, 1, rtol=1e-12)
    assert "photoelectric -20.0 % (Lu" in official.sentence(rows)
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "epics2017/phot/pe-cs-71.dat",
            "0.1 1 3\n3\n0.1 1\n",
            "6 numbers for 3 nodes, expected 10",
        ),
        ("brem_SB/br71", "4 2 2\n0 1\n", "5 numbers for 2 x 2 nodes, expected 11"),
        ("epics2017/rayl/re-cs-71.dat", "<html>", "expected a table of Geant4 11.4"),
    ],
)
def test_a_damaged_official_table_is_named(official_tree, tmp_path, name, text, words) -> None:
    (official_tree / em_tables.DATA_SETS["G4LEDATA"] / name).write_text(text)
    with pytest.raises(InputError, match=words):
        official.compare(official_tree, tmp_path)


def test_phantoms_are_those_of_nema() -> None:
    labels, activity = sensitivity.phantom("mouse")
    volume_mm3 = labels.array.sum() * labels.grid.voxel_volume_mm3
    assert volume_mm3 == pytest.approx(np.pi * 12.5**2 * 70, rel=0.02)  # voxels of 1 mm
    z_mm, y_mm, x_mm = activity.grid.axes_mm()
    used = np.argwhere(activity.array > 0)
    assert len(used) == 60 and set(x_mm[used[:, 2]]) == {10.0} and set(y_mm[used[:, 1]]) == {0.0}
    assert np.abs(z_mm[used[:, 0]]).max() == pytest.approx(29.5)
    assert labels.array[tuple(used.T)].all()


def test_inveon_is_as_published() -> None:
    scanner = sensitivity.INVEON
    assert scanner.num_rings * scanner.num_columns == 64
    assert scanner.num_rings * scanner.axial_pitch_mm == pytest.approx(127)
    across_mm = 2 * scanner.inner_radius_mm * np.tan(np.pi / scanner.num_columns)
    assert scanner.crystal_width_mm == pytest.approx(20 * 1.51) and across_mm > 30.2
    low, high = sensitivity.band("sensitivity")
    assert low < 0.0661 and high > 0.072
