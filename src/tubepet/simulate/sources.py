"""What is simulated: tubes as voxels or solids, and the calibration source."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from tubepet.errors import InputError
from tubepet.types import Grid, Volume

CALIBRATION_RADIUS_SHARE = 0.875  # chosen: clear of the edge of the image
CALIBRATION_ACTIVITY_BQ = 1e4  # chosen: randoms stay below 0.1 % of the prompts
SOLID_FAMILIES = ("round", "eccentric", "stepped")  # made of cylinders


def tube_source(labels_path: str | Path, activity_path: str | Path, grid: Grid) -> dict[str, Any]:
    """Describe a voxelised tube for `simulate`."""
    return {
        "kind": "tube",
        "labels": str(Path(labels_path).resolve()),
        "activity": str(Path(activity_path).resolve()),
        "grid": dataclasses.asdict(grid),
    }


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
    """Return the activity of a volume in Bq/mm3, summed over its voxels."""
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
