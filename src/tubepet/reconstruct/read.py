"""From the files that a rule names to what a reconstruction takes: the reader of this stage."""

from collections.abc import Mapping
from typing import Any

from tubepet import io
from tubepet.reconstruct import calibration
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.scanner import fingerprint
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner


def read_instrument(paths: Mapping[str, str], scanner: Scanner) -> Instrument:
    """Read what is known of the scanner before there is an acquisition.

    Parameters
    ----------
    paths : mapping
        Paths by the names of the rules' inputs: `calibration` and `sensitivity`.
    scanner : Scanner

    Raises
    ------
    InputError
        If a file is damaged, or the sensitivity was made for another scanner or efficiency.
    """
    efficiency = calibration.efficiency_of(io.read_json(paths["calibration"]), scanner)
    geometric = io.read_volume(paths["sensitivity"])
    fingerprint.check_sensitivity(
        paths["sensitivity"], geometric.note, scanner, geometric.grid, efficiency
    )
    return Instrument(scanner, efficiency, geometric)


def read_acquisition(
    paths: Mapping[str, str], scanner: Scanner, background: str, duration_s: float
) -> tuple[Measurement, Instrument]:
    """Read one acquisition and its instrument.

    Parameters
    ----------
    paths : mapping
        As `read_instrument`, and `coincidences` and `mu`.
    scanner : Scanner
    background : str
        As in the config section `reconstruct`: `modelled` reads the delayed window too.
    duration_s : float

    Raises
    ------
    InputError
        As `read_instrument`.
    """
    instrument = read_instrument(paths, scanner)
    events = read_coincidences(paths["coincidences"], scanner)
    is_modelled = background == "modelled"
    delayed = read_delayed(paths["coincidences"], scanner) if is_modelled else None
    return Measurement(events, io.read_volume(paths["mu"]), duration_s, delayed), instrument


def read_settings(paths: Mapping[str, str], keys: Mapping[str, Any]) -> Settings:
    """Put settings together: keys of the config, and the fitted resolution in `resolution`."""
    return Settings(**keys, psf=blur.from_rows(io.read_json(paths["resolution"])["kernel"]))
