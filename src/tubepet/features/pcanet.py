"""PCANet: two stages of PCA filters, binary hashing, block histograms (stage 06).

Images are activity in units of the scale, in [0, 1]. The air around a tube is 0 like the zero
padding, so the border makes no edge, and empty regions hash to 0.

Shapes: N images of H x W; k x k filters; L1 and L2 filters in stages 1 and 2; B x B blocks.

References
----------
Chan et al., "PCANet: A Simple Deep Learning Baseline for Image Classification?", IEEE Trans. Image
Process. 24(12) 5017-5032 (2015), doi:10.1109/TIP.2015.2475625, section II; non-overlapping blocks.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def patches(image: Array, filter_size: int) -> Array:
    """Return the mean-removed patch around each pixel.

    Parameters
    ----------
    image : float array, shape (H, W)
    filter_size : int
        k, odd; the border is padded with zeros.

    Returns
    -------
    float64 array, shape (H W, k k)
    """
    padded = np.pad(image, filter_size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (filter_size, filter_size))
    rows = windows.reshape(image.size, filter_size**2).astype(np.float64)
    return np.asarray(rows - rows.mean(1, keepdims=True))


def fit_filters(images: Iterable[Array], filter_size: int, num_filters: int) -> Array:
    """Fit PCA filters: the leading eigenvectors of the patches' scatter matrix.

    Parameters
    ----------
    images : iterable of float arrays, shape (H, W)
    filter_size : int
        k, odd.
    num_filters : int
        L, at most k k - 1.

    Returns
    -------
    float64 array, shape (L, k, k)
        Orthonormal; the largest entry of a filter by magnitude is positive.
    """
    scatter = np.zeros((filter_size**2, filter_size**2))
    for image in images:
        rows = patches(image, filter_size)
        scatter += rows.T @ rows
    _, vectors = np.linalg.eigh(scatter)  # ascending
    filters = vectors[:, ::-1][:, :num_filters].T
    largest = np.abs(filters).argmax(1)
    signs = np.sign(filters[np.arange(num_filters), largest])
    return np.asarray((filters * signs[:, None]).reshape(num_filters, filter_size, filter_size))


def respond(image: Array, filters: Array) -> Array:
    """Correlate the mean-removed patches of an image with filters (L, k, k): shape (L, H, W)."""
    rows = patches(image, filters.shape[-1])
    return np.asarray((filters.reshape(len(filters), -1) @ rows.T).reshape(-1, *image.shape))


def hash_maps(maps: Array) -> NDArray[np.int64]:
    """Hash L maps (L, H, W) to one: sum over l of 2^(l-1) [map_l > 0], values 0 .. 2^L - 1."""
    weights = 2 ** np.arange(len(maps))
    return np.asarray(np.tensordot(weights, (maps > 0).astype(np.int64), 1))


def block_histograms(codes: NDArray[np.int64], num_blocks: int, num_bins: int) -> Array:
    """Count the codes in each block.

    Parameters
    ----------
    codes : int array, shape (H, W)
        Values 0 .. num_bins - 1.
    num_blocks : int
        Blocks along each side. If H or W is no multiple of it, blocks differ by one pixel.
    num_bins : int

    Returns
    -------
    float64 array, shape (num_blocks, num_blocks, num_bins)
        Each histogram sums to its block's number of pixels.
    """
    height, width = codes.shape
    i_row = np.arange(height) * num_blocks // height
    i_column = np.arange(width) * num_blocks // width
    cell = (i_row[:, None] * num_blocks + i_column) * num_bins + codes
    counts = np.bincount(cell.ravel(), minlength=num_blocks**2 * num_bins)
    return counts.reshape(num_blocks, num_blocks, num_bins).astype(np.float64)


def fit_pcanet(images: Array, filter_size: int, num_filters: int) -> tuple[Array, Array]:
    """Fit `num_filters` filters (L, k, k) for each of the two stages on images (N, H, W)."""
    first = fit_filters(images, filter_size, num_filters)
    maps = (one for image in images for one in respond(image, first))
    return first, fit_filters(maps, filter_size, num_filters)


def histogram_features(image: Array, first: Array, second: Array, num_blocks: int) -> Array:
    """Return the PCANet features of one image (H, W): length L1 * num_blocks^2 * 2^L2."""
    num_bins = 2 ** len(second)
    return np.concatenate([
        block_histograms(hash_maps(respond(one, second)), num_blocks, num_bins).ravel()
        for one in respond(image, first)
    ])  # fmt: skip
