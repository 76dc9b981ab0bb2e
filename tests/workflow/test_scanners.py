"""Scanners that are no rings, from their description to images."""

import json

import numpy as np
import pytest
import yaml

from tests.workflow.conftest import ROOT, SMOKE, snakemake
from tubepet import io
from tubepet.simulate.coincidences import read_coincidences
from tubepet.types import Scanner

pytestmark = pytest.mark.workflow

DEAD = [40, 41, 700, 1300, 2000]


def test_two_heads_with_uneven_crystals_give_images_in_bq(tmp_path):
    """The shipped panels at toy size, with dead crystals and others that lose up to half."""
    kept = np.random.default_rng(1).uniform(0.5, 1, 2 * 36 * 36)
    rows = "".join(f"{i},{e:.3f}\n" for i, e in enumerate(kept))
    (tmp_path / "efficiencies.csv").write_text("crystal,efficiency\n" + rows)
    changes = {"dead_crystals": DEAD, "efficiencies": str(tmp_path / "efficiencies.csv")}
    (tmp_path / "changes.yaml").write_text(json.dumps({"scanner": changes}))
    panels = ROOT / "config/scanners/panels.yaml"
    configs = "--configfile", str(SMOKE), str(panels), str(tmp_path / "changes.yaml")
    done = snakemake(tmp_path, "only_reconstruct", *configs)
    assert done.returncode == 0, done.stdout[-5000:]
    results = tmp_path / "results"
    facts = io.read_json(results / "reconstruct/calibration.json")
    efficiency = np.array(facts["crystal_efficiency"])
    assert (np.flatnonzero(efficiency == 0) == DEAD).all()
    # 6 counts of a crystal tell half of what it keeps; the rest is drawn to the mean
    assert np.corrcoef(np.delete(efficiency, DEAD), np.delete(kept, DEAD))[0, 1] > 0.2
    base, own = (
        yaml.safe_load(path.read_text())["scanner"]
        for path in (ROOT / "config/config.yaml", panels)
    )
    scanner = Scanner(**base | own)
    for tube in ("tube_0000", "tube_0001"):
        events = read_coincidences(results / f"simulate/{tube}/coincidences.root", scanner)
        assert not np.isin(np.concatenate([events.crystal1, events.crystal2]), DEAD).any()
        image, truth = (
            io.read_volume(results / path)
            for path in (f"reconstruct/{tube}/image.nii.gz", f"phantom/{tube}/activity.nii.gz")
        )
        totals = [v.array.sum() * v.grid.voxel_volume_mm3 for v in (image, truth)]
        # 2300 coincidences and 4500 of the calibration: 2.6 %, four of these
        assert totals[0] == pytest.approx(totals[1], rel=0.1)
