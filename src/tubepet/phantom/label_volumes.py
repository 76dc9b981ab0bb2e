"""Label volumes of parts: NIfTI with a table of what each label stands for."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import io
from tubepet.bounds import read_yaml
from tubepet.errors import InputError, reading
from tubepet.phantom import materials
from tubepet.phantom.geometry import Filling, nearest
from tubepet.phantom.meshes import check_size
from tubepet.types import Grid

Array = NDArray[np.float64]

COLUMNS = ("label", "material", "g_cm3", "activity")


@dataclass(frozen=True)
class LabelVolume:
    """A part on its own voxels.

    Attributes
    ----------
    array : uint8 array, shape (nz, ny, nx)
        0 air, then the fillings.
    grid : Grid
    fillings : tuple of Filling
        The most active first.
    """

    array: NDArray[np.uint8]
    grid: Grid
    fillings: tuple[Filling, ...]

    @property
    def box_mm(self) -> Array:
        """Lowest and highest corner (x, y, z) of what is not air, shape (2, 3)."""
        places = np.argwhere(self.array > 0)
        size, first = np.array(self.grid.voxel_mm), np.array(self.grid.origin_mm)
        ends = np.array([places.min(axis=0) - 0.5, places.max(axis=0) + 0.5])
        return np.asarray((ends * size + first)[:, ::-1])

    def at(self, z_mm: Array, y_mm: Array, x_mm: Array) -> NDArray[np.uint8]:
        """Return the labels on a raster of points, shape (nz, ny, nx); outside is air."""
        return nearest(self.array, self.grid, z_mm, y_mm, x_mm)


def read(path: str | Path, table_path: str | Path) -> LabelVolume:
    """Read a label volume and its table.

    Parameters
    ----------
    path : path
        NIfTI or MetaImage of whole numbers; 0 is air.
    table_path : path
        CSV with the columns label, material, g_cm3 and activity, or YAML with a mapping of labels
        to the same keys. g_cm3 (the material's own) and activity (0) may be left out.

    Raises
    ------
    InputError
        If a label has no material, none is active, or a file cannot be used.
    """
    volume, rows = io.read_volume(path, is_ours=False), read_table(table_path)
    array = np.rint(volume.array)
    if (array != volume.array).any() or array.min() < 0:
        raise InputError(f"{path}: got values that are no labels, expected whole numbers from 0 on")
    there = [int(label) for label in np.unique(array)]
    for label in there:
        if label not in rows and label != 0:
            raise InputError(
                f"{path}: got label {label} in {(array == label).sum()} voxels without a material, "
                f"expected a row of {table_path} for it (0 is air)"
            )
    used = {label: rows[label] for label in there if label in rows}
    solid = {k: one for k, one in used.items() if one.material != "air" or one.activity > 0}
    fillings = tuple(sorted(set(solid.values()), key=lambda one: (-one.activity, one)))
    if not fillings or fillings[0].activity == 0:
        raise InputError(
            f"{table_path}: got no label with an activity above 0 in {path}, expected the one of "
            "the fluid (a part needs a cavity that is filled)"
        )
    labels = np.zeros(array.shape, np.uint8)
    for label, one in solid.items():
        labels[array == label] = 1 + fillings.index(one)
    found = LabelVolume(labels, volume.grid, fillings)
    check_size(str(path), np.ptp(found.box_mm, axis=0))
    return found


def read_table(path: str | Path) -> dict[int, Filling]:
    """Read what labels stand for; see `read`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: got no such file, expected the labels' table (CSV or YAML)")
    with reading(path, "a CSV or YAML table"):
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        else:
            content = read_yaml(path)
            rows = [{"label": label, **row} for label, row in content.items()]
    table: dict[int, Filling] = {}
    for row in rows:
        if unknown := [key for key in row if key not in COLUMNS]:
            raise InputError(f"{path}: got {unknown[0]!r}, expected only {', '.join(COLUMNS)}")
        label, g_cm3, activity = (_number(path, row, key) for key in ("label", "g_cm3", "activity"))
        if label is None or label != int(label) or int(label) in table:
            raise InputError(f"{path}: got label {row.get('label')}, expected each label once")
        name = str(row.get("material") or "")
        where = f"{path}, label {int(label)}"
        if not name:
            raise InputError(
                f"{where}: got no material, expected one of {', '.join(materials.MATERIALS)}"
            )
        table[int(label)] = materials.filling(where, name, g_cm3, activity or 0.0)
    return table


def _number(path: Path, row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: got {key} {value!r}, expected a number") from error
