"""The purpose of each part (training, threshold, test), and the voxels of its images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tubepet.observers import design
from tubepet.observers.box import Box
from tubepet.observers.learned import Arm
from tubepet.plan import observers
from tubepet.types import Grid


@pytest.fixture(scope="module")
def config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config" / "config.yaml").read_text())


def planned(config: dict[str, Any], batch: str) -> list[Any]:
    return design.planned(batch, 0.1, config["pod"]["defects"], config["phantom"], 1)


def test_no_part_is_in_two_roles(config: dict[str, Any]) -> None:
    roles = [planned(config, f"{role}_0-23") for role in ("train", "validation", "test")]
    parts = [part for role in roles for part in role]
    assert len({part.name for part in parts}) == 72
    assert len({(part.tube.length_mm, part.tube.bore_radius_mm) for part in parts}) == 72


def test_half_are_clean_and_classes_and_families_come_in_turn(config: dict[str, Any]) -> None:
    parts = planned(config, "test_0-143")
    kinds = [part.tube.defect for part in parts]
    assert kinds[::2] == ["none"] * 72 and kinds[1::2] == 12 * config["pod"]["defects"]
    pits = {part.tube.family for part in parts if part.tube.defect == "pit"}
    assert pits == set(config["phantom"]["families"])
    assert {part.tube.defect for part in planned(config, "validation_0-5")} == {"none"}


def test_a_part_does_not_depend_on_its_batch(config: dict[str, Any]) -> None:
    pieces = planned(config, "train_0-2") + planned(config, "train_3-6")
    assert planned(config, "train_0-6") == pieces


def test_jobs_and_networks_have_names() -> None:
    section = {"train_parts": 3, "validation_parts": 2, "test_parts": 2, "parts_per_job": 2}
    section |= {"few_parts": [10]}
    assert observers.batches(section) == ["train_0-1", "train_2-2", "validation_0-1", "test_0-1"]
    arms = observers.arms(section)
    known = [Arm(**arm) for arm in arms.values()]
    assert list(arms) == ["learned", "learned_image", "learned_10", "learned_10_surrogate"]
    assert known == [Arm(), Arm(has_drawing=False), Arm(num_parts=10), Arm(True, 10, True)]


def test_the_box_is_the_middle_in_whole_voxels(config: dict[str, Any]) -> None:
    grid = Grid.centred((32, 64, 64), (1.0, 0.5, 0.5))
    box = Box(grid, config["phantom"])
    assert box.shape == (30, 28, 28) and box.voxel_mm == [1.0, 1.0, 1.0]
    x_mm = np.broadcast_to(grid.axes_mm()[2], grid.shape)
    np.testing.assert_allclose(box.of(x_mm)[0, 0], np.arange(28) - 13.5)
    z_mm = np.broadcast_to(grid.axes_mm()[0][:, None, None], grid.shape)
    np.testing.assert_allclose(box.of(z_mm)[:, 0, 0], np.arange(30) - 14.5)
    small = Box(Grid.centred((9, 20, 20), (1.0, 1.0, 1.0)), config["phantom"])
    assert small.shape == (8, 20, 20)  # no larger than the image, and even
