"""How far GATE's counts depend on the production cut in the crystals.

Geant4 does not create electrons whose range is below the production cut. In crystals of 4 mm with
gaps of 0.2 mm a cut of 1 mm suppresses all of them. The cut in use (`physics.CRYSTAL_CUT_MM`) has
converged if the next finer one changes singles and prompts by at most `TOLERANCE` and two standard
errors.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tubepet import rng
from tubepet.simulate.geant4 import gate, physics
from tubepet.types import Scanner
from tubepet.validate.physics import tube_solids

CUTS_MM = (1.0, 0.1, 0.05, 0.02, 0.01, 0.005)
NUM_DECAYS = 2_000_000  # of each cut: 0.13 % on the difference of singles
ACTIVITY_BQ = 1e5
TOLERANCE = 0.002


def measure(
    scanner: Scanner, physics_list: str, facts: dict[str, Any], seed: int, scratch: Path
) -> dict[str, Any]:
    """Simulate the same tube with each cut (`CUTS_MM`, about a minute each).

    Parameters
    ----------
    scanner, physics_list, facts, seed, scratch
        As `tubepet.validate.physics.measure`.

    Returns
    -------
    dict
        runs (cut_mm, decays, singles, prompts, decays_per_cpu_s), in_use_mm, and checks: for
        singles and prompts the change to the next finer cut, its error, and is_met.
    """
    runs = []
    for cut_mm in CUTS_MM:
        name = f"cut_{cut_mm:g}_mm"
        stats = gate.simulate(
            name, tube_solids(), ACTIVITY_BQ, NUM_DECAYS / ACTIVITY_BQ, scanner, physics_list,
            facts, rng.derived_seed(seed, "physics", name), scratch / f"{name}.root",
            particle="back_to_back", delay_ns=500.0, crystal_cut_mm=cut_mm,
        )  # fmt: skip
        (scratch / f"{name}.root").unlink()
        keys = ("decays", "singles", "prompts", "decays_per_cpu_s")
        runs.append({"cut_mm": cut_mm, **{key: stats[key] for key in keys}})
    return {"runs": runs, "in_use_mm": physics.CRYSTAL_CUT_MM, "checks": checks(runs)}


def checks(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the cut in use with the next finer one."""
    i = [run["cut_mm"] for run in runs].index(physics.CRYSTAL_CUT_MM)
    own, finer = runs[i], runs[i + 1]
    rows = []
    for key in ("singles", "prompts"):
        change = finer[key] / finer["decays"] / (own[key] / own["decays"]) - 1
        error = (1 / own[key] + 1 / finer[key]) ** 0.5
        is_met = bool(abs(change) <= TOLERANCE + 2 * error)
        rows.append({"name": key, "change": change, "error": error, "is_met": is_met})
    return rows


def draw(result: dict[str, Any]) -> Figure:
    """Draw counts per decay over the cut."""
    runs = result["runs"]
    cuts_mm = [run["cut_mm"] for run in runs]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, key in zip(axes, ("singles", "prompts"), strict=True):
        rates = [run[key] / run["decays"] for run in runs]
        errors = [run[key] ** 0.5 / run["decays"] for run in runs]
        axis.errorbar(cuts_mm, rates, errors, fmt="o-", color="tab:blue")
        axis.axvline(result["in_use_mm"], color="tab:orange", label="in use")
        axis.set(
            xscale="log", xlabel="production cut in the crystals / mm", ylabel=f"{key} per decay"
        )
    axes[0].legend()
    return figure
