"""Tubes on which GATE and the fast engine are compared, drawn by the run's seed.

Neither engine is adjusted to them; another seed draws others. Every second case is exact: a tube
made of cylinders, without defect. GATE takes it as solids and the fast engine as voxels, so that
voxelisation is compared too. The other cases are tubes of any family, with a defect and off the
axis, as voxels for both engines.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tubepet import io, layout, rng
from tubepet.phantom import geometry, maps, spec
from tubepet.plan import validation
from tubepet.simulate import sources
from tubepet.types import Scanner, Volume

CONCENTRATION_BQ_MM3 = 600.0  # the paper's; 0.2 to 11 MBq in a tube
BORE_MM = (5.0, 25.0)  # diameters
FAMILIAR_BORE_MM = 15.0  # of the default run; `DEFECT_MM` is for this bore
LEAST_DEFECT_SCALE = 0.6  # smaller ones would fall between the sample points of a voxel
RANGES = {
    "length_mm": (20.0, 40.0),
    "wall_mm": (2.0, 3.5),
    "ellipse_ratio": (0.6, 0.85),
    "corner_radius_ratio": (0.25, 0.5),
    "eccentricity_ratio": (0.2, 0.5),
    "step_ratio": (0.6, 0.8),
    "bend_mm": (1.0, 2.5),
}
DEFECT_MM = {
    "pit": (2.0, 4.0),
    "groove": (1.5, 3.0),
    "crack": (0.6, 1.2),
    "thinning": (4.0, 8.0),
    "inclusion": (3.0, 6.0),
    "bubble": (3.0, 6.0),
}
# Voxels of both engines; in exact cases of the fast engine only.
EXACT_VOXEL_MM, FINE_VOXEL_MM, COARSE_VOXEL_MM, FINE_BELOW_BORE_MM = 0.25, 0.5, 1.0, 10.0
SUPERSAMPLING = 4
MAX_SHIFT_MM, MAX_SHIFT_SHARE = 25.0, 0.15  # off the axis; along it, of the scanner's length
SILENT = 1e-12  # share of an inactive source: GATE wants some activity, but no decay comes of it
CLEAR_SHARE = 0.9  # of the bore of the scanner that a shifted tube may reach


@dataclasses.dataclass(frozen=True)
class Case:
    """A tube, what of it is active, and where it lies.

    Attributes
    ----------
    name : str
    tube : Tube
    active : str
        "whole"; "half": where z is above the tube's middle; "octant": where x, y and z are.
    middle_mm : tuple of float
        Place of the tube's middle: x, y, z.
    is_exact : bool
        Whether GATE takes it as exact solids.
    voxel_mm : float
    """

    name: str
    tube: spec.Tube
    active: str
    middle_mm: tuple[float, float, float]
    is_exact: bool
    voxel_mm: float

    def sentence(self) -> str:
        """Describe the case in words, for figures and verdicts."""
        tube = self.tube
        place = "on the axis" if self.is_exact else "at ({:.0f}, {:.0f}, {:.0f}) mm"
        return (
            f"{tube.family}, defect {tube.defect}, bore {2 * tube.bore_radius_mm:.1f} mm, length "
            f"{tube.length_mm:g} mm, {self.active} source, {place.format(*self.middle_mm)}, GATE "
            f"in {'exact solids' if self.is_exact else f'{self.voxel_mm:g} mm voxels'}"
        )


def draw(name: str, seed: int, scanner: Scanner) -> Case:
    """Draw a case by its name and the run's seed.

    Parameters
    ----------
    name : str
        From `plan.validation.names`.
    seed : int
    scanner : Scanner
        Tubes off the axis stay in its bore.
    """
    random = rng.stream(seed, "validate", name)
    is_exact = validation.is_exact(name)
    families = sources.SOLID_FAMILIES if is_exact else spec.FAMILIES
    defects = ("none",) if is_exact else spec.DEFECTS[1:]
    bore_mm = float(random.uniform(*BORE_MM))
    scale = max(bore_mm / FAMILIAR_BORE_MM, LEAST_DEFECT_SCALE)
    ranges: dict[str, Any] = {
        **RANGES,
        "families": [families[int(random.integers(len(families)))]],
        "defects": [defects[int(random.integers(len(defects)))]],
        "bore_radius_mm": (bore_mm / 2, bore_mm / 2),
        "defect_size_mm": {
            key: tuple(min(scale * size, bore_mm) for size in sizes)
            for key, sizes in DEFECT_MM.items()
        },
    }
    tube = spec.draw_tube("tube_0000", ranges, {}, rng.derived_seed(seed, "validate", name))
    # The ends lie on borders of voxels, or up to half a voxel would be cut off.
    tube = dataclasses.replace(tube, length_mm=round(tube.length_mm / 2) * 2.0)
    active = ("whole", "half" if is_exact else "octant")[int(random.integers(2))]
    turn, away, along = random.uniform(size=3)
    voxel_mm = FINE_VOXEL_MM if bore_mm < FINE_BELOW_BORE_MM else COARSE_VOXEL_MM
    if is_exact:
        return Case(name, tube, active, (0.0, 0.0, 0.0), True, EXACT_VOXEL_MM)
    reach_mm = tube.bore_radius_mm + tube.wall_mm + tube.bend_mm + 2 * voxel_mm
    clear_mm = CLEAR_SHARE * layout.bore_mm(scanner) - 1.5 * reach_mm  # corners of a square
    shift_mm = away * min(MAX_SHIFT_MM, max(clear_mm, 0.0))
    half_mm = scanner.num_rings * scanner.axial_pitch_mm / 2
    if scanner.modules:
        half_mm = layout.half_length_mm(scanner)
    middle_mm = (
        float(shift_mm * np.cos(2 * np.pi * turn)),
        float(shift_mm * np.sin(2 * np.pi * turn)),
        float(MAX_SHIFT_SHARE * 2 * half_mm * (along - 0.5)),
    )
    return Case(name, tube, active, middle_mm, False, voxel_mm)


def volumes(case: Case) -> tuple[Volume, Volume, dict[str, Any]]:
    """Return labels and activity (Bq/mm3) of a case, and what is known of its tube."""
    voxels = geometry.voxelise(case.tube, case.voxel_mm, SUPERSAMPLING)
    grid = voxels.grid
    activity = maps.activity_bq_mm3(voxels, CONCENTRATION_BQ_MM3)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij", sparse=True)
    if case.active != "whole":
        activity = np.where(z > 0, activity, 0).astype(activity.dtype)
    if case.active == "octant":
        activity = np.where((x > 0) & (y > 0), activity, 0).astype(activity.dtype)
    truth = maps.truth(case.name, case.tube, voxels, activity, 0)
    x_mm, y_mm, z_mm = (
        o + m for o, m in zip(reversed(grid.origin_mm), case.middle_mm, strict=True)
    )
    moved = dataclasses.replace(grid, origin_mm=(z_mm, y_mm, x_mm))
    return Volume(voxels.labels(), moved), Volume(activity, moved), truth


def described(case: Case, folder: Path) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Write a case's volumes into a folder; return the sources of GATE and of the fast engine.

    Returns
    -------
    gate, fast : dict
        For `engines.simulate`.
    activity_bq : float
    """
    labels, activity, truth = volumes(case)
    labels_path, activity_path = folder / "labels.nii.gz", folder / "activity.nii.gz"
    io.write_volume(labels_path, labels)
    io.write_volume(activity_path, activity)
    fast = sources.tube_source(labels_path, activity_path, activity.grid)
    gate = _solids(truth, case.active) if case.is_exact else fast
    return gate, fast, sources.total_activity_bq(activity)


def _solids(truth: dict[str, Any], active: str) -> dict[str, Any]:
    """Describe a tube as solids; for a "half" source the fluid is cut in two at z = 0."""
    solids = sources.solid_source(truth)
    if active == "whole":
        return solids
    pieces = solids["fluid"]
    if len(pieces) == 1:
        (whole,) = pieces
        x_mm, y_mm, _ = whole["middle_mm"]
        half_mm = whole["length_mm"] / 2
        pieces = [
            whole | {"length_mm": half_mm, "middle_mm": [x_mm, y_mm, sign * half_mm / 2]}
            for sign in (-1, 1)
        ]
    return solids | {"fluid": pieces, "shares": [SILENT, 1 - SILENT]}
