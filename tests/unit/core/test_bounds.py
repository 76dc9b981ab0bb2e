"""Limits that all readers share."""

import gzip
import os

import numpy as np
import pytest
import yaml

from tubepet import bounds
from tubepet.errors import InputError, reading

# Nine lines of nine aliases: 9^9 values.
BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
# Merge keys are copied while YAML is built: 2^40 pairs.
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 41)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BOMB, "more than 200000 values"),
        (MERGED, "more than 200000 values"),
        ("a: &a [*a]", "more than 100 levels"),
        ("[" * 102 + "]" * 102, "more than 100 levels"),
        ("[" * 60_000, "expected YAML"),
        ("a: " + "1" * 2**18, "expected at most 262144"),
        ("a: [", "expected YAML"),
        ("a: \xff", "expected YAML"),
    ],
    ids=["aliases", "merged", "circle", "deep", "deeper", "large", "cut", "bytes"],
)
def test_yaml_is_bounded(tmp_path, text, sentence) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"a\.yaml: .*{sentence}"):
        bounds.read_yaml(tmp_path / "a.yaml")


def test_yaml_within_bounds_is_read(tmp_path, root) -> None:
    path = root / "config/config.yaml"
    assert bounds.read_yaml(path) == yaml.safe_load(path.read_text())
    (tmp_path / "a.yaml").write_text("b: &b {c: 1}\nd:\n  <<: *b\n  e: [*b, *b]\n")
    assert bounds.read_yaml(tmp_path / "a.yaml")["d"] == {"c": 1, "e": [{"c": 1}, {"c": 1}]}
    (tmp_path / "a.yaml").write_text("")
    assert bounds.read_yaml(tmp_path / "a.yaml") is None


def test_trees_of_others_are_bounded() -> None:
    """Of a config that Snakemake has read, which knows no bounds."""
    circle: list = []
    circle.append(circle)
    for content in (yaml.safe_load(BOMB), circle, [[0] * 1000] * 1000):
        with pytest.raises(InputError, match=r"config: got more than 200000 values or 100 levels"):
            bounds.check_tree("config", content)
    bounds.check_tree("config", {"a": [1] * 100_000, "b": {"c": "text"}})


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.1e5])
def test_places_are_bounded(value) -> None:
    bounds.check_mm("x", "crystals", np.array([[-1e5, 0.0, 1e5]]))
    with pytest.raises(InputError, match=rf"x: crystals: got {value:g} mm"):
        bounds.check_mm("x", "crystals", np.array([[0.0, value, 1.0]]))


def test_pipes_and_devices_are_not_opened(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        for read in (bounds.read_yaml, bounds.read_text):
            with pytest.raises(InputError, match="expected a regular file"):
                read(path)
        with pytest.raises(InputError, match="expected a regular file"), reading(path, "any"):
            pass


def test_packed_files_do_not_grow_beyond_text(tmp_path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**25)))
    with pytest.raises(InputError, match="unpacks to more than 100 times"):
        bounds.check_unpacked(tmp_path / "a.gz")
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**23)))
    bounds.check_unpacked(tmp_path / "a.gz")
