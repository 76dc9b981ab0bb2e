"""Compare the substitute for Geant4's data tables with the official ones, if these are there.

It compares photoelectric and Rayleigh cross sections and bremsstrahlung, element by element. Files
are in Geant4's formats: G4PhysicsVector (ends, number of nodes, number again, pairs) and
G4Physics2DVector (type, numbers of x and y, x, y, values row by row).
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xraylib
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.simulate.geant4 import em_tables
from tubepet.validate import references

Array = NDArray[np.float64]
KINDS = {"photoelectric": "phot/pe-cs-{}.dat", "rayleigh": "rayl/re-cs-{}.dat"}
POWERS = {"photoelectric": 3, "rayleigh": 2}  # files hold sigma times this power of the energy


def compare(official: Path, scratch: Path) -> list[dict[str, Any]]:
    """Compare official tables with a newly made substitute.

    Parameters
    ----------
    official : Path
        Folder of the official data sets.
    scratch : Path
        Existing folder for the substitute, which does not stay.

    Returns
    -------
    list of dict
        element, kind, energies_kev and ratio (substitute over official at each of them; of
        bremsstrahlung, integrated over the photon's energy).

    Raises
    ------
    InputError
        If an official file is missing or not of its format.
    """
    low = em_tables.DATA_SETS["G4LEDATA"]
    with tempfile.TemporaryDirectory(prefix=".part-", dir=scratch) as folder:
        em_tables.build_substitute(Path(folder))
        trees = [official / low, Path(folder) / low]
        rows = []
        for symbol in em_tables.ELEMENTS:
            z = xraylib.SymbolToAtomicNumber(symbol)
            for kind, pattern in KINDS.items():
                values = [
                    _cross_section(tree / "epics2017" / pattern.format(z), POWERS[kind])
                    for tree in trees
                ]
                rows.append(_row(symbol, kind, references.KEV, *values))
            values = [_radiated(tree / f"brem_SB/br{z}") for tree in trees]
            rows.append(_row(symbol, "bremsstrahlung", references.ELECTRON_KEV, *values))
    return rows


def _row(
    symbol: str, kind: str, kev: tuple[int, ...], official: Array, substitute: Array
) -> dict[str, Any]:
    ratio = (substitute / official).tolist()
    return {"element": symbol, "kind": kind, "energies_kev": list(kev), "ratio": ratio}


def _numbers(path: Path) -> list[float]:
    try:
        return [float(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a table of Geant4 11.4, got none ({error})") from error


def _cross_section(path: Path, power: int) -> Array:
    """Return a cross section at `references.KEV`, interpolated in log-log (unit of the file)."""
    numbers = _numbers(path)
    num_nodes = int(numbers[3]) if len(numbers) > 3 else 0
    if num_nodes < 2 or len(numbers) != 4 + 2 * num_nodes:
        raise InputError(
            f"{path}: got {len(numbers)} numbers for {num_nodes} nodes, expected "
            f"{4 + 2 * num_nodes} (a G4PhysicsVector)"
        )
    mev, value = np.array(numbers[4:]).reshape(-1, 2).T
    kept = (mev > 0) & (value > 0)
    at = np.array(references.KEV) * 1e-3
    found = np.exp(np.interp(np.log(at), np.log(mev[kept]), np.log(value[kept])))
    return np.asarray(found / at**power)


def _radiated(path: Path) -> Array:
    """Return the scaled bremsstrahlung, averaged over k / T, at `references.ELECTRON_KEV`."""
    numbers = _numbers(path)
    num_x, num_y = (int(n) for n in numbers[1:3]) if len(numbers) > 3 else (0, 0)
    if min(num_x, num_y) < 2 or len(numbers) != 3 + num_x + num_y + num_x * num_y:
        raise InputError(
            f"{path}: got {len(numbers)} numbers for {num_x} x {num_y} nodes, expected "
            f"{3 + num_x + num_y + num_x * num_y} (a G4Physics2DVector)"
        )
    share = np.array(numbers[3 : 3 + num_x])
    log_mev = np.array(numbers[3 + num_x : 3 + num_x + num_y])
    table = np.array(numbers[3 + num_x + num_y :]).reshape(num_y, num_x)
    mean = np.trapezoid(table, share, axis=1)
    return np.interp(np.log(np.array(references.ELECTRON_KEV) * 1e-3), log_mev, mean)


def worst(rows: list[dict[str, Any]]) -> dict[str, tuple[str, int, float]]:
    """Return, of each kind, the element and energy (keV) where the ratio is furthest from 1."""
    found: dict[str, tuple[str, int, float]] = {}
    for row in rows:
        for kev, ratio in zip(row["energies_kev"], row["ratio"], strict=True):
            best = found.get(row["kind"])
            if best is None or abs(ratio - 1) > abs(best[2] - 1):
                found[row["kind"]] = (row["element"], kev, ratio)
    return found


def sentence(rows: list[dict[str, Any]]) -> str:
    """Say how far the substitute is from the official tables."""
    parts = [
        f"{kind} {100 * (ratio - 1):+.1f} % ({element}, {kev} keV)"
        for kind, (element, kev, ratio) in worst(rows).items()
    ]
    return f"The substitute differs from the official tables by at most: {', '.join(parts)}."
