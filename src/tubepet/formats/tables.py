"""Plain tables, CSV or Parquet: crystals of a scanner, and end points of measured lines."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io
from tubepet.errors import InputError
from tubepet.reconstruct.scanner.crystals import Crystals

CRYSTAL_COLUMNS = ("x_mm", "y_mm", "z_mm", "nx", "ny", "nz", "area_mm2", "efficiency")
LINE_COLUMNS = ("x1_mm", "y1_mm", "z1_mm", "x2_mm", "y2_mm", "z2_mm")


def read_crystals(path: str | Path) -> Crystals:
    """Read a crystal table: one row per crystal, the row number is the crystal id.

    Columns: x_mm, y_mm, z_mm (LOR end point), nx, ny, nz (normal towards the object, any length),
    area_mm2 and efficiency.

    Raises
    ------
    InputError
        If columns are missing or values cannot be crystals.
    """
    values = _numbers(path, CRYSTAL_COLUMNS)
    length = np.linalg.norm(values[:, 3:6], axis=1)
    if not (length > 0).all() or not (values[:, 6] > 0).all() or not (values[:, 7] >= 0).all():
        raise InputError(
            f"{path}: got a normal of length 0, an area <= 0 or an efficiency < 0, expected "
            "normals, areas in mm2 and efficiencies >= 0"
        )
    normals = values[:, 3:6] / length[:, None]
    return Crystals(values[:, :3].copy(), normals, values[:, 6], values[:, 7])


def write_crystals(path: str | Path, crystals: Crystals) -> None:
    """Write what `read_crystals` reads."""
    columns = (crystals.points_mm, crystals.normals, crystals.areas_mm2, crystals.efficiency)
    io.write_table(path, pd.DataFrame(np.column_stack(columns), columns=list(CRYSTAL_COLUMNS)))


def read_lines(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the end points of measured lines, one row per coincidence.

    Columns: x1_mm, y1_mm, z1_mm, x2_mm, y2_mm, z2_mm; time_s may be there.

    Returns
    -------
    float64 array, shape (n, 2, 3)
        mm.
    float64 array, shape (n,)
        time_s, since the start of the acquisition; shape (0,) without that column.
    """
    values = _numbers(path, LINE_COLUMNS, ("time_s",))
    return values[:, :6].reshape(-1, 2, 3), values[:, 6:].ravel()


def write_lines(path: str | Path, ends_mm: NDArray[np.float64]) -> None:
    """Write what `read_lines` reads; `ends_mm` has the shape (n, 2, 3)."""
    io.write_table(path, pd.DataFrame(ends_mm.reshape(-1, 6), columns=list(LINE_COLUMNS)))


def _numbers(
    path: str | Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> NDArray[np.float64]:
    table = io.read_table(path)
    if missing := [name for name in needed if name not in table]:
        raise InputError(
            f"{path}: got the columns {', '.join(map(str, table.columns))}, expected also "
            f"{', '.join(missing)}"
        )
    if table.empty:
        raise InputError(f"{path}: got no rows, expected at least one")
    used = [*needed, *(name for name in optional if name in table)]
    try:
        values = table[used].to_numpy(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: expected numbers in {', '.join(used)}, got {error}") from error
    if bad := [name for name, column in zip(used, values.T, strict=True) if not all_finite(column)]:
        raise InputError(f"{path}: got NaN or infinite values in {', '.join(bad)}")
    return values


def all_finite(values: NDArray[np.floating]) -> bool:
    """Whether there is no NaN and no infinity."""
    return bool(np.isfinite(values).all())
