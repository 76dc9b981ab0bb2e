"""The fast engine agrees with GATE on a bent tube, at reduced statistics."""

import pytest
import yaml

from tubepet import io
from tubepet.phantom import geometry, maps, spec
from tubepet.simulate.geant4 import em_tables
from tubepet.types import Scanner, Volume
from tubepet.validate import transport

NUM_DECAYS = 300_000  # trues within 0.6 %


@pytest.mark.validation
def test_the_engines_agree(root, tmp_path):
    config = yaml.safe_load((root / "config" / "config.yaml").read_text(encoding="utf-8"))
    facts = em_tables.prepare("substitute", "", tmp_path / "g4data")
    phantom = config["phantom"]
    fixed = {"family": "bent", "defect": "groove"}
    tube = spec.draw_tube("tube_0000", phantom, fixed, 3)
    voxels = geometry.voxelise(tube, 1.0, phantom["supersampling"])
    io.write_volume(tmp_path / "labels.nii.gz", Volume(voxels.labels(), voxels.grid))
    activity = Volume(maps.activity_bq_mm3(voxels, 600.0), voxels.grid)
    samples = transport.run_both(
        "bent", tmp_path / "labels.nii.gz", activity, NUM_DECAYS, Scanner(**config["scanner"]),
        "G4EmStandardPhysics", facts, 17, config["simulate"]["delay_ns"], "cpu",
    )  # fmt: skip
    judged = transport.agreement(*samples)
    print(judged["statement"])
    assert judged["agrees"], judged
