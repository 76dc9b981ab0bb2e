"""The figure of short, enhanced and long images: chosen tubes, chosen slices, and numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tubepet import io
from tubepet.dataset.slices import Slices
from tubepet.enhance import figures, one_to_one
from tubepet.enhance.network import Enhancer
from tubepet.enhance.one_to_one import Findings
from tubepet.enhance.quality import psnr
from tubepet.phantom import geometry
from tubepet.phantom.spec import draw_tube
from tubepet.types import Grid, Volume

NUM, SIZE = 5, 32
TUBES = ("tube_0", "tube_1", "tube_2")


@pytest.fixture(scope="module")
def phantom(root) -> dict[str, Any]:
    section = yaml.safe_load((root / "config/config.yaml").read_text())["phantom"]
    return section | {"supersampling": 2}


@pytest.fixture(scope="module")
def truths(phantom) -> list[dict[str, Any]]:
    made = []
    for name, defect in zip(TUBES, ("bubble", "bubble", "none"), strict=True):
        tube = draw_tube(name, phantom, {"family": "round", "defect": defect}, 1, where="here")
        voxels = geometry.voxelise(tube, phantom["voxel_mm"], phantom["supersampling"])
        fluid_mm3 = float(voxels.fluid.sum()) * voxels.grid.voxel_volume_mm3
        box = {"class": defect, "size_mm": tube.defect_size_mm, "box_mm": [[0, 1]] * 3}
        made.append(
            {
                "tube": name, "family": "round", "defect": defect, "drawn": vars(tube),
                "defects": [box] if defect != "none" else [],
                "activity_total_bq": 600 * fluid_mm3, "fluid_volume_mm3": fluid_mm3,
            }
        )  # fmt: skip
    return made


def verdict(words: str, z_mm: float | None) -> dict[str, Any]:
    one = {"kind": "void", "size_mm": 4.0, "x_mm": 1.0, "y_mm": -2.0, "z_mm": z_mm}
    found = [one] if z_mm is not None else []
    return {"verdict": words, "indications": found, "largest_z": 5.0, "threshold_z": 4.2}


@pytest.fixture
def found(tmp_path) -> Findings:
    """Find the defect of tube_1; nothing is known of tube_2, as with shards."""
    grid = Grid.centred((NUM, SIZE, SIZE), (1.0, 1.0, 1.0))
    z = np.arange(NUM, dtype=np.float32)[:, None, None] * np.ones((1, SIZE, SIZE), np.float32)
    io.write_volume(tmp_path / "map.nii.gz", Volume(z, grid))
    table = pd.DataFrame(
        {
            "tube": TUBES[:2],
            "verdict": ["no defect found", "defect"],
            "is_right_place": [False, True],
        }
    )
    verdicts = {"tube_0": verdict("no defect found", None), "tube_1": verdict("defect", 0.0)}
    return Findings(table, verdicts, dict.fromkeys(TUBES[:2], tmp_path / "map.nii.gz"))


@pytest.fixture
def slices() -> tuple[Slices, Slices]:
    table = pd.DataFrame(
        {
            "tube": np.repeat(["tube_9", *TUBES], NUM),
            "split": np.repeat(["train", "test", "test", "test"], NUM),
            "z_mm": np.tile(np.arange(NUM) - 2.0, 4),
        }
    )
    rng = np.random.default_rng(0)
    long = rng.uniform(0, 1000, (4 * NUM, SIZE, SIZE)).astype(np.float32)
    return tuple(Slices(array, table, 500.0, 1.0, 1.0) for array in (0.9 * long, long))


def test_quality_of_each_test_tube_stands_beside_its_verdict(slices, truths, found) -> None:
    short, long = slices
    network = Enhancer(4, use_memory=False)  # untrained it is the identity
    compared = one_to_one.compare(network, short, long, truths, found)
    table = compared.tubes
    assert list(table["tube"]) == list(TUBES)
    assert table["verdict"].tolist()[:2] == ["no defect found", "defect"]
    assert table["verdict"].isna().tolist() == [False, False, True]
    # a tenth of every pixel is missing
    np.testing.assert_allclose(table["activity_bias"], -0.1, rtol=1e-5)
    units = [psnr(a / 500, b / 500) for a, b in zip(short.images, long.images, strict=True)]
    by_hand = [np.mean(units[NUM * i : NUM * (i + 1)]) for i in (1, 2, 3)]
    np.testing.assert_allclose(table["psnr_short"], by_hand, rtol=1e-5)  # float32
    for key in one_to_one.QUALITY:
        np.testing.assert_allclose(table[f"{key}_enhanced"], table[f"{key}_short"], rtol=1e-4)
    np.testing.assert_allclose(compared.images_bq_mm3["long"], long.images[NUM:], rtol=1e-6)


def test_tubes_are_chosen_by_the_rule() -> None:
    table = pd.DataFrame(
        [
            ("a", "none", "no defect found", False), ("b", "pit", "defect", False),
            ("c", "groove", "defect", True), ("d", "groove", "defect", True),
            ("e", "pit", "no defect found", False), ("f", "bubble", "defect", True),
            ("g", "pit", "defect", True), ("h", "crack", None, None),
        ],
        columns=["tube", "defect", "verdict", "is_right_place"],
    )  # fmt: skip
    # found: the first groove, bubble and pit; missed: b, which was called elsewhere
    assert one_to_one.chosen(table) == ["c", "f", "g", "b"]
    assert one_to_one.chosen(table[7:]) == ["h"]  # no defect in any


def test_rows_show_the_slice_that_the_defect_changes_most(
    slices, truths, found, phantom, tmp_path
) -> None:
    short, long = slices
    defect = np.zeros(short.images.shape, np.uint8)
    defect[2 * NUM + 1, :2] = 1  # tube_1: little, at -1 mm
    defect[2 * NUM + 3, :5] = 1  # more, at 1 mm
    compared = one_to_one.compare(Enhancer(4, use_memory=False), short, long, truths, found)
    rows = one_to_one.rows(compared, short, defect, truths, phantom, found)
    assert [row.words.splitlines()[0] for row in rows] == ["tube_1", "tube_0"]
    first, missed = rows
    assert "z = 1.0 mm" in first.words and first.defect.sum() == 5 * SIZE
    # 1e-6: float32, to the scale and back
    np.testing.assert_allclose(
        first.images_bq_mm3["long"], long.images[2 * NUM + 3], rtol=1e-6, atol=1e-4
    )
    assert first.quality["short"]["psnr"] == compared.slices["psnr_short"][NUM + 3]
    assert first.drawn_bq_mm3.max() == pytest.approx(600)  # as filled; the bubble is not drawn
    drawn_mm3 = first.drawn_bq_mm3.sum() / 600
    assert drawn_mm3 == pytest.approx(np.pi * truths[1]["drawn"]["bore_radius_mm"] ** 2, rel=0.03)
    assert (first.inspected.z == 3).all() and first.inspected.crosses_mm == [(1.0, -2.0)]
    assert first.inspected.words == "defect\nvoid, 4.0 mm\nlargest z 5.0, needed 4.2"
    assert "z = 0.0 mm" in missed.words and missed.inspected.crosses_mm == []
    io.write_figure(tmp_path / "f.png", figures.draw_one_to_one(rows, 0.1, 1.0))
