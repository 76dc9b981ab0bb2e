"""Time of flight, from the coincidence file of the fast engine to the image."""

import dataclasses

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tubepet import io
from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct as reconstructed
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.scanner import fingerprint, geometry, time_of_flight
from tubepet.simulate import sources
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.simulate.fast import transport
from tubepet.types import Volume

PLACE_MM = np.array([9.5, -6.5, 1.0])  # x, y, z: the centre of a voxel
DURATION_S = 1e-2
SETTINGS = Settings(3, psf=blur.gaussian(3.0), sensitivity_stride=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scanner, grid):
    """Simulate a hot voxel in water, off the axis: 3200 true, 180 scattered, 400 random pairs."""
    folder = tmp_path_factory.mktemp("point")
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    labels = ((np.hypot(x, y) < 11) & (np.abs(z) < 8)).astype(np.uint8)
    activity = np.zeros(grid.shape, np.float32)
    centre = np.stack([x, y, z], axis=-1)
    activity[np.linalg.norm(centre - PLACE_MM, axis=-1) < 0.1] = 1e5 / DURATION_S / 2.0
    assert (activity > 0).sum() == 1
    names = ("labels.nii.gz", "activity.nii.gz", "mu.nii.gz", "c.root")
    labels_path, activity_path, mu_path, path = (folder / name for name in names)
    io.write_volume(labels_path, Volume(labels, grid))
    io.write_volume(activity_path, Volume(activity, grid))
    io.write_volume(mu_path, Volume((labels * 0.0096).astype(np.float32), grid))
    transport.simulate(
        "point", sources.tube_source(labels_path, activity_path, grid), 1e5 / DURATION_S,
        DURATION_S, scanner, 3, 1, path, 500.0, "cpu",
    )  # fmt: skip
    ones = {"by_step": [0.3] * 25, "by_difference": [1.0] * 10}
    io.write_json(folder / "c.json", {"scanner": fingerprint.scanner_hash(scanner), **ones})
    fields = {**vars(scanner), "energy_window_kev": [350.0, 650.0]}
    (folder / "s.yaml").write_text(yaml.safe_dump({"scanner": fields}))
    return folder


@pytest.fixture(scope="module")
def reconstruct(folder, scanner, grid):
    """Return a function of events and whether times and delayed pairs are used."""
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.3)
    geometric = Volume(sensitivity.geometric_sensitivity(scanner, grid, efficiency), grid)
    instrument = Instrument(scanner, efficiency, geometric)
    mu = io.read_volume(folder / "mu.nii.gz")
    delayed = read_delayed(folder / "c.root", scanner)

    def run(events, tof=False, is_modelled=True):
        settings = dataclasses.replace(SETTINGS, tof=tof)
        measured = Measurement(events, mu, DURATION_S, delayed if is_modelled else None)
        return reconstructed(model_acquisition(measured, instrument, settings), settings, 0)

    return run


def test_widths_by_hand(scanner):
    # 300 ps FWHM of the difference, 127.4 ps sigma, times c / 2
    assert time_of_flight.sigma_mm(scanner) == pytest.approx(19.1, abs=0.05)
    # 300 ps FWHM of a single, 424 ps of the difference, 180 ps sigma, times c / 2
    older = dataclasses.replace(scanner, time_resolution_per="single")
    assert time_of_flight.sigma_mm(older) == pytest.approx(27.0, abs=0.05)
    assert time_of_flight.reach_mm(scanner) == pytest.approx(2997.9, abs=0.1)  # -10 ns ... 10 ns
    assert time_of_flight.positions_mm(np.array([1.0]))[0] == pytest.approx(-149.9, abs=0.01)


def test_times_place_an_off_centre_point_where_it_is(folder, scanner):
    """The other sign would place it on the far side of every line: on the axis, on average."""
    events = read_coincidences(folder / "c.root", scanner)
    points = geometry.crystal_points_mm(scanner)
    start, end = points[events.crystal1], points[events.crystal2]
    way = (end - start) / np.linalg.norm(end - start, axis=1)[:, None]
    positions_mm = time_of_flight.positions_mm(events.time_difference_ns)
    is_true = events.truth == 0
    placed = ((start + end) / 2 + way * positions_mm[:, None])[is_true]
    assert is_true.sum() > 3000
    # 19 mm along lines that lie mostly across the axis: 0.25 mm in x and y, times six
    np.testing.assert_allclose(placed.mean(axis=0)[:2], PLACE_MM[:2], atol=1.4)
    assert (positions_mm[events.truth == 2] < -200).mean() > 0.7  # randoms: anywhere up to 10 ns


def test_the_right_sign_explains_the_events_better(folder, scanner, grid, reconstruct):
    events = read_coincidences(folder / "c.root", scanner)
    mirrored = dataclasses.replace(events, time_difference_ns=-events.time_difference_ns)
    (image, trace), (_, wrong), (plain, _) = (
        reconstruct(events, tof=True),
        reconstruct(mirrored, tof=True),
        reconstruct(events),
    )
    # a line u from its middle is mirrored by 2 u, which costs 2 (u / 19 mm)^2; u^2 is 66 mm2 on
    # average, so 3200 true events cost about 1160, with a Poisson error of some 40
    assert trace["log_likelihood"].iloc[-1] > wrong["log_likelihood"].iloc[-1] + 900
    # as many counts are true, scattered and random with times as without: 1.8 % from 3200
    assert image.array.sum() == pytest.approx(plain.array.sum(), rel=0.03)
    assert np.diff(trace["log_likelihood"]).min() > 0
    peak = np.unravel_index(image.array.argmax(), image.array.shape)
    place_mm = [axis[i] for axis, i in zip(grid.axes_mm(), peak, strict=True)][::-1]
    np.testing.assert_allclose(place_mm, PLACE_MM, atol=2.1)  # a voxel


def test_the_command_makes_the_same_image(folder, scanner, tmp_path, reconstruct):
    names = ("c.root", "s.yaml", "c.json", "mu.nii.gz")
    events, ring, calibration, mu = (str(folder / name) for name in names)
    options = ["--scanner", ring, "--calibration", calibration, "--mu", mu, "--tof"]
    options += ["--shape", "10", "24", "24", "--voxel-mm", "2", "1", "1", "--iterations", "3"]
    options += ["--psf-mm", "3", "--filter-mm", "0", "--duration-s", str(DURATION_S)]
    words = ["reconstruct", events, "-o", str(tmp_path / "x.nii.gz"), *options]
    done = CliRunner().invoke(main, [*words, "--randoms", "fitted"])
    assert done.exit_code == 2 and "--tof: expected --randoms delayed" in done.output
    done = CliRunner().invoke(main, words)  # delayed pairs are there, and the model is the default
    assert done.exit_code == 0, done.output
    expected, _ = reconstruct(read_coincidences(folder / "c.root", scanner), tof=True)
    got = io.read_volume(tmp_path / "x.nii.gz").array
    np.testing.assert_allclose(got, expected.array, rtol=1e-4, atol=1e-4 * got.max())


def test_times_that_cannot_be_used_are_refused(folder, scanner, reconstruct):
    events = read_coincidences(folder / "c.root", scanner)
    with pytest.raises(InputError, match="time of flight: got a fitted background"):
        reconstruct(events, tof=True, is_modelled=False)
    for value, sentence in ((0.0, "all time differences are 0"), (np.nan, "NaN or infinite time")):
        times = np.full(len(events), value)
        with pytest.raises(InputError, match=sentence):
            reconstruct(dataclasses.replace(events, time_difference_ns=times), tof=True)
