"""GATE on the substitute tables attenuates 511 keV photons as the references say."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tubepet.constants import LYSO_G_CM3
from tubepet.phantom.maps import MU_ALUMINIUM_PER_MM, MU_WATER_PER_MM
from tubepet.simulate.geant4 import em_tables
from tubepet.validate import references

NUM_PHOTONS = 500_000

# Water and aluminium: NIST tables of Hubbell & Seltzer (NISTIR 5632, DOI 10.18434/T4D01F), mu/rho
# at 500 and 600 keV, interpolated in log-log to 511 keV. LYSO: NIST's elements, by mass.
LYSO = tuple(references.mixed(references.TOTAL_CM2_G, "LYSO")[-2:])
NIST_CM2_G = {"water": (9.687e-2, 8.956e-2), "aluminium": (8.445e-2, 7.802e-2), "LYSO": LYSO}
DENSITY_G_CM3 = {"water": 1.0, "aluminium": 2.699, "LYSO": LYSO_G_CM3}


def nist_per_mm(material: str) -> float:
    at_500, at_600 = NIST_CM2_G[material]
    slope = math.log(at_600 / at_500) / math.log(600 / 500)
    return at_500 * (511 / 500) ** slope * DENSITY_G_CM3[material] / 10


@pytest.mark.validation
def test_attenuation_of_511_kev(tmp_path: Path) -> None:
    reference = [nist_per_mm("water"), nist_per_mm("aluminium"), nist_per_mm("LYSO")]
    thickness_mm = [1.3 / mu for mu in reference]  # about where mu is measured best
    tables = em_tables.prepare("substitute", "", tmp_path / "g4data")
    environment = {**os.environ, **em_tables.environment(tables["root"])}
    script = Path(__file__).with_name("attenuation_run.py")
    subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(NUM_PHOTONS), *map(str, thickness_mm)],
        env=environment,
        check=True,
        timeout=300,
    )
    counts = json.loads((tmp_path / "counts.json").read_text())
    for name, mu, thickness, count in zip(
        ("water", "aluminium", "LYSO"), reference, thickness_mm, counts, strict=True
    ):
        measured = -math.log(count / NUM_PHOTONS) / thickness
        error = math.sqrt((1 - count / NUM_PHOTONS) / count) / (mu * thickness)
        print(f"{name}: {measured:.5f} /mm, reference {mu:.5f}, {measured / mu - 1:+.2%}")
        assert error < 0.002
        assert measured == pytest.approx(mu, rel=0.02), name


def test_attenuation_maps_use_the_same_numbers() -> None:
    # 0.2 %: the typed constants have four digits, and log-log interpolation is not exact.
    # Geant4's fit of Compton scattering is 0.4 and 0.5 % higher
    assert pytest.approx(nist_per_mm("water"), rel=6e-3) == MU_WATER_PER_MM
    assert pytest.approx(nist_per_mm("aluminium"), rel=6e-3) == MU_ALUMINIUM_PER_MM
