"""Compare images with the long ones by PSNR, SSIM, MS-SSIM and total, per slice and per tube.

`rescaled` applies a network such that each tube keeps the total activity of its short image.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import nn

from tubepet.enhance.network import Enhancer
from tubepet.enhance.pairs import Pairs
from tubepet.evaluate import similarity
from tubepet.training.folder import load_network

CHUNK = 64  # slices at once
DATA_RANGE = 1.0  # the scale of the long training slices
MAX_PSNR_DB = 120.0  # for equal images, for instance two without a count


def load_enhancer(path: str | os.PathLike[str], arguments: Mapping[str, Any]) -> Enhancer:
    """Rebuild a trained network; `InputError` if the file is damaged or of another network."""
    what = f"a network with {dict(arguments)}"
    return load_network(lambda: Enhancer(**arguments), path, what)


@torch.no_grad()
def enhanced(network: nn.Module, short: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply a network to slices (N, H, W) in units of the scale."""
    device = next(network.parameters()).device
    chunks = torch.from_numpy(short)[:, None].split(CHUNK)
    return np.concatenate([network(chunk.to(device)).cpu().numpy()[:, 0] for chunk in chunks])


def rescaled(network: nn.Module, pairs: Pairs) -> NDArray[np.float32]:
    """Apply a network to the short slices; each tube keeps its total activity."""
    return with_measured_total(enhanced(network, pairs.short), pairs.short, pairs.tubes)


def with_measured_total(
    images: NDArray[np.float32], short: NDArray[np.float32], tubes: NDArray[np.str_]
) -> NDArray[np.float32]:
    """Scale the slices (N, H, W) of each tube to the total activity of its short slices.

    The total of a tube is measured well, that of a single slice is not. So activity may move along
    the tube, but none is added. A tube without activity is not changed.
    """
    scaled = images.copy()
    for tube in np.unique(tubes):
        rows = tubes == tube
        given = images[rows].sum(dtype=np.float64)
        if given > 0:
            scaled[rows] *= short[rows].sum(dtype=np.float64) / given
    return scaled


def psnr(image: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the peak signal-to-noise ratio in dB: 10 log10(range^2 / mean square difference)."""
    mean_square = float(np.square(image - reference, dtype=np.float64).mean())
    if mean_square == 0:
        return MAX_PSNR_DB
    return min(10 * math.log10(DATA_RANGE**2 / mean_square), MAX_PSNR_DB)


def score(images: NDArray[np.float32], pairs: Pairs) -> pd.DataFrame:
    """Compare images (N, H, W) with the long slices.

    Returns
    -------
    DataFrame
        One row per slice: tube; psnr (dB, with the scale as peak); ssim (Wang et al. 2004,
        doi:10.1109/TIP.2003.819861, Gaussian window of 1.5 pixels); ms_ssim (`similarity.ms_ssim`);
        total and long_total, sums of the slices in units of the scale.
    """
    cuts = [slice(i, i + similarity.CHUNK) for i in range(0, len(images), similarity.CHUNK)]
    multiscale = np.concatenate([similarity.ms_ssim(images[c], pairs.long[c]) for c in cuts])
    rows = [
        {
            "tube": tube,
            "psnr": psnr(image, long),
            "ssim": structural_similarity(
                long, image, data_range=DATA_RANGE, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False,
            ),
            "total": float(image.sum(dtype=np.float64)),
            "long_total": float(long.sum(dtype=np.float64)),
        }
        for image, long, tube in zip(images, pairs.long, pairs.tubes, strict=True)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(3, "ms_ssim", multiscale)
    return table


def tube_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Return by tube the means of psnr, ssim and ms_ssim, and activity_bias of the total."""
    by_tube = scores.groupby("tube")
    means = by_tube[["psnr", "ssim", "ms_ssim"]].mean()
    totals = by_tube[["total", "long_total"]].sum()
    return means.assign(activity_bias=totals["total"] / totals["long_total"] - 1)
