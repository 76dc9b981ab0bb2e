"""Rival without a network: the image expected of a drawing, times noise of the right strength.

x = F [m exp(tau n - tau^2 / 2)]: a linear isotropic filter makes the mean m of the drawing, n is
coloured Gaussian noise with the correlations of the training slices, tau its local strength, and F
the Gaussian filter that the reconstruction ends with. No slice has spatial frequencies that this
filter removes. A classifier easily recognises generated images that have any. MLEM noise is close
to log-normal, about proportional to the image, and correlated over the resolution.

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
from torch import Tensor, nn

from tubepet.generate.layers.mirror_filter import (
    apply,
    buffer,
    cosines,
    filter_transfer,
    from_spectrum,
    gaussian_transfer,
    spectrum,
)

Array = NDArray[np.float64]

# Standard deviations of the mean's Gaussians: the resolution, and the wide halo of scatter.
WIDTHS_PX = (0.0, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0)
NUM_INPUTS, EXPECTED = 4, 1  # of the mean, see `mean_inputs`
RIDGE = 1e-6  # of the largest eigenvalue: the Gaussians overlap
FAINT = 0.02  # of the scale: darker pixels do not count more in the fit of the mean
KNOTS, NUM_KNOTS = (1e-3, 1.0), 13  # of the scale: where the relative variance is tabulated
FIRST_VARIANCE = 0.1  # at the start of the rounds
MAX_FITTED = 200  # slices; evenly taken from more
NUM_ROUNDS = 16  # of simulation; the power in every ring is then within some per cent
REMOVED = 0.03  # of the amplitude: where F leaves less, the noise before it is taken as white
DAMPING = 0.7  # power of each change: strength and colour act on each other
MAX_CHANGE = 4.0  # of the power in a ring per round


def fit_mean(images: Array, drawings: Array, filter_px: float) -> Tensor:
    """Fit the mean by least squares.

    Parameters
    ----------
    images : array, shape (n, H, W)
        Slices in units of the scale, clipped to it as the networks see them.
    drawings : array, shape (n, 2, H, W)
        Their drawings: `fluid`, `expected`.
    filter_px : float
        Standard deviation of F.

    Returns
    -------
    float32 tensor, shape (4, H, W)
        A transfer function before F for each of `mean_inputs`.
    """
    inputs = mean_inputs(torch.from_numpy(np.asarray(drawings, np.float64))).numpy()
    last = filter_transfer(images.shape[-1], filter_px)
    with torch.device("cpu"):
        return buffer(_least_squares(np.asarray(images, np.float64), inputs, last))


def fit_noise(
    images: Array, drawings: Array, filter_px: float, mean: Tensor, gain: Tensor
) -> dict[str, Tensor]:
    """Fit strength and correlations of the noise by simulation.

    What the model makes of the same drawings must have the power of the real slices, ring by
    ring of spatial frequency, and leave residuals of their variance, from dark to bright. Where
    most of the power is the mean's, that of the residuals counts instead.

    Parameters
    ----------
    images, drawings, filter_px
        See `fit_mean`.
    mean : tensor, shape (4, H, W)
        What it returned.
    gain : tensor, shape (n,)
        By what the mean of each slice is multiplied.

    Returns
    -------
    dict of float32 tensor
        noise (H, W): a transfer function before F; variance (13,): of exp(..) against the mean
        after F, tabulated.
    """
    size = images.shape[-1]
    images = np.asarray(images, np.float64)
    seen = torch.from_numpy(np.asarray(drawings)).float()
    with torch.device("cpu"):
        model = MeanAndNoise(size, filter_px)
    model.mean.copy_(mean)
    model.variance.fill_(FIRST_VARIANCE)
    model.noise.fill_(1)  # white, of unit variance
    last = filter_transfer(size, filter_px)
    expected = model.filter(model.expected(seen, gain))[:, 0].clamp(min=0)

    white = np.random.default_rng(0).normal(size=(len(images), 1, size, size))
    white_noise, ring = torch.from_numpy(white).float(), _rings(size, last)
    zone = _zone(expected).round().long().numpy()
    level = expected.double().numpy()
    wanted_noise, wanted_all = _radial_power(images - level, ring), _radial_power(images, ring)
    wanted_variance = _mean_by(zone, (images - level) ** 2)
    for _ in range(NUM_ROUNDS):
        made = model(seen, white_noise, gain)[:, 0].clamp(max=1).double().numpy()
        residual = made - level
        before = model.noise.double().numpy()
        of_noise, of_all = _radial_power(residual, ring), _radial_power(made, ring)
        share = np.minimum(of_noise / of_all, 1)  # where the noise has little, all says nothing
        power_change = _change(wanted_noise, of_noise) ** (1 - share)
        power_change *= _change(wanted_all, of_all) ** share
        after = before * np.sqrt(power_change)[ring]
        change = _change(wanted_variance, _mean_by(zone, residual**2))
        if _power(after * last) > 0:  # colour alone must not change what F leaves of the noise
            after /= np.sqrt(_power(after))
            change *= _power(before * last) / _power(after * last)
            model.noise.copy_(torch.from_numpy(after))
        model.variance.mul_(torch.from_numpy(change))
    return {name: getattr(model, name) for name in ("noise", "variance")}


def _change(wanted: Array, got: Array) -> Array:
    """Return by what to multiply, where there is anything and by a bounded step."""
    ratio = np.where(got > 0, wanted / np.where(got > 0, got, 1), 1)
    return np.asarray(np.clip(ratio, 1 / MAX_CHANGE, MAX_CHANGE) ** DAMPING)


def _mean_by(zone: NDArray[np.int64], values: Array) -> Array:
    count = np.bincount(zone.ravel(), minlength=NUM_KNOTS)
    return np.bincount(zone.ravel(), values.ravel(), NUM_KNOTS) / np.maximum(count, 1)


def mean_inputs(drawing: Tensor) -> Tensor:
    """Return what the mean is linear in, (B, 2, H, W) -> (B, 4, H, W): also expected^2 and 1."""
    expected = drawing[:, 1:]
    return torch.cat([drawing, expected.square(), torch.ones_like(expected)], dim=1)


def _least_squares(images: Array, inputs: Array, last: Array) -> Array:
    """Least squares over Gaussian filters of each channel, weighted by about the inverse variance.

    MLEM's variance grows with its mean; unweighted, the dark parts would not count.
    """
    size = images.shape[-1]
    gaussians = np.stack([gaussian_transfer(size, width) for width in WIDTHS_PX])
    spectra = spectrum(inputs)
    num, first = inputs.shape[1] * len(WIDTHS_PX), inputs[:, EXPECTED]
    normal, right = np.zeros((num, num)), np.zeros(num)
    for i in range(len(images)):
        seen = from_spectrum(spectra[i][:, None] * gaussians * last)
        seen = seen.reshape(-1, size * size)
        weight = 1 / np.maximum(first[i].ravel(), FAINT)
        normal += (seen * weight) @ seen.T
        right += (seen * weight) @ images[i].ravel()
    largest = float(np.linalg.eigvalsh(normal)[-1])
    share = np.linalg.solve(normal + RIDGE * largest * np.eye(num), right)
    return np.einsum("ca,ayx->cyx", share.reshape(inputs.shape[1], -1), gaussians)


def _zone(mean: Tensor) -> Tensor:
    """Place of a mean among the knots of the variance, 0 to NUM_KNOTS - 1, not rounded."""
    low, high = np.log10(KNOTS)
    place = (mean.clamp(min=KNOTS[0]).log10() - low) / (high - low) * (NUM_KNOTS - 1)
    return place.clamp(0, NUM_KNOTS - 1)


def _rings(size: int, last: Array) -> NDArray[np.intp]:
    """Ring of spatial frequency of each coefficient; one for all that F removes."""
    place = np.arange(size) / 2  # waves across the image
    ring = np.hypot(place[:, None], place).round().astype(np.intp)
    return np.minimum(ring, ring[last > REMOVED].max() + 1)


def _power(transfer: Array) -> float:
    """Return the mean variance of white noise after a transfer function."""
    return float(np.square(transfer).mean())


def _radial_power(images: Array, ring: NDArray[np.intp]) -> Array:
    """Return the power in each ring: the typical one (geometric mean) of the images."""
    power = np.square(spectrum(images)).reshape(len(images), -1)
    is_in = ring.ravel()[:, None] == np.arange(ring.max() + 1)  # (H * W, rings)
    rings = power @ is_in / is_in.sum(0)
    return np.asarray(np.exp(np.log(np.maximum(rings, np.finfo(float).tiny)).mean(0)))


class MeanAndNoise(nn.Module):
    """The fitted model as a module without parameters.

    Parameters
    ----------
    image_size : int
    filter_px : float
        Standard deviation of the last filter F.
    """

    mean: Tensor
    variance: Tensor
    noise: Tensor
    last: Tensor
    cosines: Tensor

    def __init__(self, image_size: int, filter_px: float) -> None:
        super().__init__()
        shape = (image_size, image_size)
        self.register_buffer("mean", torch.zeros(NUM_INPUTS, *shape))
        self.register_buffer("noise", torch.zeros(shape))
        self.register_buffer("variance", torch.zeros(NUM_KNOTS))
        self.register_buffer("last", buffer(filter_transfer(image_size, filter_px)))
        self.register_buffer("cosines", buffer(cosines(image_size)))

    def load_fit(self, fitted: Mapping[str, Tensor]) -> None:
        """Take what `fit_mean` and `fit_noise` found."""
        for name, values in fitted.items():
            getattr(self, name).copy_(values)

    def expected(self, drawing: Tensor, gain: Tensor) -> Tensor:
        """Return m, (B, 1, H, W), of drawings (B, 2, H, W) and what multiplies each (B,)."""
        mean = apply(mean_inputs(drawing), self.mean, self.cosines).clamp(min=0)
        return mean * gain[:, None, None, None]

    def unfiltered(self, drawing: Tensor, white: Tensor, gain: Tensor) -> Tensor:
        """Make images before their last filter.

        Parameters
        ----------
        drawing : tensor, shape (B, 2, H, W)
            Fluid fractions, 0 to 1.
        white : tensor, shape (B, 1, H, W)
            N(0, 1).
        gain : tensor, shape (B,)
            By what the mean of each slice is multiplied.

        Returns
        -------
        tensor, shape (B, 1, H, W)
            In units of the scale, at least 0.
        """
        mean = self.expected(drawing, gain)
        place = _zone(self.filter(mean))
        below = place.long().clamp(max=NUM_KNOTS - 2)
        relative = torch.lerp(self.variance[below], self.variance[below + 1], place - below)
        tau2 = torch.log1p(relative)
        noise = apply(white, self.noise, self.cosines)
        return mean * torch.exp(tau2.sqrt() * noise - tau2 / 2)

    def filter(self, image: Tensor) -> Tensor:
        """Apply F to images (B, 1, H, W)."""
        return apply(image, self.last, self.cosines)

    def forward(self, drawing: Tensor, white: Tensor, gain: Tensor) -> Tensor:
        """Make images of drawings, see `unfiltered`."""
        return self.filter(self.unfiltered(drawing, white, gain)).clamp(min=0)
