"""A process that compiles the kernels gives the same numbers as one with numba's cache."""

import os
import subprocess
import sys

import pytest

PROJECT = """
import numpy as np
import yaml
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.lines import Lines, tof_table
from tubepet.types import Grid, Scanner, Volume

rng, grid = np.random.default_rng(1), Grid.centred((10, 54, 54), (2.0, 1.0, 1.0))
turn, z_mm = rng.uniform(0, 2 * np.pi, 400), rng.uniform(-20, 20, 400)
points = np.stack([125 * np.cos(turn), 125 * np.sin(turn), z_mm], 1)
first = rng.integers(0, 400, 20000)
second = (first + rng.integers(150, 250, 20000)) % 400
image, tof_mm = rng.uniform(1, 2, grid.shape), rng.uniform(-9, 9, 20000).astype(np.float32)
made = []
for tof in ((), (tof_mm, tof_table(5.0))):
    lines = Lines(grid, points, first, second, np.ones(20000), *tof)
    made.append(lines.forward(image))
    made.append(lines.back(np.sqrt(made[-1])))
    made.extend(lines.em_sums(image))
section = yaml.safe_load(open("config/config.yaml"))["scanner"]
scanner = Scanner(**{**section, "num_rings": 16, "num_columns": 48})
efficiency, mu = np.ones((25, 16)), Volume(0.01 * image, grid)
made.append(sensitivity.geometric_sensitivity(scanner, grid, efficiency))
instrument = Instrument(scanner, efficiency, Volume(made[-1], grid))
made.append(sensitivity.attenuated_sensitivity(instrument, mu, 1))
print(digest(*made))
"""
TRANSPORT = """
import numpy as np
import yaml
from tubepet.simulate.fast import setup, tables, transport
from tubepet.types import Grid, Scanner, Volume

scanner = Scanner(**yaml.safe_load(open("config/config.yaml"))["scanner"])
photons, grid = tables.photons(), Grid.centred((8, 10, 12), (2.0, 2.0, 2.0))
labels, activity = np.ones(grid.shape, np.uint8), np.ones(grid.shape, np.float32)
what = setup.tube(Volume(labels, grid), Volume(activity, grid), scanner, photons)
made = transport.batches(what, photons, 1e7, 0.03, scanner, 500.0, 5, 1, "cpu")
singles = [part for b in made for pair in (b.prompts.first, b.prompts.second) for part in pair]
print(digest(*singles))
"""
DIGEST = """
import hashlib

def digest(*arrays):
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()
"""


@pytest.mark.parametrize("program", [PROJECT, TRANSPORT], ids=["project", "transport"])
def test_compiled_now_or_before(program, tmp_path, root):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", DIGEST + program]

    def printed() -> str:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    cold = printed()
    compiled = sorted(tmp_path.rglob("*.nbi"))
    assert len(compiled) > 3 and len(cold.strip()) == 64
    assert printed() == cold
    for path in compiled[::2]:  # as after an edit, or while another job compiles
        path.unlink()
    assert printed() == cold
