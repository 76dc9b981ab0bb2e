"""Figures of the VAE: curves, reconstructions of held-out slices, samples (stage 05)."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet import io
from tubepet.pretrain.train import normalised
from tubepet.pretrain.vae import ConvVAE
from tubepet.rng import derived_seed

Images = NDArray[np.float32]
Window = tuple[float, float]


def draw_curves(curves: pd.DataFrame, source: str) -> Figure:
    """Draw both terms of the ELBO over the steps, and the weight of the KL term.

    Parameters
    ----------
    curves : DataFrame
        Columns step, split, kl_weight, reconstruction_nats, kl_nats.
    source : str
        What the slices are, for the title.
    """
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, column, title in (
        (left, "reconstruction_nats", "reconstruction  $\\|x-\\hat x\\|^2 / 2\\sigma_x^2$"),
        (right, "kl_nats", "$KL(q(z|x)\\;\\|\\;N(0,I))$"),
    ):
        for name, style in (("train", {"alpha": 0.55, "lw": 0.9}), ("val", {"lw": 2.2})):
            part = curves[curves["split"] == name]
            axes.plot(part["step"], part[column], label=name, **style)
        axes.set(title=title, xlabel="step", ylabel="nats per image", yscale="log")
        axes.grid(alpha=0.3)
    weights = right.twinx()
    train = curves[curves["split"] == "train"]
    weights.plot(train["step"], train["kl_weight"], "k:", lw=1, label="weight of KL (right axis)")
    weights.set(ylabel="weight of KL", ylim=(0, None))
    handles = [*right.get_legend_handles_labels()[0], *weights.get_legend_handles_labels()[0]]
    right.legend(handles=handles, loc="lower right")
    left.legend()
    figure.suptitle(f"VAE of CT slices ({source})")
    return figure


def _grid(rows: list[tuple[str, Images]], window_hu: Window, title: str) -> Figure:
    """Draw rows of equally many images (HU) with one colour bar."""
    num = len(rows[0][1])
    figure = Figure(figsize=(1.15 * num + 1.6, 1.15 * len(rows) + 0.7), layout="compressed")
    axes = figure.subplots(len(rows), num, squeeze=False)
    for line, (label, images) in zip(axes, rows, strict=True):
        for cell, image in zip(line, images, strict=True):
            shown = cell.imshow(image, cmap="gray", vmin=window_hu[0], vmax=window_hu[1])
            cell.set(xticks=[], yticks=[])
        line[0].set_ylabel(label)
    figure.colorbar(shown, ax=axes, label="HU", fraction=0.02, pad=0.01)
    figure.suptitle(title)
    return figure


def _hu(x: torch.Tensor, window_hu: Window) -> Images:
    low, high = window_hu
    return np.asarray((x[:, 0].numpy() + 1) / 2 * (high - low) + low, np.float32)


@torch.no_grad()
def draw_reconstructions(
    model: ConvVAE,
    images_hu: Images,
    rows: NDArray[np.intp],
    window_hu: Window,
    num_shown: int,
    source: str,
) -> Figure:
    """Draw held-out slices above their reconstructions from the posterior mean.

    Parameters
    ----------
    model : ConvVAE
    images_hu : float32 array, shape (N, H, W)
    rows : int array
        Validation slices; at most `num_shown`, evenly taken, are drawn.
    window_hu : tuple of float
    num_shown : int
    source : str
        What the slices are, for the title.
    """
    originals = io.take(images_hu, io.evenly(rows, num_shown))
    mu, _ = model.encode(torch.from_numpy(normalised(originals, window_hu))[:, None])
    rebuilt = _hu(model.decode(mu), window_hu)
    lines = [("held out", originals), ("rebuilt", rebuilt)]
    return _grid(lines, window_hu, f"Slices of validation patients, rebuilt by the VAE ({source})")


@torch.no_grad()
def draw_samples(
    model: ConvVAE, window_hu: Window, num_rows: int, num_columns: int, seed: int, source: str
) -> Figure:
    """Draw images decoded from codes z ~ N(0, I).

    Parameters
    ----------
    model : ConvVAE
    window_hu : tuple of float
    num_rows, num_columns : int
    seed : int
        The run's seed.
    source : str
        What the slices are, for the title.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "pretrain", "samples"))
    z = torch.randn(num_rows * num_columns, model.latent_size, generator=generator)
    images = _hu(model.decode(z), window_hu).reshape(
        num_rows, num_columns, *(model.image_size,) * 2
    )
    rows = [("", line) for line in images]
    return _grid(rows, window_hu, f"Samples of the VAE, z from N(0, I) ({source})")
