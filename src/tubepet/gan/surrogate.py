"""Rival without a network: the image expected of a drawing, times noise of the right strength.

x = F [m exp(tau n - tau^2 / 2)]: a linear isotropic filter makes the mean m of the drawing, n is
coloured Gaussian noise with the correlations of the training slices, tau its local strength, and F
the Gaussian filter that the reconstruction ends with: no slice has spatial frequencies that it
removes, and a generator that has any is told from real at once. MLEM noise is close to log-normal,
about proportional to the image, and correlated over the resolution.

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

# Standard deviations of the mean's Gaussians: the resolution, and the wide halo of scatter.
WIDTHS_PX = (0.0, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0)
RIDGE = 1e-6  # of the largest eigenvalue: the Gaussians overlap
SURROUNDINGS_PX = 6.0  # of the blurred mean that the local noise also depends on
DARK = 1e-3  # of the scale: below, noise does not grow against the mean
FAINT = 0.02  # of the scale: below, pixels do not count more in the fit of the variance
MAX_FITTED = 200  # slices; evenly taken from more
NUM_ROUNDS = 6  # of simulation; the power in every ring is then within some per cent
REMOVED = 0.03  # of the amplitude: frequencies that F leaves less of carry no noise
MAX_CHANGE = 4.0  # of the power in a ring per round


def gaussian_transfer(size: int, sigma_px: float) -> Array:
    """Return the transfer function of a Gaussian on a torus, (size, size // 2 + 1)."""
    fy, fx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    return np.asarray(np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2)))


def filtered(images: Array, transfer: Array) -> Array:
    """Filter images (..., H, W) with a transfer function of `rfft2`."""
    return np.asarray(np.fft.irfft2(np.fft.rfft2(images) * transfer, s=images.shape[-2:]))


def fit(images: Array, drawings: Array, filter_px: float) -> dict[str, Tensor]:
    """Fit mean, strength and correlations of the noise.

    The mean is a least squares fit, the shape of the variance another. Colour and strength of the
    noise follow by simulation: what the model makes of the same drawings must leave residuals with
    the power, ring by ring of spatial frequency, of the real ones.

    Parameters
    ----------
    images : array, shape (n, H, W)
        Slices in units of the scale.
    drawings : array, shape (n, C, H, W)
        Their drawings.
    filter_px : float
        Standard deviation of F.

    Returns
    -------
    dict of float32 tensor
        mean (C + 1, H, W // 2 + 1), its last channel a uniform background, and noise
        (H, W // 2 + 1): transfer functions before F; variance (3,): the relative variance before F
        is its product with 1, 1 / m and the surroundings over m.
    """
    size = images.shape[-1]
    images, drawings = (np.asarray(a, np.float64) for a in (images, drawings))
    seen = torch.from_numpy(drawings).float()
    drawings = np.concatenate([drawings, np.ones_like(drawings[:, :1])], axis=1)
    with torch.device("cpu"):
        model = Surrogate(size, seen.shape[1], filter_px)
    last = gaussian_transfer(size, filter_px)
    mean_transfer = _fit_mean(images, drawings, last)
    mean = np.maximum(filtered(drawings, mean_transfer * last).sum(1), 0)
    model.mean.copy_(torch.from_numpy(mean_transfer))
    model.variance.copy_(torch.from_numpy(_fit_variance(images - mean, mean)))
    model.noise.copy_(torch.from_numpy((last > REMOVED).astype(np.float64)))

    white = np.random.default_rng(0).normal(size=(len(images), 1, size, size))
    white_noise, ring = torch.from_numpy(white).float(), _rings(size)
    wanted = _radial_power(images - mean, ring)
    for _ in range(NUM_ROUNDS):
        power = _radial_power(model(seen, white_noise)[:, 0].double().numpy() - mean, ring)
        change = np.where(power > 0, wanted / np.where(power > 0, power, 1), 1)
        coloured = model.noise.double().numpy()
        coloured *= np.sqrt(np.clip(change, 1 / MAX_CHANGE, MAX_CHANGE))[ring]
        strength = np.square(np.fft.irfft2(coloured, s=(size, size))).sum()
        if strength > 0:
            model.noise.copy_(torch.from_numpy(coloured / np.sqrt(strength)))
            model.variance.mul_(strength)
    return {name: getattr(model, name) for name in ("mean", "noise", "variance")}


def _fit_mean(images: Array, drawings: Array, last: Array) -> Array:
    """Least squares over Gaussian filters of each channel, in Fourier space (Parseval)."""
    size, num = images.shape[-1], drawings.shape[1] * len(WIDTHS_PX)
    gaussians = np.stack([gaussian_transfer(size, width) for width in WIDTHS_PX])
    twice = np.full(size // 2 + 1, 2.0)  # rfft2 leaves out the conjugate half
    twice[0] = twice[-1] = 1.0
    seen = gaussians * last
    spectrum, target = np.fft.rfft2(drawings), np.fft.rfft2(images)
    power = np.einsum("ncyx,ndyx->cdyx", spectrum.conj(), spectrum).real * twice
    cross = np.einsum("ncyx,nyx->cyx", spectrum.conj(), target).real * twice
    normal = np.einsum("cdyx,ayx,byx->cadb", power, seen, seen, optimize=True).reshape(num, num)
    right = np.einsum("cyx,ayx->ca", cross, seen).ravel()
    largest = float(np.linalg.eigvalsh(normal)[-1])
    if largest <= 0:
        return np.zeros((drawings.shape[1], *last.shape))
    share = np.linalg.solve(normal + RIDGE * largest * np.eye(num), right)
    return np.einsum("ca,ayx->cyx", share.reshape(drawings.shape[1], -1), gaussians)


def _fit_variance(residual: Array, mean: Array) -> Array:
    """Least squares, relative to the mean squared, with no negative part."""
    around = np.maximum(filtered(mean, gaussian_transfer(mean.shape[-1], SURROUNDINGS_PX)), 0)
    weight = 1 / np.maximum(mean, FAINT) ** 2
    design = np.stack([mean**2 * weight, mean * weight, mean * around * weight], -1).reshape(-1, 3)
    target = (residual**2 * weight).ravel()
    return np.asarray(nnls(design.T @ design, design.T @ target)[0])


def _rings(size: int) -> NDArray[np.intp]:
    """Ring of spatial frequency that each coefficient of `rfft2` lies in."""
    fy, fx = np.fft.fftfreq(size, 1 / size), np.fft.rfftfreq(size, 1 / size)
    return np.hypot(fy[:, None], fx[None, :]).round().astype(np.intp)


def _radial_power(images: Array, ring: NDArray[np.intp]) -> Array:
    power = np.square(np.abs(np.fft.rfft2(images))).mean(0)
    return np.asarray(np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))


class Surrogate(nn.Module):
    """The fitted model as a module without parameters.

    Parameters
    ----------
    image_size : int
    num_channels : int
        Of a drawing.
    filter_px : float
        Standard deviation of the last filter F.
    """

    mean: Tensor
    variance: Tensor
    noise: Tensor
    around: Tensor
    last: Tensor

    def __init__(self, image_size: int, num_channels: int, filter_px: float) -> None:
        super().__init__()
        shape = (image_size, image_size // 2 + 1)
        self.register_buffer("mean", torch.zeros(num_channels + 1, *shape))
        self.register_buffer("noise", torch.zeros(shape))
        self.register_buffer("variance", torch.zeros(3))
        for name, width in (("around", SURROUNDINGS_PX), ("last", filter_px)):
            transfer = gaussian_transfer(image_size, width).astype(np.float32)
            self.register_buffer(name, torch.as_tensor(transfer))

    def load_fit(self, fitted: Mapping[str, Tensor]) -> None:
        """Take what `fit` found."""
        for name, values in fitted.items():
            getattr(self, name).copy_(values)

    def unfiltered(self, drawing: Tensor, white: Tensor) -> Tensor:
        """Make images before their last filter.

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
        background = torch.ones_like(drawing[:, :1])
        mean = spectral(torch.cat([drawing, background], dim=1), self.mean).clamp(min=0)
        around = spectral(mean, self.around).clamp(min=0)
        square, plain, local = self.variance
        tau2 = torch.log1p(square + (plain + local * around) / mean.clamp(min=DARK))
        return mean * torch.exp(tau2.sqrt() * spectral(white, self.noise) - tau2 / 2)

    def filter(self, image: Tensor) -> Tensor:
        """Apply F to images (B, 1, H, W)."""
        return spectral(image, self.last)

    def forward(self, drawing: Tensor, white: Tensor) -> Tensor:
        """Make images of drawings, see `unfiltered`."""
        return self.filter(self.unfiltered(drawing, white)).clamp(min=0)


def spectral(images: Tensor, transfer: Tensor) -> Tensor:
    """Filter (B, C, H, W) with transfer functions (C, H, W // 2 + 1) and add the channels."""
    spectrum = (torch.fft.rfft2(images) * transfer).sum(1, keepdim=True)
    return torch.fft.irfft2(spectrum, s=images.shape[-2:])
