"""Drawings of slices: areas by hand, agreement with the voxelised tube, requested tubes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.conftest import ROOT

from tubepet import io
from tubepet.dataset import drawing
from tubepet.dataset.drawing import Population, SliceGrid, draw_dataset, draw_new, draw_slices
from tubepet.errors import InputError
from tubepet.phantom.geometry import defect_half_length_mm, voxelise
from tubepet.phantom.spec import DEFECTS, FAMILIES, draw_tube

GRID = SliceGrid(num_pixels=64, pixel_mm=0.5, slice_mm=1.0, fwhm_mm=2.6, filter_fwhm_mm=1.5)
PHANTOM: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text())["phantom"]
POPULATION = Population(PHANTOM, GRID, num_slices=32, margin_mm=1.0)


def tube(**fixed: Any):
    return draw_tube("tube_0000", PHANTOM, fixed, seed=1)


def test_round_bore_has_its_area_and_its_blur_keeps_it() -> None:
    round_tube = tube(family="round", defect="none", bore_radius_mm=8.0, length_mm=24.0)
    drawn = draw_slices(round_tube, np.array([0.0, 11.5]), GRID)
    area_mm2 = drawn.fluid.sum(axis=(1, 2)) * GRID.pixel_mm**2
    # a third of a pixel's sampling along an edge of 300 points: 0.2 %
    assert area_mm2 == pytest.approx([np.pi * 64] * 2, rel=2e-3)
    blurred_mm2 = drawn.expected.sum(axis=(1, 2)) * GRID.pixel_mm**2
    assert blurred_mm2[0] == pytest.approx(np.pi * 64, rel=2e-3)
    # 0.5 mm from the open end a Gaussian of sigma 1.1 mm sees 0.675 of the bore: normal cdf of
    # 0.453; cut at two sigma and sampled every half millimetre: 2 %
    assert blurred_mm2[1] / blurred_mm2[0] == pytest.approx(0.675, abs=0.02)
    assert not drawn.defect.any() and not drawn.fluid_change_mm3.any()


@pytest.mark.parametrize("defect", DEFECTS[1:])
def test_drawings_agree_with_the_voxelised_tube(defect: str) -> None:
    whole = tube(defect=defect, family="eccentric", length_mm=18.0)
    voxels = voxelise(whole, 0.5, 4)
    z_mm = np.arange(-8.5, 9.0)  # every slice of 18 mm
    drawn = draw_slices(whole, z_mm, GRID)
    volume_mm3 = drawn.fluid.sum(dtype=np.float64) * GRID.pixel_mm**2 * GRID.slice_mm
    # edges are sampled at 1/6 mm here and at 1/8 mm there
    assert volume_mm3 == pytest.approx(voxels.fluid_volume_mm3(), rel=5e-3)
    assert voxels.defect_box_mm is not None
    table = drawing.label_table(drawn, GRID)
    cut = table[table["is_cut"]]
    for i, axis in enumerate("xy"):  # the box of all slices holds that of the voxels, or touches it
        low, high = cut[f"{axis}_low_mm"].min(), cut[f"{axis}_high_mm"].max()
        assert [low, high] == pytest.approx(voxels.defect_box_mm[i], abs=GRID.pixel_mm)
    low, high = z_mm[table["is_cut"]].min() - 0.5, z_mm[table["is_cut"]].max() + 0.5
    assert [low, high] == pytest.approx(voxels.defect_box_mm[2], abs=GRID.slice_mm)
    reach_mm = np.abs(np.array(voxels.defect_box_mm[2]) - whole.defect_z_mm).max()
    assert reach_mm <= defect_half_length_mm(whole) + 0.125  # a sample point of the voxels


def test_fluid_change_has_the_sign_and_the_size_of_the_defect() -> None:
    z_mm = np.arange(-9.5, 10.0)
    fixed = {"family": "round", "bore_radius_mm": 8.0, "defect_z_mm": 0.0}
    ball = draw_slices(tube(defect="bubble", defect_size_mm=4.0, **fixed), z_mm, GRID)
    # a ball of 33.5 mm3 sampled at 1/6 mm across and 1/2 mm along
    assert ball.fluid_change_mm3.sum() == pytest.approx(-4 / 3 * np.pi * 8, rel=0.05)
    assert draw_slices(tube(defect="pit", **fixed), z_mm, GRID).fluid_change_mm3.sum() > 0
    outer = tube(defect="thinning", thinning_side="outer", **fixed)
    drawn = draw_slices(outer, z_mm, GRID)
    assert drawn.defect.any() and not drawn.fluid_change_mm3.any()  # air outside, no less fluid


def test_sampling_is_fine_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    cracked = tube(defect="crack", family="bent")
    z_mm = np.array([cracked.defect_z_mm])
    coarse = draw_slices(cracked, z_mm, GRID).expected
    monkeypatch.setattr(drawing, "SAMPLES_ACROSS", 6)
    monkeypatch.setattr(drawing, "SAMPLES_ALONG", 4)
    fine = draw_slices(cracked, z_mm, GRID).expected
    # MLEM noise is tens of per cent
    assert np.abs(coarse - fine).max() < 0.02


def test_box_of_a_mask_by_hand() -> None:
    masks = np.zeros((2, 5, 6), np.uint8)
    masks[0, 1:3, 2:5] = 1  # rows 1 and 2, columns 2 to 4
    assert drawing.boxes_px(masks).tolist() == [[2, 1, 5, 3], [0, 0, 0, 0]]


def test_dataset_rows_are_drawn_with_their_own_tube(tmp_path) -> None:
    table = pd.DataFrame(
        {
            "i_slice": range(4),
            "tube": ["tube_0001"] * 2 + ["tube_0007"] * 2,
            "z_mm": [-0.5, 0.5, -0.5, 0.5],
        }
    )
    first = draw_tube("tube_0001", PHANTOM, {}, 2020)
    fixed = {"family": "round", "defect": "bubble", "defect_z_mm": 0.0}
    bubble = draw_tube("tube_0007", PHANTOM, fixed, 2020)
    paths = {name: tmp_path / f"{name}.npy" for name in ("fluid", "expected", "defect")}
    labels = draw_dataset(paths, table, {"tube_0007": bubble, "tube_0001": first}, GRID)
    drawn = {name: io.read_array(path) for name, path in paths.items()}
    assert list(labels["i_slice"]) == [0, 1, 2, 3] and list(labels["tube"]) == list(table["tube"])
    alone = draw_slices(bubble, np.array([0.5]), GRID)
    for name, array in drawn.items():
        assert len(array) == 4 and array.dtype == getattr(alone, name).dtype
        assert np.array_equal(array[3], getattr(alone, name)[0])
    assert labels["is_cut"].tolist()[2:] == [True, True]
    half_mm = np.repeat([first.length_mm, bubble.length_mm], 2) / 2
    np.testing.assert_allclose(labels["end_mm"], half_mm - 0.5)  # each 0.5 mm from the middle


def test_new_tubes_are_seeded_and_spread_over_all_classes() -> None:
    first, table, tubes = draw_new(POPULATION, 60, np.random.default_rng(3), {})
    second, again, _ = draw_new(POPULATION, 60, np.random.default_rng(3), {})
    assert np.array_equal(first.expected, second.expected) and table.equals(again)
    assert set(table["family"]) == set(FAMILIES) and set(table["defect"]) == set(DEFECTS)
    assert [tube.family for tube in tubes] == list(table["family"])
    assert (np.abs(table["z_mm"]) <= 12.0).all()  # half of the longest tube, less the margin
    assert (table.loc[table["defect"] == "none", "defect_size_mm"] == 0).all()
    assert (table["end_mm"] >= POPULATION.margin_mm).all()
    assert np.array_equal(table["end_mm"], first.end_mm)


@pytest.mark.parametrize("defect", DEFECTS[1:])
def test_a_wanted_defect_is_in_every_slice(defect: str) -> None:
    drawn, table, _ = draw_new(POPULATION, 8, np.random.default_rng(0), {"defect": defect})
    assert (table["defect"] == defect).all() and table["is_cut"].all()
    assert drawn.defect.any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"family": "octagonal"}, "wanted.family: got 'octagonal', expected one of round"),
        ({"defect": "pit", "defect_size_mm": -1.0}, "wanted.defect_size_mm: got -1 mm"),
        ({"defect": "hole"}, "wanted.defect: got 'hole'"),
        ({"defect": "pit", "defect_z_mm": 400.0}, "wanted.defect_z_mm: got 400 mm"),
        ({"size": 3.0}, "wanted.size: unknown key"),
        (
            {"defect": "pit", "length_mm": 24.0, "defect_z_mm": 11.9, "defect_size_mm": 0.5},
            "margin",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(wanted: dict[str, Any], message: str) -> None:
    if message == "margin":
        message = "expected one that a slice at least 1 mm inside"
    with pytest.raises(InputError, match=message):
        draw_new(POPULATION, 2, np.random.default_rng(0), wanted)


def test_no_slices_are_refused() -> None:
    with pytest.raises(InputError, match="number of slices: got 0"):
        draw_new(POPULATION, 0, np.random.default_rng(0), {})


def test_a_grid_finer_than_its_resolution_is_not_needed() -> None:
    sharp = draw_slices(tube(defect="none"), np.array([0.0]), replace(GRID, fwhm_mm=0.0))
    assert np.isfinite(sharp.expected).all()
