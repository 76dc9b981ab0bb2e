"""A process that compiles the kernels gives the numbers of one that finds them in numba's cache."""

import os
import subprocess
import sys

import pytest

PROJECT = """
import numpy as np
from tubepet.reconstruct import kernels, projector
from tubepet.types import Grid

rng, grid = np.random.default_rng(1), Grid.centred((10, 54, 54), (2.0, 1.0, 1.0))
turn, z_mm = rng.uniform(0, 2 * np.pi, 400), rng.uniform(-20, 20, 400)
points = np.stack([125 * np.cos(turn), 125 * np.sin(turn), z_mm], 1)
first = rng.integers(0, 400, 20000)
second = (first + rng.integers(150, 250, 20000)) % 400
image, none = rng.uniform(1, 2, grid.shape), projector.NO_TOF
sums = projector.forward(image, grid, points, first, second)
private, total = projector.private_images(grid), np.zeros(projector.num_padded(grid))
kernels.em_sums(
    projector.padded(image), points, first, second, np.zeros(20000), none, none,
    projector.grid_numbers(grid), 0, 1, private, total,
)
print(digest(sums, total))
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
    cold, warm = (
        subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert any(tmp_path.rglob("*.nbi")) and len(cold.strip()) == 64
    assert cold == warm
