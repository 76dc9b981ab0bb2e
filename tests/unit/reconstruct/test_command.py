"""The command `tubepet reconstruct` and the workflow's script make the same image."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tubepet import io
from tubepet.cli import main
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.scanner import fingerprint
from tubepet.simulate import sources
from tubepet.simulate.fast import transport
from tubepet.types import Volume

DURATION_S = 0.1
# hardly anything as the command's defaults
SECTION = {
    "num_iterations": 4, "num_subsets": 1, "algorithm": "map_rdp", "prior_strength": 0.05,
    "stopping": "held_out", "filter_fwhm_mm": 1.0, "sensitivity_stride": 4, "tof": True,
    "backend": "numba", "psf": "fitted", "background": "modelled", "num_slices": 10,
    "num_pixels": 24, "slice_mm": 2.0, "pixel_mm": 1.0,
}  # fmt: skip
SEED = 7
KERNEL = [[0.8, 1.6, 2.4], [0.2, 4.0, 4.0]]
SCRIPT = """
import json, runpy, sys
from types import SimpleNamespace

class Named(dict):
    __getattr__ = dict.__getitem__

told = json.loads(sys.argv[2])
snakemake = SimpleNamespace(
    **{key: Named(told[key]) for key in ("input", "output", "params", "wildcards")},
    log=[told["log"]], threads=1,
)
runpy.run_path(sys.argv[1], {"snakemake": snakemake})
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, scanner, grid):
    """Write the files of a run of one tube: a cylinder of water, with delayed pairs."""
    folder = tmp_path_factory.mktemp("tube")
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    labels = ((np.hypot(x, y) < 8) & (np.abs(z) < 7)).astype(np.uint8)
    activity = (labels * 2000.0).astype(np.float32)
    io.write_volume(folder / "labels.nii.gz", Volume(labels, grid))
    io.write_volume(folder / "activity.nii.gz", Volume(activity, grid))
    io.write_volume(folder / "mu.nii.gz", Volume((labels * 0.0096).astype(np.float32), grid))
    source = sources.tube_source(folder / "labels.nii.gz", folder / "activity.nii.gz", grid)
    total_bq = float(activity.sum()) * grid.voxel_volume_mm3
    transport.simulate(
        "tube", source, total_bq, DURATION_S, scanner, 3, 1, folder / "coincidences.root", 500.0,
        "cpu",
    )  # fmt: skip
    mark = fingerprint.scanner_hash(scanner)
    ones = {"by_step": [0.3] * 25, "by_difference": [1.0] * 10}
    io.write_json(folder / "calibration.json", {"scanner": mark, **ones})
    io.write_json(folder / "resolution.json", {"kernel": KERNEL, "scanner": mark})
    io.write_json(folder / "stats.json", {"tables": "substitute", "live_share": 1.0})
    efficiency = np.full((25, 10), 0.3)
    geometric = sensitivity.geometric_sensitivity(scanner, grid, efficiency).astype(np.float32)
    note = f"model {fingerprint.model_hash(scanner, grid, efficiency)}"
    io.write_volume(folder / "sensitivity.nii.gz", Volume(geometric, grid, note))
    fields = {**vars(scanner), "energy_window_kev": [350.0, 650.0], "readout_block": [1, 1]}
    fields |= {"modules": [], "dead_crystals": []}
    config = {"seed": SEED, "scanner": fields, "reconstruct": SECTION}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def of_workflow(folder, config, root):
    """Run the script of the rule reconstruct_tube, told what the rule tells it."""
    names = ("sensitivity.nii.gz", "activity.nii.gz", "mu.nii.gz", "coincidences.root")
    names += ("calibration.json", "resolution.json", "stats.json")
    section = config["reconstruct"]
    mlem = {key: section[key] for key in SECTION if key not in NOT_MLEM}
    told = {
        "input": {name.partition(".")[0]: str(folder / name) for name in names},
        "output": {
            "image": str(folder / "image.nii.gz"), "trace": str(folder / "trace.csv"),
            "convergence": str(folder / "convergence.png"), "figure": str(folder / "image.png"),
        },
        "params": {
            "scanner": config["scanner"], "duration_s": DURATION_S, "attenuation": "nominal",
            "background": section["background"], "mlem": mlem, "seed": config["seed"],
        },
        "wildcards": {"tube": "tube_0000"},
        "log": str(folder / "log.txt"),
    }  # fmt: skip
    script = root / "workflow/scripts/reconstruct_tube.py"
    command = [sys.executable, "-c", SCRIPT, str(script), json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return io.read_volume(folder / "image.nii.gz")


NOT_MLEM = ("psf", "background", "num_slices", "num_pixels", "slice_mm", "pixel_mm")


def command(folder, output, *options):
    given = ["--scanner", "config.yaml", "--calibration", "calibration.json", "--mu", "mu.nii.gz"]
    given += ["--resolution", "resolution.json"]
    paths = [word if word.startswith("--") else str(folder / word) for word in given]
    duration = ["--duration-s", str(DURATION_S)]
    words = ["reconstruct", str(folder / "coincidences.root"), *paths, *duration, *options]
    return CliRunner().invoke(main, [*words, "-o", str(output)])


def test_command_and_workflow_make_the_same_image(run_folder, tmp_path, root) -> None:
    """From the same files and config, without one option that says how."""
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    expected = of_workflow(run_folder, config, root)
    done = command(run_folder, tmp_path / "x.nii.gz")
    assert done.exit_code == 0, done.output
    image = io.read_volume(tmp_path / "x.nii.gz")
    assert image.grid == expected.grid and expected.array.sum() > 0
    # the same sums; threads add them in another order, in float32
    np.testing.assert_allclose(image.array, expected.array, rtol=1e-4, atol=1e-5 * 2000)
    assert image.note == "Bq/mm3" and expected.note.startswith("Bq/mm3")
    facts = io.read_json(tmp_path / "x.json")
    assert (facts["randoms"], facts["seed"], facts["psf"]) == ("delayed", SEED, KERNEL)
    assert all(facts[key] == SECTION[key] for key in SECTION if key not in NOT_MLEM)
