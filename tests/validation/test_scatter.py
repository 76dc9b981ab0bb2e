"""For many kinds of objects, scatter agrees with the truth codes, and activity is absolute.

Objects are cylinders of water in a wall, by the fast engine, without tuning. The table in
docs/notes/2026-11-reconstruction.md has 3e5 scattered coincidences each; here most have fewer.
"""

import numpy as np
import pytest
import yaml
from scipy.stats import chi2

from tubepet.phantom.materials import Material
from tubepet.reconstruct import calibration
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.background import detection, scatter
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.scanner import geometry
from tubepet.reconstruct.scanner.lors import Cylinder
from tubepet.simulate.coincidences import RANDOM, SCATTER, TRUE
from tubepet.simulate.fast import kernels, setup, tables, transport
from tubepet.types import Grid, Listmode, Scanner, Volume

pytestmark = [pytest.mark.validation, pytest.mark.xdist_group("objects")]

SEED = 31
CORE = (blur.Gaussian(1.0, 2.3, 3.6),)  # of calibrate_resolution in the default run
IRON = Material("iron", {26: 1.0}, 7.874)
CALIBRATION_DECAYS, CALIBRATION_BQ = 5e6, 1e4
# Half width and half length of the image, mm, and what lies in it: bore radius, wall, length, shift
# along x (mm), metal, Bq/mm3, decays.
IMAGES = {"small": (16.0, 16.0), "large": (52.0, 32.0)}
OBJECTS = {
    "thin": ("small", 5.0, 1.0, 10.0, 0.0, "aluminium", 600.0, 6e6),
    "default": ("small", 9.0, 3.0, 24.0, 0.0, "aluminium", 600.0, 2.2e7),
    "tenfold": ("small", 9.0, 3.0, 24.0, 0.0, "aluminium", 6000.0, 4e6),
    "off_axis": ("large", 9.0, 3.0, 24.0, 15.0, "aluminium", 600.0, 3e6),
    "narrow": ("large", 5.0, 8.0, 40.0, 0.0, "aluminium", 600.0, 3e6),
    "long": ("large", 15.0, 4.0, 50.0, 0.0, "aluminium", 60.0, 3e6),
    "largest": ("large", 25.0, 8.0, 60.0, 15.0, "aluminium", 60.0, 4e6),
    "flat": ("large", 25.0, 1.0, 10.0, 15.0, "aluminium", 60.0, 3e6),
    "steel": ("small", 9.0, 3.0, 24.0, 0.0, "iron", 600.0, 3e6),
    "steel_largest": ("large", 25.0, 8.0, 60.0, 15.0, "iron", 60.0, 6e6),
}  # fmt: skip


@pytest.fixture(scope="module")
def scanner(root):
    config = yaml.safe_load((root / "config" / "config.yaml").read_text(encoding="utf-8"))
    return Scanner(**config["scanner"])


def photons(metal):
    """Tables with this metal in the place of aluminium."""
    air, water, aluminium = tables.VOXELS
    return tables.photons((air, water, IRON if metal == "iron" else aluminium))


def acquire(what, known, activity_bq, decays, scanner):
    """Prompts with truth codes, delayed pairs, number of decays."""
    parts, delayed, num = [], [], 0
    duration_s = decays / activity_bq
    for batch in transport.batches(
        what, known, activity_bq, duration_s, scanner, 500.0, SEED, 2, "cpu"
    ):
        num = batch.num_decays
        for pairs, into in ((batch.prompts, parts), (batch.delayed, delayed)):
            first, second = pairs.first.counts, pairs.second.counts
            is_scattered = (first + second)[:, kernels.NUM_COMPTON :].sum(axis=1) > 0
            truth = np.where(is_scattered, SCATTER, TRUE)
            truth[first[:, kernels.EVENT] != second[:, kernels.EVENT]] = RANDOM
            crystals = (c[:, kernels.CRYSTAL_ID].astype(np.int32) for c in (first, second))
            into.append((*crystals, truth.astype(np.uint8)))
    lists = []
    for found in (parts, delayed):
        first, second, truth = (np.concatenate(column) for column in zip(*found, strict=True))
        lists.append(Listmode(first, second, np.zeros(len(first)), truth))
    return *lists, num, duration_s


@pytest.fixture(scope="module")
def instruments(scanner):
    """Calibrate for both images."""
    made = {}
    for name, (half_mm, half_z_mm) in IMAGES.items():
        radius_mm = 0.875 * half_mm
        what = setup.cylinder(radius_mm, 2 * half_z_mm, scanner, tables.photons())
        events, _, num, _ = acquire(
            what, tables.photons(), CALIBRATION_BQ, CALIBRATION_DECAYS, scanner
        )
        source = Cylinder(radius_mm, -half_z_mm, half_z_mm)
        found = calibration.fit_efficiency(events, scanner, source, num, name)
        efficiency = np.outer(found.by_step, found.by_difference)
        pixel_mm = 0.5 if half_mm < 20 else 1.0
        num_pixels = round(2 * half_mm / pixel_mm)
        shape = (round(2 * half_z_mm), num_pixels, num_pixels)
        grid = Grid.centred(shape, (1.0, pixel_mm, pixel_mm))
        geometric = Volume(sensitivity.geometric_sensitivity(scanner, grid, efficiency), grid)
        made[name] = Instrument(scanner, efficiency, geometric)
    return made


def made_of(bore_mm, wall_mm, length_mm, shift_mm):
    """Labels of a tube between two layers of air."""
    voxel_mm = 0.5 if bore_mm + wall_mm < 13 else 1.0
    num = 2 * int(np.ceil((bore_mm + wall_mm) / voxel_mm) + 1)
    centred = Grid.centred((round(length_mm / voxel_mm) + 2, num, num), (voxel_mm,) * 3)
    z_mm, y_mm, x_mm = centred.origin_mm
    _, y, x = centred.axes_mm()
    radius_mm = np.hypot(y[:, None], x)
    label = np.where(radius_mm < bore_mm, 1, np.where(radius_mm < bore_mm + wall_mm, 2, 0))
    grid = Grid(centred.shape, centred.voxel_mm, (z_mm, y_mm, x_mm + shift_mm))
    labels = np.broadcast_to(label, grid.shape).astype(np.uint8)
    labels[[0, -1]] = 0
    return Volume(labels, grid)


def chi_square(expected, counted):
    """Of profiles of the same total, over bins with more than 50 counts; and its probability."""
    expected = expected * counted.sum() / expected.sum()
    is_used = expected > 50
    total = float(((counted - expected)[is_used] ** 2 / expected[is_used]).sum())
    return total / (is_used.sum() - 1), float(chi2.sf(total, is_used.sum() - 1))


@pytest.mark.parametrize("name", OBJECTS)
def test_scatter_and_activity(scanner, instruments, name):
    image, bore_mm, wall_mm, length_mm, shift_mm, metal, per_mm3, decays = OBJECTS[name]
    labels, known = made_of(bore_mm, wall_mm, length_mm, shift_mm), photons(metal)
    activity = Volume((labels.array == 1).astype(float), labels.grid)
    per_mm = known.mu_per_mm[:, 511].sum(axis=1) * [0, 1, 1, 1]
    mu = Volume(per_mm[labels.array], labels.grid)
    volume_mm3 = float(activity.array.sum()) * labels.grid.voxel_volume_mm3
    what = setup.tube(labels, activity, scanner, known)
    events, delayed, num, duration_s = acquire(what, known, per_mm3 * volume_mm3, decays, scanner)

    instrument = instruments[image]
    seen = detection.detection_table(scanner)
    rate = scatter.moments(scatter.scene(activity, mu, instrument, seen, 1))[0]
    model = scatter.lor_counts(rate, scanner) * num / volume_mm3
    found = events.at(events.truth == SCATTER)
    ratio = model.sum() / len(found)
    steps = np.bincount(geometry.column_steps(found, scanner), minlength=len(model))
    ring_of = np.concatenate(geometry.rings(found, scanner))
    rings = np.bincount(ring_of, minlength=scanner.num_rings)
    by_ring = model.sum(axis=(0, 1)) + model.sum(axis=(0, 2))
    # three steps are 6 mm near the axis
    parts = np.arange(len(model)) // 3
    by_distance, p_distance = chi_square(
        np.bincount(parts, model.sum(axis=(1, 2))), np.bincount(parts, steps)
    )
    by_rings, p_rings = chi_square(by_ring, rings)

    settings = Settings(16, sensitivity_stride=16, psf=CORE, filter_fwhm_mm=1.5)
    measured = Measurement(events, mu, duration_s, delayed)
    made, _ = reconstruct(model_acquisition(measured, instrument, settings), settings, SEED)
    made_bq = float(made.array.sum(dtype=float)) * made.grid.voxel_volume_mm3
    trues = int((events.truth == TRUE).sum())
    print(
        f"{name}: {len(found)} scattered, model {ratio:.4f}; chi-square by distance"
        f" {by_distance:.2f} (p {p_distance:.2g}), by ring {by_rings:.2f} (p {p_rings:.2g});"
        f" activity {made_bq * duration_s / num:.4f} of the truth from {trues} trues,"
        f" randoms {(events.truth == RANDOM).mean():.3f} of {len(events)}"
    )
    # The model's own errors: 2 % by the shape of the crystals, 1.5 % by the number of points.
    assert ratio == pytest.approx(1, abs=0.03)
    # 1 to 3 % of shape at up to 3e5 counts: p > 0.001 does not hold for all (docs)
    assert by_distance < 3
    assert by_rings < 3
    # measured: -0.5 to 0.9 %, but for these
    off = {"thin": 0.025, "largest": 0.03, "steel_largest": 0.08}.get(name, 0.01)
    assert made_bq * duration_s == pytest.approx(num, rel=off)
