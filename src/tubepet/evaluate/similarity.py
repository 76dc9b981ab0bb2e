"""MS-SSIM: structural similarity on several scales (Wang et al. 2003).

The paper (doi:10.1109/ACSSC.2003.1292216) has five scales, and each halves the image. An image of
32 pixels has room for two scales, 64 for three, 128 for four, 176 and more for five.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

Array = NDArray[np.float64]

SIGMA_PX = 1.5  # of the window, as published: a kernel of 11 pixels
KERNEL_PX = 11
CHUNK = 64  # pairs compared at once, which bounds the memory
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # as published, per scale


def num_scales(image_size: int) -> int:
    """Return the number of scales that the 11-pixel kernel allows, at most the published five."""
    fits = [s for s in range(2, 6) if image_size // (s - 1) ** 2 > KERNEL_PX - 1]
    return fits[-1] if fits else 1


def ms_ssim(first: NDArray[np.float32], second: NDArray[np.float32]) -> Array:
    """Return the MS-SSIM of image pairs.

    Parameters
    ----------
    first, second : float32 array, shape (n, H, W)
        In units of the scale.

    Returns
    -------
    float64 array, shape (n,)
        1 for equal images. The weights of the scales are divided by their sum. Contrast and
        structure below 0 count as 0. The last scale includes its borders, which are mirrored; the
        others leave out 5 pixels at each border.
    """
    weights = WEIGHTS[: num_scales(first.shape[-1])]
    pair = (torch.from_numpy(np.ascontiguousarray(a)).unsqueeze(1) for a in (first, second))
    value = multiscale_structural_similarity_index_measure(
        *pair,
        sigma=SIGMA_PX,
        data_range=1.0,
        betas=tuple(w / sum(weights) for w in weights),
        normalize="relu",
        reduction="none",
    )
    return value.double().numpy()
