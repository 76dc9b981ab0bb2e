"""Parts as observers see them: the image, the drawing, and what is not as drawn, on one box."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import rng
from tubepet.inspect.part import as_made
from tubepet.logs import Bar
from tubepet.observers import design
from tubepet.pod import parts
from tubepet.pod.design import CLEAN, Planned
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.projection.blur import blurred, smoothed
from tubepet.reconstruct.read import read_settings
from tubepet.types import Grid

Array = NDArray[np.float64]

VOXEL_MM = 1.0  # about half of the resolution: smaller ones hold no more
AXIAL_MARGIN_MM = 2.0  # of what the resolution moves beyond an end; the wall is one around
COLUMNS = (
    "part", "role", "class", "family", "size_mm", "coincidences", "verdict", "largest_z",
    "threshold_z", "p_value", "limit_z", "cpu_s",
)  # fmt: skip


class Box:
    """The middle of an image that holds every tube, in voxels of about `VOXEL_MM`.

    Parameters
    ----------
    grid : Grid
        Of the image.
    phantom : mapping
        Config section `phantom`: its largest tube fits.
    """

    def __init__(self, grid: Grid, phantom: Mapping[str, Any]) -> None:
        across_mm = phantom["bore_radius_mm"][1] + phantom["wall_mm"][1] + phantom["bend_mm"][1] / 2
        along_mm = phantom["length_mm"][1] / 2 + AXIAL_MARGIN_MM
        self.factors = [max(1, round(VOXEL_MM / size)) for size in grid.voxel_mm]
        self.voxel_mm = [f * size for f, size in zip(self.factors, grid.voxel_mm, strict=True)]
        halves = [
            min(math.ceil(reach / size), num // (2 * factor))
            for reach, size, num, factor in zip(
                (along_mm, across_mm, across_mm), self.voxel_mm, grid.shape, self.factors,
                strict=True,
            )
        ]  # fmt: skip
        self.shape = tuple(2 * half for half in halves)  # even: `learned` looks at pairs

    def of(self, image: NDArray[Any]) -> Array:
        """Return the mean of the image (nz, ny, nx) in each voxel of the box."""
        cut = tuple(
            slice((num - n * f) // 2, (num - n * f) // 2 + n * f)
            for num, n, f in zip(image.shape, self.shape, self.factors, strict=True)
        )
        sizes = [s for both in zip(self.shape, self.factors, strict=True) for s in both]
        return np.asarray(image[cut].reshape(sizes).mean(axis=(1, 3, 5), dtype=np.float64))


def observe_parts(
    plan: Sequence[Planned], bench: parts.Bench, mlem: Mapping[str, Any], with_verdicts: bool
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Simulate parts, make their images, and inspect them if asked to.

    Parameters
    ----------
    mlem : mapping
        Config keys of the image, as of the run's tubes (`Settings`).
    with_verdicts : bool
        Inspection takes three times as long as the image; what is learned from needs none.

    Returns
    -------
    float32 array, shape (parts, 3, nz, ny, nx)
        `read.CHANNELS`: the image in Bq/mm3, with the attenuation of the drawing; the fluid
        fraction of the drawing, blurred as the image is; what the defect adds to that fraction.
    DataFrame
        `COLUMNS`; of the inspection NaN where it was not asked for. `limit_z` is what z a defect of
        known shape and place has on average.
    """
    volumes, rows = [], []
    for part in Bar(plan, desc="parts", unit="part"):
        began = time.process_time()
        got = parts.acquired(part, bench)
        settings = read_settings(bench.files, mlem)
        model = model_acquisition(got.measured, got.instrument, settings)
        image, _ = reconstruct(model, settings, rng.derived_seed(bench.seed, part.name, "image"))
        box, grid = Box(image.grid, bench.phantom), image.grid
        drawing = blurred(got.drawn.on_image(grid), grid, settings.psf)
        drawing = smoothed(drawing, grid, settings.filter_fwhm_mm)
        made = as_made(got.voxels)
        change = made.on_image(grid) - got.drawn.on_image(grid)
        volumes.append(np.stack([box.of(one) for one in (image.array, drawing, change)]))
        row = {
            "part": part.name,
            "role": part.name.partition("_")[0],
            "class": part.tube.defect.replace("none", CLEAN),
            "family": part.tube.family,
            "size_mm": part.tube.defect_size_mm if part.tube.defect != "none" else np.nan,
            "coincidences": len(got.measured.events),
        }
        if with_verdicts:
            found = parts.inspected(part, got, bench)
            row |= {
                "verdict": found.verdict, "largest_z": found.largest_z,
                "threshold_z": found.threshold_z, "p_value": found.p_value,
            }  # fmt: skip
            if got.voxels.defect_box_mm is not None:
                row["limit_z"] = parts.known(got, found, bench)[1]
        rows.append(row | {"cpu_s": round(time.process_time() - began, 3)})
    return np.stack(volumes).astype(np.float32), pd.DataFrame(rows, columns=list(COLUMNS))


def is_judged(batch: str) -> bool:
    """Whether the parts of a batch need an inspection: those that thresholds and figures are of."""
    return not batch.startswith(design.TRAIN)
