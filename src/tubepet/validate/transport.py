"""Proof: GATE and the fast engine on the same tube, counts and spectra side by side.

GATE's statistical error rules, for the fast engine follows `FAST_TIMES` as many decays.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi_square

from tubepet import io, layout
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.simulate import engines, sources
from tubepet.simulate.coincidences import branches, read_branches
from tubepet.types import Scanner, Volume

FAST_TIMES = 8
COUNTS = ("singles", "prompts", "trues", "scatters", "randoms", "delayed")
# A count agrees within this share or within this many sigma; a shape if chi-square is not rejected.
MAX_PERCENT, MAX_SIGMAS, MAX_FRACTION, MIN_P = 0.5, 3.0, 0.005, 0.001
LEAST_COUNTS = 20  # in GATE's bin, or it is joined with its neighbour
TITLES = {
    "energy_kev": "energy of the singles in coincidences / keV",
    "axial_mm": "z of the middle of the line / mm",
    "radial_mm": "distance of the line from the axis / mm",
    "difference_mm": "difference of z of the ends / mm",
}


class Sample(NamedTuple):
    """One engine's acquisition: statistics, and counts per bin of `TITLES`."""

    stats: dict[str, Any]
    edges: dict[str, NDArray[np.float64]]
    counts: dict[str, NDArray[np.int64]]


def octant(activity: Volume) -> Volume:
    """Return the activity where x, y and z are all positive: as asymmetric as a source can be."""
    z, y, x = np.meshgrid(*activity.grid.axes_mm(), indexing="ij")
    kept = np.where((x > 0) & (y > 0) & (z > 0), activity.array, 0).astype(activity.array.dtype)
    return Volume(kept, activity.grid, activity.note)


def run_both(
    name: str,
    labels_path: str | Path,
    activity: Volume,
    num_decays: float,
    scanner: Scanner,
    physics_list: str,
    g4data_facts: dict[str, Any],
    seed: int,
    delay_ns: float,
    device: str,
) -> tuple[Sample, Sample]:
    """Simulate a tube with GATE and with the fast engine.

    Parameters
    ----------
    name : str
    labels_path : str or Path
    activity : Volume
        Bq/mm3; the activity is the tube's, so the share of randoms is that of the run.
    num_decays : float
        Expected decays by GATE.
    scanner, physics_list, g4data_facts, seed, delay_ns, device
        As in `engines.simulate`.

    Returns
    -------
    tuple of Sample
        GATE's, and the fast engine's.
    """
    activity_bq = sources.total_activity_bq(activity)
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        activity_path = Path(folder) / "activity.nii.gz"
        io.write_volume(activity_path, activity)
        source = sources.tube_source(labels_path, activity_path, activity.grid)
        for engine, times in (("gate", 1), ("fast", FAST_TIMES)):
            path = Path(folder) / f"{engine}.root"
            stats = engines.simulate(
                engine, name, source, activity_bq, times * num_decays / activity_bq, scanner,
                physics_list, g4data_facts, seed, 1, path,
                particle="back_to_back", delay_ns=delay_ns, device=device,
            )  # fmt: skip
            samples.append(Sample(stats, *_histograms(path, scanner)))
    return samples[0], samples[1]


def _histograms(
    path: Path, scanner: Scanner
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.int64]]]:
    data = read_branches(path, branches("PostPosition", "TotalEnergyDeposit"))
    x1, y1, z1, x2, y2, z2 = (data[f"PostPosition{i}_{axis}"] for i in (1, 2) for axis in "XYZ")
    differences_mm: NDArray[np.floating]
    if scanner.modules:
        length_mm = 2 * layout.half_length_mm(scanner)
        differences_mm = np.linspace(-length_mm, length_mm, 33) + 0.01
    else:
        length_mm = scanner.num_rings * scanner.axial_pitch_mm
        steps = np.arange(-scanner.num_rings, scanner.num_rings + 1, 4) + 0.5
        differences_mm = steps * scanner.axial_pitch_mm
    values = {
        "energy_kev": 1e3 * np.concatenate([data[f"TotalEnergyDeposit{i}"] for i in (1, 2)]),
        "axial_mm": (z1 + z2) / 2,
        "radial_mm": np.abs(x1 * y2 - x2 * y1) / np.hypot(x2 - x1, y2 - y1),
        "difference_mm": z2 - z1,
    }
    edges: dict[str, Any] = {
        "energy_kev": np.linspace(*scanner.energy_window_kev, 25),
        "axial_mm": np.linspace(-length_mm / 2, length_mm / 2, 33) + 0.01,  # centres in the bins
        "radial_mm": np.linspace(0, layout.bore_mm(scanner), 51),
        "difference_mm": differences_mm,
    }
    return edges, {key: np.histogram(values[key], edges[key])[0] for key in TITLES}


def two_samples(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, int, float]:
    """Compare the shapes of two histograms of Poisson counts, whatever their totals.

    Returns
    -------
    chi2, degrees of freedom, p
        Chi-square of homogeneity; bins of `a` below `LEAST_COUNTS` are joined with the next.
    """
    joined: list[list[int]] = [[0, 0]]
    for one, two in zip(a.tolist(), b.tolist(), strict=True):
        if joined[-1][0] >= LEAST_COUNTS:
            joined.append([0, 0])
        joined[-1][0] += one
        joined[-1][1] += two
    if len(joined) > 1 and joined[-1][0] < LEAST_COUNTS:
        rest = joined.pop()
        joined[-1] = [joined[-1][0] + rest[0], joined[-1][1] + rest[1]]
    table = np.array(joined, float)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    value = float(((table - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
    freedom = len(table) - 1
    return value, freedom, float(chi_square.sf(value, freedom)) if freedom else 1.0


def agreement(reference: Sample, fast: Sample) -> dict[str, Any]:
    """Judge the fast engine against GATE.

    Returns
    -------
    dict
        counts (rates per decay, difference in per cent and in sigma), scatter_fraction, shapes
        (chi-square tests), each with agrees; agrees, the whole; statement, in one sentence.
    """
    counts: dict[str, Any] = {}
    for key in COUNTS:
        (rate1, error1), (rate2, error2) = (_rate(s.stats, key) for s in (reference, fast))
        percent = 100 * (rate2 / rate1 - 1) if rate1 else 0.0
        sigmas = (rate2 - rate1) / max(float(np.hypot(error1, error2)), 1e-12)
        counts[key] = {
            "gate": rate1,
            "fast": rate2,
            "percent": round(percent, 3),
            "percent_sigma": round(100 * float(np.hypot(error1, error2)) / max(rate1, 1e-12), 3),
            "sigmas": round(sigmas, 2),
            "agrees": bool(abs(percent) <= MAX_PERCENT or abs(sigmas) <= MAX_SIGMAS),
        }
    fractions, errors = zip(*(_scatter_fraction(s.stats) for s in (reference, fast)), strict=True)
    difference, error = fractions[1] - fractions[0], float(np.hypot(*errors))
    scatter_fraction = {
        "gate": fractions[0],
        "fast": fractions[1],
        "sigmas": round(difference / max(error, 1e-12), 2),
        "agrees": bool(abs(difference) <= max(MAX_FRACTION, MAX_SIGMAS * error)),
    }
    shapes: dict[str, Any] = {}
    for key in TITLES:
        value, freedom, p = two_samples(reference.counts[key], fast.counts[key])
        shapes[key] = {"chi2": round(value, 1), "dof": freedom, "p": p, "agrees": p >= MIN_P}
    judged = {**counts, "scatter_fraction": scatter_fraction, **shapes}
    broken = [key for key, result in judged.items() if not result["agrees"]]
    worst = max(COUNTS, key=lambda key: abs(counts[key]["sigmas"]))
    statement = (
        f"GATE ({reference.stats['decays']:,} decays) and the fast engine "
        f"({fast.stats['decays']:,}) "
        + (f"disagree in {', '.join(broken)}" if broken else "agree in all counts and shapes")
        + f"; largest difference of a count: {worst} {counts[worst]['percent']:+.2f} %, "
        f"{counts[worst]['sigmas']:+.1f} sigma."
    )
    return {
        "tube": reference.stats["tube"],
        "tables": reference.stats["tables"],
        "counts": counts,
        "scatter_fraction": scatter_fraction,
        "shapes": shapes,
        "agrees": not broken,
        "statement": statement,
        "decays_per_cpu_s": {
            s.stats["engine"]: s.stats["decays_per_cpu_s"] for s in (reference, fast)
        },
    }


def _rate(stats: dict[str, Any], key: str) -> tuple[float, float]:
    return stats[key] / stats["decays"], max(stats[key], 1) ** 0.5 / stats["decays"]


def _scatter_fraction(stats: dict[str, Any]) -> tuple[float, float]:
    total = max(stats["trues"] + stats["scatters"], 1)
    fraction = stats["scatters"] / total
    return fraction, float(np.sqrt(fraction * (1 - fraction) / total))


def require(judged: dict[str, Any], engine: str) -> None:
    """Log the verdict; stop a run that would rely on an engine which disagrees with GATE.

    Raises
    ------
    InputError
        If the engine is "fast" and the agreement is broken.
    """
    log.info("%s: %s", judged["tube"], judged["statement"])
    if engine == "fast" and not judged["agrees"]:
        raise InputError(
            f"simulate.engine: got fast, expected gate, because on {judged['tube']} "
            f"{judged['statement']}"
        )
