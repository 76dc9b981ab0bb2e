"""The config, checked before the first job (imported by the Snakefile: no heavy packages).

The schema knows types, bounds and defaults. This module finds keys that contradict each other.
"""

from collections.abc import Iterator
from copy import deepcopy
from math import hypot, isfinite, pi, tan
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tubepet import layout
from tubepet.bounds import check_tree, read_yaml
from tubepet.errors import InputError
from tubepet.plan.models import FORMER_NAMES
from tubepet.plan.outside import OWN_MAPS, part_paths
from tubepet.types import Scanner

SCHEMA = "workflow/schemas/config.schema.yaml"
SOLID_FAMILIES = ("round", "eccentric", "stepped")  # as in `tubepet.simulate.sources`


def checked_config(config: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the config with all defaults filled in.

    Parameters
    ----------
    config : dict
        What the config files and the command line gave.
    root : Path
        Of the repository: the schema is in `workflow/schemas`, files that variants of the study
        name as their `preset` are in `config`.

    Returns
    -------
    dict
        A new, complete config.

    Raises
    ------
    InputError
        One sentence: the key, what it got, and what was expected.
    """
    check_tree("config", config)
    for sentence in (*_former_names(config), *_not_finite(config)):
        raise InputError(sentence)
    schema = yaml.safe_load((root / SCHEMA).read_text(encoding="utf-8"))
    filled = deepcopy(config)
    validator = jsonschema.Draft202012Validator(schema)
    if error := jsonschema.exceptions.best_match(validator.iter_errors(filled)):
        raise InputError(_sentence(error))
    _fill_defaults(filled, schema)
    for variant in filled["study"]["variants"].values():
        if name := variant["preset"]:
            variant["set"] = (
                _preset(root / f"config/{name}.yaml", variant["model"]) | variant["set"]
            )
    for sentence in (*_contradictions(filled), *_bad_variants(filled, validator)):
        raise InputError(sentence)
    return filled


def _former_names(config: dict[str, Any]) -> Iterator[str]:
    """Sentences on keys of former versions, with their present names."""
    if "gan" in config:
        yield "gan: got a key of a former version, expected generate, as this section is called now"
    section, study = config.get("generate"), config.get("study")
    section = section if isinstance(section, dict) else {}
    variants = study.get("variants") if isinstance(study, dict) else None
    models = section.get("models")
    for former, present in FORMER_NAMES.items():
        places = [f"generate.{former}"] if former in section else []
        if isinstance(models, list) and former in models:
            places.append("generate.models")
        for name, variant in variants.items() if isinstance(variants, dict) else ():
            if isinstance(variant, dict) and variant.get("model") == former:
                places.append(f"study.variants.{name}.model")
        for place in places:
            yield f"{place}: got {former}, a model's name in a former version, expected {present}"


def _not_finite(value: Any, key: str = "") -> Iterator[str]:
    """Sentences on keys that are NaN or infinite: every bound of a schema lets NaN pass."""
    if isinstance(value, float) and not isfinite(value):
        yield f"{key}: got {value}, expected a number"
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _not_finite(one, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from _not_finite(one, f"{key}[{i}]")


def _preset(path: Path, model: str) -> dict[str, Any]:
    """Return the keys that a config file gives a model, its own and the common ones."""
    if not path.is_file():
        raise InputError(f"study.variants: got preset {path.stem}, expected a file {path}")
    section = read_yaml(path).get("generate", {})
    common = {key: value for key, value in section.items() if not isinstance(value, dict)}
    return common | section.get(model, {})


def variant_section(
    generate: dict[str, Any], model: str, changes: dict[str, Any]
) -> dict[str, Any]:
    """Return the section `generate` as a variant of the study sees it.

    Parameters
    ----------
    generate : dict
        Config section `generate`.
    model : str
        The variant's model.
    changes : dict
        Its key `set`: common keys of `generate`, all others are the model's own.
    """
    section = deepcopy(generate)
    for key, value in changes.items():
        own = section.setdefault(model, {})  # a model without settings has no section
        target = own if key in own or key not in section else section
        target[key] = value
    return section


def _bad_variants(
    config: dict[str, Any], validator: jsonschema.protocols.Validator
) -> Iterator[str]:
    """Sentences on impossible variants of the study, and on names of variants that do not exist."""
    study = config["study"]
    variants = study["variants"]
    for name, variant in variants.items():
        own, candidates = variant["set"], variant["candidates"]
        changes = {"set": own} | {f"candidates[{i}]": c for i, c in enumerate(candidates)}
        for key, change in changes.items():
            section = variant_section(config["generate"], variant["model"], change | own)
            if error := jsonschema.exceptions.best_match(
                validator.iter_errors({"generate": section})
            ):
                yield f"study.variants.{name}.{key}: {_sentence(error)}"
            if key != "set" and (both := sorted(change.keys() & (own.keys() | {"num_steps"}))):
                yield (
                    f"study.variants.{name}.{key}: got {both[0]}, expected keys that neither "
                    "study.tuning_steps nor the variant's set decides"
                )
    named = {f"variants.{n}.beats": v["beats"] for n, v in variants.items()}
    named |= {f"variants.{n}.ablates": [v["ablates"]] for n, v in variants.items()}
    named |= {"curve.variants": study["curve"]["variants"]}
    named |= {"detector.generator": [study["detector"]["generator"]]}
    for key, names in named.items():
        for name in names:
            if name and name not in variants:
                yield f"study.{key}: got {name}, expected one of study.variants"


def _sentence(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    expected = schema.get("description", "").split(";")[0]
    if error.validator == "additionalProperties":
        known = ", ".join(schema.get("properties", {}))
        return f"{key or 'top level'}: {error.message}; known keys: {known}"
    got = error.instance if not isinstance(error.instance, dict) else "a section"
    return f"{key}: got {got!r}, expected: {error.message}" + (f" ({expected})" if expected else "")


def _fill_defaults(section: dict[str, Any], schema: dict[str, Any]) -> None:
    for key, sub in schema.get("properties", {}).items():
        if "default" in sub:
            section.setdefault(key, deepcopy(sub["default"]))
        elif sub.get("type") == "object":
            section.setdefault(key, {})
        if isinstance(section.get(key), dict):
            _fill_defaults(section[key], sub)
    if isinstance(each := schema.get("additionalProperties"), dict):
        for key in section.keys() - schema.get("properties", {}).keys():
            if isinstance(section[key], dict):
                _fill_defaults(section[key], each)


def _ranges(section: dict[str, Any], name: str) -> Iterator[tuple[str, list[float]]]:
    """All [low, high] pairs of a section, with their dotted names."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _ranges(value, f"{name}.{key}")
        elif key == "readout_block":
            continue
        elif isinstance(value, list) and len(value) == 2 and not isinstance(value[0], str):
            yield f"{name}.{key}", value


def _tube_sizes(phantom: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, reach from the axis and length (mm) of the largest drawn tube and of each fixed one."""
    drawn = {key: phantom[key][1] for key in ("bore_radius_mm", "wall_mm", "bend_mm", "length_mm")}
    for name, fixed in [("phantom", {}), *phantom["tubes"].items()]:
        size = {key: fixed.get(key, largest) for key, largest in drawn.items()}
        reach_mm = size["bore_radius_mm"] + size["wall_mm"] + size["bend_mm"] / 2
        yield name, reach_mm, size["length_mm"]


def _misfits(
    name: str, largest_mm: float, length_mm: float, bore_mm: float, image: dict[str, Any]
) -> Iterator[str]:
    """Sentences on a tube that does not fit the scanner or the image."""
    half_mm = image["num_pixels"] * image["pixel_mm"] / 2
    axial_mm = image["num_slices"] * image["slice_mm"]
    if largest_mm >= bore_mm:
        yield (
            f"{name}: the largest tube has a radius of {largest_mm:g} mm, expected less than the "
            f"scanner's bore (inner_radius_mm {bore_mm:g} mm of scanner or its modules)"
        )
    if largest_mm > half_mm:
        yield (
            f"reconstruct.num_pixels x pixel_mm: the image reaches {half_mm:g} mm from the axis, "
            f"expected at least {largest_mm:g} mm, the radius of the largest tube ({name})"
        )
    if axial_mm < length_mm:
        yield (
            f"reconstruct.num_slices x slice_mm: the image is {axial_mm:g} mm long, expected at "
            f"least the longest tube, {length_mm:g} mm ({name})"
        )


def _not_solid(phantom: dict[str, Any]) -> Iterator[str]:
    """Sentences on tubes that cannot be built from cylinders."""
    for where, drawn in {"phantom": phantom, **phantom["tubes"]}.items():
        families = drawn.get("families", [drawn.get("family", "round")])
        defects = drawn.get("defects", [drawn.get("defect", "none")])
        if bad := [name for name in families if name not in SOLID_FAMILIES]:
            bad_key = f"family {bad[0]}"
        elif bad := [name for name in defects if name != "none"]:
            bad_key = f"defect {bad[0]}"
        else:
            continue
        yield (
            f"simulate.geometry: got analytic with {bad_key} ({where}), expected voxels, or only "
            f"the families {', '.join(SOLID_FAMILIES)} without defect"
        )


def _too_wide(phantom: dict[str, Any], defects: list[str]) -> Iterator[str]:
    """Sentences on defects that do not fit the narrowest bore that is drawn."""
    narrowest_mm = 2 * phantom["bore_radius_mm"][0]
    for name in dict.fromkeys(name for name in defects if name != "none"):
        largest_mm = phantom["defect_size_mm"][name][1]
        if largest_mm > narrowest_mm:
            yield (
                f"phantom.defect_size_mm.{name}: got up to {largest_mm:g} mm, expected at most the "
                f"narrowest bore (twice phantom.bore_radius_mm), {narrowest_mm:g} mm"
            )


def _no_map(attenuation: str, num_tubes: int) -> Iterator[str]:
    """Name the first of the user's attenuation maps that is missing."""
    names = [] if attenuation in OWN_MAPS else [f"tube_{i:04d}" for i in range(num_tubes)]
    paths = dict.fromkeys(attenuation.replace("{tube}", name) for name in names)
    if missing := next((path for path in paths if not Path(path).is_file()), None):
        yield (
            f"reconstruct.attenuation: got no file {missing}, expected nominal, truth or an "
            "attenuation map of every tube (1/mm, NIfTI; {tube} in the path is the tube's name)"
        )


def _bad_parts(config: dict[str, Any]) -> Iterator[str]:
    """Sentences on own parts with missing files, or that other keys exclude."""
    phantom = config["phantom"]
    for tube, part in phantom["parts"].items():
        where = f"phantom.parts.{tube}"
        if tube in phantom["tubes"]:
            yield f"{where}: got a part and phantom.tubes.{tube}, expected one of the two"
        for key, path in part_paths(part).items():
            if not Path(path).is_file():
                yield f"{where}.{key}: got no file {path}, expected one (from the working folder)"
        if config["simulate"]["geometry"] == "analytic":
            yield f"simulate.geometry: got analytic with {where}, expected voxels"


def _crowded(scanner: dict[str, Any]) -> Iterator[str]:
    """Sentences on crystals of a ring that have no room."""
    room_mm = 2 * scanner["inner_radius_mm"] * tan(pi / scanner["num_columns"])
    if scanner["crystal_width_mm"] > room_mm:
        yield (
            f"scanner.crystal_width_mm: got {scanner['crystal_width_mm']:g} mm, expected at most "
            f"{room_mm:.3f} mm, the room of each of {scanner['num_columns']} columns at "
            f"inner_radius_mm {scanner['inner_radius_mm']:g} mm"
        )
    if scanner["crystal_height_mm"] > scanner["axial_pitch_mm"]:
        yield (
            f"scanner.crystal_height_mm: got {scanner['crystal_height_mm']:g} mm, expected at most "
            f"axial_pitch_mm {scanner['axial_pitch_mm']:g} mm"
        )


def _bad_electronics(scanner: dict[str, Any]) -> Iterator[str]:
    """Sentences on blocks that do not divide the scanner."""
    if list(scanner["readout_block"]) == [1, 1]:
        return
    if not Scanner(**scanner).is_even_ring:
        yield (
            f"scanner.readout_block: got {scanner['readout_block']}, expected [1, 1] with "
            "scanner.modules, dead_crystals or efficiencies (blocks are those of an even ring)"
        )
        return
    for name, size in zip(("num_columns", "num_rings"), scanner["readout_block"], strict=True):
        if scanner[name] % size:
            yield (
                f"scanner.readout_block: got {scanner['readout_block']}, expected divisors of "
                f"num_columns and num_rings ({size} does not divide {name} {scanner[name]})"
            )


def _contradictions(config: dict[str, Any]) -> Iterator[str]:
    """Sentences on keys that are fine alone and impossible together."""
    phantom, scanner, image = config["phantom"], config["scanner"], config["reconstruct"]
    bore_mm = layout.bore_mm(Scanner(**scanner))
    for section in ("phantom", "scanner", "ct"):
        ranges = {key: v for key, v in config[section].items() if key not in layout.TABLES}
        for name, (low, high) in _ranges(ranges, section):
            if low > high:
                yield f"{name}: got [{low}, {high}], expected the lower end first"
    low, high = scanner["energy_window_kev"]
    if low >= high:
        yield f"scanner.energy_window_kev: got [{low}, {high}], expected a window of positive width"
    bend_mm, quarter_mm = phantom["bend_mm"][1], phantom["length_mm"][0] / 4
    if "bent" in phantom["families"] and bend_mm > quarter_mm:
        yield (
            f"phantom.bend_mm: got up to {bend_mm:g} mm, expected at most a quarter of the "
            f"shortest tube (phantom.length_mm), {quarter_mm:g} mm"
        )
    yield from _too_wide(phantom, [*phantom["defects"], *config["pod"]["defects"]])
    for name, largest_mm, length_mm in _tube_sizes(phantom):
        yield from _misfits(name, largest_mm, length_mm, bore_mm, image)
    half_mm = image["num_pixels"] * image["pixel_mm"] / 2
    if hypot(half_mm, half_mm) >= bore_mm:
        yield (
            f"reconstruct.pixel_mm: the image corner lies {hypot(half_mm, half_mm):g} mm from the "
            f"axis, expected inside the scanner ({bore_mm:g} mm)"
        )
    yield from layout.problems(Scanner(**scanner))
    if not scanner["modules"]:
        yield from _crowded(scanner)
    yield from _bad_electronics(scanner)
    for key in ("reconstruct", "ct"):
        total = sum(config[key]["split"].values())
        if abs(total - 1) > 1e-6:
            yield f"{key}.split: the parts add up to {total:g}, expected 1"
    if config["ct"]["num_pixels"] != image["num_pixels"]:
        yield (
            f"ct.num_pixels: got {config['ct']['num_pixels']}, expected reconstruct.num_pixels "
            f"{image['num_pixels']} (one encoder sees both)"
        )
    short_s, long_s = (config["protocol"][f"{key}duration_s"] for key in ("", "reference_"))
    if long_s <= short_s:
        yield (
            f"protocol.reference_duration_s: got {long_s:g} s, expected more than "
            f"protocol.duration_s, {short_s:g} s"
        )
    source_dir = config["ct"]["source_dir"]
    if source_dir and not Path(source_dir).is_dir():
        yield f"ct.source_dir: got {source_dir!r}, expected a folder that exists, or '' (stand-in)"
    yield from _no_map(image["attenuation"], phantom["num_tubes"])
    if image["stopping"] == "converged" and (
        image["algorithm"] != "map_rdp" or image["prior_strength"] == 0
    ):
        yield (
            f"reconstruct.stopping: got converged with algorithm {image['algorithm']} and "
            f"prior_strength {image['prior_strength']:g}, expected map_rdp and a strength above 0 "
            "(without its prior the converged image is noise)"
        )
    g4_dir = config["simulate"]["g4_data_dir"]
    if g4_dir and not Path(g4_dir).is_dir():
        yield f"simulate.g4_data_dir: got {g4_dir!r}, expected a folder that exists, or ''"
    delay_ns, window_ns = config["simulate"]["delay_ns"], scanner["coincidence_window_ns"]
    if delay_ns <= window_ns:
        yield (
            f"simulate.delay_ns: got {delay_ns:g} ns, expected more than "
            f"scanner.coincidence_window_ns {window_ns:g} ns"
        )
    if image["tof"] and image["background"] != "modelled":
        yield (
            f"reconstruct.tof: got true with background {image['background']}, expected modelled "
            "(the fit beside the object knows no times)"
        )
    if image["background"] == "tail_fit" and not Scanner(**scanner).is_even_ring:
        yield (
            "reconstruct.background: got tail_fit, expected modelled, with scanner.modules, "
            "dead_crystals or efficiencies (the fit knows rings of equal crystals only)"
        )
    if config["simulate"]["geometry"] == "analytic":
        yield from _not_solid(phantom)
    if config["simulate"]["engine"] == "fast":
        if (got := config["simulate"]["geometry"]) != "voxels":
            yield f"simulate.geometry: got {got}, expected voxels with simulate.engine fast"
    yield from _bad_parts(config)
    for key in ("tubes", "parts"):
        for tube in phantom[key]:
            if not 0 <= int(tube.removeprefix("tube_")) < phantom["num_tubes"]:
                yield f"phantom.{key}.{tube}: no such tube, num_tubes is {phantom['num_tubes']}"
