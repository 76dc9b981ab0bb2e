"""What a file says of its acquisition, and which value is used if an option says otherwise."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log

DEFAULT_DURATION_S = 1.0
# Positron emitters, s: ENSDF (NNDC, Brookhaven).
HALF_LIVES_S = {
    "C11": 1221.8, "N13": 597.9, "O15": 122.24, "F18": 6586.2, "NA22": 8.2107e7, "SC44": 14551.2,
    "CU64": 45723.6, "GA68": 4062.6, "GE68": 2.34084e7, "RB82": 75.45, "Y86": 53064.0,
    "ZR89": 282276.0, "I124": 360806.0,
}  # fmt: skip
NEAR = 1e-3  # relative: closer values are the same, written with fewer digits


@dataclass(frozen=True)
class Facts:
    """What a file says of one acquisition.

    Attributes
    ----------
    duration_s : float or None
        None if the file does not say it.
    isotope : str
        As the file writes it; empty if it does not say it.
    calibration_factor : float
        Factor for images.
    bed_mm : float
        Axial place of the bed. Images stay in the scanner's frame.
    most_axial_mm : float
        Pairs of crystals further apart along the axis are not recorded.
    """

    duration_s: float | None = None
    isotope: str = ""
    calibration_factor: float = 1.0
    bed_mm: float = 0.0
    most_axial_mm: float = math.inf


def duration_s(name: str | Path, facts: Facts, asked_s: float | None) -> float:
    """Return the duration of an acquisition, s: the option's, else the file's, else a default."""
    said_s = facts.duration_s
    if asked_s is None:
        if said_s is None:
            log.warning(
                "%s says no duration: %g s is taken, see --duration-s", name, DEFAULT_DURATION_S
            )
        return DEFAULT_DURATION_S if said_s is None else said_s
    if said_s is not None and abs(asked_s - said_s) > NEAR * said_s:
        log.warning(
            "--duration-s: got %g s, but %s says %g s: %g s are used",
            asked_s,
            name,
            said_s,
            asked_s,
        )
    return asked_s


def check_pairs(name: str | Path, facts: Facts, z_mm: NDArray[np.float64]) -> None:
    """Refuse events that lack pairs of a calibrated scanner; `z_mm` are places of its crystals."""
    if facts.most_axial_mm < np.ptp(z_mm):
        raise InputError(
            f"{name}: Maximum axial difference mm: got {facts.most_axial_mm:g}, expected that of "
            f"all rings with a config as scanner, {np.ptp(z_mm):g} (or a crystal table)"
        )


def compare_half_life(name: str | Path, facts: Facts, asked_s: float) -> None:
    """Log how the half-life of an option (s; 0: no correction) fits the isotope of the file.

    An isotope alone corrects nothing: most files of simulations name one and have constant
    activity, and many acquisitions are corrected elsewhere.
    """
    if not facts.isotope:
        if asked_s == 0:
            log.info("frames are not corrected for decay (--half-life-s)")
        return
    said_s = HALF_LIVES_S.get(_symbol(facts.isotope))
    known = f"{said_s:g}" if said_s else "its half-life in s"
    if asked_s == 0:
        log.warning(
            "%s says %.40r: frames are not corrected for its decay without --half-life-s %s",
            name, facts.isotope, known,
        )  # fmt: skip
    elif said_s is None or abs(asked_s - said_s) > NEAR * said_s:
        log.warning(
            "--half-life-s: got %g s, but %s says %.40r: %g s are used",
            asked_s, name, facts.isotope, asked_s,
        )  # fmt: skip


def _symbol(isotope: str) -> str:
    """Put letters before digits: F18 of F-18, 18F or ^18^F."""
    return "".join(re.findall(r"[A-Za-z]+", isotope)).upper() + "".join(re.findall(r"\d+", isotope))
