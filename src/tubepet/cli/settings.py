"""Settings of `tubepet reconstruct` from options, else from the config that is given as scanner.

If neither gives one, it is the workflow's default (a test compares with the schema).
"""

from pathlib import Path
from typing import Any

import click

from tubepet.bounds import read_yaml
from tubepet.errors import InputError
from tubepet.formats import castor_scanner, tables

# Keys of the config section `reconstruct`, and the options whose defaults they are.
OF_OPTION = {
    "num_iterations": "num_iterations", "num_subsets": "num_subsets", "algorithm": "algorithm",
    "prior_strength": "prior_strength", "stopping": "stopping", "tof": "tof",
    "backend": "backend", "filter_fwhm_mm": "filter_fwhm_mm",
}  # fmt: skip
OF_GRID: dict[str, dict[str, float]] = {
    "shape": {"num_slices": 32, "num_pixels": 64}, "voxel_mm": {"slice_mm": 1.0, "pixel_mm": 0.5},
}  # fmt: skip
# Keys without an option: allowed values or bounds, and default.
CHOICES = {
    "psf": (("fitted", "core", "gaussian"), "core"),
    "background": (("modelled", "tail_fit"), "modelled"),
}
RANGES: dict[str, tuple[float, float, float]] = {
    "psf_fwhm_mm": (0, 10, 2.1), "sensitivity_stride": (1, 256, 16), "seed": (0, 2**32 - 1, 2020),
}  # fmt: skip


def is_config(path: Path) -> bool:
    """Return whether a scanner file is a config: neither CASToR's nor a table."""
    return not (castor_scanner.is_scanner(path) or tables.is_crystals(path))


def take_from_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Make the config's settings the defaults of the options; a callback of `--scanner`."""
    section = _section(path)
    defaults = {option: section[key] for key, option in OF_OPTION.items() if key in section}
    for option, keys in OF_GRID.items():
        if section.keys() & keys:
            along, across = (section.get(key, default) for key, default in keys.items())
            defaults[option] = (along, across, across)
    names = {option: key for key, option in OF_OPTION.items()}
    names |= {option: ", ".join(keys) for option, keys in OF_GRID.items()}
    for param in ctx.command.params:
        if param.name in defaults:
            _check(ctx, param, f"{path}: reconstruct.{names[param.name]}", defaults[param.name])
    ctx.default_map = defaults
    return path


def of_config(path: Path | None) -> dict[str, Any]:
    """Return the keys that have no option: `psf`, `background`, `seed` and others.

    Raises
    ------
    InputError
        If the workflow would refuse a value.
    """
    section, found = _section(path), {}
    for key, (allowed, default) in CHOICES.items():
        found[key] = section.get(key, default)
        if found[key] not in allowed:
            raise InputError(
                f"{path}: reconstruct.{key}: got {found[key]!r:.40}, expected one of "
                f"{', '.join(allowed)}"
            )
    for key, (low, high, standard) in RANGES.items():
        number = found[key] = section.get(key, standard)
        kinds = (int,) if isinstance(standard, int) else (int, float)
        if type(number) not in kinds or not low <= number <= high:
            raise InputError(
                f"{path}: {key}: got {number!r:.40}, expected a number from {low:g} to {high:g}"
            )
    return found


def _section(path: Path | None) -> dict[str, Any]:
    """Return the section `reconstruct` of a config with its seed; {} for other files."""
    if path is None or not is_config(path):
        return {}
    content = read_yaml(path)
    if not isinstance(content, dict):
        return {}
    section = content.get("reconstruct", {})
    if not isinstance(section, dict):
        raise InputError(f"{path}: reconstruct: got {section!r:.40}, expected a section of keys")
    return section | {key: content[key] for key in ("seed",) if key in content}


def _check(ctx: click.Context, param: click.Parameter, name: str, value: Any) -> None:
    """Refuse a value of the config that its option would refuse or round."""
    try:
        taken = param.type_cast_value(ctx, value)
    except (click.BadParameter, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name}: got {value!r:.60}, expected a value: {error}") from error
    if taken != value or isinstance(value, bool) != isinstance(taken, bool):
        raise InputError(f"{name}: got {value!r:.60}, expected a value as {taken!r:.60}")
