"""Maps of activity and attenuation from volume fractions, and the record of a tube's truth."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.constants import PHOTON_KEV
from tubepet.errors import InputError
from tubepet.phantom.geometry import Filling, Voxels
from tubepet.phantom.materials import MATERIALS, attenuation_per_mm
from tubepet.phantom.spec import Tube

# Linear attenuation at 511 keV, coherent scattering included, as photons are simulated: Compton
# scattering by Geant4's fit, the rest EPDL97 (`materials.attenuation_per_mm`; a test compares).
# NIST XCOM is 0.4 and 0.5 % lower.
MU_WATER_PER_MM = 9.638e-3
MU_ALUMINIUM_PER_MM = 2.2693e-2
ROUNDED_PER_MM = {"water": MU_WATER_PER_MM, "aluminium": MU_ALUMINIUM_PER_MM}


def concentration_bq_mm3(voxels: Voxels, activity_bq: float, per: str) -> float:
    """Return the activity concentration of the fluid.

    Parameters
    ----------
    voxels : Voxels
    activity_bq : float
        Config key ``protocol.activity_bq``.
    per : str
        What has this activity: ``mm3``, each mm3 of fluid; ``total``, the whole tube.

    Raises
    ------
    InputError
        If `per` is neither.
    """
    if per == "mm3":
        return activity_bq
    if per == "total":
        return activity_bq / voxels.fluid_volume_mm3()
    raise InputError(f"protocol.per: got {per!r}, expected 'mm3' or 'total'")


def activity_bq_mm3(voxels: Voxels, concentration: float) -> NDArray[np.float32]:
    """Return the activity of each voxel in Bq/mm3 (concentration x fluid fraction)."""
    return (concentration * voxels.fluid).astype(np.float32)


def mu_per_mm(voxels: Voxels) -> NDArray[np.float32]:
    """Return the attenuation of each voxel in 1/mm at 511 keV."""
    mu = np.zeros(voxels.grid.shape, np.float32)
    for one, share in zip(voxels.fillings, voxels.shares, strict=True):
        mu += np.float32(filling_mu_per_mm(one)) * share
    return mu


def filling_mu_per_mm(one: Filling) -> float:
    """Return the attenuation of a material at 511 keV in 1/mm."""
    material = MATERIALS[one.material]
    own = ROUNDED_PER_MM.get(one.material)
    if own is None:
        own = float(attenuation_per_mm(material, np.array([PHOTON_KEV])).sum())
    return own * (one.g_cm3 / material.g_cm3)


def truth(
    name: str, tube: Tube, voxels: Voxels, activity: NDArray[np.float32], seed: int
) -> dict[str, Any]:
    """Return what is known of a tube, for ``truth.json``: lengths in mm, activity in Bq."""
    defects = []
    if voxels.defect_box_mm is not None:
        defects.append(
            {
                "class": tube.defect,
                "box_mm": voxels.defect_box_mm,  # x, y, z
                "size_mm": tube.defect_size_mm,
                "volume_mm3": voxels.defect_volume_mm3,
                "z_mm": tube.defect_z_mm,
            }
        )
    return {
        "tube": name,
        "family": tube.family,
        "defect": tube.defect,
        "length_mm": tube.length_mm,
        "geometry": tube.meaningful(),
        "drawn": asdict(tube),  # all fields, to make the `Tube` again
        "defects": defects,
        "fluid_volume_mm3": voxels.fluid_volume_mm3(),
        "activity_total_bq": float(activity.sum(dtype=np.float64) * voxels.grid.voxel_volume_mm3),
        "grid": asdict(voxels.grid),
        "seed": seed,
    }


def table_row(facts: dict[str, Any]) -> dict[str, Any]:
    """Flatten ``truth.json`` into a row of ``phantoms.parquet``."""
    plain = ("tube", "family", "defect", "length_mm", "fluid_volume_mm3", "activity_total_bq")
    geometry = {key: value for key, value in facts["geometry"].items() if key not in plain}
    volume = sum(defect["volume_mm3"] for defect in facts["defects"])
    return {key: facts[key] for key in plain} | geometry | {"defect_volume_mm3": float(volume)}
