"""Volumes of training tubes, from the images of a run to the input of the surrogate's fit."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from tubepet import io
from tubepet.dataset.collect import collect_volumes
from tubepet.dataset.drawing import draw_new, draw_slices
from tubepet.errors import InputError
from tubepet.generate.read import read_data
from tubepet.types import Grid, Volume

NUM_SLICES = 7  # of each tube, inside its ends


@pytest.fixture
def paths(tmp_path, volumes) -> dict[str, str]:
    """Write what the rules give, of four tubes, the first three for training."""
    population = volumes.population
    _, _, drawn = draw_new(population, 4, np.random.default_rng(1), {})
    names = [f"tube_{i:04d}" for i in range(4)]
    table = pd.DataFrame({
        "tube": np.repeat(names, NUM_SLICES), "z_mm": np.tile(population.all_mm[1:8], 4),
        "split": ["train"] * 3 * NUM_SLICES + ["test"] * NUM_SLICES,
    })  # fmt: skip
    grid = Grid.centred((10, 32, 32), (1.0, 1.0, 1.0))

    def image(name: str) -> Volume:
        return Volume(np.full(grid.shape, float(name[-1]), np.float32), grid)

    keys = (
        "images", "table", "info", "volumes", "fluid", "volume_table", "population", "resolution",
    )  # fmt: skip
    ends = ("npy", "parquet", "json", "npy", "npy", "parquet", "json", "json")
    paths = {key: str(tmp_path / f"{key}.{end}") for key, end in zip(keys, ends, strict=True)}
    tubes = dict(zip(names, drawn, strict=True))
    chosen = collect_volumes(paths, table, image, tubes, population.grid)
    assert list(chosen["tube"]) == names[:3]  # of training tubes only
    io.write_table(paths["volume_table"], chosen)
    io.write_array(paths["images"], np.ones((len(table), 32, 32), np.float32))
    io.write_table(paths["table"], table)
    facts = {"scale_bq_mm3": 5.0, "pixel_mm": 1.0, "slice_mm": 1.0}
    io.write_json(paths["info"], facts | {"num_slices": {"train": 21, "test": 7}})
    io.write_json(paths["population"], asdict(population))
    io.write_json(paths["resolution"], {"kernel": [[0.75, 2.0, 3.0], [0.25, 6.0, 7.0]]})
    expected = draw_slices(tubes["tube_0001"], population.all_mm, population.grid).fluid
    assert np.array_equal(io.read_array(paths["fluid"])[1], expected)
    return paths


def test_volumes_are_whole_images_of_the_training_tubes(paths) -> None:
    found = read_data(paths).volumes
    assert found is not None and found.images.shape == found.fluid.shape == (3, 10, 32, 32)
    assert found.images[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0]
    assert found.model_mm == (0.75 * 2 + 0.25 * 6, 0.75 * 3 + 0.25 * 7)


@pytest.mark.parametrize(("num", "expected"), [(1, 1), (7, 1), (8, 2), (21, 3)])
def test_of_fewer_slices_fewer_tubes_are_read(paths, num, expected) -> None:
    table = io.read_table(paths["table"])
    table.loc[table.index[num:21], "split"] = "unused"
    io.write_table(paths["table"], table)
    found = read_data(paths).volumes
    assert found is not None and len(found.images) == expected


def test_volumes_of_something_else_are_refused(paths) -> None:
    io.write_array(paths["fluid"], np.zeros((2, 10, 32, 32), np.float32))
    with pytest.raises(InputError, match=r"volumes.npy: got shape \(3, 10, 32, 32\), expected"):
        read_data(paths)
