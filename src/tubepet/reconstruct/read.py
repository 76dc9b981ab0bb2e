"""Read the input files of a workflow rule as the objects that a reconstruction takes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tubepet import io
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.plan.outside import OWN_MAPS
from tubepet.reconstruct import calibration, frames
from tubepet.reconstruct.background import detection
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.scanner import fingerprint
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner

MAX_PARTS, MAX_FWHM_MM = 10, 1000.0  # of a kernel


def read_instrument(paths: Mapping[str, str], scanner: Scanner) -> Instrument:
    """Read the calibrated scanner.

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
    known = io.read_json(paths["calibration"])
    efficiency = calibration.efficiency_of(known, scanner)
    geometric = io.read_volume(paths["sensitivity"])
    fingerprint.check_sensitivity(
        paths["sensitivity"], geometric.note, scanner, geometric.grid, efficiency
    )
    seen_kev = detection.of_calibration(paths["calibration"], known)
    return Instrument(scanner, efficiency, geometric, seen_kev)


def read_acquisition(
    paths: Mapping[str, str], scanner: Scanner, background: str, duration_s: float
) -> tuple[Measurement, Instrument]:
    """Read one acquisition and its instrument.

    Parameters
    ----------
    paths : mapping
        As `read_instrument`, and `coincidences`, `mu` and, for a scanner with electronics, `stats`.
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
    if scanner.has_electronics:
        instrument = _as_live(instrument, io.read_json(paths["stats"])["live_share"])
    events = read_coincidences(paths["coincidences"], scanner)
    frames.check_times(paths["coincidences"], events.time_s, duration_s)
    is_modelled = background == "modelled"
    delayed = read_delayed(paths["coincidences"], scanner) if is_modelled else None
    mu = io.read_volume(paths["mu"], is_ours=Path(paths["mu"]).name in OWN_MAPS.values())
    return Measurement(events, mu, duration_s, delayed), instrument


def image_note(paths: Mapping[str, str], attenuation: str) -> str:
    """Return the note of an image: unit, cross sections of its simulation, attenuation map.

    Parameters
    ----------
    paths : mapping
        `stats`, of the simulation.
    attenuation : str
        Config key `reconstruct.attenuation`; a user's map is called ``file``.
    """
    kind = attenuation if attenuation in OWN_MAPS else "file"
    return f"Bq/mm3; cross sections: {io.read_json(paths['stats'])['tables']}; attenuation: {kind}"


def _as_live(instrument: Instrument, live_share: float) -> Instrument:
    """Lower the efficiency of pairs by dead time, the same for all crystals."""
    live = live_share**2
    if live < 1:
        log.info("dead time cost %.3g %% of the pairs, which is corrected for", 100 * (1 - live))
    geometric, known = instrument.geometric, instrument.efficiency
    if isinstance(known, Crystals):
        known = replace(known, efficiency=live_share * known.efficiency)
    else:
        known = live * known
    return replace(
        instrument,
        efficiency=known,
        geometric=replace(geometric, array=live * geometric.array),
    )


def read_kernel(path: str | Path, scanner: Scanner | None = None) -> blur.Kernel:
    """Read the kernel for images from a ``resolution.json``.

    Raises
    ------
    InputError
        If the file holds none, or belongs to another scanner than the one given.
    """
    content = io.read_json(path)
    rows = content.get("kernel") if isinstance(content, dict) else None
    try:
        values = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if rows == []:
        return ()  # no blur
    is_shaped = values.ndim == 2 and 1 <= len(values) <= MAX_PARTS and values.shape[1] == 3
    if not is_shaped or not ((values >= 0) & (values <= MAX_FWHM_MM)).all():
        raise InputError(
            f"{path}: kernel: got {rows!r:.60}, expected rows of a share and two widths, mm"
        )
    if abs(values[:, 0].sum() - 1) > 1e-6:
        raise InputError(f"{path}: kernel: got shares of {values[:, 0].sum():g}, expected 1 in all")
    if scanner is not None:
        fingerprint.check_scanner(path, "resolution", content.get("scanner"), scanner)
    return blur.from_rows(values.tolist())


def read_settings(paths: Mapping[str, str], keys: Mapping[str, Any]) -> Settings:
    """Return settings from keys of the config and the kernel in the file `paths["resolution"]`."""
    return Settings(**keys, psf=read_kernel(paths["resolution"]))
