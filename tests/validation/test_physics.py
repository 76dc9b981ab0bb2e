"""The physics report on real GATE runs: every quantity has its expected value (a minute)."""

import json
from pathlib import Path

import pytest
import yaml

from tubepet.simulate.geant4 import em_tables
from tubepet.types import Scanner
from tubepet.validate import physics


@pytest.mark.validation
def test_every_check_of_the_report_is_met(root: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((root / "config" / "config.yaml").read_text())
    facts = em_tables.prepare("auto", "", tmp_path / "g4data")
    scratch = tmp_path / "runs"
    scratch.mkdir()
    result = physics.measure(
        Scanner(**config["scanner"]), config["simulate"]["physics_list"], facts, 2020, scratch
    )
    for check in result["checks"]:
        print(f"{check['name']}: {check['measured']:.5g}, expected {check['expected']:.5g}")
        assert check["is_met"], check
    assert len({row["energy_kev"] for row in result["attenuation"]}) >= 6
    assert json.dumps(result, allow_nan=False)
    assert not list(scratch.iterdir())
