"""Read and write tables, text or Parquet: crystals of a scanner, and ends of measured lines.

Text may be packed by gzip, separated by comma, semicolon, tab or spaces, and have lines of comments
(#). Every column needs a name: a value without one would shift the others.
"""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tubepet import bounds, checksums, io
from tubepet.errors import InputError, reading
from tubepet.formats import content
from tubepet.reconstruct.scanner.crystals import Crystals

CRYSTAL_COLUMNS = ("x_mm", "y_mm", "z_mm", "nx", "ny", "nz", "area_mm2", "efficiency")
# A header without one of these has columns separated by spaces.
SEPARATORS = (",", ";", "\t")
NAMELESS = "column "
# Least distance of crystals over the root of their area: layers may share their faces.
MIN_SPACING = 0.2
LINE_COLUMNS = ("x1_mm", "y1_mm", "z1_mm", "x2_mm", "y2_mm", "z2_mm")


def is_crystals(path: Path) -> bool:
    """Whether a file is a crystal table, by its content or the suffix of a table."""
    start = content.head(path)
    lines = [line for line in start.splitlines() if line.strip() and not line.startswith(b"#")]
    is_named = bool(lines) and CRYSTAL_COLUMNS[0].encode() in re.split(rb"[^\w]+", lines[0])
    return start.startswith(b"PAR1") or is_named or path.suffix in (".csv", ".parquet")


def read_crystals(path: str | Path) -> Crystals:
    """Read a crystal table: one row per crystal, the row number is the crystal id.

    Columns: x_mm, y_mm, z_mm (LOR end point), nx, ny, nz (normal towards the object, any length),
    area_mm2 and efficiency.

    Raises
    ------
    InputError
        If columns are missing or values are impossible for crystals.
    """
    values = _numbers(path, CRYSTAL_COLUMNS)
    length = np.linalg.norm(values[:, 3:6], axis=1)
    if not (length > 0).all() or not (values[:, 6] > 0).all() or not (values[:, 7] >= 0).all():
        raise InputError(
            f"{path}: got a normal of length 0, an area <= 0 or an efficiency < 0, expected "
            "normals, areas in mm2 and efficiencies >= 0"
        )
    bounds.check_mm(path, "coordinates", values[:, :3])
    _check_spacing(path, values[:, :3], float(np.median(values[:, 6])))
    normals = values[:, 3:6] / length[:, None]
    return Crystals(values[:, :3].copy(), normals, values[:, 6], values[:, 7])


def _check_spacing(path: str | Path, places_mm: NDArray[np.float64], area_mm2: float) -> None:
    """Refuse crystals that overlap, as those with places in cm or m do."""
    if len(places_mm) < 2:
        return
    spacing_mm = float(np.median(cKDTree(places_mm).query(places_mm, k=2)[0][:, 1]))
    if 0 < spacing_mm < MIN_SPACING * np.sqrt(area_mm2):
        raise InputError(
            f"{path}: got crystals of {area_mm2:g} mm2 that are {spacing_mm:g} mm apart, expected "
            "places in mm (cm or m?)"
        )


def write_crystals(path: str | Path, crystals: Crystals) -> None:
    """Write what `read_crystals` reads."""
    columns = (crystals.points_mm, crystals.normals, crystals.areas_mm2, crystals.efficiency)
    io.write_table(path, pd.DataFrame(np.column_stack(columns), columns=list(CRYSTAL_COLUMNS)))


def read_lines(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the end points of measured lines, one row per coincidence.

    Columns: x1_mm, y1_mm, z1_mm, x2_mm, y2_mm, z2_mm, and optionally time_s.

    Returns
    -------
    float64 array, shape (n, 2, 3)
        mm.
    float64 array, shape (n,)
        time_s, since the start of the acquisition; shape (0,) without that column.
    """
    values = _numbers(path, LINE_COLUMNS, ("time_s",))
    bounds.check_mm(path, "coordinates", values[:, :6])
    return values[:, :6].reshape(-1, 2, 3), values[:, 6:].ravel()


def write_lines(path: str | Path, ends_mm: NDArray[np.float64]) -> None:
    """Write what `read_lines` reads; `ends_mm` has the shape (n, 2, 3)."""
    io.write_table(path, pd.DataFrame(ends_mm.reshape(-1, 6), columns=list(LINE_COLUMNS)))


def _numbers(
    path: str | Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> NDArray[np.float64]:
    table = _read(Path(path))
    if missing := [name for name in needed if name not in table]:
        raise InputError(
            f"{path}: got the columns {', '.join(map(str, table.columns))}, expected also "
            f"{', '.join(missing)} (names in the first line)"
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


def _read(path: Path) -> pd.DataFrame:
    """Read Parquet or text."""
    start = content.head(path)
    checksums.check(path)
    if start.startswith(b"PAR1"):
        with reading(path, "a readable table"):
            return pd.read_parquet(path)
    with reading(path, "a readable table"):
        layout = _layout(start.decode("utf-8-sig", errors="ignore").splitlines())
        with path.open("rb") as file:
            is_packed = file.read(2) == io.GZIP
        if is_packed:
            bounds.check_unpacked(path)
        try:
            with gzip.open(path) if is_packed else path.open("rb") as stream:
                table = pd.read_csv(stream, encoding="utf-8-sig", index_col=False, **layout)
        except pd.errors.ParserError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: expected a value for every name, got: {reason}") from error
    for name in [name for name in table if name.startswith(NAMELESS)]:
        if table.pop(name).notna().any():
            raise InputError(
                f"{path}: got values in a column without a name ({name.removeprefix(NAMELESS)} of "
                f"{', '.join(table)}, ...), expected a name for every column"
            )
    return table


def _layout(lines: list[str]) -> dict[str, Any]:
    """Return how `pandas.read_csv` is to read a text that begins with these lines."""
    rows = [i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    header, first = ([lines[i] for i in rows[:2]] + ["", ""])[:2]
    found = [mark for mark in SEPARATORS if mark in header]
    separator = max(found, key=header.count) if found else None  # any space
    names = [name.strip().strip('"').strip() for name in header.strip("\r\n").split(separator)]
    names += [""] * (len(first.split(separator)) - len(names))
    return {
        "sep": separator or r"\s+",
        "decimal": "," if separator != "," and "," in first else ".",
        "header": None,
        "names": [name or f"{NAMELESS}{i + 1}" for i, name in enumerate(names)],
        "skiprows": rows[0] + 1 if rows else 0,
        "comment": "#",
    }


def all_finite(values: NDArray[np.floating]) -> bool:
    """Whether there is no NaN and no infinity."""
    return bool(np.isfinite(values).all())
