"""Simulate parts, read them as the run reads its tubes, and inspect them: one row for each."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io, rng
from tubepet.inspect import limit
from tubepet.inspect.judge import NEAR_MM, judged
from tubepet.inspect.part import Part, as_made, of_voxels
from tubepet.inspect.setup import read_response
from tubepet.inspect.shapes import KIND_OF_CLASS
from tubepet.inspect.verdict import Inspection, inspect
from tubepet.logs import Bar
from tubepet.phantom import geometry, maps
from tubepet.pod.design import CLEAN, Planned
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection.response import Response
from tubepet.reconstruct.read import read_acquisition
from tubepet.simulate import sources
from tubepet.simulate.fast import transport
from tubepet.types import Scanner, Volume

COLUMNS = (
    "part", "class", "family", "size_mm", "duration_s", "coincidences", "verdict", "is_called",
    "is_right_place", "largest_z", "threshold_z", "p_value", "mean_z", "rms_z", "place_z",
    "limit_z", "known_z", "foretold", "cpu_s",
)  # fmt: skip
KNOWN = ("limit_z", "known_z", "foretold")


@dataclass(frozen=True)
class Bench:
    """Calibration and settings that all parts share.

    Attributes
    ----------
    files : mapping
        Paths of the run: `calibration`, `sensitivity`, `resolution`.
    phantom, protocol : mapping
        Config sections.
    ranges_mm : mapping
        Smallest and largest size (mm) of each class to look for (`design.looked_for`).
    source : mapping
        Keywords of `transport.simulate`: delay_ns, device, particle, isotope, has_lutetium.
    background : str
        Config key `reconstruct.background`.
    stride : int
        Config key `reconstruct.sensitivity_stride`.
    real_scanner : Scanner, optional
        The scanner that measures, if it is not the one that was calibrated.
    """

    scanner: Scanner
    files: Mapping[str, str]
    phantom: Mapping[str, Any]
    protocol: Mapping[str, Any]
    ranges_mm: Mapping[str, list[float]]
    source: Mapping[str, Any]
    background: str
    stride: int
    false_call_rate: float
    seed: int
    real_scanner: Scanner | None = None

    @cached_property
    def response(self) -> Response:
        """How the calibrated scanner responds."""
        return read_response(self.files["resolution"], self.scanner, self.stride)


def inspect_parts(plan: Sequence[Planned], bench: Bench) -> pd.DataFrame:
    """Simulate and inspect parts by the fast engine.

    Returns
    -------
    DataFrame
        `COLUMNS`. `size_mm` is the size of the defect. `mean_z` and `rms_z` are mean and root mean
        square of z over all candidates, before it is divided by its noise: 0 and 1 by counts
        alone. `place_z` is the largest z of the candidates within `judge.NEAR_MM` of the defect's
        box. `limit_z` is the mean z of a defect of known shape and place, `known_z` its z in these
        events. `foretold` is the probability to find such a defect that the inspection itself
        states. A call is in the right place if its first indication is within `judge.NEAR_MM` of
        the box.
    """
    verdicts, truths, rows = [], [], []
    for part in Bar(plan, desc="parts", unit="part"):
        began = time.process_time()
        got = acquired(part, bench)
        found = inspected(part, got, bench)
        truth = maps.truth(part.name, part.tube, got.voxels, got.activity.array, bench.seed)
        verdicts.append(found.as_json())
        truths.append(truth)
        box_mm = truth["defects"][0]["box_mm"] if truth["defects"] else None
        rows.append({
            "class": truth["defect"].replace("none", CLEAN),
            "duration_s": part.duration_s,
            "coincidences": len(found.fitted.rates),
            **_moments(found.scores.z * found.noise),
            "place_z": _place_z(found, box_mm) if box_mm else np.nan,
            **_known(part, got, found, bench),
            "cpu_s": round(time.process_time() - began, 3),
        })  # fmt: skip
    table = judged(verdicts, truths).drop(columns="size_mm")
    table = table.rename(columns={"tube": "part", "defect_mm": "size_mm"})
    return pd.concat([table, pd.DataFrame(rows)], axis=1)[list(COLUMNS)]


@dataclass(frozen=True)
class Acquired:
    """A part as drawn and as made, and one acquisition of it.

    Attributes
    ----------
    voxels : Voxels
        The part as made.
    activity : Volume
        Bq/mm3.
    drawn : Part
        The part without its defect.
    measured : Measurement
        Its attenuation map is that of the drawing.
    """

    voxels: geometry.Voxels
    activity: Volume
    drawn: Part
    measured: Measurement
    instrument: Instrument


def acquired(part: Planned, bench: Bench) -> Acquired:
    """Draw a part on voxels and simulate its acquisition by the fast engine."""
    phantom = bench.phantom
    voxels = geometry.voxelise(part.tube, phantom["voxel_mm"], phantom["supersampling"])
    concentration = maps.concentration_bq_mm3(voxels, **bench.protocol)
    activity = Volume(maps.activity_bq_mm3(voxels, concentration), voxels.grid, "Bq/mm3")
    drawn = of_voxels(voxels)
    return Acquired(voxels, activity, drawn, *_measured(part, voxels, activity, drawn.mu, bench))


def inspected(part: Planned, got: Acquired, bench: Bench) -> Inspection:
    """Inspect a part as the run inspects its tubes."""
    return inspect(
        got.measured, got.drawn, dict(bench.ranges_mm), got.instrument,
        bench.response, bench.false_call_rate,
        rng.derived_seed(bench.seed, "pod", part.name, f"{part.duration_s:g}", "inspect"),
    )  # fmt: skip


def known(got: Acquired, found: Inspection, bench: Bench) -> tuple[float, float]:
    """Return z of the defect that a part has, and its mean; see `limit.known_z`."""
    made = as_made(got.voxels)
    return limit.known_z(found.fitted, got.measured, got.drawn, made, got.instrument, bench.stride)


def _known(part: Planned, got: Acquired, found: Inspection, bench: Bench) -> dict[str, float]:
    """Return the columns `KNOWN`; NaN without a defect."""
    if got.voxels.defect_box_mm is None:
        return dict.fromkeys(KNOWN, np.nan)
    known_z, limit_z = known(got, found, bench)
    numbers = (limit_z, known_z, _foretold(found, part.tube.defect, part.tube.defect_size_mm))
    return dict(zip(KNOWN, numbers, strict=True))


def _foretold(found: Inspection, defect: str, size_mm: float) -> float:
    """Interpolate the probability to find a defect between the sizes in an inspection."""
    chances = found.found.get(KIND_OF_CLASS[defect], {})
    if not chances:
        return np.nan
    sizes_mm = [float(size) for size in chances]
    return float(np.interp(np.log(size_mm), np.log(sizes_mm), list(chances.values())))


def _measured(
    part: Planned, voxels: geometry.Voxels, activity: Volume, mu: Volume, bench: Bench
) -> tuple[Measurement, Instrument]:
    """Simulate one acquisition into files and read them."""
    z, y, x = (float(mm) for mm in np.add(voxels.grid.origin_mm, part.shift_mm[::-1]))
    grid = replace(voxels.grid, origin_mm=(z, y, x))
    with tempfile.TemporaryDirectory() as folder:
        names = ("labels.nii.gz", "activity.nii.gz", "mu.nii.gz", "coincidences.root", "stats.json")
        paths = {name.partition(".")[0]: str(Path(folder) / name) for name in names}
        io.write_volume(paths["labels"], Volume(voxels.labels(), grid))
        io.write_volume(paths["activity"], replace(activity, grid=grid))
        io.write_volume(paths["mu"], mu)
        stats = transport.simulate(
            part.name, sources.tube_source(paths["labels"], paths["activity"], grid),
            sources.total_activity_bq(activity), part.duration_s,
            bench.real_scanner or bench.scanner,
            rng.derived_seed(bench.seed, "pod", part.name, f"{part.duration_s:g}", "simulate"),
            1, paths["coincidences"], **bench.source,
        )  # fmt: skip
        io.write_json(paths["stats"], stats)
        files = {**bench.files, **paths}
        return read_acquisition(files, bench.scanner, bench.background, part.duration_s)


def _moments(z: NDArray[np.float64]) -> dict[str, float]:
    if not len(z):
        return {"mean_z": np.nan, "rms_z": np.nan}
    return {"mean_z": float(z.mean()), "rms_z": float(np.sqrt((z**2).mean()))}


def _place_z(found: Inspection, box_mm: list[list[float]]) -> float:
    """Return the largest z of the candidates near the defect."""
    places: NDArray[np.float64] = found.bank.table[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64)
    low, high = np.array(box_mm).T
    away = np.maximum(np.maximum(low - places, places - high), 0.0)
    near = found.scores.z[np.linalg.norm(away, axis=1) <= NEAR_MM]
    return float(near.max()) if len(near) else np.nan
