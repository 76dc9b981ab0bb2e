"""Parts as their owners describe them."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tubepet import io
from tubepet.errors import InputError
from tubepet.inspect.part import of_tube
from tubepet.inspect.part_file import VOXELS, read_part, tube_of
from tubepet.phantom import spec

ROUND = {"family": "round", "length_mm": 10.0, "bore_radius_mm": 4.0, "wall_mm": 2.0}


@pytest.fixture(scope="module")
def phantom(root: Path) -> dict:
    return yaml.safe_load((root / "config/config.yaml").read_text())["phantom"]


@pytest.mark.parametrize("index", range(6))
def test_a_file_describes_the_tube_that_was_drawn(phantom, index) -> None:
    """Every family: the few keys of a file, and truth.json, draw what the workflow draws."""
    tube = spec.draw_tube(f"tube_{index:04d}", phantom, {}, 3)
    clean = replace(tube, defect="none")
    own = clean.meaningful()
    del own["defect"]
    told = tube_of("part.yaml", own)
    assert told.meaningful() == clean.meaningful()
    from_truth = tube_of("truth.json", {"tube": "a", "drawn": asdict(tube)})
    assert from_truth.meaningful() == clean.meaningful() and from_truth.defect == "none"


def test_a_part_is_read_from_yaml_and_json(phantom, tmp_path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(ROUND))
    io.write_json(tmp_path / "a.json", ROUND)
    one, other = read_part(tmp_path / "a.yaml"), read_part(tmp_path / "a.json")
    assert np.array_equal(one.fluid.array, other.fluid.array)
    volume_mm3 = one.fluid.array.sum() * one.fluid.grid.voxel_volume_mm3
    # supersampled voxels: within a per cent of the cylinder
    assert volume_mm3 == pytest.approx(np.pi * 16 * 10, rel=0.01)
    drawn = of_tube(tube_of("a", ROUND), VOXELS)
    assert np.array_equal(one.mu.array, drawn.mu.array)
    # truth.json of a run names its tube, which is no part of another material
    truth = {"tube": "tube_0000", "family": "round", "drawn": asdict(tube_of("a", ROUND))}
    io.write_json(tmp_path / "truth.json", truth)
    assert np.array_equal(read_part(tmp_path / "truth.json").mu.array, drawn.mu.array)
    # as the workflow draws its tubes
    assert {key: phantom[key] for key in VOXELS} == VOXELS


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family": "elbow"}, "family: got 'elbow', expected one of round"),
        ({"family": None}, "family: got None"),
        ({"length_mm": float("nan")}, "length_mm: got nan, expected a number"),
        ({"wall_mm": "thick"}, "wall_mm: got 'thick', expected a number"),
        ({"wall_mm": -1}, "wall_mm: got -1, expected more than 0"),
        ({"length_mm": 1e6}, "length_mm: got 1e+06 mm, expected at most 200 mm"),
        ({"bend_mm": 1}, "'bend_mm'|bend_mm: got a key that no round part has"),
        ({"colour": "red"}, "colour: got a key that no round part has"),
        ({"defect": "pit"}, "defect: got a key that no round part has"),
        ({"family": "bent"}, "bend_mm: missing, expected it of a bent part"),
        ({"drawn": {"family": "round"}}, "drawn: expected the keys bend_mm"),
    ],
)
def test_what_is_wrong_with_a_part_is_one_sentence(tmp_path, change, sentence) -> None:
    path = tmp_path / "part.yaml"
    path.write_text(yaml.safe_dump(ROUND | change))
    with pytest.raises(InputError) as caught:
        read_part(path)
    assert any(part in str(caught.value) for part in sentence.split("|"))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.yaml", "- 1\n- 2\n", "got no keys"),
        ("a.yaml", "{", "expected YAML, got a damaged file"),
        ("a.json", "{", "expected JSON, got a damaged file"),
        ("a.json", json.dumps([1]), "got no keys"),
        ("a.stl", "solid", "got .stl, expected .yaml, .yml or .json"),
    ],
)
def test_a_file_that_is_no_part_is_named(tmp_path, name, text, sentence) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="a\\.") as caught:
        read_part(tmp_path / name)
    assert sentence in str(caught.value)
