"""Own parts in the whole chain at toy size, from meshes and labels to images and verdicts."""

import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.workflow.conftest import ROOT, SMOKE, snakemake
from tubepet import io
from tubepet.types import Grid, Volume

pytestmark = pytest.mark.workflow

TABLE = "label,material,g_cm3,activity\n1,water,,1\n2,titanium,4.43,\n"


@pytest.fixture
def folder(tmp_path):
    """Return a working folder with a manifold of steel and a block of titanium."""
    command = [sys.executable, str(ROOT / "config/parts/manifold.py"), str(tmp_path / "parts")]
    subprocess.run(command, check=True)
    labels = np.full((12, 20, 20), 2, np.uint8)
    labels[:, 6:14, 4:16] = 1
    io.write_volume(
        tmp_path / "parts/block.nii.gz", Volume(labels, Grid.centred((12, 20, 20), (1.0,) * 3))
    )
    (tmp_path / "parts/block.csv").write_text(TABLE)
    made = yaml.safe_load((ROOT / "config/parts/manifold.yaml").read_text())["phantom"]["parts"]
    block = {"name": "block", "labels": "parts/block.nii.gz", "table": "parts/block.csv"}
    parts = {"tube_0000": made["tube_0001"] | {"wall": "steel"}, "tube_0001": block}
    change = {"phantom": {"parts": parts}, "reconstruct": {"num_slices": 30}}
    (tmp_path / "parts.yaml").write_text(yaml.safe_dump(change))
    return tmp_path


def test_parts_become_images_slices_and_verdicts(folder):
    configs = "--configfile", str(SMOKE), str(folder / "parts.yaml")
    targets = "only_phantom", "only_reconstruct", "inspect"
    done = snakemake(folder, *targets, *configs)
    assert done.returncode == 0, done.stdout[-5000:]
    results = folder / "results"
    table = io.read_table(results / "phantom/phantoms.parquet").set_index("tube")
    assert list(table["family"]) == ["manifold", "block"]
    assert list(table["defect"]) == ["pit", "none"]
    assert table.loc["tube_0001", "made_of"] == "water 1 g/cm3, titanium 4.43 g/cm3"
    for tube in table.index:
        image = io.read_volume(results / f"reconstruct/{tube}/image.nii.gz")
        total_bq = image.array.sum(dtype=float) * image.grid.voxel_volume_mm3
        # 5 iterations of 1 mm, and a calibration of 100,000 decays: some per cent
        assert total_bq == pytest.approx(table.loc[tube, "activity_total_bq"], rel=0.15)
        stats = io.read_json(results / f"simulate/{tube}/stats.json")
        assert len(stats["source"]["fillings"]) == 2
    verdicts = io.read_table(results / "inspect/verdicts.csv")
    assert list(verdicts["family"]) == ["manifold", "block"]
    slices = io.read_table(results / "reconstruct/labels.parquet")
    assert slices.groupby("tube")["is_cut"].any().to_dict() == {
        "tube_0000": True, "tube_0001": False,
    }  # fmt: skip
    # the fluid of the middle slices of the block: 8 x 12 mm, in pixels of 1 mm
    rows = slices.index[(slices["tube"] == "tube_0001") & (slices["end_mm"] > 4)]
    fluid = io.read_array(results / "reconstruct/fluid.npy")[rows]
    assert fluid.sum(axis=(1, 2)) == pytest.approx(96, rel=0.02)

    (folder / "parts/body.stl").write_bytes((folder / "parts/cavity.stl").read_bytes())
    done = snakemake(folder, *targets, *configs)
    assert done.returncode != 0  # a changed mesh is drawn again
    assert "pitted.stl: got a cavity that reaches" in done.stdout


def test_a_part_that_does_not_fit_stops_its_job_with_a_sentence(folder):
    (folder / "short.yaml").write_text("reconstruct: {num_slices: 10}\n")
    paths = (str(SMOKE), str(folder / "parts.yaml"), str(folder / "short.yaml"))
    done = snakemake(folder, "results/phantom/tube_0000/truth.json", "--configfile", *paths)
    assert done.returncode != 0
    assert "reaches 14.0 mm along the axis, expected at most 5 mm" in done.stdout
