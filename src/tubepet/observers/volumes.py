"""Simulate parts as observers see them: image, drawing, defect and fluid in one box."""

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
from tubepet.observers.box import Box
from tubepet.pod import parts
from tubepet.pod.design import CLEAN, Planned
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.projection.blur import blurred, smoothed
from tubepet.reconstruct.read import read_settings

COLUMNS = (
    "part", "role", "class", "family", "size_mm", "coincidences", "verdict", "largest_z",
    "threshold_z", "p_value", "limit_z", "cpu_s",
)  # fmt: skip


def observe_parts(
    plan: Sequence[Planned], bench: parts.Bench, mlem: Mapping[str, Any], with_verdicts: bool
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Simulate parts, make their images, and inspect them if asked to.

    Parameters
    ----------
    mlem : mapping
        Config keys of the image, as for the run's tubes (`Settings`).
    with_verdicts : bool
        Whether to inspect, which takes three times as long as the image. Training needs none.

    Returns
    -------
    float32 array, shape (parts, 4, nz, ny, nx)
        `read.CHANNELS`: the image in Bq/mm3, with the attenuation of the drawing; the fluid
        fraction of the drawing, blurred as the image is; what the defect adds to that fraction; and
        the fraction itself, as sharp as the voxels.
    DataFrame
        `COLUMNS`; NaN in those of the inspection if it is not wanted. `limit_z` is the mean z of a
        defect of known shape and place.
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
        fluid = got.drawn.on_image(grid)
        change = made.on_image(grid) - fluid
        volumes.append(np.stack([box.of(one) for one in (image.array, drawing, change, fluid)]))
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
    """Whether the parts of a batch are inspected."""
    return batch.startswith(design.JUDGED)
