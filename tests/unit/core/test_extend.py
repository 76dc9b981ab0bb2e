"""The changes that docs/extend.md shows, applied to a copy of the sources and used."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

USE_METRIC = """
import numpy as np
from tests.conftest import ROOT
import pandas as pd
from tubepet.dataset.slices import Slices
from tubepet.evaluate import metrics, table
from tubepet.report import card, charts

images = np.random.default_rng(0).random((24, 32, 32), np.float32)
split, tube = np.repeat(["train", "test"], 12), np.repeat(["a", "b"], 12)
real = Slices(images, pd.DataFrame({"split": split, "tube": tube}), 1.0, 0.5, 1.0)
rows, facts = table.evaluate({"dcgan": 2 * images[:12]}, real, 3, "", 1)
assert {"spread", "spread_low", "spread_high"} <= set(rows)
assert facts["columns"]["spread"].startswith("standard deviation of the activity")
chart = charts.draw_table(rows, facts["columns"])
assert "spread" in [note.text for note in chart.figure.layout.annotations]
slices = {"pixel_mm": 1, "slice_mm": 1, "num_tubes": {"train": 1, "test": 1}}
slices["num_slices"] = {"test": 12}
template = (ROOT / "workflow/report/card.md").read_text()
generator = {"code": "abc", "seed": 1, "num_train": 12}
text = card.model_card(template, "dcgan", generator, slices, rows, facts, [])
assert "| spread | " in text
print("used")
"""

USE_DEFECT = """
import numpy as np
import yaml
from tests.conftest import ROOT
from tubepet.dataset import drawing
from tubepet.phantom import geometry, spec

phantom = yaml.safe_load((ROOT / "config/config.yaml").read_text())["phantom"]
wish = {"family": "round", "defect": "hole", "defect_size_mm": 4.0, "bore_radius_mm": 7.0,
        "wall_mm": 3.0, "defect_z_mm": 0.0}
tube = spec.draw_tube("tube_0000", phantom, wish, seed=1)
voxels = geometry.voxelise(tube, 0.5, 4)
expected = np.pi * 2**2 * 3 * geometry.MAX_DEPTH
# a tenth: the ends of the cylinder are curved, its edge is sampled
assert abs(voxels.defect_volume_mm3 / expected - 1) < 0.1, voxels.defect_volume_mm3
grid = drawing.SliceGrid(64, 0.5, 1.0, 2.6, 1.5)
labels = drawing.label_table(drawing.draw_slices(tube, np.array([0.0, 5.0]), grid), grid)
assert list(labels["is_cut"]) == [True, False] and labels["fluid_change_mm3"][0] > 0
print("used")
"""


def changes(heading: str) -> str:
    page = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {heading}.*?(?=^## |\Z)", page, re.M | re.S).group(0)
    return "".join(re.findall(r"^```diff\n(.*?)^```$", section, re.M | re.S))


def used(folder: Path, heading: str, program: str) -> int:
    """Apply the changes, run the program with them; return how many files they touch."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    diff = changes(heading)
    apply = ["git", "apply", "-"]
    done = subprocess.run(
        apply, cwd=folder, input=diff, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}:{ROOT}"}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "used\n", done.stderr[-3000:]
    return diff.count("+++ b/")


def test_a_metric_is_one_file(tmp_path):
    assert used(tmp_path, "A new metric", USE_METRIC) == 1


def test_a_defect_class_is_two_files(tmp_path):
    assert used(tmp_path, "A new defect class", USE_DEFECT) == 2
