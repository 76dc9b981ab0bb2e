"""Rival without a network: the image expected of a drawing, times noise of the right strength.

x = m exp(tau n - tau^2 / 2): a linear isotropic filter makes the mean m of the drawing, n is
coloured Gaussian noise with the correlations of the training slices, tau its local strength. MLEM
noise is close to log-normal, about proportional to the image, and correlated over the resolution.

Everything is fitted on the training slices in closed form; there is nothing to train.

References
----------
Barrett, Wilson, Tsui 1994, doi:10.1088/0031-9155/39/5/004; Wilson, Tsui, Barrett 1994,
doi:10.1088/0031-9155/39/5/005: noise properties of the EM algorithm.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

Array = NDArray[np.float64]

WIDTHS_PX = (0.0, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # standard deviations of the filter's Gaussians
RIDGE = 1e-6  # of the largest eigenvalue: the Gaussians overlap
SURROUNDINGS_PX = 6.0  # of the blurred mean that the local noise also depends on
INSIDE = 0.3  # of the largest mean of a slice: there is signal enough to measure noise
DARK = 0.02  # of the scale: weights of the variance fit do not grow below
MAX_FITTED = 400  # slices; evenly taken from more


def gaussian_transfer(size: int, sigma_px: float) -> Array:
    """Return the transfer function of a Gaussian on a torus, (size, size // 2 + 1)."""
    fy, fx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    return np.asarray(np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2)))


def filtered(images: Array, transfer: Array) -> Array:
    """Filter images (..., H, W) with a transfer function of `rfft2`."""
    return np.asarray(np.fft.irfft2(np.fft.rfft2(images) * transfer, s=images.shape[-2:]))


def fit(images: Array, drawings: Array) -> dict[str, NDArray[np.float32]]:
    """Fit mean, strength and correlations of the noise.

    Parameters
    ----------
    images : array, shape (n, H, W)
        Slices in units of the scale.
    drawings : array, shape (n, C, H, W)
        Their drawings.

    Returns
    -------
    dict
        mean (C, H, W // 2 + 1) and noise (H, W // 2 + 1): transfer functions; variance (3,): the
        variance is the product of these with m^2, m and m times the surroundings of m.
    """
    size = images.shape[-1]
    images, drawings = (np.asarray(a, np.float64) for a in (images, drawings))
    mean_transfer = _fit_mean(images, drawings)
    mean = np.maximum(filtered(drawings, mean_transfer).sum(1), 0)
    residual = images - mean
    basis = np.stack(_variance_basis(mean, size), -1)  # (n, H, W, 3)
    weight = 1 / np.maximum(mean, DARK)[..., None] ** 2
    target = (residual**2 * weight[..., 0]).ravel()
    design = (basis * weight).reshape(-1, basis.shape[-1])
    variance, _ = nnls(design.T @ design, design.T @ target)
    spread = np.sqrt(basis @ variance)
    inside = mean > INSIDE * mean.max((1, 2), keepdims=True)
    inside &= spread > 0
    noise = np.where(inside, residual / np.maximum(spread, 1e-12), 0.0)
    return {
        "mean": mean_transfer.astype(np.float32),
        "variance": variance.astype(np.float32),
        "noise": _noise_transfer(noise, inside).astype(np.float32),
    }


def _fit_mean(images: Array, drawings: Array) -> Array:
    """Least squares over Gaussian filters of each channel, in Fourier space (Parseval)."""
    size, num_channels = images.shape[-1], drawings.shape[1]
    gaussians = np.stack([gaussian_transfer(size, width) for width in WIDTHS_PX])
    twice = np.full(size // 2 + 1, 2.0)  # rfft2 leaves out the conjugate half
    twice[0] = twice[-1] = 1.0
    spectrum, target = np.fft.rfft2(drawings), np.fft.rfft2(images)
    normal = np.einsum("ncyx,ndyx,ayx,byx,x->cadb", spectrum.conj(), spectrum, gaussians,
                       gaussians, twice, optimize=True).real  # fmt: skip
    right = np.einsum("ncyx,nyx,ayx,x->ca", spectrum.conj(), target, gaussians, twice,
                      optimize=True).real  # fmt: skip
    num = num_channels * len(WIDTHS_PX)
    normal = normal.reshape(num, num)
    ridge = RIDGE * np.linalg.eigvalsh(normal)[-1] * np.eye(num)
    share = np.linalg.solve(normal + ridge, right.ravel()).reshape(num_channels, -1)
    return np.einsum("ca,ayx->cyx", share, gaussians)


def _variance_basis(mean: Array, size: int) -> tuple[Array, Array, Array]:
    around = filtered(mean, gaussian_transfer(size, SURROUNDINGS_PX))
    return mean**2, mean, mean * np.maximum(around, 0)


def _noise_transfer(noise: Array, inside: NDArray[np.bool_]) -> Array:
    """Root of the power spectrum of unit noise seen through windows (n, H, W)."""
    window = inside.astype(np.float64)
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(0)
    pairs = np.fft.irfft2((np.abs(np.fft.rfft2(window)) ** 2).mean(0), s=noise.shape[1:])
    products = np.fft.irfft2(power, s=noise.shape[1:])
    enough = pairs > 0.05 * pairs[0, 0]  # lags that few pairs of pixels have are noise themselves
    correlation = np.where(enough, products / np.where(enough, pairs, 1), 0)
    correlation = (correlation + correlation.T) / 2
    spectrum = np.maximum(np.fft.rfft2(correlation).real, 0)
    unit = np.fft.irfft2(np.sqrt(spectrum), s=noise.shape[1:])
    return np.asarray(np.sqrt(spectrum) / np.sqrt((unit**2).sum()))


class Surrogate(nn.Module):
    """The fitted model as a module without parameters.

    Parameters
    ----------
    image_size : int
    num_channels : int
        Of a drawing.
    """

    mean: Tensor
    variance: Tensor
    noise: Tensor
    around: Tensor

    def __init__(self, image_size: int, num_channels: int) -> None:
        super().__init__()
        shape = (image_size, image_size // 2 + 1)
        self.register_buffer("mean", torch.zeros(num_channels, *shape))
        self.register_buffer("noise", torch.zeros(shape))
        self.register_buffer("variance", torch.zeros(3))
        around = gaussian_transfer(image_size, SURROUNDINGS_PX).astype(np.float32)
        self.register_buffer("around", torch.as_tensor(around))

    def load_fit(self, fitted: Mapping[str, NDArray[np.float32]]) -> None:
        """Take what `fit` found."""
        for name, values in fitted.items():
            getattr(self, name).copy_(torch.from_numpy(values))

    def forward(self, drawing: Tensor, white: Tensor) -> Tensor:
        """Make images from drawings.

        Parameters
        ----------
        drawing : tensor, shape (B, C, H, W)
            Fluid fractions, 0 to 1.
        white : tensor, shape (B, 1, H, W)
            N(0, 1).

        Returns
        -------
        tensor, shape (B, 1, H, W)
            In units of the scale, at least 0.
        """
        size = drawing.shape[-2:]
        spectrum = torch.fft.rfft2(drawing) * self.mean
        mean = torch.fft.irfft2(spectrum.sum(1, keepdim=True), s=size).clamp(min=0)
        coloured = torch.fft.irfft2(torch.fft.rfft2(white) * self.noise, s=size)
        around = torch.fft.irfft2(torch.fft.rfft2(mean) * self.around, s=size).clamp(min=0)
        square, plain, local = self.variance
        relative = square + (plain + local * around) / mean.clamp(min=1e-3)  # variance over mean^2
        tau2 = torch.log1p(relative)
        return mean * torch.exp(tau2.sqrt() * coloured - tau2 / 2)
