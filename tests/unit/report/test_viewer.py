"""The viewer's volumes: cropped to the part, small enough, and unpacked as by the page."""

import base64
import zlib

import numpy as np
import pytest

from tubepet.report import viewer
from tubepet.types import Grid, Volume

GRID = Grid.centred((6, 20, 20), (1.0, 0.5, 0.5))


def seen(top: float = 300.0) -> viewer.Seen:
    """Return a cube of 4 mm in the middle, brighter upwards."""
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[2:10, 6:14, 6:14] = 1
    labels[2:10, 6:14, 6] = 3
    image = np.linspace(0, top, 6)[:, None, None] + np.zeros(GRID.shape)
    truth = {
        "family": "rounded_square",
        "defects": [{"class": "pit", "size_mm": 2.0, "box_mm": [[0, 1], [1, 2], [-1, 0]]}],
    }
    found = {"verdict": "defect", "indications": [{"x_mm": 1.0, "y_mm": 2.0, "z_mm": 3.0}]}
    return viewer.Seen(
        labels=Volume(labels, Grid.centred(labels.shape, (0.5, 0.5, 0.5))),
        short=Volume(image, GRID),
        long=Volume(image / 2, GRID),
        score_map=Volume(np.full(GRID.shape, 2.0), GRID),
        truth=truth,
        found=found,
    )


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)
    return np.cumsum(steps, axis=-1, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (3, 5, 7)])
def test_packing_loses_nothing(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(unpacked(viewer.packed(values), shape), values)


def test_a_tube_is_cropped_and_its_values_come_back():
    one = viewer.tube_data(seen(), 0.5)
    # 4 mm and less than 2 mm on either side: 14 of 20 pixels, all slices within 8 mm
    assert one["shape"] == (6, 14, 14) and one["voxel_mm"] == (1.0, 0.5, 0.5)
    assert one["origin_mm"] == (-2.5, -3.25, -3.25)
    short = unpacked(one["volumes"]["short"], one["shape"]) / 255 * one["tops"]["short"]
    assert np.allclose(short[:, 0, 0], np.linspace(0, 300, 6), atol=300 / 510)
    assert one["tops"]["long"] == one["tops"]["short"] == 300  # one colour scale
    assert one["tops"]["map"] == viewer.LEAST_Z
    labels = unpacked(one["volumes"]["labels"], one["shape"])
    assert set(np.unique(labels)) == {0, 1, 2} and labels[3, 7, 7] == 1  # 3 is a wall too
    assert one["boxes_mm"] == [[[0, 1], [1, 2], [-1, 0]]] and one["crosses_mm"] == [[1, 2, 3]]
    assert one["words"] == "rounded square, pit of 2.0 mm; verdict: defect"


def test_blocks_are_means_around_their_middle():
    volume = Volume(np.arange(16.0).reshape(1, 4, 4), Grid((1, 4, 4), (1.0, 0.5, 0.5), (0, 0, 0)))
    made = viewer.coarser(volume, 1.0)
    assert made.array.tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    assert made.grid == Grid((1, 2, 2), (1.0, 1.0, 1.0), (0, 0.25, 0.25))
    assert viewer.coarser(volume, 99.0).array.tolist() == [[[7.5]]]


def test_many_tubes_stay_light(monkeypatch):
    tubes = {f"tube_{i}": seen for i in range(9)}
    fine = viewer.viewer_data(tubes)
    assert list(fine) == list(tubes) and fine["tube_0"]["voxel_mm"] == (1.0, 0.5, 0.5)

    def weight(made: dict) -> int:
        return sum(len(text) for one in made.values() for text in one["volumes"].values())

    monkeypatch.setattr(viewer, "MOST_BYTES", weight(fine) - 1)
    light = viewer.viewer_data(tubes)
    assert list(light) == list(tubes) and weight(light) < weight(fine)
    assert light["tube_0"]["voxel_mm"] == (1.0, 1.0, 1.0)
