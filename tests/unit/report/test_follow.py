"""A part is followed in cuts through its defect, cropped to it, with the box of the defect."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle

from tubepet import figure_data
from tubepet.dataset.slices import Slices
from tubepet.report import follow
from tubepet.types import Grid, Volume

GRID = Grid.centred((5, 16, 16), (1.0, 1.0, 1.0))  # z -2 .. 2, y and x -7.5 .. 7.5
BOX = [[3.0, 5.0], [-1.0, 0.0], [0.5, 1.5]]  # x, y, z


@pytest.fixture
def part() -> follow.Followed:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[:, 4:12, 2:14] = 1
    defect = np.zeros(GRID.shape, np.uint8)
    defect[3, 7, 11:13] = 1  # z = 1, y = -0.5
    defect[2, 7, 11] = 1
    images = {
        name: Volume(np.full(GRID.shape, value), GRID)
        for name, value in (("short", 1.0), ("enhanced", 2.0), ("long", 3.0))
    }
    indication = {"kind": "pit", "size_mm": 2.0, "x_mm": 4.0, "y_mm": -0.5, "z_mm": 1.0}
    return follow.Followed(
        labels=Volume(labels, GRID),
        images=images,
        score_map=Volume(np.full(GRID.shape, 7.0), GRID),
        defect=defect,
        truth={"tube": "t", "family": "bent", "defects": [{"class": "pit", "box_mm": BOX}]},
        found={
            "verdict": "defect", "largest_z": 7.0, "threshold_z": 4.0, "p_value": 1e-4,
            "indications": [indication],
        },
    )  # fmt: skip


def test_cuts_go_through_the_defect(part):
    assert follow.place_mm(part) == (1.0, -0.5, 3.5)
    assert follow.facts(part)["cuts_mm"] == {"z": 1.0, "y": -0.5}
    unseen = replace(part, defect=np.zeros_like(part.defect))
    assert follow.place_mm(unseen) == (1.0, -0.5, 4.0)  # the middle of the box
    clean = replace(unseen, truth=part.truth | {"defects": []})
    assert follow.place_mm(clean) == (0.0, 0.0, 0.0)


def test_every_panel_is_cropped_and_has_the_box(part):
    figure = follow.draw_follow(part, 0.1, 1.0)
    panels = [axis for axis in figure.axes if axis.get_images()]
    assert len(panels) == 10
    titles = ["drawing", "short: 0.1 s", "enhanced: short, by network", "long: 1 s", "indications"]
    assert [axis.get_title() for axis in panels[:5]] == titles
    for plane, axes in (("xy", panels[:5]), ("xz", panels[5:])):
        low, high = {"xy": (-4, 4), "xz": (-2.5, 2.5)}[plane]
        bottom, top = {"xy": BOX[1], "xz": BOX[2]}[plane]
        for axis in axes:
            assert axis.get_xlim() == (-8, 8)
            assert axis.get_ylim() == (low - 2, high + 2)
            (box,) = (patch for patch in axis.patches if isinstance(patch, Rectangle))
            assert (box.get_x(), box.get_width()) == (3, 2)
            assert (box.get_y(), box.get_y() + box.get_height()) == (bottom, top)
        (cross,) = axes[-1].lines
        assert cross.get_xydata().tolist() == [[4, {"xy": -0.5, "xz": 1.0}[plane]]]
        assert f"{plane} cut at" in axes[0].get_ylabel()
    names = set(figure_data.of_figure(figure)["panel"])
    assert any("long: 1 s, xz" in name for name in names)


def test_images_are_those_of_the_tube_in_bq():
    table = pd.DataFrame({"tube": ["a"] * 2 + ["b"] * 3, "split": "test", "z_mm": [0, 1, -1, 0, 1]})
    array = np.arange(5, dtype=np.float32)[:, None, None] + np.ones((5, 4, 4), np.float32)
    short, long = (Slices(images, table, 10.0, 0.5, 1.0) for images in (array, 2 * array))
    network = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 7.0)  # the total of the tube stays as measured
    made = follow.images_of("b", network, short, long)
    assert made["short"].array[:, 0, 0].tolist() == [3, 4, 5]
    assert made["enhanced"].array[:, 0, 0] == pytest.approx([3, 4, 5])
    assert made["long"].array[:, 0, 0].tolist() == [6, 8, 10]
    assert made["long"].grid == Grid((3, 4, 4), (1.0, 0.5, 0.5), (-1.0, -0.75, -0.75))
