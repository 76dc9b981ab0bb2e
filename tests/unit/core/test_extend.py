"""The changes in docs/extend.md work, applied to a copy of the sources."""

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
from tubepet.report import card, columns

images = np.random.default_rng(0).random((24, 32, 32), np.float32)
split, tube = np.repeat(["train", "test"], 12), np.repeat(["a", "b"], 12)
real = Slices(images, pd.DataFrame({"split": split, "tube": tube}), 1.0, 0.5, 1.0)
rows, facts = table.evaluate({"dcgan": 2 * images[:12]}, real, 3, "", 1)
assert {"spread", "spread_low", "spread_high"} <= set(rows)
assert facts["columns"]["spread"].startswith("standard deviation of the activity")
_, rest = columns.main_and_rest(rows)
assert "spread" in columns.named("table1", rest)
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


USE_MODEL = """
import tempfile
from pathlib import Path
import numpy as np
import yaml
from safetensors.torch import save_file
from tests.conftest import ROOT
from tubepet import io
from tubepet.generate import export, loop, trained
from tubepet.generate.data import Data, positron_images
from tubepet.generate.models import catalogue
from tubepet.generate.run import Task
from tubepet.plan import config, models

assert models.MODELS.keys() == catalogue.MODELS.keys()
text = (ROOT / "config/config.yaml").read_text()
whole = config.checked_config(
    yaml.safe_load(text), ROOT
)
section = whole["generate"] | {"pixels": {"num_steps": 200, "learning_rate": 0.02}}
slices = np.full((16, 8, 8), 2.0, np.float32)
slices[:, 2:6, 2:6] = 6.0
slices[::2] += 1.0
data = Data(positron_images(slices, np.ones(16, bool), 10.0))
task = Task(catalogue.MODELS["pixels"], models.settings_of("pixels", section, whole), data, 1)
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    made = loop.train(task, "code", folder / "progress")
    save_file(made.weights, folder / "generator.safetensors")
    facts = {"format": 1, "model": "pixels", "arguments": made.arguments, "code": "abc"}
    facts |= {"scale_bq_mm3": 10.0, "pixel_mm": 1.0, "slice_mm": 1.0}
    io.write_json(folder / "generator.json", facts)
    generator = trained.read_generator(folder)
    batches = list(trained.generate(generator, 200, {}, seed=1))
    images = np.concatenate([batch.images for batch in batches])
    export.write_onnx(folder / "pixels.onnx", generator)
# means of 2.5 and 6.5 with a spread of 0.5; 200 images
assert np.abs(images.mean(0) - slices.mean(0)).max() < 0.3
assert abs(images.std(0).mean() - 0.5) < 0.1
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


def test_a_generator_is_one_file_and_three_lines(tmp_path):
    assert used(tmp_path, "A new generator", USE_MODEL) == 3


def test_a_defect_class_is_two_files(tmp_path):
    assert used(tmp_path, "A new defect class", USE_DEFECT) == 2
