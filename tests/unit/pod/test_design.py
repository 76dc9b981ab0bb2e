"""The parts of the POD study: drawn by name, with evenly spread sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tubepet.errors import InputError
from tubepet.phantom import spec
from tubepet.plan import pod
from tubepet.pod import design

SIZES_MM = {"pit": [2.0, 8.0], "thinning": [4.0, 14.0], "bubble": [3.0, 90.0]}


@pytest.fixture(scope="module")
def phantom(root: Path) -> dict[str, Any]:
    section = yaml.safe_load((root / "config" / "config.yaml").read_text())["phantom"]
    return section | {"defect_size_mm": SIZES_MM}


def test_every_part_is_in_one_batch() -> None:
    section = {"defects": ["pit"], "parts_per_class": 5, "clean_parts": 2, "parts_per_job": 2}
    assert pod.batches(section) == ["pit_0-1", "pit_2-3", "pit_4-4", "clean_0-1"]
    assert pod.batches(section | {"parts_per_job": 9}) == ["pit_0-4", "clean_0-1"]


def test_a_part_does_not_depend_on_its_batch(phantom: dict[str, Any]) -> None:
    whole = design.planned("pit_0-8", 0.1, 0.1, phantom, 1)
    pieces = [
        part
        for batch in ("pit_0-2", "pit_3-3", "pit_4-8")
        for part in design.planned(batch, 0.1, 0.1, phantom, 1)
    ]
    assert whole == pieces and len({part.name for part in whole}) == 9
    assert {part.tube.family for part in whole[:6]} == set(phantom["families"])


def test_parts_are_not_the_tubes_of_the_run(phantom: dict[str, Any]) -> None:
    part = design.planned("clean_0-0", 0.1, 0.1, phantom, 1)[0]
    assert part.tube.length_mm != spec.draw_tube("tube_0000", phantom, {}, 1).length_mm
    other = design.planned("pit_0-0", 0.1, 0.1, phantom, 1)[0]
    assert part.tube.length_mm != other.tube.length_mm and part.tube.defect == "none"


def test_sizes_are_evenly_spread_in_their_logarithm(phantom: dict[str, Any]) -> None:
    parts = design.planned("pit_0-79", 0.1, 0.1, phantom, 1)
    share = np.log([part.tube.defect_size_mm / 2 for part in parts]) / np.log(4)
    # multiples of the golden ratio leave no gap twice as wide as the mean one
    gaps = np.diff(np.sort(np.concatenate([[0.0], share, [1.0]])))
    assert share.min() > 0 and share.max() < 1 and gaps.max() < 2 / 80


def test_longer_acquisitions_have_smaller_defects_in_the_same_tubes(
    phantom: dict[str, Any],
) -> None:
    short, long = (
        design.planned("thinning_0-2", duration_s, 0.1, phantom, 1) for duration_s in (0.1, 0.8)
    )
    for one, other in zip(short, long, strict=True):
        # 0.5 / 1.5: eight times the time is half the size
        assert other.tube.defect_size_mm == pytest.approx(one.tube.defect_size_mm / 2)
        assert other.tube.defect_deg == one.tube.defect_deg
        assert other.tube.thinning_side == "inner"


def test_a_defect_wider_than_the_bore_is_named(phantom: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"bubble \d\.defect_size_mm: .*at most the bore"):
        design.planned("bubble_0-9", 0.1, 0.1, phantom, 1)
