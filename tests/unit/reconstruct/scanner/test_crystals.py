import numpy as np
import pytest

from tubepet import io
from tubepet.errors import InputError
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.scanner import checks, crystals, fingerprint
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Grid, Scanner, Volume


def test_a_pair_by_hand() -> None:
    """Two faces of 4 mm2 and 9 mm2, 100 mm apart, one turned by 60 degrees."""
    points = np.array([[0, 0, 0], [100, 0, 0]], float)
    normals = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0]])
    pair = Crystals(points, normals, np.array([4.0, 9.0]), np.array([0.5, 0.2]))
    expected = 0.5 * 0.2 * 4 * 9 * 0.5 / 100**2 / (2 * np.pi)
    areas = crystals.pair_areas_mm2(pair, np.array([0, 1]), np.array([1, 0]))
    np.testing.assert_allclose(areas, expected)  # rounding


def test_pairs_are_numbered_once() -> None:
    first, second = crystals.numbered_pairs(np.arange(499500))
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == 499500
    assert (first < second).all() and second.max() == 999
    far = np.array([2**52 + 12345])
    first, second = crystals.numbered_pairs(far)
    assert int(second[0]) * (int(second[0]) - 1) // 2 + int(first[0]) == far[0]


def test_equals_the_cylinders_sensitivity(scanner: Scanner, grid: Grid) -> None:
    """All pairs of the table against the sum that needs none."""
    ones = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    expected = sensitivity.geometric_sensitivity(scanner, grid, ones)
    ring = crystals.of_scanner(scanner)
    total = sensitivity.of_pairs(ring, grid, None, 10**6, 0)
    # rounding decides along which axis a line of exactly 45 degrees is followed
    np.testing.assert_allclose(total, expected, rtol=0.03)
    assert np.sqrt(np.mean((total / expected - 1) ** 2)) < 3e-3
    some = sensitivity.of_pairs(ring, grid, None, 50_000, 0)
    # about 25 drawn lines cross a voxel: their sum scatters by a fifth, the whole by 1 %
    assert some.sum() == pytest.approx(expected.sum(), rel=0.02)
    assert not np.array_equal(some, sensitivity.of_pairs(ring, grid, None, 50_000, 1))


def test_hash_sees_scanner_grid_and_efficiency(scanner: Scanner, grid: Grid) -> None:
    ones = np.ones((25, 10))
    note = f"any words; model {fingerprint.model_hash(scanner, grid, ones)}"
    fingerprint.check_sensitivity("s.nii.gz", note, scanner, grid, ones)
    wider = Scanner(**{**vars(scanner), "inner_radius_mm": 41.0})
    older = Scanner(**{**vars(scanner), "time_resolution_per": "single"})
    shifted = Grid(grid.shape, grid.voxel_mm, (1.0, 2.0, 3.0))
    others = [(one, grid, ones) for one in (wider, older)]
    for other in (*others, (scanner, shifted, ones), (scanner, grid, ones / 2)):
        with pytest.raises(InputError, match=r"s\.nii\.gz: got a sensitivity of model"):
            fingerprint.check_sensitivity("s.nii.gz", note, *other)
    with pytest.raises(InputError, match="of model none"):
        fingerprint.check_sensitivity("s.nii.gz", "mm3", scanner, grid, ones)
    with pytest.raises(InputError, match="got a calibration of scanner none"):
        fingerprint.check_calibration("c.json", {}, scanner)
    whole = {"by_step": [0.0] + [0.3] * 24, "by_difference": [1.0] * 10}
    whole["scanner"] = fingerprint.scanner_hash(scanner)
    fingerprint.check_calibration("c.json", whole, scanner)
    for damage in (
        {"by_step": None},
        {"by_step": [0.3] * 24},
        {"by_step": [0.3] * 24 + [float("nan")]},
        {"by_difference": [0.0] * 10},
        {"by_difference": ["x"] * 10},
    ):
        with pytest.raises(InputError, match=r"c\.json: by_\w+: expected \d+ efficiencies"):
            fingerprint.check_calibration("c.json", whole | damage, scanner)
    table = crystals.of_scanner(scanner)
    assert fingerprint.scanner_hash(table) != fingerprint.scanner_hash(crystals.of_scanner(wider))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_resolution_per": "detector"}, "time_resolution_per: got 'detector', expected one"),
        ({"dead_time_kind": 3}, "dead_time_kind: got 3, expected one of paralysable"),
        ({"dead_time_ns": -1.0}, r"dead_time_ns: got -1\.0"),
        ({"pile_up_ns": float("nan")}, "pile_up_ns: got nan"),
        ({"readout_block": [1.5, 1]}, r"readout_block: got \[1\.5, 1\]"),
    ],
)
def test_scanners_that_cannot_be_are_named(scanner: Scanner, changes, message) -> None:
    checks.check_scanner("s.yaml", scanner)
    with pytest.raises(InputError, match=rf"s\.yaml: scanner\.{message}"):
        checks.check_scanner("s.yaml", Scanner(**{**vars(scanner), **changes}))


def test_hash_survives_the_file(tmp_path, scanner: Scanner) -> None:
    grid = Grid.centred((5, 7, 9), (1.1, 0.3, 0.7))
    note = f"mm3 (counts/s per Bq/mm3), no mu; model {fingerprint.model_hash(scanner, grid)}"
    io.write_volume(tmp_path / "s.nii.gz", Volume(np.ones(grid.shape, np.float32), grid, note))
    back = io.read_volume(tmp_path / "s.nii.gz")
    fingerprint.check_sensitivity("s.nii.gz", back.note, scanner, back.grid)
