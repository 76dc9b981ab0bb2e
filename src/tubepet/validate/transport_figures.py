"""The figure of the stage: GATE and the fast engine side by side."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tubepet.validate.transport import TITLES, Sample


def draw_validation(reference: Sample, fast: Sample, judged: dict[str, Any]) -> Figure:
    """Draw spectra and profiles: GATE's points with their errors, the fast engine's steps."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    scale = reference.stats["decays"] / max(fast.stats["decays"], 1)
    for key, axis in zip(TITLES, axes.flat, strict=True):
        edges, points = reference.edges[key], reference.counts[key]
        middle = (edges[1:] + edges[:-1]) / 2
        axis.stairs(scale * fast.counts[key], edges, label="fast, scaled", color="tab:orange")
        axis.errorbar(middle, points, np.sqrt(points), fmt=".", label="GATE", color="tab:blue")
        shape = judged["shapes"][key]
        axis.set(xlabel=TITLES[key], ylabel="counts per bin")
        axis.set_title(f"chi2 {shape['chi2']} / {shape['dof']}, p = {shape['p']:.3f}", fontsize=10)
    axes.flat[0].legend()
    figure.suptitle(judged["statement"], fontsize=9, wrap=True)
    return figure
