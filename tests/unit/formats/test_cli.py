import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
import yaml
from click.testing import CliRunner
from tests.unit.formats.test_gate import GATE10, write

from tubepet import io
from tubepet.cli import main, settings
from tubepet.errors import InputError
from tubepet.formats import castor, petsird, tables
from tubepet.formats.gate import read_gate
from tubepet.formats.tables import LINE_COLUMNS
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.blur import gaussian
from tubepet.reconstruct.scanner import crystals, fingerprint
from tubepet.simulate.coincidences import write_empty
from tubepet.types import Grid, Listmode, Scanner, Volume

GRID = ["--shape", "10", "24", "24", "--voxel-mm", "2", "1", "1", "--iterations", "3"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory, scanner, centres_mm) -> Path:
    """Write a uniform cylinder, radius 6 mm, length 14 mm, and its scanner in both ways."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(2)
    ring = crystals.of_scanner(scanner)
    num = 400_000
    radius, turn = 6 * np.sqrt(rng.uniform(size=num)), rng.uniform(0, 2 * np.pi, num)
    middle = np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    start_mm, cosine = rng.uniform(-7, 7, num), rng.uniform(-1, 1, num)
    azimuth = rng.uniform(0, np.pi, num)
    flat = np.column_stack([np.cos(azimuth), np.sin(azimuth)])
    along = (middle * flat).sum(axis=1)
    reach = np.sqrt(along**2 + np.hypot(*ring.points_mm[0, :2]) ** 2 - (middle**2).sum(axis=1))
    ends, is_seen = [], np.ones(num, bool)
    for sign in (1, -1):
        way = -along + sign * reach
        x, y = (middle + flat * way[:, None]).T
        z_mm = start_mm + way * cosine / np.sqrt(1 - cosine**2)
        column = np.rint(np.arctan2(y, x) / (2 * np.pi) * scanner.num_columns)
        row = np.rint(z_mm / scanner.axial_pitch_mm + (scanner.num_rings - 1) / 2)
        is_seen &= (row >= 0) & (row < scanner.num_rings)
        ends.append(row * scanner.num_columns + column % scanner.num_columns)
    ends = [crystal[is_seen].astype(int) for crystal in ends]
    times_ns = rng.uniform(0, 1e9, len(ends[0]))
    write(folder / "c.root", GATE10, centres_mm[ends[0]], centres_mm[ends[1]], times_ns, times_ns)
    lines = pd.DataFrame(ring.points_mm[np.array(ends).T].reshape(-1, 6), columns=LINE_COLUMNS)
    lines.head(100).to_csv(folder / "untimed.csv", index=False)
    lines.assign(time_s=times_ns * 1e-9).to_csv(folder / "l.csv", index=False)
    tables.write_crystals(folder / "s.csv", ring)
    fields = {**vars(scanner), "energy_window_kev": [350.0, 650.0]}
    (folder / "s.yaml").write_text(yaml.safe_dump({"scanner": fields}))
    return folder


def run(folder: Path, events: str, scanner: str, output: Path, *more: str):
    args = ["reconstruct", str(folder / events), "--scanner", str(folder / scanner)]
    return CliRunner().invoke(main, [*args, "-o", str(output), *GRID, *more])


def test_equals_the_workflows_function(folder, tmp_path, scanner, grid) -> None:
    done = run(folder, "c.root", "s.yaml", tmp_path / "a.nii.gz")
    assert done.exit_code == 0, done.output
    image = io.read_volume(tmp_path / "a.nii.gz")
    events: Listmode = read_gate(folder / "c.root", crystals.of_scanner(scanner))
    ones = np.ones((25, 10))
    plain = sensitivity.geometric_sensitivity(scanner, grid, ones).astype(np.float32)
    mu = Volume(np.full(grid.shape, 1e-9, np.float32), grid)
    settings = Settings(3, psf=gaussian(2.1), filter_fwhm_mm=1.5, sensitivity_stride=16)
    instrument = Instrument(scanner, ones, Volume(plain, grid))
    model = model_acquisition(Measurement(events, mu, 1.0), instrument, settings)
    expected, _ = reconstruct(model, settings, 0)
    np.testing.assert_allclose(image.array, expected.array, rtol=1e-6)  # the same sums
    assert image.grid == grid and image.note == "counts-scaled"
    assert io.read_json(tmp_path / "a.json")["num_iterations"] == 3
    again = run(folder, "c.root", "s.yaml", tmp_path / "a.nii.gz")
    assert again.exit_code == 2 and "exists already" in again.output


def test_nothing_that_is_read_is_overwritten(folder, tmp_path) -> None:
    """The settings go into NAME.json, which may be the calibration."""
    calibration = tmp_path / "c.json"
    calibration.write_text("{}")
    mu = tmp_path / "mu.nii.gz"
    io.write_volume(mu, Volume(np.zeros((2, 2, 2)), Grid.centred((2, 2, 2), (9.0,) * 3)))
    (tmp_path / "link.nii.gz").symlink_to(mu)
    before = calibration.read_bytes(), mu.read_bytes()
    for output in ("c.nii.gz", "mu.nii.gz", "link.nii.gz"):
        more = ("--force", "--calibration", str(calibration), "--mu", str(mu))
        done = run(folder, "c.root", "s.yaml", tmp_path / output, *more)
        assert done.exit_code == 2 and "would be overwritten and is read" in done.stderr
    assert before == (calibration.read_bytes(), mu.read_bytes())
    resolution = tmp_path / "r.json"
    io.write_json(resolution, {"kernel": [[1.0, 2.0, 2.0]]})
    more = ("--force", "--resolution", str(resolution))
    done = run(folder, "c.root", "s.yaml", tmp_path / "r.nii.gz", *more)
    assert done.exit_code == 2 and "r.json: would be overwritten and is read" in done.stderr


def test_lines_of_a_table_show_the_same_object(folder, tmp_path) -> None:
    for name, events, scanner in (("a", "c.root", "s.yaml"), ("b", "l.csv", "s.csv")):
        done = run(folder, events, scanner, tmp_path / f"{name}.nii.gz")
        assert done.exit_code == 0, done.output
    first, second = (io.read_volume(tmp_path / f"{n}.nii.gz").array for n in "ab")
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.98
    # one fits a background to the lines that miss the image's cylinder, the other has none
    assert second.sum() == pytest.approx(first.sum(), rel=0.05)
    # 400,000 decays, counted on faces that leave no gap: larger than the 4 x 4 mm2 of the model.
    # Counts scatter by 0.3 %; the sensitivity varies within a crystal, which three iterations keep
    gapless_mm2 = 4.2 * 2 * np.pi * 47.4 / 48
    assert second.sum() * 2.0 == pytest.approx(400_000 * (gapless_mm2 / 16) ** 2, rel=0.03)


def test_frames_are_one_file_with_their_times(folder, tmp_path) -> None:
    """Events of constant rate, not sorted in time; the correction counts later ones for more."""
    options = ("--frame-s", "0.4", "--half-life-s", "0.4", "--psf-mm", "0", "--filter-mm", "0")
    done = run(folder, "c.root", "s.csv", tmp_path / "f.nii.gz", *options)
    assert done.exit_code == 0, done.output
    series = sitk.ReadImage(str(tmp_path / "f.nii.gz"))
    np.testing.assert_allclose(series.GetSpacing(), [1, 1, 2, 0.4], rtol=1e-6)
    frames = sitk.GetArrayFromImage(series)
    assert frames.shape == (3, 10, 24, 24)
    facts = io.read_json(tmp_path / "f.json")
    assert facts["frames_s"] == [[0.0, 0.4], [0.4, 0.8], [0.8, 1.0]]
    # the mean of 2^(-t / 0.4 s) over one half life is 1 / (2 ln 2)
    assert facts["decay_factors"][:2] == pytest.approx([0.7213475, 0.7213475 / 2])
    activity = frames.sum(axis=(1, 2, 3)) * facts["decay_factors"]
    # as many events in every second: 4e4 and 2e4 of them, drawn at random
    np.testing.assert_allclose(activity / activity.mean(), 1, atol=0.03)
    options = ("--start-s", "0.4", "--stop-s", "0.8", "--half-life-s", "0.4", *options[4:])
    done = run(folder, "l.csv", "s.csv", tmp_path / "g.nii.gz", *options)
    assert done.exit_code == 0, done.output
    one = io.read_volume(tmp_path / "g.nii.gz").array
    # times as such correct nothing: the half life says that there is decay
    options = [*options[:4], *options[6:]]
    done = run(folder, "l.csv", "s.csv", tmp_path / "h.nii.gz", *options)
    assert done.exit_code == 0, done.output
    plain = io.read_volume(tmp_path / "h.nii.gz").array
    np.testing.assert_allclose(plain, one * facts["decay_factors"][1], rtol=1e-5)  # float32
    assert io.read_json(tmp_path / "h.json")["decay_factors"] == [1.0]
    assert one.sum() == pytest.approx(frames[1].sum(), rel=1e-3)  # times in CSV: 1e-12 s


@pytest.mark.parametrize(
    ("events", "more", "sentence"),
    [
        ("c.root", ["--frame-s", "2"], "frame_s: got 2 s, expected at most the 1 s"),
        ("c.root", ["--stop-s", "2"], "got 0 to 2 s, expected a part of the acquisition, 0 to 1 s"),
        (
            "c.root",
            ["--frame-s", "0.1", "--duration-s", "0.5"],
            "expected 0 to the duration, 0.5 s",
        ),
        ("untimed.csv", ["--frame-s", "0.1"], "the events have no times"),
        ("c.root", ["--duration-s", "0.5"], "expected 0 to the duration, 0.5 s (--duration-s"),
        ("l.csv", ["--duration-s", "0.5"], "expected 0 to the duration, 0.5 s (--duration-s"),
    ],
)
def test_impossible_frames_are_one_sentence(folder, tmp_path, events, more, sentence) -> None:
    done = run(folder, events, "s.csv", tmp_path / "x.nii.gz", *more)
    assert done.exit_code == 2 and sentence in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--shape", "99", "200", "200"], "line ends inside the image"),
        (["--shape", "100000", "100000", "1000"], "GB of this machine"),
        (["--pairs", "1"], "where the sensitivity is 0"),
    ],
)
def test_bad_input_is_one_sentence(folder, tmp_path, more, sentence) -> None:
    done = run(folder, "l.csv", "s.csv", tmp_path / "x.nii.gz", *more)
    assert done.exit_code == 2 and sentence in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("events", "table", "more", "sentence"),
    [
        ("c.root", "s.yaml", ["--shape", "10", "80", "80"], "line ends inside the image"),
        (
            "c.root",
            "s.yaml",
            ["--backend", "parallelproj"],
            "reconstruct.backend: got parallelproj",
        ),
        ("c.root", "s.yaml", ["--tof"], "--tof: expected --randoms delayed too"),
        ("empty.root", "s.yaml", [], "empty.root: got no coincidences"),
        ("empty.root", "s.csv", [], "empty.root: got no coincidences"),
    ],
)
def test_bad_coincidences_are_one_sentence(
    folder, tmp_path, monkeypatch, events, table, more, sentence
) -> None:
    monkeypatch.setenv("TUBEPET_PARALLELPROJ", "/nowhere/lib.so")
    write_empty(folder / "empty.root")
    done = run(folder, events, table, tmp_path / "x.nii.gz", *more)
    assert done.exit_code == 2 and sentence in done.output
    assert not list(tmp_path.iterdir())


def test_attenuation_in_another_unit_of_length(folder, tmp_path) -> None:
    wide = Grid.centred((10, 24, 24), (2.0, 10.0, 10.0))
    io.write_volume(tmp_path / "mu.nii.gz", Volume(np.full(wide.shape, 0.01, np.float32), wide))
    for events, scanner in (("l.csv", "s.csv"), ("c.root", "s.yaml")):
        options = ("--mu", str(tmp_path / "mu.nii.gz"))
        done = run(folder, events, scanner, tmp_path / "x.nii.gz", *options)
        assert done.exit_code == 2 and "attenuates at the crystals" in done.output


def test_negative_attenuation(folder, tmp_path) -> None:
    """NaN cannot be tested through a file: the NIfTI library reads NaN as 0."""
    mu = Volume(np.full((2, 2, 2), -0.01, np.float32), Grid.centred((2, 2, 2), (1.0, 1.0, 1.0)))
    io.write_volume(tmp_path / "mu.nii.gz", mu)
    done = run(folder, "l.csv", "s.csv", tmp_path / "x.nii.gz", "--mu", str(tmp_path / "mu.nii.gz"))
    assert done.exit_code == 2 and "expected >= 0 1/mm" in done.output


def test_folder_becomes_a_dicom_series(folder, tmp_path, scanner) -> None:
    done = run(folder, "c.root", "s.yaml", tmp_path / "series")
    assert done.exit_code == 2 and "expected --calibration and --mu too" in done.output
    files = calibrated(tmp_path, scanner)
    done = run(folder, "c.root", "s.yaml", tmp_path / "series", "--algorithm", "tv", *files)
    assert done.exit_code == 2 and "without --duration-s: the length" in done.output
    options = ("--algorithm", "tv", *files, "--duration-s", "1")
    done = run(folder, "c.root", "s.yaml", tmp_path / "series", *options)
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "series").glob("*.dcm"))
    assert len(files) == 10
    assert pydicom.dcmread(files[0]).Modality == "PT"
    assert io.read_json(tmp_path / "series.json")["algorithm"] == "tv"


def calibrated(folder: Path, scanner: Scanner) -> list[str]:
    """Return the options of a calibration and a map of water, written here."""
    ones = {"by_step": [1.0] * 25, "by_difference": [1.0] * 10}
    io.write_json(folder / "c.json", {"scanner": fingerprint.scanner_hash(scanner), **ones})
    wide = Grid.centred((12, 24, 24), (2.0, 1.0, 1.0))
    z, y, x = np.meshgrid(*wide.axes_mm(), indexing="ij")
    water = (np.hypot(x, y) < 6) & (np.abs(z) < 7)
    io.write_volume(folder / "mu.nii.gz", Volume((water * 0.0096).astype(np.float32), wide))
    return ["--calibration", str(folder / "c.json"), "--mu", str(folder / "mu.nii.gz")]


def test_delayed_randoms_need_the_whole_model(folder, tmp_path) -> None:
    done = run(folder, "c.root", "s.yaml", tmp_path / "a.nii.gz", "--randoms", "delayed")
    assert done.exit_code == 2 and "expected --mu, --calibration and a ROOT file" in done.output


def test_petsird_brings_its_scanner(folder, tmp_path, scanner) -> None:
    ring = crystals.of_scanner(scanner)
    events = read_gate(folder / "c.root", ring)
    nothing = Listmode(*(array[:0] for array in vars(events).values()))
    petsird.write_petsird(tmp_path / "e.petsird", ring, events, nothing, 1.0, 300.0)
    args = ["reconstruct", str(tmp_path / "e.petsird"), "-o", str(tmp_path / "p.nii.gz"), *GRID]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    run(folder, "c.root", "s.csv", tmp_path / "t.nii.gz")
    first, second = (io.read_volume(tmp_path / f"{n}.nii.gz").array for n in "pt")
    # the same lines, but for the file's float32
    assert np.abs(first - second).max() < 1e-3 * second.max()
    done = CliRunner().invoke(main, ["reconstruct", str(folder / "c.root"), "-o", "x.nii.gz"])
    assert done.exit_code == 2 and "--scanner: expected one" in done.output


def castor_of(folder, target: Path, scanner, duration_s: float, *lines: str) -> str:
    """Write a tenth of the events as CASToR's, with more lines in the header; return its path."""
    events = read_gate(folder / "c.root", crystals.of_scanner(scanner))
    some = events.at(np.arange(0, len(events), 10))
    castor.write_castor(target, some, "small", duration_s, 0.0)
    target.write_text(target.read_text() + "".join(f"{line}\n" for line in lines))
    return str(target)


def image_sum(path: Path) -> float:
    return float(io.read_volume(path).array.sum())


def test_castors_duration_is_used_and_an_option_wins(folder, tmp_path, scanner, caplog) -> None:
    """Before, a header that said 600 s was taken for 1 s: an image 600 times too large."""
    events = castor_of(folder, tmp_path / "e.cdh", scanner, 600.0)
    for name, more in (("a", []), ("b", ["--duration-s", "1"]), ("c", ["--duration-s", "600"])):
        caplog.clear()
        done = run(folder, events, "s.csv", tmp_path / f"{name}.nii.gz", *more)
        assert done.exit_code == 0, done.output
        assert ("e.cdh says 600 s: 1 s are used" in caplog.text) == (name == "b")
        assert io.read_json(tmp_path / f"{name}.json")["duration_s"] == (1 if name == "b" else 600)
    first, second, third = (image_sum(tmp_path / f"{name}.nii.gz") for name in "abc")
    assert second / first == pytest.approx(600, rel=1e-5)  # float32
    assert third == first


def test_the_rest_of_castors_header(folder, tmp_path, scanner, caplog) -> None:
    lines = ("Calibration factor: 2.5", "Isotope: O-15", "Horizontal bed relative position (mm): 9")
    plain = castor_of(folder, tmp_path / "e.cdh", scanner, 1.0)
    events = castor_of(folder, tmp_path / "f.cdh", scanner, 1.0, *lines)
    for name, path, more in (
        ("a", plain, []), ("b", events, []), ("d", events, ["--frame-s", "1"]),
        ("c", events, ["--frame-s", "1", "--half-life-s", "122.24"]),
    ):  # fmt: skip
        done = run(folder, path, "s.csv", tmp_path / f"{name}.nii.gz", *more)
        assert done.exit_code == 0, done.output
    sums = [image_sum(tmp_path / f"{name}.nii.gz") for name in "abcd"]
    assert sums[1] / sums[0] == pytest.approx(2.5, rel=1e-5)
    # the mean of 2^(-t / 122.24 s) over 1 s
    assert sums[2] / sums[3] == pytest.approx(1 + np.log(2) / 122.24 / 2, rel=1e-5)
    assert io.read_json(tmp_path / "c.json")["half_life_s"] == 122.24
    said = "says 'O-15': frames are not corrected for its decay without --half-life-s 122.24"
    assert caplog.text.count(said) == 1  # an isotope alone corrects nothing
    facts = io.read_json(tmp_path / "b.json")
    assert (facts["calibration_factor"], facts["isotope"], facts["bed_mm"]) == (2.5, "O-15", 9)
    strange = castor_of(folder, tmp_path / "g.cdh", scanner, 1.0, "Isotope: Xx-99")
    more = ["--frame-s", "1", "--half-life-s", "100"]
    done = run(folder, strange, "s.csv", tmp_path / "x.nii.gz", *more)
    assert done.exit_code == 0 and "says 'Xx-99': 100 s are used" in caplog.text
    done = run(folder, plain, "s.csv", tmp_path / "y.nii.gz", "--half-life-s", "100")
    assert done.exit_code == 2 and "expected --start-s, --stop-s or --frame-s too" in done.output


def test_pairs_that_were_not_recorded_are_not_expected(folder, tmp_path, scanner) -> None:
    """Events of at most two rings' difference, with a header that says so: the same activity."""
    events = read_gate(folder / "c.root", crystals.of_scanner(scanner))
    rings = events.crystal1 // scanner.num_columns - events.crystal2 // scanner.num_columns
    castor.write_castor(tmp_path / "e.cdh", events.at(np.abs(rings) <= 2), "small", 1.0, 0.0)
    text = (tmp_path / "e.cdh").read_text() + "Maximum axial difference mm: 8.5\n"
    (tmp_path / "e.cdh").write_text(text)
    for name, path in (("a", "c.root"), ("b", str(tmp_path / "e.cdh"))):
        done = run(folder, path, "s.csv", tmp_path / f"{name}.nii.gz", "--duration-s", "1")
        assert done.exit_code == 0, done.output
    # half of the pairs; counts scatter by 0.5 %, and three iterations keep a different noise
    assert image_sum(tmp_path / "b.nii.gz") == pytest.approx(
        image_sum(tmp_path / "a.nii.gz"), rel=0.03
    )
    done = run(folder, str(tmp_path / "e.cdh"), "s.yaml", tmp_path / "x.nii.gz")
    assert done.exit_code == 2 and "Maximum axial difference mm: got 8.5" in done.output


def test_a_table_of_castors_crystals(folder, tmp_path, scanner) -> None:
    events = castor_of(folder, tmp_path / "e.cdh", scanner, 1.0)
    ring = crystals.of_scanner(scanner)
    columns = np.hstack([ring.points_mm, ring.normals]).astype("<f4")
    columns.tofile(tmp_path / "s.lut")
    (tmp_path / "s.hscan").write_text(
        "number of layers: 1\ncrystals size trans: 4\ncrystals size axial: 4\n"
    )
    for name, table in (("a", folder / "s.csv"), ("b", tmp_path / "s.lut")):
        done = run(folder, events, str(table), tmp_path / f"{name}.nii.gz")
        assert done.exit_code == 0, done.output
    # the same lines, but for the file's float32
    first, second = (io.read_volume(tmp_path / f"{n}.nii.gz").array for n in "ab")
    assert np.abs(first - second).max() < 1e-3 * first.max()


def test_petsirds_blocks_and_efficiencies_are_used(folder, tmp_path, scanner) -> None:
    """A quarter of the columns counts a third, in the events and in the file: the same activity."""
    ring = crystals.of_scanner(scanner)
    events = read_gate(folder / "c.root", ring)
    known = np.where(np.arange(len(ring)) % scanner.num_columns < 12, 1 / 3, 1.0)
    chance = known[events.crystal1] * known[events.crystal2]
    thinned = events.at(np.random.default_rng(0).uniform(size=len(events)) < chance)
    nothing = events.at(np.arange(0))
    petsird.write_petsird(tmp_path / "a.petsird", ring, events, nothing, 2.0, 300.0)
    petsird.write_petsird(tmp_path / "b.petsird", ring, thinned, nothing, 2.0, 300.0)
    write_efficiencies(tmp_path / "b.petsird", known)
    for name in "ab":
        words = [
            "reconstruct", str(tmp_path / f"{name}.petsird"), "-o", str(tmp_path / f"{name}.nii.gz")
        ]  # fmt: skip
        # lines of few directions settle slowly: three iterations leave 18 %
        done = CliRunner().invoke(main, [*words, *GRID, "--iterations", "30"])
        assert done.exit_code == 0, done.output
        assert io.read_json(tmp_path / f"{name}.json")["duration_s"] == 2
    first, second = (io.read_volume(tmp_path / f"{n}.nii.gz").array for n in "ab")
    sides = [np.s_[:, :12, :12], np.s_[:, :12, 12:], np.s_[:, 12:, :12], np.s_[:, 12:, 12:]]
    ratios = [second[side].sum() / first[side].sum() for side in sides]
    # some 10,000 events in each, 1 %, and a third fewer of them in some directions
    np.testing.assert_allclose(ratios, 1, atol=0.05)


def write_efficiencies(path: Path, efficiencies) -> None:
    """Write efficiencies into the header of a PETSIRD file."""
    import petsird as package

    with package.BinaryPETSIRDReader(str(path)) as reader:
        header, blocks = reader.read_header(), list(reader.read_time_blocks())
    known = package.DetectionEfficiencies(detection_bin_efficiencies=[efficiencies.tolist()])
    header.scanner.detection_efficiencies = known
    with package.BinaryPETSIRDWriter(str(path)) as writer:
        writer.write_header(header)
        writer.write_time_blocks(blocks)


@pytest.mark.parametrize("events", ["c.root", "l.csv"])
def test_events_after_the_end_are_refused_without_frames_too(folder, tmp_path, events) -> None:
    done = run(folder, events, "s.csv", tmp_path / "x.nii.gz", "--duration-s", "0.5")
    assert done.exit_code == 2
    assert f"{events}: got events from 1.69" in done.output and "the duration, 0.5 s" in done.output


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        ("", ""),
        ("--mu", "without --mu: attenuation is not corrected, activity is too low"),
        ("--duration-s", "without --duration-s: the length of the acquisition is not known"),
        ("--calibration", "no calibration: unit counts-scaled"),
    ],
)
def test_a_unit_is_claimed_only_with_all_it_needs(
    folder, tmp_path, scanner, caplog, left_out, reason
) -> None:
    words = [*calibrated(tmp_path, scanner), "--duration-s", "1"]
    pairs = [words[i : i + 2] for i in range(0, len(words), 2)]
    given = [word for pair in pairs if pair[0] != left_out for word in pair]
    done = run(folder, "c.root", "s.yaml", tmp_path / "x.nii.gz", *given)
    assert done.exit_code == 0, done.output
    unit = "counts-scaled" if left_out else "Bq/mm3"
    assert io.read_volume(tmp_path / "x.nii.gz").note == unit
    assert io.read_json(tmp_path / "x.json")["unit"] == unit
    assert reason in caplog.text and ("not Bq/mm3, without" in caplog.text) == (
        left_out in ("--mu", "--duration-s")
    )


def with_section(folder: Path, target: Path, **section) -> str:
    content = yaml.safe_load((folder / "s.yaml").read_text())
    target.write_text(yaml.safe_dump(content | {"reconstruct": section}))
    return str(target)


def test_settings_come_from_the_config_and_options_win(folder, tmp_path, caplog) -> None:
    """Beside those that the test of command and workflow holds."""
    table = with_section(
        folder, tmp_path / "c.yaml", num_iterations=2, num_slices=10, num_pixels=48, slice_mm=2,
        psf="gaussian", psf_fwhm_mm=3.0, filter_fwhm_mm=0, background="tail_fit",
    )  # fmt: skip
    words = ["reconstruct", str(folder / "c.root"), "--scanner", table, "--duration-s", "1"]
    done = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "a.nii.gz")])
    assert done.exit_code == 0, done.output
    facts = io.read_json(tmp_path / "a.json")
    assert (facts["num_iterations"], facts["filter_fwhm_mm"]) == (2, 0)
    assert (facts["shape"], facts["voxel_mm"]) == ([10, 48, 48], [2.0, 0.5, 0.5])
    assert facts["psf"] == [[1.0, 3.0, 3.0]] and "needs --" not in caplog.text
    more = ["--iterations", "3", "--psf-mm", "1.5", "--filter-mm", "1", "--voxel-mm", "2", "1", "1"]
    done = CliRunner().invoke(main, [*words, *more, "-o", str(tmp_path / "b.nii.gz")])
    assert done.exit_code == 0, done.output
    facts = io.read_json(tmp_path / "b.json")
    assert (facts["num_iterations"], facts["filter_fwhm_mm"]) == (3, 1)
    assert facts["psf"] == [[1.0, 1.5, 1.5]] and facts["voxel_mm"] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"num_iterations": 2.5}, "reconstruct.num_iterations: got 2.5, expected"),
        ({"num_iterations": True}, "reconstruct.num_iterations: got True, expected"),
        ({"filter_fwhm_mm": float("nan")}, "reconstruct.filter_fwhm_mm: got nan, expected"),
        ({"psf_fwhm_mm": float("nan")}, "psf_fwhm_mm: got nan, expected a number from 0 to 10"),
        ({"algorithm": "fbp"}, "reconstruct.algorithm: got 'fbp', expected"),
        ({"psf": "wide"}, "reconstruct.psf: got 'wide', expected one of fitted, core, gaussian"),
        ({"tof": "yes"}, "reconstruct.tof: got 'yes', expected"),
        ({"num_pixels": -1}, "reconstruct.num_slices, num_pixels: got (32, -1, -1), expected"),
        ({"num_pixels": [1]}, "reconstruct.num_slices, num_pixels: got"),
    ],
)
def test_settings_of_a_config_that_cannot_be(folder, tmp_path, section, sentence) -> None:
    table = with_section(folder, tmp_path / "c.yaml", **section)
    words = ["reconstruct", str(folder / "c.root"), "--scanner", table]
    done = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "x.nii.gz")])
    assert done.exit_code == 2 and f"c.yaml: {sentence}" in done.output, done.output


def test_defaults_are_the_workflows(root) -> None:
    """What neither option nor config gives; a key of the schema for each."""
    schema = yaml.safe_load((root / "workflow/schemas/config.schema.yaml").read_text())
    keys = schema["properties"]["reconstruct"]["properties"] | {
        "seed": schema["properties"]["seed"]
    }
    command = main.get_command(click.Context(main), "reconstruct")
    given = {param.name: param.default for param in command.params}
    for key, option in settings.OF_OPTION.items():
        # click: a switch without a default is off
        default = keys[key]["default"]
        assert given[option] == default or (default is False and key == "tof"), key
    for option, parts in settings.OF_GRID.items():
        along, across = (keys[key]["default"] for key in parts)
        assert given[option] == (along, across, across) == (*parts.values(), across)
    for key, (allowed, default) in settings.CHOICES.items():
        assert (list(allowed), default) == (keys[key]["enum"], keys[key]["default"])
    for key, (low, high, default) in settings.RANGES.items():
        assert (low, high) == (keys[key]["minimum"], keys[key]["maximum"])
        assert default == keys[key]["default"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"kernel": {}}, "kernel: got {}, expected rows"),
        ({"kernel": [[1.0, 2.0]]}, "kernel: got [[1.0, 2.0]], expected rows"),
        ({"kernel": [[0.5, 2.0, 2.0]]}, "got shares of 0.5, expected 1"),
        ({"kernel": [[1.0, 1e9, 2.0]]}, "expected rows of a share"),
        ({"kernel": [[1.0, float("nan"), 2.0]]}, "NaN is no finite number"),
        ({"kernel": [[1.0, 2.0, 2.0]], "scanner": "x"}, "got a resolution of scanner x"),
        ([], "kernel: got None"),
    ],
)
def test_resolutions_that_cannot_be(folder, tmp_path, content, sentence) -> None:
    (tmp_path / "r.json").write_text(json.dumps(content))
    options = ("--resolution", str(tmp_path / "r.json"), "--duration-s", "1")
    done = run(folder, "c.root", "s.yaml", tmp_path / "x.nii.gz", *options)
    assert done.exit_code == 2 and "r.json: " in done.output and sentence in done.output
    both = run(folder, "c.root", "s.yaml", tmp_path / "x.nii.gz", *options, "--psf-mm", "1")
    assert both.exit_code == 2 and "--psf-mm: got --resolution too" in both.output


def long_events(folder: Path, scanner, length_mm: float) -> None:
    """Write coincidences of a line source on the axis, seen by the ends of the bore too."""
    rng = np.random.default_rng(6)
    num, half = 20_000, scanner.num_columns // 2
    ring1, ring2 = rng.integers(scanner.num_rings, size=(2, num))
    middle_mm = (ring1 + ring2 - (scanner.num_rings - 1)) / 2 * scanner.axial_pitch_mm
    inside = np.abs(middle_mm) <= length_mm / 2
    column = rng.integers(half, size=num)
    pairs = ring1 * scanner.num_columns + column, ring2 * scanner.num_columns + column + half
    points = crystals.of_scanner(scanner).points_mm
    times = rng.uniform(0, 1e9, num)[inside]
    write(folder / "c.root", GATE10, *(points[ids[inside]] for ids in pairs), times, times)
    fields = {**vars(scanner), "energy_window_kev": [350.0, 650.0]}
    (folder / "s.yaml").write_text(yaml.safe_dump({"scanner": fields}))


@pytest.fixture(scope="module")
def long_scanner(scanner):
    return replace(scanner, num_rings=30)


def test_the_default_image_covers_the_events(long_scanner, tmp_path) -> None:
    """80 mm of activity, an image of 32 mm: today all of it would be taken for background."""
    long_events(tmp_path, long_scanner, 80.0)
    args = ["reconstruct", str(tmp_path / "c.root"), "--scanner", str(tmp_path / "s.yaml")]
    few = ["--iterations", "2", "--voxel-mm", "2", "1", "1"]
    done = CliRunner().invoke(main, [*args, *few, "-o", str(tmp_path / "a.nii.gz")])
    assert done.exit_code == 0, done.output
    image = io.read_volume(tmp_path / "a.nii.gz")
    z = image.grid.axes_mm()[0]
    assert z[-1] > 40
    profile = image.array.sum(axis=(1, 2))
    # within the source it is even (few counts, ends of the bore); beyond there is nothing
    assert profile[np.abs(z) < 36].min() > 0.4 * profile[np.abs(z) < 36].mean()
    assert profile[np.abs(z) > 46].sum() < 0.02 * profile.sum()
    assert io.read_json(tmp_path / "a.json")["shape"] == list(image.grid.shape)
    given = ["--shape", "10", "32", "32", "-o", str(tmp_path / "b.nii.gz")]
    done = CliRunner().invoke(main, [*args, *few, *given])
    assert done.exit_code == 2 and "activity lies outside" in done.output
    assert not (tmp_path / "b.nii.gz").exists()


@pytest.mark.parametrize(("name", "length_mm"), [("short", 28.0), ("long", 80.0)])
def test_shared_objects_short_and_long(shared_cases, root, tmp_path, name, length_mm) -> None:
    """Uniform cylinders without background: the image is as long, and as strong everywhere."""
    path = shared_cases / f"events/long_object/{name}.root"
    args = [str(path), "--scanner", str(root / "config/config.yaml"), "--duration-s", "0.1"]
    few = ["--iterations", "4", "--voxel-mm", "2", "1", "1", "-o", str(tmp_path / "a.nii.gz")]
    done = CliRunner().invoke(main, ["reconstruct", *args, *few])
    assert done.exit_code == 0, done.output
    image = io.read_volume(tmp_path / "a.nii.gz")
    z = image.grid.axes_mm()[0]
    assert z[-1] + 1 >= length_mm / 2
    profile = image.array.sum(axis=(1, 2))
    # 5000 events with the ends blurred by 3 mm: the half height is where the cylinder ends
    is_high = profile > 0.5 * np.median(profile[np.abs(z) < length_mm / 2 - 4])
    assert np.ptp(z[is_high]) + 2 == pytest.approx(length_mm, abs=6)


@pytest.mark.parametrize("name", ["m_plain.nii", "m_int16.nii.gz", "m_flip.nii.gz"])
def test_shared_maps_in_other_variants(shared_cases, name) -> None:
    folder = shared_cases / "events/nifti"
    plain, other = (io.read_volume(folder / n, is_ours=False) for n in ("m_ok.nii.gz", name))
    assert plain.grid == other.grid
    # scaled integers: steps of 3e-7 per mm
    np.testing.assert_allclose(other.array, plain.array, atol=3e-7)


def test_shared_tables(shared_cases) -> None:
    folder = shared_cases / "events/csv"
    spaced, packed = (tables.read_lines(folder / n)[0] for n in ("l_space.csv", "l_base.csv.gz"))
    np.testing.assert_array_equal(spaced, packed)
    with pytest.raises(InputError, match="a column without a name"):
        tables.read_lines(folder / "l_seventh.csv")
