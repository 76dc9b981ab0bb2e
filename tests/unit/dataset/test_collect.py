import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepet import io
from tubepet.dataset import collect
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.types import Grid, Volume

SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
GRID = Grid.centred((10, 4, 4), (1.0, 0.5, 0.5))  # slices at -4.5 .. 4.5 mm


def truth(i, defects=()):
    return {
        "tube": f"tube_{i:04d}", "family": "round", "defect": "pit" if defects else "none",
        "length_mm": 6.0, "defects": [{"box_mm": box} for box in defects],
    }  # fmt: skip


def image(level):
    return Volume(np.full(GRID.shape, level, np.float32), GRID)


@given(st.integers(2, 200), st.integers(0, 9))
def test_every_tube_has_one_split_and_none_is_empty_but_val(num, seed):
    tubes = [f"tube_{i:04d}" for i in range(num)]
    split = collect.split_tubes(tubes, SHARES, np.random.default_rng(seed))
    assert sorted(split) == tubes
    counts = [list(split.values()).count(name) for name in collect.SPLITS]
    assert counts[0] >= 1 and counts[2] >= 1 and sum(counts) == num
    if num >= 20:  # one tube of rounding
        assert np.allclose(np.array(counts) / num, [0.6, 0.15, 0.25], atol=1 / num)
    again = collect.split_tubes(tubes, SHARES, np.random.default_rng(seed))
    assert split == again


def test_one_tube_cannot_be_split():
    with pytest.raises(InputError, match="num_tubes: got 1, expected at least 2"):
        collect.split_tubes(["tube_0000"], SHARES, np.random.default_rng(0))


def test_slices_within_the_tube_with_their_facts(tmp_path):
    # the defect reaches from 0.2 to 1.2 mm: it touches the slices centred at 0.5 and 1.5 mm
    box = [[-1, 1], [-1, 1], [0.2, 1.2]]
    truths = [truth(0, [box]), truth(1), truth(2), truth(3)]
    images = [image(float(i + 1)) for i in range(4)]
    path = tmp_path / "slices.npy"
    table, info = collect.collect_slices(
        path, iter(images), truths, SHARES, 1.0, 0.999, np.random.default_rng(0)
    )
    data = io.read_array(path)
    assert data[:, 0, 0].tolist() == [level for level in (1, 2, 3, 4) for _ in range(4)]
    assert data.shape == (16, 4, 4) and data.dtype == np.float32
    assert list(table["z_mm"][:4]) == [-1.5, -0.5, 0.5, 1.5]  # 3 mm half length, 1 mm margin
    assert list(table["has_defect"][:4]) == [False, False, True, True]
    assert not table["has_defect"][4:].any()
    assert (table.groupby("tube")["split"].nunique() == 1).all()
    assert np.array_equal(table["i_slice"], np.arange(16))
    train = [int(tube[-4:]) + 1 for tube in table.loc[table["split"] == "train", "tube"].unique()]
    assert info["scale_bq_mm3"] == pytest.approx(max(train), rel=1e-2)
    assert (
        info["num_slices"]
        == table["split"].value_counts().reindex(collect.SPLITS, fill_value=0).to_dict()
    )


def test_margin_that_leaves_nothing_is_refused(tmp_path):
    images, truths, rng = [image(1.0)] * 2, [truth(0), truth(1)], np.random.default_rng(0)
    with pytest.raises(InputError, match="slice_margin_mm: got 9 mm"):
        collect.collect_slices(tmp_path / "a.npy", images, truths, SHARES, 9.0, 0.999, rng)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("quantile", [0.501, 0.9, 0.999, 1.0])
def test_scale_read_in_pieces_is_the_quantile_of_all_pixels(quantile, monkeypatch):
    monkeypatch.setattr(io, "PIECE_BYTES", 1000)  # three slices at a time
    rng = np.random.default_rng(1)
    for num in (2, 7, 41):
        slices = rng.gamma(0.3, 9.0, (num, 9, 9)).astype(np.float32)
        slices[: num // 3] = 5.0  # ties
        rows = np.flatnonzero(rng.random(num) < 0.8)
        expected = np.quantile(slices[rows], quantile)  # of the peer, which holds all at once
        assert collect.scale_of(slices, rows, quantile) == float(expected)  # bit for bit


def test_scale_of_nearly_empty_images_is_said(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    dark = np.zeros((4, 8, 8), np.float32)
    assert collect.scale_of(dark, np.arange(4), 0.99) == 1.0
    dark[0, 0, 0] = 7.0
    assert collect.scale_of(dark, np.arange(4), 0.99) == 7.0
    assert "all training slices are zero" in caplog.text and "their maximum" in caplog.text
