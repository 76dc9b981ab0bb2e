"""Figures of the evaluation: samples beside real slices, Table 1 as bars, nearest neighbours."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet.dataset.stack import Images, whole
from tubepet.evaluate.distances import nearest_training, seen
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.evaluate.table import NUM_CLOSEST

Samples = Mapping[str, NDArray[np.float32]]
NUM_COLUMNS = NUM_CLOSEST
BARS = {
    "frechet": "Fréchet distance\n(statistics features)",
    "energy": "energy distance (statistics features)",
    "coverage": "coverage",
    "c2st": "two-sample test accuracy",
    "nearest_ratio": "nearest-neighbour ratio",
    "ms_ssim": "MS-SSIM of pairs",
}


def _rows_of_images(rows: Samples, top_bq_mm3: float, title: str) -> Figure:
    """Draw one labelled row per set of images, on the grey scale 0 .. top_bq_mm3."""
    figure = Figure(figsize=(NUM_COLUMNS + 2.2, len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), NUM_COLUMNS, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for i, (axis, image) in enumerate(zip(line, images, strict=False), start=1):
            axis.set_label(f"{name} {i}")
            shown = axis.imshow(image, cmap="gray", vmin=0, vmax=top_bq_mm3)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.colorbar(shown, ax=axes, label="Bq/mm³", shrink=0.7)
    figure.suptitle(title)
    return figure


def draw_samples(test: Images, samples: Samples, top_bq_mm3: float) -> Figure:
    """Draw test slices above samples of each model (the paper's Figure 2).

    Parameters
    ----------
    test : array or Stack, shape (N, H, W)
        Units of the scale; shown at even steps.
    samples : mapping of array, shape (N, H, W)
        Bq/mm3; the first ones are shown.
    top_bq_mm3 : float
        The scale.
    """
    spread = np.linspace(0, len(test) - 1, min(NUM_COLUMNS, len(test))).round().astype(int)
    rows = {"held-out\n(simulated)": test[spread] * np.float32(top_bq_mm3)}
    rows |= {name: images[:NUM_COLUMNS] for name, images in samples.items()}
    return _rows_of_images(rows, top_bq_mm3, "Held-out simulated slices, and generated ones")


def draw_neighbours(train: Images, samples: Samples, top_bq_mm3: float) -> Figure:
    """Draw, for each model, the samples nearest to training slices, above these slices.

    Units as in `draw_samples`.
    """
    rows, originals = {}, seen(train)
    for name, images in samples.items():
        distance, index = nearest_training(whole(images, top_bq_mm3), originals)
        closest = np.argsort(distance, kind="stable")[:NUM_COLUMNS]
        rows[name] = images[closest]
        rows[f"nearest to\n{name}"] = train[index[closest]] * np.float32(top_bq_mm3)
    return _rows_of_images(
        rows, top_bq_mm3, "The samples most like a training slice, and that slice (any rotation)"
    )


def draw_table(table: pd.DataFrame) -> Figure:
    """Draw the main metrics with 95 % intervals; the dashed line is that of real training tubes."""
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    rows = table.set_index("model")
    for axis, (metric, title) in zip(figure.subplots(2, 3).ravel(), BARS.items(), strict=True):
        values = rows[metric].astype(float)
        low, high = (rows[f"{metric}_{end}"].astype(float) for end in ("low", "high"))
        models = [name for name in rows.index if name not in (FLOOR, COPY)]
        axis.bar(
            models,
            values[models],
            yerr=np.nan_to_num([(values - low)[models], (high - values)[models]]),
            capsize=4,
            color="0.6",
        )
        for name, style in ((FLOOR, "--"), (COPY, ":")):
            if np.isfinite(values[name]):
                axis.axhline(values[name], color="C0", linestyle=style, label=name)
        axis.set_title(title, fontsize=10)
        if values.isna().all():
            axis.text(0.5, 0.5, "too few images or tubes", ha="center", transform=axis.transAxes)
            axis.set_yticks([])
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    first = table.iloc[0]
    figure.suptitle(f"{first['n']} images against {first['num_test']} slices of held-out tubes")
    return figure
