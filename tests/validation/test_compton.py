"""Photons scatter on bound electrons in GATE, as they do in the fast engine (half a minute)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tubepet.simulate.fast import electrons, tables
from tubepet.simulate.geant4 import em_tables

SCRIPT = Path(__file__).with_name("compton_run.py")
ENERGY_KEV, THICKNESS_MM = 511.0, 0.3


@pytest.mark.validation
def test_compton_scattering_sees_that_electrons_are_bound(tmp_path: Path) -> None:
    """A foil of LYSO: small angles as the incoherent scattering function has them, and K X-rays.

    On free electrons a third more photons go by less than 8 degrees, and no vacancy is left.
    """
    job = {
        "folder": str(tmp_path),
        "num": 1_000_000,
        "thickness_mm": THICKNESS_MM,
        "physics_list": "G4EmStandardPhysics",
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    facts = em_tables.prepare("auto", "", tmp_path / "g4data")
    environment = {**os.environ, **em_tables.environment(facts["root"])}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "job.json")]
    subprocess.run(command, env=environment, check=True, timeout=300)
    with np.load(tmp_path / "result.npz") as found:
        cosine, (photoelectric, compton) = found["cosine"], found["x_rays"]

    # quantiles of Klein and Nishina's cosine times the scattering function, at 508 and 512 keV
    table = tables.photons().cosine[0, tables.CRYSTAL, -2:].mean(axis=0)
    above = np.interp([0.5, 0.99], table[::-1], np.linspace(1, 0, len(table)))
    wanted = above[1] / above[0]
    num, small = np.count_nonzero(cosine > 0.5), np.count_nonzero(cosine > 0.99)
    # 5 %: photons that scatter twice or are stopped on the way out
    assert small / num == pytest.approx(wanted, abs=3 * np.sqrt(wanted / num) + 0.05 * wanted)

    # vacancies of both processes by hand; an electron of the K shell takes at least its binding
    mu = tables.photons().mu_per_mm[tables.CRYSTAL, int(ENERGY_KEV)]
    share = electrons.library().vacancy[:, int(ENERGY_KEV)]
    angles = np.linspace(-1, 1, 20_001)
    weight = tables.klein_nishina(ENERGY_KEV, angles)
    taken_kev = ENERGY_KEV * (1 - 1 / (2 - angles))
    part = weight[taken_kev > electrons.library().binding_kev].sum() / weight.sum()
    expected = photoelectric * mu[1] * share[1] * part / (mu[0] * share[0])
    assert compton == pytest.approx(expected, abs=3 * np.sqrt(expected) + 0.15 * expected)
    print(f"{small / num:.4f} wanted {wanted:.4f}; {compton} of {photoelectric}, {expected:.0f}")
