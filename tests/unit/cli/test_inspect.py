"""`tubepet inspect` and `tubepet plan` on a toy calibration of the default scanner."""

import json
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from click.testing import CliRunner, Result
from scipy.stats import norm

from tubepet import io
from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.formats import petsird, tables
from tubepet.inspect import plan, setup, verdict
from tubepet.inspect.fit import fit
from tubepet.inspect.part_file import VOXELS, read_part
from tubepet.phantom import geometry, maps, spec
from tubepet.reconstruct.calibration import efficiency_of
from tubepet.reconstruct.problem import Measurement
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.line_blur import NUM_CLASSES
from tubepet.reconstruct.scanner import crystals, fingerprint
from tubepet.simulate.water_phantoms import Engine, Phantom, acquire
from tubepet.types import Grid, Scanner, Volume

PART = {"family": "round", "length_mm": 14.0, "bore_radius_mm": 7.0, "wall_mm": 3.0}
DURATION_S, ACTIVITY = 0.1, 600.0
RANGES = "bubble:4-6"
FEW_COUNTS = 6000.0  # of simulated acquisitions: quick, and the random errors do not matter


@pytest.fixture(scope="module")
def scanner(root: Path) -> Scanner:
    return Scanner(**yaml.safe_load((root / "config/config.yaml").read_text())["scanner"])


def write_calibration(folder: Path, scanner: Scanner, grid: Grid) -> None:
    """Write what a run leaves; near the axis, which is all that a tube needs, as it finds it."""
    hashes = {"scanner": fingerprint.scanner_hash(scanner)}
    content = hashes | {
        "by_step": [0.12] * (scanner.num_columns // 2 + 1), "by_difference": [1.0] * 64,
    }  # fmt: skip
    io.write_json(folder / "calibration.json", content)
    efficiency = efficiency_of(content, scanner)
    plain = sensitivity.geometric_sensitivity(scanner, grid, efficiency).astype(np.float32)
    note = f"model {fingerprint.model_hash(scanner, grid, efficiency)}"
    io.write_volume(folder / "sensitivity.nii.gz", Volume(plain, grid, note))
    rows = [[0.9, 2.4, 3.2], [0.1, 9.0, 9.0]]
    ones = [[1.0] * (scanner.num_columns // 2 + 1)] * NUM_CLASSES
    response = {"by_slope": [rows] * NUM_CLASSES, "stretch": 1.0, "line_factors": ones}
    io.write_json(folder / "resolution.json", hashes | response)


@pytest.fixture(scope="module")
def folder(scanner: Scanner, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a calibration, a drawing, and events of that part with a large bubble in it."""
    folder = tmp_path_factory.mktemp("inspect")
    write_calibration(folder / "calibrated", scanner, Grid.centred((32, 32, 32), (1.0, 1.0, 1.0)))
    (folder / "part.yaml").write_text(yaml.safe_dump(PART))
    phantom = yaml.safe_load((root / "config/config.yaml").read_text())["phantom"]
    bubble = {"defect": "bubble", "defect_size_mm": 6.0, "defect_z_mm": -1.0}
    tube = spec.draw_tube("tube_0000", phantom, PART | bubble, 1)
    voxels = geometry.voxelise(tube, *VOXELS.values())
    activity = maps.activity_bq_mm3(voxels, ACTIVITY)
    parts = voxels.labels(), activity, maps.mu_per_mm(voxels)
    events, delayed = acquire(
        Engine(scanner, 500.0, 5, 2), "measured",
        Phantom(*(Volume(array, voxels.grid) for array in parts)), DURATION_S,
    )  # fmt: skip
    ring = crystals.of_scanner(scanner)
    petsird.write_petsird(folder / "bubble.petsird", ring, events, delayed, DURATION_S, 300.0)
    ends = ring.points_mm[np.stack([events.crystal1, events.crystal2], axis=1)]
    tables.write_lines(folder / "bubble.csv", ends)
    tables.write_lines(folder / "few.csv", ends[:60])
    return folder


def run(root: Path, folder: Path, events: str, output: Path, *more: str) -> Result:
    options = {
        "--part": folder / "part.yaml", "--scanner": root / "config/config.yaml",
        "--calibration": folder / "calibrated", "--duration": DURATION_S, "-o": output,
        "--defects": RANGES,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    return CliRunner().invoke(main, ["inspect", str(folder / events), *words, *more])


def test_a_bubble_is_called_and_everything_is_written(folder, root, scanner, tmp_path) -> None:
    out = tmp_path / "o"
    done = run(root, folder, "bubble.petsird", out, "--fail-on-defect")
    assert done.exit_code == 1, done.output
    assert done.stdout.startswith("defect: void at (")
    content = io.read_json(out / "verdict.json")
    assert content["verdict"] == "defect" and content["asked"]["events"] == "bubble.petsird"
    table = io.read_table(out / "indications.csv")
    assert len(table) == len(content["indications"]) and table["kind"][0] == "void"
    assert table["z_mm"][0] == pytest.approx(-1.0, abs=1.5)  # the lattice is 1.5 mm wide
    score_map = io.read_volume(out / "map.nii.gz")
    assert score_map.array.max() == pytest.approx(content["largest_z"], rel=1e-6)  # float32
    assert (out / "map.png").stat().st_size > 1000
    files = sorted((out / "dicom").glob("slice_*.dcm"))
    assert len(files) == score_map.grid.shape[0]
    others = {path.name for path in (out / "dicom").iterdir()} - {path.name for path in files}
    assert others == {"indications.dcm", "picture.dcm", "report.dcm"}
    picture = pydicom.dcmread(out / "dicom/picture.dcm")
    assert picture.ImageComments + "\n" == done.stdout
    made = datetime.fromtimestamp((folder / "bubble.petsird").stat().st_mtime)
    assert picture.StudyDate + picture.StudyTime == made.strftime("%Y%m%d%H%M%S")
    segments = pydicom.dcmread(out / "dicom/indications.dcm")
    assert len(segments.SegmentSequence) == len(table)
    data = pydicom.dcmread(files[int(np.argmax(score_map.array.max(axis=(1, 2))))])
    shown = data.pixel_array * float(data.RescaleSlope)
    # 16 bits of the largest value
    assert shown.max() == pytest.approx(content["largest_z"], rel=1e-4)
    assert (data.Units, list(data.ImageType)) == ("NONE", ["DERIVED", "PRIMARY"])
    assert "no activity" in data.SeriesDescription and "SyntheticData" not in data
    assert json.loads(data.ImageComments)["verdict"] == "defect"
    # the same as the workflow's function on the same events
    calibrated = setup.read_calibrated(folder / "calibrated", scanner)
    part = read_part(folder / "part.yaml")
    _, prompts, delayed, _ = petsird.read_petsird(folder / "bubble.petsird")
    expected = verdict.inspect(
        Measurement(prompts, part.mu, DURATION_S, delayed), part, setup.ranges_of(RANGES),
        calibrated.instrument, calibrated.response, 0.01, setup.SEED,
    ).as_json()  # fmt: skip
    assert {key: content[key] for key in expected} == json.loads(json.dumps(expected))
    assert not [path for path in tmp_path.iterdir() if path != out]


def test_events_without_delayed_pairs_get_a_fitted_background(
    folder, root, tmp_path, caplog
) -> None:
    """Lines of a table say the same of a large bubble; without the option the exit code is 0."""
    done = run(root, folder, "bubble.csv", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "background: fitted to" in caplog.text
    assert io.read_json(tmp_path / "o/verdict.json")["verdict"] == "defect"


def test_events_of_another_part_get_no_verdict(folder, root, tmp_path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(PART | {"bore_radius_mm": 6.0, "wall_mm": 4.0}))
    done = run(root, folder, "bubble.csv", tmp_path / "o", "--fail-on-defect", "--part", str(other))
    assert done.exit_code == 3, done.output
    assert done.stdout.startswith("does not fit: the part is another than drawn")
    assert "wider_mm is " in done.stdout


def test_too_few_counts_cannot_tell(folder, root, tmp_path) -> None:
    done = run(root, folder, "few.csv", tmp_path / "o", "--fail-on-defect")
    assert done.exit_code == 3, done.output
    assert done.stdout.startswith("cannot tell: ") and "no defect found" not in done.output
    assert io.read_table(tmp_path / "o/indications.csv").empty
    assert not (tmp_path / "o/dicom/indications.dcm").exists()
    picture = pydicom.dcmread(tmp_path / "o/dicom/picture.dcm")
    assert picture.ImageComments.startswith("cannot tell: ")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--scanner", "SMALL"], "calibration.json: got a calibration of scanner "),
        (["--calibration", "."], "calibration.json: missing, expected the calibration of a run"),
        (["--calibration", "FOREIGN"], "resolution.json: got a resolution of scanner 0"),
        (["--calibration", "NARROW"], "mm in z, expected some, within 0.0 to 0.0 mm: 2 mm inside"),
        (["--part", "WRONG"], "wall_mm: missing, expected it of a round part"),
        (["--defects", "pit"], "--defects: got 'pit', expected CLASS:LOW-HIGH in mm"),
        (["--defects", "dent:2-4"], "--defects: got 'dent', expected classes of bubble"),
        (["--defects", "pit:4-2"], "pit: got [4.0, 2.0], expected the smaller size first"),
        (["--defects", "pit:0-2"], "--defects: got a size of 0.0 mm, expected more than 0"),
        (["--scanner", "TABLE"], "--scanner: got the crystal table"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(folder, root, scanner, tmp_path, more, sentence) -> None:
    made = {name: str(tmp_path / name) for name in ("SMALL", "FOREIGN", "NARROW", "WRONG")}
    made["TABLE"] = str(tmp_path / "ring.csv")
    if "SMALL" in more:
        made["SMALL"] += ".yaml"
        fields = {**vars(scanner), "num_rings": 32, "energy_window_kev": [350.0, 650.0]}
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        Path(made["SMALL"]).write_text(yaml.safe_dump({"scanner": fields}))
    if "FOREIGN" in more:
        for name in ("calibration.json", "sensitivity.nii.gz"):
            (tmp_path / "FOREIGN").mkdir(exist_ok=True)
            (tmp_path / "FOREIGN" / name).symlink_to(folder / "calibrated" / name)
        io.write_json(tmp_path / "FOREIGN/resolution.json", {"scanner": "0", "by_slope": []})
    if "NARROW" in more:
        write_calibration(tmp_path / "NARROW", scanner, Grid.centred((4, 32, 32), (1.0, 1.0, 1.0)))
    if "WRONG" in more:
        made["WRONG"] += ".yaml"
        Path(made["WRONG"]).write_text("{family: round, length_mm: 20, bore_radius_mm: 6}")
    if "TABLE" in more:
        tables.write_crystals(made["TABLE"], crystals.of_scanner(scanner))
    more = [made.get(word, word) for word in more]
    done = run(root, folder, "few.csv", tmp_path / "o", *more)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr and done.stderr.count("error: ") == 1
    assert not (tmp_path / "o").exists()


def test_without_a_calibration_it_says_how_to_make_one(folder, root, tmp_path) -> None:
    words = ["--part", folder / "part.yaml", "--scanner", root / "config/config.yaml"]
    words = ["inspect", folder / "few.csv", *words, "-o", tmp_path / "o"]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 2
    assert "--calibration: got none, expected the folder" in done.stderr
    assert "snakemake --cores 2 results/reconstruct/sensitivity.nii.gz" in done.stderr


@pytest.mark.parametrize("rows", [None, "many", [[1.0]], [[3.0] * 93] * NUM_CLASSES])
def test_factors_of_an_older_calibration_are_refused(folder, scanner, tmp_path, rows) -> None:
    content = io.read_json(folder / "calibrated/resolution.json")
    path = str(tmp_path / "resolution.json")
    io.write_json(path, content | {"line_factors": rows})
    with pytest.raises(InputError, match=r"line_factors: got .*, expected 6 rows of 93 numbers"):
        setup.read_response(path, scanner, 16)


def test_what_is_there_is_not_overwritten(folder, root, tmp_path) -> None:
    done = run(root, folder, "few.csv", tmp_path)
    assert done.exit_code == 2 and "exists already, expected a new folder" in done.stderr


def test_no_verdict_without_randoms_in_other_scanners(folder, root, scanner, tmp_path) -> None:
    """A ring with a dead crystal: neither randoms nor scatter can be fitted beside the part."""
    dead = replace(scanner, dead_crystals=[0])
    grid = Grid.centred((30, 24, 24), (1.0, 1.0, 1.0))
    hashes = {"scanner": fingerprint.scanner_hash(dead)}
    content = hashes | {"crystal_efficiency": [1.0] * dead.num_crystals, "angle_terms": []}
    target = tmp_path / "calibrated"
    io.write_json(target / "calibration.json", content)
    known = efficiency_of(io.read_json(target / "calibration.json"), dead)
    note = f"model {fingerprint.model_hash(dead, grid, known)}"
    flat = Volume(np.ones(grid.shape, np.float32), grid, note)
    io.write_volume(target / "sensitivity.nii.gz", flat)
    io.write_json(
        target / "resolution.json",
        hashes | {"by_slope": [[[1.0, 2.0, 2.0]]] * NUM_CLASSES, "stretch": 1.0},
    )
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(dead).items()}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"scanner": fields}))
    more = ["--scanner", str(tmp_path / "s.yaml"), "--calibration", str(target)]
    done = run(root, folder, "few.csv", tmp_path / "o", *more)
    assert done.exit_code == 2 and "got no delayed pairs, expected some" in done.stderr


def test_the_ranges_are_those_of_the_config(root) -> None:
    phantom = yaml.safe_load((root / "config/config.yaml").read_text())["phantom"]
    assert setup.RANGES_MM == phantom["defect_size_mm"]


def a_plan(expected_z: list[float], threshold_z: float, num_events: int = 0) -> plan.Plan:
    """Return a plan of candidates of one kind and size, simulated for 2 s."""
    table = pd.DataFrame({"kind": "pit", "size_mm": 3.0, "expected_z": expected_z})
    nothing: Any = None
    fitted: Any = SimpleNamespace(rates=np.zeros(num_events))
    whole = verdict.Inspection(
        verdict.CLEAN, "", 0.01, threshold_z, 0.0, 1.0, 1.0, [], {}, fitted, {}, {}, nothing,
        nothing,
    )  # fmt: skip
    return plan.Plan(whole, 2.0, table)


def test_probability_and_duration_by_hand() -> None:
    """A z of 3 in 2 s is one of 6 in 8 s; found in 90 % where it exceeds the threshold by 1.28."""
    made = a_plan([3.0], 4.3)
    assert made.would_be_found(2.0)["probability"][0] == pytest.approx(norm.sf(1.3))
    assert made.would_be_found(8.0)["probability"][0] == pytest.approx(norm.sf(-1.7))
    needed = made.needed_s(np.array([3.0]), 0.9)
    assert needed == pytest.approx(2.0 * ((4.3 + norm.isf(0.1)) / 3.0) ** 2, rel=1e-6)
    # half of the places found for sure, the others never
    half = np.array([3.0, 0.0])
    assert made.needed_s(half, 0.9) is None and made.needed_s(np.empty(0), 0.9) is None
    mean = a_plan([3.0, 0.0], 4.3).would_be_found(200.0)["probability"][0]
    assert mean == pytest.approx((1 + norm.sf(4.3)) / 2, abs=1e-6)


def test_a_plan_knows_the_errors_of_the_model() -> None:
    """With `MODEL_COUNTS` in 2 s, they double the variance there and make it five in 8 s."""
    made = a_plan([3.0], 4.3, int(verdict.MODEL_COUNTS))
    for duration_s, z in [(2.0, 3 / math.sqrt(2)), (8.0, 6 / math.sqrt(5))]:
        found = made.would_be_found(duration_s)["probability"][0]
        assert found == pytest.approx(norm.sf(4.3 - z))
    # however long, z stays below 3
    assert made.needed_s(np.array([3.0]), 0.9) is None


@pytest.fixture(scope="module")
def planned(folder: Path, root: Path) -> Result:
    wish = ["--activity", "600", "--duration", "0.2", "--find", "pit:3mm"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "REFERENCE_COUNTS", FEW_COUNTS)
        return ask(root, folder, [*wish, "-o", str(folder / "plan.json")])


def ask(root: Path, folder: Path, more: list[str]) -> Result:
    words = ["plan", "--part", folder / "part.yaml", "--scanner", root / "config/config.yaml"]
    words += ["--calibration", folder / "calibrated", "--defects", "bubble:3-6,pit:2-3", *more]
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_plan_says_what_is_found(planned, folder) -> None:
    assert planned.exit_code == 0, planned.output
    assert planned.stdout.startswith("600 Bq/mm3 for 0.2 s: ")
    facts = io.read_json(folder / "plan.json")
    found = {(row["kind"], row["size_mm"]): row["probability"] for row in facts["would_be_found"]}
    assert set(found) == {("void", 3.0), ("void", 6.0), ("pit", 2.0), ("pit", 3.0)}
    assert found["void", 6.0] > 0.9 > found["pit", 2.0]
    assert f"void          6.00 mm  {found['void', 6.0]:6.1%}" in planned.stdout
    needed = facts["needed"]
    assert needed["dose_bq_s_mm3"] == pytest.approx(600 * needed["duration_s"])
    assert f"{needed['duration_s']:.3g} s at 600 Bq/mm3" in planned.stdout
    assert "randoms grow with its square" in planned.stderr and len(facts["limits"]) == 4


def test_a_plan_is_what_an_inspection_says_of_the_same_events(folder, scanner, monkeypatch) -> None:
    """At the simulated duration, `Inspection.found`; and the counts are as many as foreseen."""
    monkeypatch.setattr(plan, "REFERENCE_COUNTS", 2 * FEW_COUNTS)
    calibrated = setup.read_calibrated(folder / "calibrated", scanner)
    part = read_part(folder / "part.yaml")
    search = setup.Search(setup.ranges_of("bubble:4-6,pit:3-4"), 0.01)
    made = plan.make_plan(part, calibrated, search, ACTIVITY)
    told = made.would_be_found(made.simulated_s)
    for _, row in told.iterrows():
        expected = made.inspection.found[row["kind"]][f"{row['size_mm']:.2f}"]
        # there the candidates lie where the part was fitted, up to 0.1 mm away
        assert row["probability"] == pytest.approx(expected, abs=0.02)
    # z of the same candidates in twice the events, simulated: within the noise of 5 %
    long_s = 2 * made.simulated_s
    measured = plan.acquired(part, calibrated, ACTIVITY, long_s)
    longer = fit(measured, part, calibrated.instrument, calibrated.response)
    before = plan.places_of(made.inspection.fitted, part, "pit", 3.0)
    after = plan.places_of(longer, part, "pit", 3.0)
    assert np.mean(after) / np.mean(before) == pytest.approx(np.sqrt(2), rel=0.05)
    assert len(longer.rates) == pytest.approx(made.coincidences(long_s), rel=0.05)


def test_too_small_a_dose_cannot_tell(root, folder, monkeypatch) -> None:
    monkeypatch.setattr(plan, "REFERENCE_COUNTS", FEW_COUNTS)
    done = ask(root, folder, ["--activity", "600", "--duration", "1e-4"])
    assert done.exit_code == 0, done.output
    assert "cannot tell: none of these would be found more often than in " in done.stdout


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--find", "pit"], "--find: got 'pit', expected KIND:SIZEmm, for instance pit:3mm"),
        (["--find", "pit:3"], "--find: got 'pit:3', expected KIND:SIZEmm"),
        (["--find", "dent:3mm"], "--find: got 'dent:3mm'"),
        (["--find", "pit:0mm"], "--find: got a size of 0.0 mm"),
        (["-o", "plan.txt"], "--output: got plan.txt, expected a new NAME.json"),
    ],
)
def test_a_wrong_wish_is_one_sentence(root, folder, more, sentence) -> None:
    done = ask(root, folder, ["--activity", "600", "--duration", "0.1", *more])
    assert done.exit_code == 2 and sentence in done.stderr


def test_a_defect_that_fits_nowhere_is_named(root, folder) -> None:
    wish = ["--activity", "600", "--duration", "0.1", "--find", "bubble:30mm"]
    done = ask(root, folder, wish)
    assert done.exit_code == 2 and "which fits nowhere into this part" in done.stderr
