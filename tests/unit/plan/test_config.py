"""Every key explained, every bad config one sentence."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from tubepet.errors import InputError
from tubepet.phantom.materials import MATERIALS
from tubepet.phantom.meshes import UNITS_MM
from tubepet.phantom.parts import KEYS, PATHS
from tubepet.phantom.spec import DEFECTS
from tubepet.plan import config as config_module
from tubepet.plan import outside
from tubepet.plan.config import checked_config
from tubepet.simulate import sources

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / name).read_text())


def merged(base: dict, change: dict) -> dict:
    result = copy.deepcopy(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def leaves(schema: dict, name: str = ""):
    for key, sub in schema.get("properties", {}).items():
        dotted = f"{name}.{key}".lstrip(".")
        if sub.get("properties"):
            assert sub.get("additionalProperties") is False, dotted
            yield from leaves(sub, dotted)
        else:
            yield dotted, sub


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "config").glob("*.yaml")))
def test_shipped_configs_are_valid(name):
    checked_config(merged(load("config.yaml"), load(name)), ROOT)


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "config/scanners").glob("*.yaml")))
def test_shipped_scanners_are_valid_with_the_smallest_run(name):
    both = merged(load("smoke.yaml"), load(f"scanners/{name}"))
    checked_config(merged(load("config.yaml"), both), ROOT)


def numbers(section, path=()):
    """All places of numbers in a config."""
    pairs = section.items() if isinstance(section, dict) else enumerate(section)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from numbers(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_no_key_of_the_config_may_be_nan(bad):
    """Bounds of the schema let NaN pass: no comparison with it holds."""
    whole = checked_config(load("config.yaml"), ROOT)
    places = list(numbers(whole))
    assert len(places) > 150
    for *above, last in places:
        config = copy.deepcopy(whole)
        section = config
        for key in above:
            section = section[key]
        section[last] = bad
        name = last if isinstance(last, str) else f"[{last}]"
        with pytest.raises(InputError, match=rf"{re.escape(name)}: got -?(nan|inf), expected a"):
            checked_config(config, ROOT)


def test_materials_of_the_schema_are_those_of_the_package():
    schema = yaml.safe_load(SCHEMA.read_text())["properties"]["phantom"]["properties"]["parts"]
    part = schema["patternProperties"][r"^tube_\d{4}$"]["properties"]
    assert part["wall"]["enum"] == part["fluid"]["enum"] == list(MATERIALS)
    assert part["unit"]["enum"] == list(UNITS_MM)
    assert part["defect"]["properties"]["class"]["enum"] == [d for d in DEFECTS if d != "none"]
    keys = {"name", *KEYS, *(key for known, _ in KEYS.values() for key in known)}
    assert set(part) == keys
    named = {**dict.fromkeys(PATHS, "a"), "defect": {"class": "pit", "file": "a"}}
    assert set(outside.part_paths(named)) == {*PATHS, "defect.file"}


def test_every_key_has_description_and_default_and_the_file_repeats_them():
    schema = yaml.safe_load(SCHEMA.read_text())
    assert schema["additionalProperties"] is False
    readme = (ROOT / "config" / "README.md").read_text()
    filled = checked_config({}, ROOT)
    assert filled == checked_config(load("config.yaml"), ROOT)
    for name, sub in leaves(schema):
        assert len(sub.get("description", "")) > 10, name
        assert "default" in sub, name
        assert f"`{name}`" in readme, f"config/README.md does not explain {name}"


def heads(**changes):
    """Return the shipped panels, changed."""
    family = load("scanners/panels.yaml")["scanner"]["modules"][0]
    return {"scanner": {"modules": [family | changes]}}


BAD = {
    "a defect wider than the bore": (
        {"phantom": {"defect_size_mm": {"thinning": [4.0, 13.0]}}},
        "phantom.defect_size_mm.thinning: got up to 13 mm.*narrowest bore.*12 mm",
    ),
    "sizes the wrong way around": (
        {"phantom": {"defect_size_mm": {"pit": [4.0, 3.0]}}},
        "phantom.defect_size_mm.pit: got .4.0, 3.0., expected the lower end first",
    ),
    "modules without room": (heads(pitch_width_mm=3.9), r"modules\[0\]\.crystal_width_mm: got 4"),
    "modules too near": (heads(inner_radius_mm=11.0), "tube.*bore .inner_radius_mm 11 mm"),
    "image beyond the modules": (heads(inner_radius_mm=22.0), "corner lies 22.6.*scanner .22 mm"),
    "a module without a key": ({"scanner": {"modules": [{"around": 2}]}}, "first_angle_deg"),
    "dead crystal beyond the table": (
        {"scanner": {"dead_crystals": [11776]}},
        "got 11776, .*11775",
    ),
    "no efficiencies": ({"scanner": {"efficiencies": "/no/e.csv"}}, "efficiencies: got /no/e.csv"),
    "a tail fit without a ring": (
        {"scanner": {"dead_crystals": [3]}, "reconstruct": {"background": "tail_fit"}},
        "background: got tail_fit, expected modelled",
    ),
    "misspelt section": ({"simulat": {}}, "simulat"),
    "misspelt key": ({"phantom": {"num_tube": 3}}, "phantom.*num_tube"),
    "empty section": ({"simulate": None}, "simulate.*None"),
    "mistyped": ({"phantom": {"num_tubes": "many"}}, r"phantom\.num_tubes.*'many'"),
    "negative": ({"reconstruct": {"pixel_mm": -0.5}}, r"reconstruct\.pixel_mm.*-0\.5"),
    "zero": ({"phantom": {"voxel_mm": 0}}, r"phantom\.voxel_mm"),
    "too large for the bore": (
        {"phantom": {"bore_radius_mm": [6.0, 200.0]}},
        "phantom: the largest tube.*bore",
    ),
    "too large for the image": ({"phantom": {"wall_mm": [2.0, 12.0]}}, "image reaches 16 mm"),
    "one tube too large": (
        {"phantom": {"tubes": {"tube_0002": {"wall_mm": 9.0}}}},
        r"image reaches 16 mm.*tube_0002",
    ),
    "one tube too long": (
        {"phantom": {"tubes": {"tube_0002": {"length_mm": 90.0}}}},
        r"32 mm long.*tube_0002",
    ),
    "range upside down": ({"phantom": {"wall_mm": [3.0, 2.0]}}, r"phantom\.wall_mm.*lower end"),
    "window upside down": ({"scanner": {"energy_window_kev": [650, 350]}}, "energy_window_kev"),
    "time resolution of what": (
        {"scanner": {"time_resolution_per": "detector"}},
        r"scanner\.time_resolution_per: got 'detector'",
    ),
    "negative dead time": ({"scanner": {"dead_time_ns": -1}}, r"scanner\.dead_time_ns: got -1"),
    "no pile-up time": (
        {"scanner": {"pile_up_ns": float("nan")}},
        r"scanner\.pile_up_ns: got nan, expected a number",
    ),
    "block that does not divide": (
        {"scanner": {"readout_block": [8, 5]}},
        r"readout_block: got \[8, 5\], expected divisors .*5 does not divide num_rings 64",
    ),
    "blocks of readout in modules": (
        {"scanner": heads()["scanner"] | {"readout_block": [8, 8]}},
        r"readout_block: got \[8, 8\], expected \[1, 1\] with scanner\.modules",
    ),
    "blocks of readout with dead crystals": (
        {"scanner": {"dead_crystals": [3], "readout_block": [8, 8]}},
        r"readout_block: got \[8, 8\], expected \[1, 1\] with scanner\.modules, dead_crystals",
    ),
    "no folder": ({"ct": {"source_dir": "/nowhere/at/all"}}, r"ct\.source_dir.*/nowhere"),
    "split": ({"ct": {"split": {"train": 0.9, "val": 0.9, "test": 0.1}}}, r"ct\.split"),
    "long acquisition too short": (
        {"protocol": {"duration_s": 2.0}},
        r"protocol\.reference_duration_s: got 1 s, expected more than protocol\.duration_s, 2 s",
    ),
    "unknown tube": ({"phantom": {"tubes": {"tube_0999": {}}}}, "tube_0999"),
    "delay inside the window": ({"simulate": {"delay_ns": 9}}, r"simulate\.delay_ns.*10 ns"),
    "solids of any shape": ({"simulate": {"geometry": "analytic"}}, "analytic with family ellip"),
    "solids with a defect": (
        {
            "simulate": {"engine": "gate", "geometry": "analytic"},
            "phantom": {
                "families": ["round"],
                "defects": ["none"],
                "tubes": {"tube_0001": {"defect": "pit"}},
            },
        },
        r"defect pit \(tube_0001\)",
    ),
    "unknown source": ({"simulate": {"source": "e-"}}, r"simulate\.source.*'e-'"),
    "unknown isotope": ({"simulate": {"isotope": "O15"}}, r"isotope.*'O15'.*F18.*Ga68.*Cu64"),
    "variant with an unknown key": (
        {"study": {"variants": {"odd": {"model": "vae", "set": {"kapa": 3}}}}},
        r"study\.variants\.odd\.set: generate\.vae: .*kapa",
    ),
    "variant of impossible value": (
        {"study": {"variants": {"odd": {"model": "wgan", "set": {"clip": 0.0}}}}},
        r"study\.variants\.odd\.set: generate\.wgan\.clip: got 0\.0",
    ),
    "variant that beats nobody": (
        {"study": {"variants": {"odd": {"model": "vae", "beats": ["even"]}}}},
        r"study\.variants\.odd\.beats: got even, expected one of study\.variants",
    ),
    "candidate of impossible value": (
        {"study": {"variants": {"odd": {"model": "vae", "candidates": [{}, {"beta": -1}]}}}},
        r"study\.variants\.odd\.candidates\[1\]: generate\.vae\.beta: got -1",
    ),
    "candidate that changes nothing": (
        {
            "study": {
                "variants": {
                    "odd": {"model": "vae", "set": {"beta": 1.0}, "candidates": [{"beta": 2.0}]}
                }
            }
        },
        r"study\.variants\.odd\.candidates\[0\]: got beta, expected keys",
    ),
    "no attenuation map": (
        {"reconstruct": {"attenuation": "maps/{tube}.nii.gz"}},
        r"reconstruct\.attenuation: got no file maps/tube_0000\.nii\.gz, expected nominal, truth",
    ),
    "misspelt attenuation": (
        {"reconstruct": {"attenuation": "nominel"}},
        r"reconstruct\.attenuation: got 'nominel'.*attenuation map: `nominal`",
    ),
    "convergence of MLEM": (
        {"reconstruct": {"stopping": "converged"}},
        r"reconstruct\.stopping: got converged with algorithm mlem.*expected map_rdp",
    ),
    "own part without files": (
        {"phantom": {"parts": {"tube_0001": {"name": "a", "body": "b.stl", "cavity": "c.stl"}}}},
        r"phantom\.parts\.tube_0001\.body: got no file b\.stl, expected one",
    ),
    "own part of a foreign metal": (
        {"phantom": {"parts": {"tube_0001": {"name": "a", "wall": "bronze"}}}},
        r"phantom\.parts\.tube_0001\.wall: got 'bronze', expected: 'bronze' is not one of",
    ),
    "own part of no tube": (
        {"phantom": {"parts": {"tube_0099": {"name": "a", "tube": {}}}}},
        r"phantom\.parts\.tube_0099: no such tube, num_tubes is 84",
    ),
    "own part and fixed tube": (
        {"phantom": {"parts": {"tube_0001": {"name": "a"}}, "tubes": {"tube_0001": {}}}},
        r"phantom\.parts\.tube_0001: got a part and phantom\.tubes\.tube_0001, expected one",
    ),
    "own part as solids": (
        {
            "phantom": {
                "parts": {"tube_0001": {"name": "a"}},
                "families": ["round"],
                "defects": ["none"],
            },
            "simulate": {"geometry": "analytic", "engine": "gate"},
        },
        r"simulate\.geometry: got analytic with phantom\.parts\.tube_0001, expected voxels",
    ),
    "unknown family": ({"phantom": {"families": ["square"]}}, r"families.*square"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configs_are_refused_in_one_sentence(name):
    change, message = BAD[name]
    with pytest.raises(InputError, match=message) as caught:
        checked_config(merged(load("config.yaml"), change), ROOT)
    assert "\n" not in str(caught.value)


def test_the_users_attenuation_maps_are_looked_for_before_the_run(tmp_path):
    wish = {"attenuation": f"{tmp_path}/{{tube}}.nii.gz"}
    change = {"reconstruct": wish, "phantom": {"num_tubes": 3}}
    for name in ("tube_0000", "tube_0001"):
        (tmp_path / f"{name}.nii.gz").touch()
    with pytest.raises(InputError, match=r"got no file .*/tube_0002\.nii\.gz"):
        checked_config(merged(load("config.yaml"), change), ROOT)
    (tmp_path / "tube_0002.nii.gz").touch()
    checked_config(merged(load("config.yaml"), change), ROOT)
    wish["attenuation"] = f"{tmp_path}/tube_0001.nii.gz"  # one for all
    checked_config(merged(load("config.yaml"), change), ROOT)


def test_solid_families_are_those_of_the_simulation():
    assert config_module.SOLID_FAMILIES == sources.SOLID_FAMILIES
    change = {
        "simulate": {"engine": "gate", "geometry": "analytic"},
        "phantom": {"families": list(sources.SOLID_FAMILIES), "defects": ["none"]},
    }
    checked_config(merged(load("config.yaml"), change), ROOT)


def test_a_preset_gives_a_variant_its_keys_and_what_it_sets_wins():
    variant = {"model": "paper", "preset": "paper_literal", "set": {"stem_channels": 8}}
    filled = checked_config({"study": {"variants": {"x": variant}}}, ROOT)
    keys = filled["study"]["variants"]["x"]["set"]
    assert (keys["attention"], keys["output"], keys["stem_channels"]) == ("bilinear", "tanh", 8)
    assert "paper" not in keys
    assert checked_config(filled, ROOT) == filled  # as the Snakemake inside a shard reads it
    with pytest.raises(InputError, match=r"got preset nowhere, expected a file .*nowhere\.yaml"):
        checked_config({"study": {"variants": {"x": variant | {"preset": "nowhere"}}}}, ROOT)


FORMER = {
    "section": ({"gan": {"batch_size": 3}}, r"gan: .*expected generate"),
    "list of models": ({"generate": {"models": ["vae", "ours"]}}, r"generate\.models: .*surrogate"),
    "section of the model": ({"generate": {"ours": {}}}, r"generate\.ours: .*expected surrogate"),
    "variant": (
        {"study": {"variants": {"x": {"model": "ours"}}}},
        r"study\.variants\.x\.model: got ours, .*expected surrogate",
    ),
}


@pytest.mark.parametrize("name", FORMER)
def test_a_name_of_a_former_version_is_told_its_present_one(name):
    change, message = FORMER[name]
    with pytest.raises(InputError, match=message):
        checked_config(change, ROOT)
