"""Figures of the physics report: what GATE gave, and the curve that was expected."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.validate.physics import expected_rates, xraylib_cm2_g

NAMES = {"G4_WATER": "water", "G4_Al": "aluminium", "LYSO": "LYSO"}
EXPECTED = {"color": "0.4", "linewidth": 1.5, "label": "expected"}


def draw_attenuation(rows: list[dict[str, Any]]) -> Figure:
    """Draw mu/rho against energy, and the difference from the reference in per cent."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6.4, 6.4), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    energy_kev = np.geomspace(50, 790, 200)
    for i, material in enumerate(NAMES):
        mine = [row for row in rows if row["material"] == material]
        above.plot(energy_kev, xraylib_cm2_g(material, energy_kev), color=f"C{i}", linewidth=1)
        x = np.array([row["energy_kev"] for row in mine])
        known = np.array([row["reference_cm2_g"] for row in mine])
        found = np.array([row["cm2_g"] for row in mine])
        error = np.array([row["error_cm2_g"] for row in mine])
        label = f"{NAMES[material]} ({mine[0]['reference']})"
        above.plot(x, known, "_", color=f"C{i}", markersize=14)
        above.errorbar(x, found, error, fmt="o", color=f"C{i}", markersize=4, label=label)
        shifted = x * (1 + 0.02 * (i - 1))  # side by side
        below.errorbar(shifted, 100 * (found / known - 1), 100 * error / known, fmt="o",
                       color=f"C{i}", markersize=4)  # fmt: skip
    above.set(xscale="log", yscale="log", ylabel="mu/rho in cm²/g")
    above.legend(frameon=False)
    below.axhspan(-2, 2, color="0.92", zorder=0)
    below.axhline(0, color="0.4")
    below.set(xlabel="photon energy in keV", ylabel="GATE - reference in %", ylim=(-5, 5))
    return figure


def draw_sensitivity(found: dict[str, Any]) -> Figure:
    """Draw the share of decays that leave energy in a crystal, along the axis."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axes.plot(found["z_mm"], found["expected_by_z"], **EXPECTED)
    axes.errorbar(found["z_mm"], found["measured_by_z"], found["error_by_z"], fmt="o",
                  markersize=4, label="GATE, line source in air")  # fmt: skip
    axes.errorbar([0], [found["measured"]], [found["error"]], fmt="s", markersize=7,
                  label="GATE, central point source")  # fmt: skip
    axes.set(xlabel="z of the decay in mm", ylabel="share of decays seen", ylim=(0, None))
    axes.legend(frameon=False)
    return figure


def draw_peak(fit: dict[str, Any], xlabel: str) -> Figure:
    """Draw a spectrum with its fitted height and the expected peak."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axes.stairs(fit["counts"], fit["edges"], label="GATE")
    x = np.linspace(fit["edges"][0], fit["edges"][-1], 1000)
    sigma = fit["expected_fwhm"] / FWHM_PER_SIGMA
    peak = fit["height"] * np.exp(-(((x - fit["expected_mean"]) / sigma) ** 2) / 2)
    axes.plot(x, peak, **EXPECTED)
    if "compton_edge_kev" in fit:
        axes.axvline(fit["compton_edge_kev"], color="0.7", linestyle=":", label="Compton edge")
    axes.set(
        xlabel=xlabel,
        ylabel="counts",
        title=f"FWHM {fit['fwhm']:.1f} ± {fit['fwhm_error']:.1f}, "
        f"expected {fit['expected_fwhm']:.1f}",
    )
    axes.legend(frameon=False)
    return figure


def draw_rates(rates: dict[str, Any]) -> Figure:
    """Draw scatter fraction and count rates against activity."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6.4, 7), sharex=True, height_ratios=(1, 2), layout="constrained"
    )
    runs = rates["runs"]
    mbq = np.array([run["activity_mbq"] for run in runs])
    count = {
        key: np.array([run[key] for run in runs], float)
        for key in ("trues", "scatters", "randoms", "delayed")
    }
    pairs = count["trues"] + count["scatters"]
    share = count["scatters"] / pairs
    above.axhline(rates["scatter_fraction"], **EXPECTED)
    above.errorbar(mbq, share, np.sqrt(share * (1 - share) / pairs), fmt="o", markersize=4)
    above.set(ylabel="scatter fraction", ylim=(0, 1.6 * rates["scatter_fraction"]))
    above.legend(frameon=False)
    seconds = np.array([run["decays"] for run in runs]) / (1e6 * mbq)  # at the nominal activity
    curve_mbq = np.geomspace(mbq[0], mbq[-1], 100)
    curves = expected_rates(rates, curve_mbq)
    prompts = pairs + count["randoms"]
    found = count | {"necr": count["trues"] ** 2 / prompts}
    for i, key in enumerate(("trues", "scatters", "randoms", "necr")):
        below.plot(curve_mbq, curves[key] / 1e3, color=f"C{i}")
        error = 0 if key == "necr" else np.sqrt(found[key])
        below.errorbar(mbq, found[key] / seconds / 1e3, error / seconds / 1e3, fmt="o",
                       color=f"C{i}", markersize=5, label=key.replace("necr", "NECR"))  # fmt: skip
    below.plot(mbq, count["delayed"] / seconds / 1e3, "x", color="k", label="delayed window")
    below.set(xscale="log", yscale="log", xlabel="activity in MBq", ylabel="rate in 1000/s")
    below.legend(frameon=False)
    return figure
