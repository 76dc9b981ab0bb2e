"""Which image shows a defect best, and how much a map of the true attenuation gives away.

The measure is contrast to noise of defects at known places, by algorithm, iterations and filter.
The tubes have the config's families and defects, but are not those of the default run. The fast
engine acquires each one several times with its defect and without. All images of an acquisition
share its events and its model, so their differences are known better than each.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet import rng
from tubepet.inspect.part import onto_image
from tubepet.logs import Bar
from tubepet.phantom import geometry, maps, spec
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms.em import iterate
from tubepet.reconstruct.algorithms.stopping import to_convergence
from tubepet.reconstruct.problem import Acquisition, Measurement, Settings
from tubepet.reconstruct.projection.blur import smoothed
from tubepet.simulate.water_phantoms import Phantom, acquire
from tubepet.types import Volume
from tubepet.validate.reconstruction import CONCENTRATION, Bench, image_of

Array = NDArray[np.float64]

DURATION_S, NUM_REPEATS = 0.1, 8
# One of each class of defect, of the families in turn; an outer thinning changes no activity.
TUBES = tuple(f"tube_{i:04d}" for i in range(1, 7))
FIXED = {"thinning": {"thinning_side": "inner"}}
MOST_ITERATIONS = 1000  # of a converged image
PLATEAU_MM, PLATEAU_SHARE = 2.5, 0.97  # drawn activity blurred by the first keeps the second
COMPARED_TUBES, COMPARED_S = 12, (0.1, 1.0)  # of `compare_attenuation`


class Way(NamedTuple):
    """A reconstruction that gives several images: after each of `kept` iterations, by each filter.

    `kept` is empty for the converged image.
    """

    algorithm: str
    num_subsets: int
    prior_strength: float
    kept: tuple[int, ...]
    filters_mm: tuple[float, ...]


WAYS = (
    Way("mlem", 1, 0.0, (2, 4, 8, 16, 40), (1.5, 3.0, 4.5)),
    Way("mlem", 8, 0.0, (1, 2, 5), (1.5, 3.0, 4.5)),
    Way("tv", 1, 0.1, (25,), (0.0, 3.0)),
    Way("map_rdp", 1, 0.3, (), (0.0, 3.0)),
)
REFERENCE = ("mlem", 1, 0.0, 16, 1.5)  # the default of the config
KEYS = ["algorithm", "num_subsets", "prior_strength", "iterations", "filter_mm"]


class Case(NamedTuple):
    """A tube with and without its defect, and where they differ.

    Attributes
    ----------
    name : str
    defect : str
    made, drawn : Phantom
        With and without the defect, on one grid.
    truth, nominal : float64 array, shape of the image
        Activity of both on the image's grid, Bq/mm3.
    """

    name: str
    defect: str
    made: Phantom
    drawn: Phantom
    truth: Array
    nominal: Array

    def change(self, image: Array) -> float:
        """Mean activity (Bq/mm3) at the defect, weighted by what it adds (+) or removes (-)."""
        change = self.truth - self.nominal
        return float((change * image).sum() / np.abs(change).sum())


def make_case(bench: Bench, ranges: dict[str, Any], name: str, seed: int) -> Case:
    """Draw a tube of the config section `phantom`, with and without its defect."""
    plain = spec.draw_tube(name, ranges, {}, seed)
    tube = spec.draw_tube(name, ranges, FIXED.get(plain.defect, {}), seed)
    voxels = geometry.voxelise(tube, ranges["voxel_mm"], ranges["supersampling"])
    grid = bench.instrument.grid

    def phantom(made: geometry.Voxels) -> Phantom:
        arrays = made.labels(), maps.activity_bq_mm3(made, CONCENTRATION), maps.mu_per_mm(made)
        labels, activity, mu = (Volume(array, made.grid) for array in arrays)
        return Phantom(labels, activity, mu)

    made, drawn = phantom(voxels), phantom(voxels.nominal())
    truth, nominal = (onto_image(part.activity, grid) for part in (made, drawn))
    return Case(name, tube.defect, made, drawn, truth, nominal)


def images(model: Acquisition, settings: Settings, way: Way) -> Iterator[tuple[int, Array]]:
    """Yield the images of a way without filter: iterations done (0: until converged), image."""
    mine = replace(
        settings, algorithm=way.algorithm, num_subsets=way.num_subsets,
        prior_strength=way.prior_strength,
    )  # fmt: skip
    if not way.kept:
        yield 0, to_convergence(model, replace(mine, num_iterations=MOST_ITERATIONS))[0]
        return
    kept: list[Array] = []

    def keep(image: Array) -> bool:
        kept.append(image.copy())
        return False

    last, _ = iterate(model, replace(mine, num_iterations=max(way.kept)), keep)
    yield from ((number, [*kept, last][number]) for number in way.kept)


def compare_ways(bench: Bench, ranges: dict[str, Any]) -> pd.DataFrame:
    """Reconstruct tubes with and without their defects in every way of `WAYS`.

    The attenuation is the drawing's. Tubes are drawn from a seed of their own.

    Returns
    -------
    DataFrame
        `KEYS`; tube, defect, repeat, has_defect; change (`Case.change`, Bq/mm3), nrmse, activity
        (share of the truth), noise (of the plateau).
    """
    seed = rng.derived_seed(bench.engine.seed, "detection")
    cases = [make_case(bench, ranges, name, seed) for name in TUBES]
    parts = [
        measure_ways(bench, case, f"detection {case.name} {has_defect} {repeat}", has_defect)
        .assign(repeat=repeat)
        for repeat in range(NUM_REPEATS)
        for case in Bar(cases, desc=f"repeat {repeat}")
        for has_defect in (True, False)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def measure_ways(bench: Bench, case: Case, name: str, has_defect: bool) -> pd.DataFrame:
    """Acquire a tube once and reconstruct it in every way; `name` is that of the random stream."""
    phantom, truth = (case.made, case.truth) if has_defect else (case.drawn, case.nominal)
    events, delayed = acquire(bench.engine, name, phantom, DURATION_S)
    measured = Measurement(events, case.drawn.mu, DURATION_S, delayed)
    model = model_acquisition(measured, bench.instrument, bench.settings)
    is_plateau = smoothed(case.nominal, model.grid, PLATEAU_MM) > PLATEAU_SHARE * CONCENTRATION
    rows = []
    for way in WAYS:
        for number, sharp in images(model, bench.settings, way):
            for filter_mm in way.filters_mm:
                image = smoothed(sharp, model.grid, filter_mm)
                flat = image[is_plateau]
                rows.append(
                    (*way[:3], number, filter_mm, case.change(image), _nrmse(image, truth),
                     float(image.sum() / truth.sum()), float(flat.std() / flat.mean()))
                )  # fmt: skip
    columns = [*KEYS, "change", "nrmse", "activity", "noise"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(tube=case.name, defect=case.defect, has_defect=has_defect)


def _nrmse(image: Array, truth: Array) -> float:
    return float(np.sqrt(((image - truth) ** 2).sum() / (truth**2).sum()))


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Contrast to noise of every way, with its error, and the other figures' means.

    For a tube it is the difference of the mean change with and without the defect, over the pooled
    standard deviation of both. The mean is over the tubes. Errors: jackknife over the repeats.

    Parameters
    ----------
    rows : DataFrame
        As `compare_ways` returns.

    Returns
    -------
    DataFrame
        `KEYS`; cnr, cnr_error; cnr_ratio, to that of `REFERENCE`, and ratio_error; one column per
        defect; nrmse, nrmse_error (of the mean), activity, noise (tubes without defects).
    """
    by_tube = _contrast_to_noise(rows)
    repeats = sorted(rows["repeat"].unique())
    left_out = [
        _contrast_to_noise(rows[rows["repeat"] != repeat]).mean(axis=1) for repeat in repeats
    ]
    mean = by_tube.mean(axis=1)
    found = pd.DataFrame({"cnr": mean, "cnr_error": _jackknife(left_out)})
    reference = REFERENCE
    found["cnr_ratio"] = mean / mean[reference]
    found["ratio_error"] = _jackknife([one / one[reference] for one in left_out])
    found = found.join(by_tube)
    errors = rows.groupby(KEYS, sort=False)["nrmse"]
    found["nrmse"], found["nrmse_error"] = errors.mean(), errors.sem()
    clean = rows[~rows["has_defect"]].groupby(KEYS, sort=False)
    found["activity"], found["noise"] = clean["activity"].mean(), clean["noise"].mean()
    return found.reset_index()


def _contrast_to_noise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return contrast to noise by way (rows) and defect (columns)."""
    groups = rows.groupby([*KEYS, "defect", "has_defect"], sort=False)["change"]
    mean, variance = groups.mean().unstack(), groups.var(ddof=1).unstack()
    ratio = (mean[True] - mean[False]) / np.sqrt(variance.mean(axis=1))
    ways = rows.set_index(KEYS).index.unique()
    return ratio.unstack().loc[ways]


def _jackknife(left_out: list[pd.Series]) -> pd.Series:
    """Return the standard error of estimates that leave out one repeat each (Efron, Stein 1981)."""
    spread = pd.concat(left_out, axis=1)
    return spread.std(axis=1, ddof=0) * np.sqrt(len(left_out) - 1)


def compare_attenuation(bench: Bench, ranges: dict[str, Any]) -> pd.DataFrame:
    """Reconstruct default tubes with defects by the drawing's attenuation and by the truth's.

    Returns
    -------
    DataFrame
        tube, defect, duration_s, attenuation; nrmse; contrast (at the defect, difference from the
        drawn activity over the fluid's; 1: in full); activity (share of the truth).
    """
    rows = []
    seed = bench.engine.seed
    names = [f"tube_{i:04d}" for i in range(2 * COMPARED_TUBES)]
    damaged = [n for n in names if spec.draw_tube(n, ranges, {}, seed).defect != "none"]
    for name in Bar(damaged[:COMPARED_TUBES], desc="attenuation"):
        case = make_case(bench, ranges, name, seed)
        for duration_s in COMPARED_S:
            events, delayed = acquire(bench.engine, f"{name} {duration_s}", case.made, duration_s)
            for kind, mu in (("nominal", case.drawn.mu), ("truth", case.made.mu)):
                image = image_of(bench, Measurement(events, mu, duration_s, delayed)).array
                contrast = (case.change(image) - case.change(case.nominal)) / CONCENTRATION
                share = float(image.sum(dtype=np.float64) / case.truth.sum())
                error = _nrmse(image, case.truth)
                rows.append((name, case.defect, duration_s, kind, error, contrast, share))
    names = ["tube", "defect", "duration_s", "attenuation", "nrmse", "contrast", "activity"]
    return pd.DataFrame(rows, columns=names)


def draw(summary: pd.DataFrame, attenuation: pd.DataFrame) -> Figure:
    """Draw contrast to noise over NRMSE of every way, and contrasts by both attenuation maps."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    named = summary.assign(kind=summary["algorithm"].where(summary["num_subsets"] == 1, "osem"))
    for (kind, filter_mm), rows in named.groupby(["kind", "filter_mm"], sort=False):
        axes[0].errorbar(
            rows["nrmse"], rows["cnr"], rows["cnr_error"], fmt="o-", ms=3, lw=0.8,
            label=f"{kind}, {filter_mm:g} mm",
        )  # fmt: skip
    axes[0].set(xlabel="NRMSE", ylabel="contrast to noise of the defect")
    axes[0].legend(fontsize=6)
    table = attenuation.pivot_table(
        index=["defect", "tube", "duration_s"], columns="attenuation", values="contrast"
    )
    for defect, rows in table.groupby("defect"):
        axes[1].plot(rows["truth"], rows["nominal"], "o", ms=4, label=defect)
    axes[1].axline((0, 0), slope=1, color="grey", lw=0.8)
    axes[1].set(xlabel="contrast, map of the truth", ylabel="contrast, map of the drawing")
    axes[1].legend(fontsize=6)
    return figure
