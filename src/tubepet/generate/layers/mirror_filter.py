"""Filters of images with mirrored borders, like those of `reconstruct.projection.blur`.

A filter is a product with the cosine transform (DCT-II). The Fourier transform would continue
images periodically instead. Then opposite borders join without a step, and a classifier sees that
in the power at high frequencies.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct, dctn, idctn
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from tubepet.errors import InputError

MAX_SIDE_PX = 4096
Array = NDArray[np.float64]


def gaussian_transfer(size: int, sigma_px: float) -> Array:
    """Return the transfer function (size, size) of a Gaussian, for the cosine transform."""
    along = gaussian_along(size, sigma_px)
    return np.asarray(np.outer(along, along))


def gaussian_along(size: int, sigma_px: float) -> Array:
    """Return the transfer function (size,) of a Gaussian along one axis."""
    frequency = np.arange(size) / (2 * size)  # per pixel
    return np.asarray(np.exp(-2 * (np.pi * sigma_px * frequency) ** 2))


def filter_transfer(size: int, sigma_px: float) -> Array:
    """Return the transfer function (size, size) of a Gaussian whose kernel is cut at 4 sigma.

    The reconstruction's filter has that cut. It leaves a millionth of the power at high
    frequencies, which a classifier sees.

    Raises
    ------
    InputError
        If the image is larger than `MAX_SIDE_PX`, or the filter wider than the image: both numbers
        come from files.
    """
    if not (0 < size <= MAX_SIDE_PX and 0 <= sigma_px <= size):
        raise InputError(
            f"filter_px: got {sigma_px} for images of {size} pixels, expected 0 to their side, "
            f"which is at most {MAX_SIDE_PX}"
        )
    along = filter_along(size, sigma_px)
    return np.asarray(np.outer(along, along))


def filter_along(size: int, sigma_px: float) -> Array:
    """Return the transfer function (size,) of `filter_transfer` along one axis, unchecked."""
    mirrored = gaussian_filter1d(np.eye(size), sigma_px, axis=0, mode="reflect")
    return np.diag(cosines(size) @ mirrored @ cosines(size).T).copy()  # off the diagonal: zeros


def cosines(size: int) -> Array:
    """Return the orthonormal DCT-II as a matrix, (frequency, pixel)."""
    return np.asarray(dct(np.eye(size), axis=0, norm="ortho"))


def spectrum(images: Array) -> Array:
    """Return the cosine transform of images (..., H, W)."""
    return np.asarray(dctn(images, axes=(-2, -1), norm="ortho"))


def from_spectrum(values: Array) -> Array:
    """Undo `spectrum`."""
    return np.asarray(idctn(values, axes=(-2, -1), norm="ortho"))


def filtered(images: Array, transfer: Array) -> Array:
    """Filter images (..., H, W) with a transfer function (H, W)."""
    return from_spectrum(spectrum(images) * transfer)


def noise_std(transfer: Array) -> Array:
    """Return the standard deviation of filtered N(0, 1) noise, (H, W): larger at the borders.

    Parameters
    ----------
    transfer : array, shape (H, H)
        Separable, 1 at frequency 0.
    """
    basis = cosines(len(transfer))
    kernel = basis.T * transfer[0] @ basis  # along one axis
    along = np.sqrt(np.square(kernel).sum(1))
    return np.asarray(np.outer(along, along))


def buffer(values: Array | NDArray[np.bool_]) -> Tensor:
    """Return an array as a float32 tensor."""
    return torch.as_tensor(values.astype(np.float32))


def apply(images: Tensor, transfer: Tensor, basis: Tensor) -> Tensor:
    """Filter the channels of images and return their sum.

    Parameters
    ----------
    images : tensor, shape (B, C, H, H)
    transfer : tensor, shape (C, H, H), or (H, H) for all channels
    basis : tensor, shape (H, H)
        `cosines` of the size.

    Returns
    -------
    float32 tensor, shape (B, 1, H, H)
    """
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 is too coarse for it
        values = basis @ images.float() @ basis.T
        return basis.T @ (values * transfer).sum(1, keepdim=True) @ basis
