"""Sources of both engines: tubes as voxels or solids, calibration source, positron energies."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import loggamma

from tubepet.constants import ELECTRON_KEV, FINE_STRUCTURE
from tubepet.errors import InputError
from tubepet.phantom.geometry import TUBE, Filling
from tubepet.types import Grid, Volume

CALIBRATION_RADIUS_SHARE = 0.875  # chosen: clear of the edge of the image
CALIBRATION_ACTIVITY_BQ = 1e4  # chosen: randoms stay below 0.1 % of the prompts
SOLID_FAMILIES = ("round", "eccentric", "stepped")  # made of cylinders
COMPTON_FM = 386.15927  # Compton wavelength of the electron over 2 pi
NUM_INTERVALS = 512  # of a spectrum, equally probable


class Emitter(NamedTuple):
    """A positron emitter; its branches are (end point in keV, positrons per decay).

    Attributes
    ----------
    z, nucleons : int
        Of the daughter.
    branches : tuple
        Decay Data Evaluation Project (Be et al., Table of Radionuclides, BIPM).
    """

    z: int
    nucleons: int
    branches: tuple[tuple[float, float], ...]


EMITTERS = {
    "F18": Emitter(8, 18, ((633.9, 0.9686),)),
    "Ga68": Emitter(30, 68, ((1899.1, 0.8768), (821.7, 0.0119))),
    "Cu64": Emitter(28, 64, ((653.1, 0.1752),)),
}


def tube_source(
    labels_path: str | Path,
    activity_path: str | Path,
    grid: Grid,
    own: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Describe a voxelised tube or part for `simulate`.

    Parameters
    ----------
    own : sequence of dict
        Fillings of the labels 1, 2, .. (``fillings`` of ``truth.json``), if they are not a tube's.
    """
    source: dict[str, Any] = {
        "kind": "tube",
        "labels": str(Path(labels_path).resolve()),
        "activity": str(Path(activity_path).resolve()),
        "grid": dataclasses.asdict(grid),
    }
    return source | ({"fillings": list(own)} if own else {})


def fillings(source: dict[str, Any]) -> tuple[Filling, ...]:
    """Return what the labels of a source stand for: without `fillings` of its own, a tube's."""
    own = source.get("fillings", ())
    return tuple(Filling(**one) for one in own) if own else TUBE


def solid_source(truth: dict[str, Any]) -> dict[str, Any]:
    """Describe a tube as exact solids for `simulate`, from its ``truth.json``.

    Raises
    ------
    InputError
        If the tube has a defect, or a shape other than `SOLID_FAMILIES`.
    """
    family, defect = truth["family"], truth["defect"]
    if family not in SOLID_FAMILIES or defect != "none":
        raise InputError(
            f"simulate.geometry: got analytic for {truth['tube']} ({family}, defect {defect}), "
            f"expected voxels, or a tube without defect of the families {', '.join(SOLID_FAMILIES)}"
        )
    shape, length_mm = truth["geometry"], truth["length_mm"]
    radius_mm, wall_mm = shape["bore_radius_mm"], shape["wall_mm"]
    fluid: list[dict[str, Any]] = [
        {"radius_mm": radius_mm, "length_mm": length_mm, "middle_mm": [0.0, 0.0, 0.0]}
    ]
    if family == "eccentric":
        turn = math.radians(shape["orientation_deg"])
        shift_mm = shape["eccentricity_ratio"] * wall_mm
        fluid[0]["middle_mm"] = [shift_mm * math.cos(turn), shift_mm * math.sin(turn), 0.0]
    if family == "stepped":
        radii_mm = (radius_mm, shape["step_ratio"] * radius_mm)  # at z < 0 and at z > 0
        fluid = [
            {"radius_mm": r, "length_mm": length_mm / 2, "middle_mm": [0.0, 0.0, z]}
            for r, z in zip(radii_mm, (-length_mm / 4, length_mm / 4), strict=True)
        ]
    for piece in fluid:
        piece["source_radius_mm"] = piece["radius_mm"]  # all of it is active
    volumes = np.array([piece["radius_mm"] ** 2 * piece["length_mm"] for piece in fluid])
    return {
        "kind": "solids",
        "wall": {"radius_mm": radius_mm + wall_mm, "length_mm": length_mm},
        "fluid": fluid,
        "shares": (volumes / volumes.sum()).tolist(),
    }


def total_activity_bq(activity: Volume) -> float:
    """Return the total activity (Bq) of a volume in Bq/mm3."""
    return float(activity.array.sum(dtype=np.float64) * activity.grid.voxel_volume_mm3)


def calibration_source(
    num_pixels: int, pixel_mm: float, num_slices: int, slice_mm: float
) -> dict[str, Any]:
    """Describe the calibration source: a uniform cylinder in air that fills the image.

    It is as long as the image, and fills `CALIBRATION_RADIUS_SHARE` of its half width.
    """
    return {
        "kind": "cylinder",
        "radius_mm": CALIBRATION_RADIUS_SHARE * num_pixels * pixel_mm / 2,
        "length_mm": num_slices * slice_mm,
    }


def fermi_function(total: NDArray[np.float64], charge: int, nucleons: int) -> NDArray[np.float64]:
    """Return the Fermi function of a point charge without its constant factors.

    Evans, The Atomic Nucleus, 1955, ch. 17; Konopinski 1966.

    Parameters
    ----------
    total : float64 array, shape (n,)
        Total energy, in units of the rest energy.
    charge, nucleons : int
        Of the daughter; the charge is negative for positrons.
    """
    momentum = np.sqrt(total**2 - 1)
    strength = FINE_STRUCTURE * charge
    root = math.sqrt(1 - strength**2)
    attraction = strength * total / momentum
    radius = 1.2 * nucleons ** (1 / 3) / COMPTON_FM
    slow = np.exp(math.pi * attraction + 2 * loggamma(root + 1j * attraction).real)
    return np.asarray((2 * momentum * radius) ** (2 * (root - 1)) * slow)


def positron_kev(isotope: str) -> NDArray[np.float64]:
    """Return borders of equally probable intervals of an isotope's positron energies, in keV.

    The spectrum is that of allowed transitions, F p W (W0 - W)^2, with the Fermi function of a
    point charge (Evans, The Atomic Nucleus, 1955, ch. 17). Screening is after Rose (1936, Phys.
    Rev. 49, 727): the positron gains the potential of the daughter's electrons, 1.13 alpha^2
    Z^(4/3).

    Returns
    -------
    float64 array, shape (`NUM_INTERVALS` + 1,)

    Raises
    ------
    InputError
        If there are no data of the isotope.
    """
    if isotope not in EMITTERS:
        raise InputError(
            f"simulate.isotope: got {isotope}, expected an isotope with data: {', '.join(EMITTERS)}"
        )
    emitter = EMITTERS[isotope]
    last_kev = max(kev for kev, _ in emitter.branches)
    energy_kev = np.linspace(0.0, last_kev, 8001)
    total = 1 + energy_kev / ELECTRON_KEV + 1.13 * FINE_STRUCTURE**2 * emitter.z ** (4 / 3)
    momentum = np.sqrt(total**2 - 1)
    fermi = fermi_function(total, -emitter.z, emitter.nucleons)  # a positron is repelled
    density = np.zeros_like(energy_kev)
    for end_kev, share in emitter.branches:
        left = np.maximum(end_kev - energy_kev, 0.0)
        shape = fermi * momentum * total * left**2
        density += share * shape / shape.sum()
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    borders = np.linspace(0.0, below[-1], NUM_INTERVALS + 1)
    # `below` is flat at both ends, where the density is zero
    return np.interp(borders, below, energy_kev)
