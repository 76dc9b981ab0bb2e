"""A hash in a calibration or a sensitivity image says for what scanner and grid it was made.

It is SHA-256 over scanner, grid and efficiencies. Voxel sizes and origins are rounded to 1 um,
because NIfTI keeps them as float32.
"""

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import layout
from tubepet.errors import InputError
from tubepet.reconstruct.scanner.crystals import NUM_ANGLE_TERMS, Crystals
from tubepet.types import Grid, Scanner

NUM_DIGITS = 16
MARK = "model "
GROUPS = ("groups", "is_paired")  # left out where empty, which keeps hashes of older files valid


def scanner_hash(scanner: Scanner | Crystals) -> str:
    """Return the first 16 hexadecimal digits of the scanner's hash."""
    if isinstance(scanner, Scanner):
        fields = {
            key: value if isinstance(value, str) else np.asarray(value, float).tolist()
            for key, value in vars(scanner).items()
            if key not in layout.TABLES
        }
        parts = [json.dumps(fields, sort_keys=True).encode()]
        if not scanner.is_even_ring:
            rows = [
                {key: np.asarray(value, float).tolist() for key, value in family.items()}
                for family in scanner.modules
            ]
            parts.append(json.dumps(rows, sort_keys=True).encode())
            parts.append(_bytes(layout.efficiencies(scanner)))
        return _digest(*parts)
    columns = {key: _bytes(value) for key, value in vars(scanner).items()}
    if not isfinite(scanner.most_axial_mm):
        del columns["most_axial_mm"]
    return _digest(*(part for key, part in columns.items() if part or key not in GROUPS))


def model_hash(
    scanner: Scanner | Crystals,
    grid: Grid,
    efficiency: NDArray[np.float64] | Crystals | None = None,
) -> str:
    """Return the hash of what a sensitivity image was made for: scanner, grid and efficiency."""
    places = np.round([*grid.voxel_mm, *grid.origin_mm], 3) + 0.0  # + 0.0: no negative zero
    table = b""
    if efficiency is not None:
        if isinstance(efficiency, Crystals):
            table = scanner_hash(efficiency).encode()
        else:
            table = _bytes(efficiency)
    return _digest(scanner_hash(scanner).encode(), str(grid.shape).encode(), _bytes(places), table)


def check_sensitivity(
    name: str,
    note: str,
    scanner: Scanner | Crystals,
    grid: Grid,
    efficiency: NDArray[np.float64] | Crystals | None = None,
) -> None:
    """Refuse a sensitivity image of another scanner, grid or efficiency.

    Parameters
    ----------
    name, note : str
        The file and the note in its header, which ends in ``model <hash>``.

    Raises
    ------
    InputError
        If the hash is missing or another one.
    """
    expected = model_hash(scanner, grid, efficiency)
    got = note.rpartition(MARK)[2] if MARK in note else "none"
    if got != expected:
        raise InputError(
            f"{name}: got a sensitivity of model {got}, expected {expected} (another scanner, grid "
            "or efficiency: compute the sensitivity again)"
        )


def check_scanner(name: object, what: str, got: object, scanner: Scanner) -> None:
    """Refuse a file of another scanner.

    Parameters
    ----------
    name, what : object, str
        Name of the file, and what it holds ("calibration").
    got : object
        The file's hash of the scanner; None: it has none.

    Raises
    ------
    InputError
        If the hash is missing or another one.
    """
    if got != (expected := scanner_hash(scanner)):
        raise InputError(
            f"{name}: got a {what} of scanner {got or 'none'}, expected {expected} (another "
            "scanner: calibrate again)"
        )


def check_calibration(name: str, calibration: Mapping[str, Any], scanner: Scanner) -> None:
    """Refuse a calibration of another scanner, or an incomplete one."""
    if not isinstance(calibration, Mapping):
        raise InputError(f"{name}: expected a calibration, got JSON that is no object")
    check_scanner(name, "calibration", calibration.get("scanner"), scanner)
    if not scanner.is_even_ring:
        _check_numbers(name, calibration, "crystal_efficiency", scanner.num_crystals)
        _check_terms(name, calibration.get("angle_terms"))
        return
    lengths = {"by_step": scanner.num_columns // 2 + 1, "by_difference": scanner.num_rings}
    for key, length in lengths.items():
        _check_numbers(name, calibration, key, length)


def _check_numbers(name: str, calibration: Mapping[str, Any], key: str, length: int) -> None:
    try:
        values = np.asarray(calibration.get(key), float)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0)
    is_sound = values.shape == (length,) and np.isfinite(values).all() and (values >= 0).all()
    if not is_sound or not (values > 0).any():
        raise InputError(
            f"{name}: {key}: expected {length} efficiencies >= 0 that are not all 0, got "
            f"{calibration.get(key)!r:.60}"
        )


def _check_terms(name: str, terms: Any) -> None:
    is_sound = isinstance(terms, list) and len(terms) in (0, NUM_ANGLE_TERMS)
    if not is_sound or not all(isinstance(one, float | int) and isfinite(one) for one in terms):
        raise InputError(
            f"{name}: angle_terms: expected none or {NUM_ANGLE_TERMS} numbers, got {terms!r:.60}"
        )


def _bytes(array: NDArray[np.floating]) -> bytes:
    return np.ascontiguousarray(array, "<f8").tobytes()


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(str(len(part)).encode() + b":" + part)
    return whole.hexdigest()[:NUM_DIGITS]
