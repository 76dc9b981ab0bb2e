"""What of an image is compared: the square where tubes are, without its darkness.

Most of a slice is empty. Numbers of whole images are numbers of that emptiness, which nobody sees.
"""

import numpy as np
from numpy.typing import NDArray

from tubepet.dataset.stack import Stack

DARK = 0.02  # of the scale; darker pixels are invisible and count as 0
BRIGHT = 0.1  # of the scale; the mean of a tube's slices is darker only outside of the tube
MARGIN_PX = 2
LEAST_PX = 16  # of the side; MS-SSIM needs 12 pixels, rings of spatial frequency need 13


def lit(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images or volumes in units of the scale without what is darker than `DARK`."""
    return np.where(images < DARK, np.float32(0), images)


def window_of(train: Stack, tubes: NDArray[np.str_]) -> slice:
    """Return rows and columns of the smallest centred square that holds all tubes and a margin.

    It is centred, for copies are searched in turned and mirrored images too. Images without a tube
    stay whole. No side is shorter than `LEAST_PX`, unless the images are smaller.

    Parameters
    ----------
    train : Stack, shape (N, H, H)
        Training slices in units of the scale.
    tubes : str array, shape (N,)
        Their tubes. The mean of a tube's slices has little noise.
    """
    size = train.shape[-1]
    brightest = np.zeros(train.shape[1:], np.float32)  # one mean at a time: tubes may be thousands
    for tube in np.unique(tubes):
        np.maximum(brightest, train[np.flatnonzero(tubes == tube)].mean(axis=0), out=brightest)
    off_px = np.abs(np.argwhere(brightest >= BRIGHT) - (size - 1) / 2)
    half = int(np.ceil(off_px.max())) + MARGIN_PX if len(off_px) else size
    half = max(half, LEAST_PX // 2)
    inner = max(0, size // 2 - half)
    return slice(inner, size - inner)
