"""Messages of `tubepet reconstruct --scanner` for a config without a scanner."""

import pytest
import yaml

from tubepet.cli.reconstruct import read_scanner
from tubepet.errors import InputError


def test_the_keys_may_stand_in_a_section_or_alone(tmp_path, root):
    config = yaml.safe_load((root / "config" / "config.yaml").read_text())
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(config["scanner"]))
    scanner = read_scanner(tmp_path / "bare.yaml")
    assert scanner == read_scanner(root / "config" / "config.yaml")
    assert scanner.num_rings == config["scanner"]["num_rings"]


def test_a_config_without_a_scanner_is_named(root):
    sentence = r"smoke\.yaml: expected a section scanner with the keys num_rings, .*, got phantom, "
    with pytest.raises(InputError, match=sentence):
        read_scanner(root / "config" / "smoke.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("scanner: {num_rings: 4}", "scanner: expected also num_columns, inner_radius_mm, "),
        ("scanner: {num_ring: 4}", ".* the keys num_rings, .*, got num_ring "),
        ("scanner: 7", "expected a section scanner, got 7"),
        ("- 7", r"expected a section scanner, got \[7\]"),
        ("", "expected a section scanner, got None"),
    ],
)
def test_keys_that_are_no_scanner_are_named(tmp_path, text, sentence):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=f"s.yaml: {sentence}"):
        read_scanner(tmp_path / "s.yaml")
