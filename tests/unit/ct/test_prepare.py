"""CT slices are windowed, resized, split and drawn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ct.conftest import row, write_rows

from tubepet import io
from tubepet.ct.deeplesion import read_hu
from tubepet.ct.prepare import choose, draw_slices, join, prepare, split_patients, window_and_resize
from tubepet.errors import InputError

SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}
WINDOW_HU = (-160.0, 240.0)


def run(folder, size=100):
    """Choose all slices, prepare them in parts of this size, join the parts."""
    table, facts = choose(folder, "deeplesion", 100, True, SPLIT, np.random.default_rng(0))
    tables, paths = [], []
    for start in range(0, 100, size):
        paths.append(folder / f"out/part_{start}.npy")
        part = table.iloc[start : start + size]
        tables.append(prepare(paths[-1], part, folder, "deeplesion", WINDOW_HU, 8))
    assert join(folder / "out/slices.npy", paths) == len(table)
    return pd.concat(tables), facts


def test_a_constant_slice_keeps_its_value():
    out = window_and_resize(np.full((50, 50), 37), WINDOW_HU, 16)
    # a weighted mean of equal numbers; float32 holds 37 to 4e-6
    np.testing.assert_allclose(out, 37, atol=1e-4)


def test_clipping_comes_before_resizing():
    hu = np.full((32, 32), 0)
    hu[:16] = 3071  # metal: unclipped, it would lift the mean of the tissue beside it beyond 240
    out = window_and_resize(hu, WINDOW_HU, 2)
    assert out.dtype == np.float32 and out.max() <= 240 and 0 <= out.min() < 60
    # half of the pixels are at 240, half at 0; anti-aliasing keeps the mean
    assert out.mean() == pytest.approx(120, abs=1)


def test_a_slice_that_is_not_square_is_padded_not_stretched():
    out = window_and_resize(np.full((20, 40), 100), WINDOW_HU, 40)
    assert np.all(out[:8] < -150) and np.all(out[16:24] > 90) and np.all(out[-8:] < -150)


@given(st.integers(1, 60), st.integers(0, 5))
def test_every_patient_gets_one_split(num_patients, seed):
    patients = [f"p{i}" for i in range(num_patients)]
    labels = split_patients(patients, SPLIT, np.random.default_rng(seed))
    assert sorted(labels) == sorted(patients)
    sizes = [list(labels.values()).count(name) for name in SPLIT]
    assert all(size >= 1 for size in sizes[:num_patients])
    for size, share in zip(sizes, SPLIT.values(), strict=True):
        assert abs(size - share * num_patients) < 2  # rounding, and at least one


def table_of(sizes: dict[str, tuple[str, int]]) -> pd.DataFrame:
    rows = [(p, s, i) for p, (s, n) in sizes.items() for i in range(n)]
    return pd.DataFrame(rows, columns=["patient", "split", "slice"])


def test_patients_take_turns():
    index = table_of({"long": ("train", 90), "a": ("train", 5), "b": ("train", 5)})
    chosen = draw_slices(index, 12, np.random.default_rng(0))
    assert chosen["patient"].value_counts().to_dict() == {"long": 4, "a": 4, "b": 4}


def test_a_draw_keeps_the_share_of_each_split():
    index = table_of({"a": ("train", 80), "b": ("val", 10), "c": ("test", 10)})
    chosen = draw_slices(index, 20, np.random.default_rng(0))
    assert chosen["split"].value_counts().to_dict() == {"train": 16, "val": 2, "test": 2}
    small = draw_slices(index, 4, np.random.default_rng(0))
    assert set(small["split"]) == {"train", "val", "test"}  # none is lost
    assert len(draw_slices(index, 500, np.random.default_rng(0))) == 100


def test_rows_describe_their_images(deeplesion_dir):
    table, facts = run(deeplesion_dir)
    images = io.read_array(deeplesion_dir / "out/slices.npy")
    assert images.shape == (5, 8, 8) and images.dtype == np.float32
    assert images.min() >= -160 and images.max() <= 240
    assert facts["num_per_split"] == {"train": 2, "val": 3, "test": 0}
    assert facts["split_from"] == "Train_Val_Test" and facts["num_missing_neighbours"] == 1
    for image, line in zip(images, table.itertuples(), strict=True):
        hu = read_hu(deeplesion_dir / line.source_file)
        np.testing.assert_array_equal(image, window_and_resize(hu, WINDOW_HU, 8))
        assert (line.hu_min, line.hu_max) == (hu.min(), hu.max())


def test_parts_join_to_the_same_stack(deeplesion_dir):
    whole, _ = run(deeplesion_dir)
    images = np.array(io.read_array(deeplesion_dir / "out/slices.npy"))
    parts, _ = run(deeplesion_dir, size=2)  # 5 slices: two parts of 2, one of 1, the others empty
    pd.testing.assert_frame_equal(parts, whole)
    np.testing.assert_array_equal(io.read_array(deeplesion_dir / "out/slices.npy"), images)


def test_split_by_seed_when_there_is_no_official_one(deeplesion_dir):
    rows = [row(f"00000{p}_01_01_002.png", Train_Val_Test="") for p in (1, 2)]
    write_rows(deeplesion_dir, rows)
    table, facts = run(deeplesion_dir)
    assert facts["split_from"] == "seed"
    assert table.groupby("patient")["split"].nunique().tolist() == [1, 1]
    assert set(table["split"]) == {"train", "val"}


def test_one_patient_is_not_enough(deeplesion_dir):
    write_rows(deeplesion_dir, [row("000001_01_01_002.png", Train_Val_Test="")])
    with pytest.raises(InputError, match="got 1 patients and none of them in val"):
        run(deeplesion_dir)


def test_only_noisy_rows_is_an_error(deeplesion_dir):
    write_rows(deeplesion_dir, [row("000001_01_01_002.png", Possibly_noisy=1)])
    with pytest.raises(InputError, match="all rows are possibly noisy"):
        run(deeplesion_dir)


def test_a_damaged_slice_leaves_nothing_behind(deeplesion_dir):
    path = deeplesion_dir / "Images_png/000002_01_01/002.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"002\.png"):
        run(deeplesion_dir)
    assert list((deeplesion_dir / "out").iterdir()) == []
