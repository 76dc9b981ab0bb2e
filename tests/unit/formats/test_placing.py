"""Singles anywhere in crystals of the scanner are accepted; those of others are recognised."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from tubepet import layout
from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.formats.placing import nearest
from tubepet.reconstruct.scanner import crystals
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Scanner

NUM = 3000


def singles(scanner: Scanner, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw crystals and places in them: centres, interactions, or front faces."""
    rng = np.random.default_rng(1)
    found = layout.table(scanner)
    crystal = rng.integers(len(found), size=NUM)
    depths_mm, widths_mm, heights_mm = found.sizes_mm[crystal].T
    out, up = found.outwards[crystal], np.array([0.0, 0.0, 1.0])
    places = found.centres_mm[crystal].copy()
    if kind == "fronts":
        return crystal, places - depths_mm[:, None] / 2 * out
    if kind == "interactions":
        # attenuation of LYSO at 511 keV, 0.087 per mm
        whole = 1 - np.exp(-0.087 * depths_mm)
        depth = -np.log(1 - rng.uniform(size=NUM) * whole) / 0.087
        aside = rng.uniform(-0.5, 0.5, (2, NUM))
        places += (depth - depths_mm / 2)[:, None] * out
        places += (aside[0] * widths_mm)[:, None] * np.cross(up, out)
        places += (aside[1] * heights_mm)[:, None] * up
    return crystal, places


@pytest.mark.parametrize("depth_mm", [10.0, 20.0, 30.0])
@pytest.mark.parametrize("kind", ["centres", "interactions", "fronts"])
def test_singles_of_the_scanner(scanner, kind, depth_mm, caplog) -> None:
    scanner = replace(scanner, crystal_depth_mm=depth_mm)
    crystal, places = singles(scanner, kind)
    found = nearest("c", places, crystals.of_scanner(scanner), are_ends=kind == "fronts")
    np.testing.assert_array_equal(found, crystal)
    assert not caplog.records


OTHERS = {
    "wider": {"inner_radius_mm": 46.0}, "narrower": {"inner_radius_mm": 33.0},
    "more columns": {"num_columns": 56, "crystal_width_mm": 3.5},
    "fewer columns": {"num_columns": 40},
    "more rings": {"num_rings": 12}, "other pitch": {"axial_pitch_mm": 5.0},
    "half a ring off": {"num_rings": 9},
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_readout_positions_of_another_scanner(scanner, name) -> None:
    _, places = singles(replace(scanner, **OTHERS[name]), "centres")
    with pytest.raises(InputError, match=r"another scanner\?"):
        nearest("c", places, crystals.of_scanner(scanner))


@pytest.mark.parametrize("name", ["wider", "narrower", "more rings", "other pitch"])
def test_interactions_in_another_scanner(scanner, name) -> None:
    _, places = singles(replace(scanner, **OTHERS[name]), "interactions")
    with pytest.raises(InputError, match=r"another scanner\?"):
        nearest("c", places, crystals.of_scanner(scanner))


def test_a_small_offset_is_said(scanner, caplog) -> None:
    """By 2 mm of 20: more than is open, less than is refused."""
    crystal, places = singles(replace(scanner, inner_radius_mm=42.0), "centres")
    found = nearest("c", places, crystals.of_scanner(scanner))
    np.testing.assert_array_equal(found, crystal)
    assert "farther out than the crystals of --scanner" in caplog.text


@pytest.mark.parametrize(("num", "is_taken"), [(1, True), (30, True), (31, False)])
def test_strays_have_a_limit(scanner, num, is_taken) -> None:
    crystal, places = singles(scanner, "interactions")
    places[:num] *= [0.3, 0.3, 1.0]
    if not is_taken:
        with pytest.raises(InputError, match="got 31 of 3000 singles outside the scanner"):
            nearest("c", places, crystals.of_scanner(scanner))
        return
    found = nearest("c", places, crystals.of_scanner(scanner))
    assert (found[:num] == -1).all()
    np.testing.assert_array_equal(found[num:], crystal[num:])


def test_a_table_of_crystals_knows_no_depth(scanner) -> None:
    """Faces may be anywhere in a long crystal; radii that differ by more are refused."""
    whole = crystals.of_scanner(scanner)
    ring = Crystals(whole.points_mm, whole.normals, whole.areas_mm2, whole.efficiency)
    for kind in ("centres", "interactions", "fronts"):
        crystal, places = singles(scanner, kind)
        np.testing.assert_array_equal(nearest("c", places, ring), crystal)
    _, places = singles(replace(scanner, inner_radius_mm=60.0), "centres")
    with pytest.raises(InputError, match=r"another scanner\?"):
        nearest("c", places, ring)


@pytest.mark.parametrize("name", ["radius_plus10mm", "radius_minus14mm"])
def test_the_shared_case_is_refused(shared_cases, tmp_path, name) -> None:
    folder = shared_cases / "events/gate_other_scanner"
    args = [str(folder / f"{name}.root"), "--scanner", str(folder / "small.yaml")]
    done = CliRunner().invoke(main, ["reconstruct", *args, "-o", str(tmp_path / "x.nii.gz")])
    assert done.exit_code == 2 and "than the crystals of --scanner" in done.output
