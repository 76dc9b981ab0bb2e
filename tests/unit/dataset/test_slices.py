"""Reading the data set: units, splits, volumes of tubes, and files that do not match."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tubepet import io
from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import Stack, whole
from tubepet.dataset.symmetries import NUM_SYMMETRIES, dihedral, turned
from tubepet.errors import InputError

TABLE = pd.DataFrame(
    {
        "i_slice": range(9),
        "tube": ["tube_0004"] * 3 + ["tube_0001"] * 2 + ["tube_0002"] * 4,
        "split": ["train"] * 3 + ["test"] * 2 + ["train"] * 4,
        "z_mm": [-2.0, 0.0, 2.0, -1.0, 1.0, -3.0, -1.0, 1.0, 3.0],
    }
)
IMAGES = (np.arange(9 * 4 * 4).reshape(9, 4, 4) - 8).astype(np.float32)  # -8 .. 135 Bq/mm3
INFO = {"scale_bq_mm3": 64.0, "pixel_mm": 0.5, "slice_mm": 2.0}
INFO |= {"num_slices": {"train": 7, "val": 0, "test": 2}}

Read = Callable[..., Slices]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that writes the three files, with changes, and reads them."""

    def written(images=IMAGES, table=TABLE, **info) -> Slices:
        paths = [tmp_path / f"slices.{suffix}" for suffix in ("npy", "parquet", "json")]
        io.write_array(paths[0], images)
        io.write_table(paths[1], table)
        io.write_json(paths[2], INFO | info)
        return Slices.read(*paths)

    return written


def test_a_split_by_hand(read: Read) -> None:
    slices = read()
    assert (slices.scale_bq_mm3, slices.pixel_mm, slices.slice_mm) == (64.0, 0.5, 2.0)
    test = slices.of("test")  # images 3 and 4: 40 .. 71 Bq/mm3
    assert test.shape == (2, 4, 4) and test[:].dtype == np.float32
    assert test[0].flat[:3].tolist() == [40 / 64, 41 / 64, 42 / 64]
    assert test[:].max() == 1 and slices.of("train")[:].min() == 0  # clipped: 71 and -8 Bq/mm3
    assert slices.of("test", is_clipped=False)[:].max() == 71 / 64
    assert slices.of("train", is_clipped=False)[0].min() == -8 / 64
    assert len(slices.of("val")) == 0
    assert list(slices.tube[test.rows]) == ["tube_0001"] * 2


def test_all_splits_together_are_all_rows(read: Read) -> None:
    slices = read()
    splits = [slices.of(split).rows for split in ("train", "val", "test")]
    assert sorted(np.concatenate(splits)) == list(range(9))
    assert set(slices.tubes) == set(TABLE["tube"])
    assert sorted(np.concatenate(list(slices.tubes.values()))) == list(range(9))


def test_a_volume_is_the_rows_of_its_tube_upwards(read: Read) -> None:
    slices = read()
    for tube in slices.tubes:
        volume, z_mm = slices.volume(tube)
        is_own = TABLE["tube"] == tube
        np.testing.assert_array_equal(volume[:], np.clip(IMAGES[is_own] / np.float32(64), 0, 1))
        assert z_mm.tolist() == TABLE.loc[is_own, "z_mm"].tolist() and (np.diff(z_mm) == 2).all()
    assert slices.volume("tube_0002")[0].shape == (4, 4, 4)


def test_a_stack_in_pieces_is_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "PIECE_BYTES", 2 * 4 * 4 * 4)  # two images
    stack = whole(IMAGES, 64.0).of(np.array([8, 0, 3, 1, 2]))
    pieces = list(stack.pieces())
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    exact = stack.exact()
    assert exact.dtype == np.float64 and np.array_equal(np.concatenate(pieces), exact)
    np.testing.assert_allclose(stack[:], exact, rtol=1e-7)  # float32
    assert stack.evenly(2).rows.tolist() == [8, 3]  # of five


def test_a_range_that_does_not_begin_at_zero() -> None:
    hu = np.array([[[-200.0, -160.0, 40.0, 240.0]]], np.float32)
    assert Stack(hu, np.array([0]), -160.0, 240.0)[0].tolist() == [[0, 0, 0.5, 1]]


def test_drawings_and_labels_belong_to_the_slices(read: Read, tmp_path: Path) -> None:
    slices = read()
    io.write_array(tmp_path / "defect.npy", np.zeros(IMAGES.shape, np.uint8))
    io.write_array(tmp_path / "fluid.npy", IMAGES[:8])
    io.write_table(tmp_path / "labels.parquet", TABLE)
    io.write_table(tmp_path / "other.parquet", TABLE[::-1])
    assert slices.drawn(tmp_path / "defect.npy").dtype == np.uint8
    assert slices.labels(tmp_path / "labels.parquet").equals(TABLE)
    with pytest.raises(InputError, match=r"fluid\.npy: got shape \(8, 4, 4\), expected \(9, 4, 4"):
        slices.drawn(tmp_path / "fluid.npy")
    with pytest.raises(InputError, match=r"other\.parquet: got other tubes, expected those of"):
        slices.labels(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": IMAGES[:8]},
            r"npy: got shape \(8, 4, 4\) and 9 rows",
        ),
        ({"images": IMAGES[0]}, r"npy: got shape \(4, 4\) and 9 rows in"),
        (
            {"table": TABLE[:7]},
            r"and 7 rows in .*slices\.parquet, expected 9 slices as .*json says",
        ),
        ({"scale_bq_mm3": 0.0}, r"slices\.json: got scale_bq_mm3 0, expected > 0"),
        (
            {"table": TABLE.iloc[[0, 1, 2, 3, 5, 4, 6, 7, 8]]},
            r"parquet: got tube_0001 at z_mm -1 in row 3 and next at 1 in row 5, expected",
        ),
        (
            {"table": TABLE.iloc[[0, 1, 2, 4, 3, 5, 6, 7, 8]]},
            r"parquet: got tube_0001 at z_mm 1 in row 3 and next at -1 in row 4, .*, 2 mm upw",
        ),
        ({"slice_mm": 1.0}, r"parquet: got tube_0001 at z_mm -1 in row 3 and next at 1 in row 4"),
    ],
    ids=["too few", "one image", "short table", "no scale", "apart", "downwards", "another grid"],
)
def test_files_that_do_not_belong_together(read: Read, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(**change)


def test_both_spellings_of_the_symmetries_agree_and_are_eight() -> None:
    for element in range(NUM_SYMMETRIES):
        same = dihedral(torch.from_numpy(IMAGES), element).numpy()
        np.testing.assert_array_equal(turned(IMAGES, element), same)
    assert len({turned(IMAGES, i)[0].tobytes() for i in range(NUM_SYMMETRIES)}) == 8
