"""Positrons in water: pairs are as little collinear as measured; the range is only bounded."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tubepet.simulate.geant4 import em_tables


@pytest.mark.validation
def test_accolinearity_in_water_is_half_a_degree(tmp_path: Path) -> None:
    tables = em_tables.prepare("substitute", "", tmp_path / "g4data")
    script = Path(__file__).with_name("positron_run.py")
    subprocess.run(
        [sys.executable, str(script), str(tmp_path), "5000"],
        env={**os.environ, **em_tables.environment(tables["root"])},
        check=True,
        timeout=300,
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert len(result["angle_deg"]) > 4500  # few annihilate in flight
    # Two planes: the angle is Rayleigh distributed, its median 1.1774 sigma.
    fwhm_deg = np.median(result["angle_deg"]) / 1.1774 * math.sqrt(8 * math.log(2))
    print(f"FWHM {fwhm_deg:.3f} degrees, mean range {np.mean(result['range_mm']):.3f} mm")
    # Colombino et al., Nuovo Cimento 38 (1965) 707: 0.55 degrees in water; PET uses 0.5.
    assert fwhm_deg == pytest.approx(0.5, rel=0.15)
    # Published means lie near 0.6 mm: too short on the substitute tables, hence "not validated".
    assert 0.3 < np.mean(result["range_mm"]) < 0.8
