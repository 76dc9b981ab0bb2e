"""Data sets larger than the memory: 150,000 slices of 256 x 256 pixels, 39 GB, in 2 GiB."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tubepet import io

NUM_SLICES = 150_000
LIMIT_GIB = 2.0
# torch, networks and a batch take 0.9 GiB (measured); the readings below touch 0.9 GiB of the file,
# which a reader that keeps what it reads would hold on top
EXPECTED_GIB = 1.2

TRAINING = f"""
import sys
from pathlib import Path
import numpy as np
import torch
from tubepet import io
from tubepet.training.devices import make_fabric
from tubepet.generate.data import Data, ct_images, positron_images
from tubepet.generate.models.dcgan import DCGAN
from tubepet.generate.run import Task, start
from tubepet.pretrain import train
from tubepet.training.checkpoint import training_digest
from tubepet.rng import stream

torch.set_num_threads(1)
folder = Path(sys.argv[1])
images = io.read_array(folder / "slices.npy")
assert images.shape == ({NUM_SLICES}, 256, 256)
split = stream(0, "test").choice(["train", "val", "test"], len(images), p=[0.8, 0.1, 0.1])

train.MAX_CODES = train.MAX_VALIDATION = 64  # not that many encodings in a test
settings = {{
    "latent_size": 8, "channels": 8, "num_steps": 3, "batch_size": 32, "learning_rate": 1e-3,
    "beta": 1.0, "kl_anneal_steps": 1, "sigma_x": 0.3, "validate_every": 2, "checkpoint_every": 2,
}}
trained = train.train_vae(images, split, (-160.0, 240.0), settings, 0, folder / "vae.pt", "test")
assert trained.facts["num_train"] > 100_000

is_train = split == "train"
data = Data(positron_images(images, is_train, 1.0), ct_images(images, is_train, (-160.0, 240.0)))
settings = {{
    "batch_size": 16, "augment": "dihedral", "lecam_weight": 0.0, "r1_weight": 0.0, "loss": "bce",
    "output": "activity", "filter_px": 1.0, "precision": "full", "learning_rate": 1e-3,
    "latent_size": 4, "channels": 4, "disc_channels": 4,
}}
run = start(Task(DCGAN(), settings, data, seed=0), make_fabric())
DCGAN().train_step(run)
for _ in range(100):
    run.next_batch("ct", data.ct)
training_digest({{}}, images[:2_000])
status = Path("/proc/self/status").read_text()
print(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_training_on_150_000_slices_holds_2_gib(tmp_path: Path) -> None:
    shape = (NUM_SLICES, 256, 256)
    stack = np.lib.format.open_memmap(tmp_path / "slices.npy", "w+", np.float32, shape)
    stack[::10_000, 100:150, 100:150] = 200.0  # the rest are holes of the file, read as zeros
    stack.flush()
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak_gib = int(done.stdout.split()[-1]) / 2**20
    assert peak_gib < EXPECTED_GIB < LIMIT_GIB


def test_rows_are_copies_and_pieces_are_all_rows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(io, "PIECE_BYTES", 100)
    array = np.arange(120, dtype=np.float32).reshape(20, 2, 3)  # 24 bytes a row: 4 in a piece
    io.write_array(tmp_path / "a.npy", array)
    mapped = io.read_array(tmp_path / "a.npy")
    for source in (array, mapped, mapped[:]):
        rows = io.take(source, np.array([3, 0]))
        np.testing.assert_array_equal(rows, array[[3, 0]])
        rows[:] = -1
        parts = list(io.pieces(source, np.arange(19)))
        assert [len(part) for part in parts] == [4, 4, 4, 4, 3]
        np.testing.assert_array_equal(np.concatenate(parts), array[:19])
