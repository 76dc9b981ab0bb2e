"""What of an image is compared: the square where tubes are, without its darkness.

Most of a slice is empty. Numbers of whole images are numbers of that emptiness, which nobody sees.
"""

import numpy as np

from tubepet.dataset.stack import PIECE, Stack

DARK = 0.02  # of the scale; darker pixels are invisible and count as 0
BRIGHT = 0.25  # of the scale; so bright is a tube in some slice, but no noise beside it
MARGIN_PX = 2


def window_of(train: Stack) -> slice:
    """Return rows and columns of the smallest centred square that holds all tubes and a margin.

    It is centred, for copies are searched in turned and mirrored images too. Images without a tube
    stay whole.

    Parameters
    ----------
    train : Stack, shape (N, H, H)
        Training slices in units of the scale.
    """
    size = train.shape[-1]
    brightest = np.zeros(train.shape[1:], np.float32)
    for start in range(0, len(train), PIECE):
        brightest = np.maximum(brightest, train[start : start + PIECE].max(axis=0))
    off_px = np.abs(np.argwhere(brightest >= BRIGHT) - (size - 1) / 2)
    half = int(np.ceil(off_px.max(initial=-1.0))) + MARGIN_PX if len(off_px) else size
    inner = max(0, size // 2 - half)
    return slice(inner, size - inner)
