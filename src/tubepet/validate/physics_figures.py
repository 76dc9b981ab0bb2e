"""Figures of the physics report: what GATE gave, and the curve that was expected."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.validate import sensitivity
from tubepet.validate.cross_sections import PROCESSES
from tubepet.validate.physics import xraylib_cm2_g
from tubepet.validate.physics_checks import expected_rates

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


def draw_photons(rows: list[dict[str, Any]], slabs: list[dict[str, Any]]) -> Figure:
    """Draw totals over NIST's for each material, and parts of LYSO over xraylib's."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for axis, (material, name) in zip(axes.flat, NAMES.items(), strict=False):
        mine = [row for row in rows if row["material"] == material]
        kev = [row["energy_kev"] for row in mine]
        for key, label in (
            ("xraylib", "xraylib"), ("geant4", "xraylib, Geant4's Compton fit"), ("llnl", "LLNL"),
        ):  # fmt: skip
            ratio = np.array([row[key]["total"] / row["nist"] for row in mine])
            axis.plot(kev, 100 * (ratio - 1), ".-", label=label)
        known = [row for row in mine if row["engine"]]
        ratio = np.array([row["engine"]["total"] / row["nist"] for row in known])
        axis.plot([row["energy_kev"] for row in known], 100 * (ratio - 1), "kx",
                  label="fast engine")  # fmt: skip
        beams = [row for row in slabs if row["material"] == material]
        beams = [row for row in beams if kev[0] <= row["energy_kev"] <= kev[-1]]
        found, error, reference = (
            np.array([row[key] for row in beams])
            for key in ("cm2_g", "error_cm2_g", "reference_cm2_g")
        )
        axis.errorbar([row["energy_kev"] for row in beams], 100 * (found / reference - 1),
                      100 * error / reference, fmt="o", color="0.5", label="GATE")  # fmt: skip
        axis.axhline(0, color="0.4")
        axis.set(title=name, xlabel="photon energy in keV", ylabel="total over NIST, %")
    axes.flat[0].legend(fontsize=8)
    axis = axes.flat[3]
    crystal = [row for row in rows if row["material"] == "LYSO"]
    kev = [row["energy_kev"] for row in crystal]
    for i, part in enumerate(PROCESSES):
        for key, style in (("llnl", "-"), ("geant4", "--")):
            ratio = np.array([row[key][part] / row["xraylib"][part] for row in crystal])
            axis.plot(kev, 100 * (ratio - 1), style, color=f"C{i}", label=f"{part}, {key}")
    axis.set(title="LYSO, parts", xlabel="photon energy in keV", ylabel="over xraylib, %")
    axis.legend(fontsize=8)
    return figure


def draw_electrons(rows: list[dict[str, Any]], radiative: list[dict[str, Any]]) -> Figure:
    """Draw ranges over ESTAR's, and the substitute's bremsstrahlung over its radiative part."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for key, name in NAMES.items():
        mine = [row for row in rows if row["material"] == key]
        ratio = np.array([row["range_mm"] / row["reference_mm"] for row in mine])
        left.plot([row["energy_kev"] for row in mine], 100 * (ratio - 1), "o-", label=name)
    for element in dict.fromkeys(row["element"] for row in radiative):
        mine = [row for row in radiative if row["element"] == element]
        ratio = np.array([row["mev_cm2_g"] / row["reference_mev_cm2_g"] for row in mine])
        right.plot([row["energy_kev"] for row in mine], 100 * (ratio - 1), "o-", label=element)
    left.set(title="range, Geant4", ylabel="over ESTAR, %")
    right.set(title="bremsstrahlung, substitute", ylabel="over ESTAR, %")
    for axis in (left, right):
        axis.axhline(0, color="0.4")
        axis.set(xlabel="electron energy in keV")
        axis.legend(fontsize=8)
    return figure


def draw_nema(rows: list[dict[str, Any]]) -> Figure:
    """Draw the simulated Inveon beside its measurements; grey: the band that is allowed."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
    found = [
        ("sensitivity", "point", "trues"),
        ("scatter fraction, mouse", "mouse", "scatter_fraction"),
        ("scatter fraction, rat", "rat", "scatter_fraction"),
    ]
    for axis, (key, what, value) in zip(axes, found, strict=True):
        row = next(r for r in rows if (r["scanner"], r["object"]) == ("Inveon", what))
        axis.axhspan(*(100 * edge for edge in sensitivity.band(key)), color="0.93")
        axis.axhspan(*(100 * edge for edge in sensitivity.MEASURED[key]), color="0.75",
                     label="measured")  # fmt: skip
        for i, engine in enumerate(("gate", "fast")):
            middle, error = row[engine][value]
            axis.errorbar(i, 100 * middle, 100 * error, fmt="o", label=engine)
        axis.set_xticks([0, 1], ["GATE", "fast"])
        axis.set(title=key, ylabel="%", xlim=(-0.5, 1.5), ylim=(0, None))
    axes[0].legend(fontsize=8)
    return figure


def draw_official(rows: list[dict[str, Any]] | None, note: str) -> Figure:
    """Draw the substitute over the official tables, or say that there are none."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
    kinds = ("photoelectric", "rayleigh", "bremsstrahlung")
    for axis, kind in zip(axes, kinds, strict=True):
        for row in rows or []:
            if row["kind"] == kind:
                off = 100 * (np.array(row["ratio"]) - 1)
                axis.plot(row["energies_kev"], off, ".-", label=row["element"])
        axis.axhline(0, color="0.4")
        axis.set(title=kind, xlabel="energy in keV", ylabel="substitute over official, %")
    if rows:
        axes[0].legend(fontsize=8)
    figure.suptitle(note, fontsize=9, wrap=True)
    return figure
