"""From the files that a rule names to what a reconstruction takes: the reader of this stage."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tubepet import io
from tubepet.reconstruct import calibration
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.scanner import fingerprint
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner, Volume


def read_calibrated(paths: Mapping[str, str], scanner: Scanner) -> tuple[NDArray, Volume]:
    """Read what is known of the scanner before there is an acquisition.

    Parameters
    ----------
    paths : mapping
        Paths by the names of the rules' inputs: `calibration` and `sensitivity`.
    scanner : Scanner

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1, num_rings)
        Pair efficiency.
    Volume
        Geometric sensitivity, mm3.

    Raises
    ------
    InputError
        If a file is damaged, or the sensitivity was made for another scanner or efficiency.
    """
    efficiency = calibration.pair_efficiency(io.read_json(paths["calibration"]))
    geometric = io.read_volume(paths["sensitivity"])
    fingerprint.check_sensitivity(
        paths["sensitivity"], geometric.note, scanner, geometric.grid, efficiency
    )
    return efficiency, geometric


def read_acquisition(paths: Mapping[str, str], scanner: Scanner, background: str) -> dict[str, Any]:
    """Read one acquisition and its scanner, as `mlem.reconstruct` names them.

    Parameters
    ----------
    paths : mapping
        As `read_calibrated`, and `coincidences`, `mu` and `resolution`.
    scanner : Scanner
    background : str
        As in the config section `reconstruct`: `modelled` reads the delayed window too.

    Returns
    -------
    dict
        events, scanner, efficiency, geometric, mu, psf, delayed.

    Raises
    ------
    InputError
        As `read_calibrated`.
    """
    efficiency, geometric = read_calibrated(paths, scanner)
    is_modelled = background == "modelled"
    return {
        "events": read_coincidences(paths["coincidences"], scanner),
        "scanner": scanner,
        "efficiency": efficiency,
        "geometric": geometric,
        "mu": io.read_volume(paths["mu"]),
        "psf": blur.from_rows(io.read_json(paths["resolution"])["kernel"]),
        "delayed": read_delayed(paths["coincidences"], scanner) if is_modelled else None,
    }
