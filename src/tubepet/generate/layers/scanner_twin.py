"""A model of scanner and MLEM in image space: it makes volumes from drawings, without a network.

    drawing -> blur -> counts (Poisson) -> MLEM of the same blur -> gain, filter -> volume

An event is known to lie on a line. Back-projected lines blur an image by 1 / r^2, which is 1 / k in
frequency k. Here each event falls into a voxel instead of on a line, and a kernel of k^-1/2, half
of that blur, stands for the projector. MLEM with this kernel has the features of MLEM with lines:
noise grows with the image and is coloured in three dimensions, edges and ends overshoot. The
remaining differences are smooth. A gain, a filter, and a power of the part's volume in the counts,
fitted to training volumes, correct them.

References
----------
Shepp and Vardi 1982, doi:10.1109/TMI.1982.4307558 (EM). Barrett, Wilson, Tsui 1994,
doi:10.1088/0031-9155/39/5/004 (its noise).
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares
from torch import Tensor, nn

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.errors import InputError
from tubepet.generate.layers.mirror_filter import filter_along, gaussian_along
from tubepet.logs import log

Array = NDArray[np.float64]
Image = NDArray[np.float32]

LEVELS = np.geomspace(1e-3, 1.05, 15)  # of the blurred fluid fraction; the gain has a value at each
BRIGHT = 11  # levels from this one on are inside the fluid, where the noise tells the counts
DARKEST = 1e-6  # of the fluid's activity; keeps the ratio of MLEM finite
MOST_COUNTS = 500  # in a voxel
MAX_ITERATIONS = 10_000
AXIAL_EDGES = (0, 1e-9, 0.04, 0.08, 0.12, 0.17, 0.22, 0.28, 0.36)  # per mm, of the bands of power
ACROSS_EDGES = (0, 1e-9, 0.05, 0.1, 0.15, 0.2, 0.26, 0.33, 0.42, 0.55, 0.75)
NUM_BLUR, NUM_CORRECTED = 10, 40  # most volumes that the two fits use
MAX_EVALUATIONS, STEP = 6, 0.12  # of the least squares: Jacobians, relative step of a difference
BOUNDS = (0.25, 4.0)  # of each number, relative to its start
SPREAD = 0.1  # least standard deviation, between tubes, of the logarithm of a moment
NUM_ROUNDS = 20  # of corrections
SHARE = 0.5  # of the log ratio of powers that a round adds to the log of the amplitude
GROWTH_PER_MM = (0.08, 0.2)  # transaxial frequencies whose power the growth is fitted to
# Variance of a part's log power over that of growths: few parts, or parts of one size, tell none.
GROWTH_PRIOR = (0.15 / 0.2) ** 2
MOST_GROWTH = 1.0
SMOOTHNESS = 1.0  # coefficients; standard deviation of a Gaussian that keeps corrections smooth
LEVEL_SMOOTHNESS = 0.7  # levels; the same for the gain
PASSED = 0.05  # of the amplitude; corrections end where the last filter leaves less
TINY = 1e-5  # of the scale


@dataclass(frozen=True)
class Blur:
    """The nine numbers of the scanner that are fitted.

    Attributes
    ----------
    scale : float
        Image over fluid fraction, in units of the data set's scale.
    counts : float
        Events of a voxel full of fluid, at scale 1.
    corner_per_mm : float
        Frequency below which the kernel of lines is flat.
    power : float
        Exponent of the frequency in the kernel of lines; 0.5 for a ring that takes all lines.
    stretch : float
        Factor of axial frequencies in that kernel. It is below 1 as most lines run across the axis.
    tail, tail_mm : float
        Share and FWHM of the wide part of the scanner's response.
    across_mm, along_mm : float
        FWHM of its core.
    """

    scale: float = 1.0
    counts: float = 1.0
    corner_per_mm: float = 0.04
    power: float = 0.5
    stretch: float = 0.5
    tail: float = 0.2
    tail_mm: float = 6.5
    across_mm: float = 2.3
    along_mm: float = 2.6


class ScannerTwin(nn.Module):
    """The fitted scanner, as a module without trained parameters. It computes in NumPy on the CPU.

    Parameters
    ----------
    shape : sequence of int
        nz, ny, nx of the volumes.
    voxel_mm : sequence of float
        Size of a voxel, in the same order.
    level_fwhm_mm : float
        Resolution of the blurred drawing that the gain depends on.
    filter_fwhm_mm : float
        FWHM of the Gaussian filter at the end of the reconstruction.
    model_mm : sequence of float
        FWHM, across and along the axis, of the resolution model of the reconstruction.
    num_iterations : int
        Iterations of the reconstruction, times its subsets.

    Raises
    ------
    InputError
        If a width or the number of iterations is out of bounds: they may come from a file.
    """

    blur: Tensor
    growth: Tensor
    gain: Tensor
    along: Tensor
    across: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        voxel_mm: Sequence[float],
        level_fwhm_mm: float,
        filter_fwhm_mm: float,
        model_mm: Sequence[float],
        num_iterations: int,
    ) -> None:
        super().__init__()
        self.shape, self.voxel_mm = tuple(shape), tuple(voxel_mm)
        reach_mm = [n * size for n, size in zip(self.shape, self.voxel_mm, strict=True)]
        for what, width_mm in (
            ("filter_fwhm_mm", filter_fwhm_mm), ("level_fwhm_mm", level_fwhm_mm),
            ("model_mm", min(model_mm)), ("model_mm", max(model_mm)),
        ):  # fmt: skip
            if not 0 <= width_mm <= min(reach_mm):
                raise InputError(
                    f"{what}: got {width_mm} for volumes of {min(reach_mm):g} mm, expected 0 to "
                    "that"
                )
        if not 1 <= num_iterations <= MAX_ITERATIONS:
            raise InputError(
                f"num_iterations: got {num_iterations}, expected 1 to {MAX_ITERATIONS}"
            )
        self.level_fwhm_mm, self.filter_fwhm_mm = level_fwhm_mm, filter_fwhm_mm
        self.model_mm, self.num_iterations = tuple(model_mm), num_iterations
        self.register_buffer("blur", torch.tensor(astuple(Blur()), dtype=torch.float64))
        # volume of a usual part, mm3, and exponent of a part's volume over it, in the counts
        self.register_buffer("growth", torch.tensor([1.0, 0.0], dtype=torch.float64))
        self.register_buffer("gain", torch.zeros(len(LEVELS), dtype=torch.float64))
        self.register_buffer("along", torch.zeros(self.shape[0], dtype=torch.float64))
        rings = int(np.hypot(self.shape[1], self.shape[2])) + 1
        self.register_buffer("across", torch.zeros(rings, dtype=torch.float64))

    def fitted(self) -> Blur:
        """Return the present numbers of the scanner."""
        return Blur(*self.blur.tolist())

    def take(self, blur: Blur) -> None:
        """Replace the numbers of the scanner."""
        self.blur.copy_(torch.tensor(astuple(blur), dtype=torch.float64))

    def volume(self, fluid: Image, uniform: Image) -> Image:
        """Make the volume of a drawing.

        Parameters
        ----------
        fluid : float32 array, shape (nz, ny, nx)
            Fluid fraction of each voxel.
        uniform : float32 array, shape (nz, ny, nx)
            Random numbers from 0 to 1; the same ones give the same volume.

        Returns
        -------
        float32 array, shape (nz, ny, nx)
            Units of the data set's scale, at least 0.
        """
        return self.finished(self.reconstructed(fluid, uniform), fluid)

    def reconstructed(self, fluid: Image, uniform: Image) -> Image:
        """Return the volume before gain and filters; see `volume`."""
        blur, model, response = self.fitted(), *self._transfers()
        rate = np.maximum(_filtered(fluid, response), 0)
        usual_mm3, exponent = self.growth.tolist()
        events = np.float32(blur.counts * (self.volume_mm3(fluid) / usual_mm3) ** exponent)
        counts = _poisson(rate * events, uniform) / events
        image = np.full(self.shape, max(counts.mean(), DARKEST), np.float32)
        for _ in range(self.num_iterations):
            ratio = counts / np.maximum(_filtered(image, model), DARKEST)
            image *= np.maximum(_filtered(ratio, model), 0)
        return image

    def finished(self, image: Image, fluid: Image) -> Image:
        """Apply gain and filters to the image that `reconstructed` made of a drawing."""
        level = np.log(np.maximum(self.level(fluid), LEVELS[0]))
        gain = np.exp(np.interp(level, np.log(LEVELS), self.gain.numpy())).astype(np.float32)
        return np.maximum(_filtered(image * gain, self._last()), 0)

    def volume_mm3(self, fluid: Image) -> float:
        """Return the volume of a drawing's fluid, at least one voxel."""
        return max(float(fluid.sum(dtype=np.float64)), 1.0) * float(np.prod(self.voxel_mm))

    def level(self, fluid: Image) -> Image:
        """Return the blurred drawing, 0 to 1, as a measure of brightness."""
        return _filtered(fluid, self._gaussian(self.level_fwhm_mm, self.level_fwhm_mm))

    def _gaussian(self, across_mm: float, along_mm: float) -> Image:
        widths = (along_mm, across_mm, across_mm)
        return _product(
            gaussian_along(n, width_mm / FWHM_PER_SIGMA / size)
            for n, width_mm, size in zip(self.shape, widths, self.voxel_mm, strict=True)
        )

    def _transfers(self) -> tuple[Image, Image]:
        """Return the transfer functions of MLEM's model, and of the response to a drawing."""
        blur, corner2 = self.fitted(), self.fitted().corner_per_mm ** 2
        z, y, x = np.ix_(*self.frequencies_per_mm())
        square = y**2 + x**2 + (blur.stretch * z) ** 2 + corner2
        lines = np.asarray((corner2 / square) ** (blur.power / 2), np.float32)
        core = np.float32(1 - blur.tail) * self._gaussian(blur.across_mm, blur.along_mm)
        wide = np.float32(blur.tail) * self._gaussian(blur.tail_mm, blur.tail_mm)
        return lines * self._gaussian(*self.model_mm), np.float32(blur.scale) * lines * (
            core + wide
        )

    def _last(self) -> Image:
        """Return the product of the reconstruction's last filter and the corrections."""
        corrections = (
            np.exp(self.along.numpy())[:, None, None] * np.exp(self.across.numpy())[self.rings()]
        )
        return self.last_filter() * corrections.astype(np.float32)

    def last_filter(self) -> Image:
        """Return the transfer function of the reconstruction's last filter, with its cut kernel."""
        return _product(
            filter_along(n, self.filter_fwhm_mm / FWHM_PER_SIGMA / size)
            for n, size in zip(self.shape, self.voxel_mm, strict=True)
        )

    def frequencies_per_mm(self) -> list[Array]:
        """Return the spatial frequency of each coefficient, axis by axis."""
        return [
            np.arange(n) / (2 * n * size) for n, size in zip(self.shape, self.voxel_mm, strict=True)
        ]

    def tells_growth(self) -> NDArray[np.bool_]:
        """Return which rings have frequencies `GROWTH_PER_MM`, shape (num_rings,)."""
        per_mm = np.arange(len(self.across)) / (2 * self.shape[1] * self.voxel_mm[1])
        return (per_mm >= GROWTH_PER_MM[0]) & (per_mm <= GROWTH_PER_MM[1])

    def rings(self) -> NDArray[np.intp]:
        """Return the index (ny, nx) of each coefficient's ring of transaxial frequency."""
        y, x = np.ogrid[: self.shape[1], : self.shape[2]]
        return np.asarray(np.hypot(y, x).round().astype(np.intp))


def fit(twin: ScannerTwin, images: Image, fluids: Image) -> pd.DataFrame:
    """Fit the scanner to volumes of known drawings.

    The first fit finds the numbers of `Blur` by simulated moments (McFadden 1989, Econometrica 57,
    995). The moments are power in bands of frequency, and mean and spread at levels of brightness.
    All simulations use the same random numbers. The second fit takes `NUM_ROUNDS` rounds. Each
    corrects the gain at each level, the counts and how they grow with the part, and smooth filters
    across and along the axis, which brings the power of made volumes nearer to that of the real
    ones.

    Parameters
    ----------
    twin : ScannerTwin
    images : float32 array, shape (n, nz, ny, nx)
        Training volumes in units of the scale.
    fluids : float32 array, shape (n, nz, ny, nx)
        Their drawings.

    Returns
    -------
    DataFrame
        One row per round, with what it found before its correction: step, the round; noise_ratio,
        made over real variance inside the fluid; growth, the exponent so far; axial_deviation and
        transaxial_deviation, root mean square of the logarithm of made over real power.
    """
    uniforms = np.random.default_rng(0).random(images.shape, np.float32)
    few = np.unique(np.linspace(0, len(images) - 1, NUM_BLUR).round().astype(int))
    _fit_blur(twin, images[few], fluids[few], uniforms[few])
    more = np.unique(np.linspace(0, len(images) - 1, NUM_CORRECTED).round().astype(int))
    return _fit_corrections(twin, images[more], fluids[more], uniforms[more])


def _fit_blur(twin: ScannerTwin, images: Image, fluids: Image, uniforms: Image) -> None:
    zones = [_zone(twin.level(fluid)) for fluid in fluids]
    bands = _bands(twin)
    wanted = np.array([_moments(i, z, bands) for i, z in zip(images, zones, strict=True)])
    spread = np.maximum(wanted.std(0), SPREAD) / np.sqrt(len(images))
    is_bright = np.tile(LEVELS >= LEVELS[BRIGHT // 2], 2)  # the gain corrects dark levels
    weight = np.r_[np.ones(len(spread) - len(is_bright)), np.where(is_bright, 1.0, 0.1)] / spread
    start = _with_counts(twin, images, fluids, uniforms)

    def residuals(factors: Array) -> Array:
        twin.take(Blur(*np.multiply(astuple(start), factors)))
        got = [
            _moments(twin.volume(f, u), z, bands)
            for f, u, z in zip(fluids, uniforms, zones, strict=True)
        ]
        return np.asarray((np.mean(got, axis=0) - wanted.mean(0)) * weight)

    found = least_squares(
        residuals, np.ones(len(fields(Blur))), diff_step=STEP, max_nfev=MAX_EVALUATIONS,
        bounds=BOUNDS,
    )  # fmt: skip
    twin.take(Blur(*np.multiply(astuple(start), found.x)))


def _with_counts(twin: ScannerTwin, images: Image, fluids: Image, uniforms: Image) -> Blur:
    """Return the start of the fit, with about the right mean and noise inside the fluid."""
    for _ in range(2):
        blur = twin.fitted()
        made = np.stack([twin.volume(f, u) for f, u in zip(fluids, uniforms, strict=True)])
        inside = np.stack([twin.level(f) for f in fluids]) > LEVELS[BRIGHT + 2]
        if not inside.any():
            return blur
        scale = (images[inside].mean() + TINY) / (made[inside].mean() + TINY)
        noise = (images[inside].std() + TINY) / (scale * made[inside].std() + TINY)
        twin.take(replace(blur, scale=blur.scale * scale, counts=blur.counts / noise**2 / scale))
    return twin.fitted()


def _fit_corrections(
    twin: ScannerTwin, images: Image, fluids: Image, uniforms: Image
) -> pd.DataFrame:
    zones = [_zone(twin.level(fluid)) for fluid in fluids]
    size = np.maximum(sum(np.bincount(z, minlength=len(LEVELS)) for z in zones), 1)
    passed = twin.last_filter() > PASSED
    ends = [int(np.flatnonzero(passed[:, 0, 0])[-1]), int(twin.rings()[passed[0]].max())]
    wanted, rows = _summary(twin, images, zones), []
    sizes = np.log([twin.volume_mm3(fluid) for fluid in fluids])
    twin.growth[0] = float(np.exp(sizes.mean()))
    for i_round in range(NUM_ROUNDS):
        made = np.stack([twin.volume(f, u) for f, u in zip(fluids, uniforms, strict=True)])
        got = _summary(twin, made, zones)
        change = np.log((wanted.mean / size + TINY) / (got.mean / size + TINY))
        change = gaussian_filter1d(change, LEVEL_SMOOTHNESS, mode="nearest")
        twin.gain.add_(torch.from_numpy(change))
        noise = (wanted.variance(size) + TINY**2) / (got.variance(size) + TINY**2)
        blur = twin.fitted()
        twin.take(replace(blur, counts=float(np.clip(blur.counts / noise, 1e-6, 1e6))))
        rows.append({
            "step": i_round + 1,
            "noise_ratio": 1 / noise,
            "growth": float(twin.growth[1]),
            "axial_deviation": _rms(np.log(got.along / wanted.along)[: ends[0]]),
            "transaxial_deviation": _rms(np.log(got.across / wanted.across)[: ends[1]]),
        })  # fmt: skip
        if i_round == 0:  # gain and counts first: they change all powers
            continue
        excess = (got.own - wanted.own)[:, twin.tells_growth()]
        twin.growth[1] += _growth_step(sizes, excess, float(twin.growth[1]))
        twin.growth[1].clamp_(-MOST_GROWTH, MOST_GROWTH)
        for correction, ratio, end in (
            (twin.along, wanted.along / got.along, ends[0]),
            (twin.across, wanted.across / got.across, ends[1]),
        ):
            step = SHARE * gaussian_filter1d(np.log(ratio), SMOOTHNESS, mode="nearest")
            step[end:] = step[end]
            correction.add_(torch.from_numpy(step - step[0]))  # the gain corrects the mean
    if rows[-1]["axial_deviation"] > rows[0]["axial_deviation"]:
        log.warning(
            "the fit of the surrogate grew worse (power along z off by a factor of %.3g, at first "
            "%.3g): these are no images such as MLEM makes of drawings",
            *(np.exp(rows[i]["axial_deviation"]) for i in (-1, 0)),
        )
    return pd.DataFrame(rows)


def _growth_step(sizes: Array, excess: Array, growth: float) -> float:
    """Return the step of a ridge regression of excess log power (n, k) on the log volume (n,)."""
    if excess.shape[1] == 0:
        return 0.0
    x = sizes - sizes.mean()
    return float((x @ excess.mean(1) - GROWTH_PRIOR * growth) / (x @ x + GROWTH_PRIOR))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean()))


@dataclass(frozen=True)
class _Summary:
    """Sums over volumes: values and their squares by level, power by frequency.

    `own` has the logarithm of each volume's power across, shape (n, num_rings).
    """

    mean: Array
    square: Array
    along: Array
    own: Array

    @property
    def across(self) -> Array:
        """Return the geometric mean of the volumes' power across."""
        return np.asarray(np.exp(self.own.mean(0)))

    def variance(self, size: NDArray[np.int_]) -> float:
        """Return the variance inside the fluid."""
        inside = slice(BRIGHT, None)
        spread = self.square[inside] - self.mean[inside] ** 2 / size[inside]
        return float(spread.sum() / size[inside].sum())


def _summary(twin: ScannerTwin, volumes: Image, zones: Sequence[NDArray[np.intp]]) -> _Summary:
    num, rings = len(LEVELS), twin.rings().ravel()
    sums = np.zeros((2, num))
    along, own = np.zeros(twin.shape[0]), []
    for volume, zone in zip(volumes, zones, strict=True):
        flat = volume.ravel().astype(np.float64)
        sums += np.bincount(zone, flat, num), np.bincount(zone, flat**2, num)
        axial = dctn(volume.astype(np.float64), axes=(0,), norm="ortho") ** 2
        flatwise = dctn(volume.astype(np.float64), axes=(1, 2), norm="ortho") ** 2
        along += axial.mean((1, 2))
        power = np.bincount(rings, flatwise.mean(0).ravel(), len(twin.across))
        own.append(np.log(power + TINY**4))
    return _Summary(sums[0], sums[1], along + TINY**4, np.array(own))


def _zone(level: Image) -> NDArray[np.intp]:
    """Return the index of the nearest of `LEVELS` for each voxel, flat."""
    place = np.log(np.maximum(level, LEVELS[0]) / LEVELS[0]) / np.log(LEVELS[1] / LEVELS[0])
    return np.asarray(place.round().clip(0, len(LEVELS) - 1).astype(np.intp).ravel())


def _bands(twin: ScannerTwin) -> NDArray[np.intp]:
    """Return the index of each coefficient's band of axial and transaxial frequency, flat."""
    z, y, x = twin.frequencies_per_mm()
    along = np.digitize(z, AXIAL_EDGES)
    across = np.digitize(np.hypot(y[:, None], x), ACROSS_EDGES)
    both = along[:, None, None] * (len(ACROSS_EDGES) + 1) + across
    return np.asarray(np.unique(both, return_inverse=True)[1].ravel())


def _moments(volume: Image, zone: NDArray[np.intp], bands: NDArray[np.intp]) -> Array:
    """Return the moments: logarithms of power in each band, of mean and spread at each level."""
    power = np.bincount(bands, np.square(_spectrum(volume), dtype=np.float64).ravel())
    flat, num = volume.ravel().astype(np.float64), len(LEVELS)
    size = np.maximum(np.bincount(zone, minlength=num), 1)
    mean, square = np.bincount(zone, flat, num) / size, np.bincount(zone, flat**2, num) / size
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return np.log(np.r_[power / np.bincount(bands) + TINY**2, mean + TINY, spread + TINY])


def _poisson(rate: NDArray[Any], uniform: Image) -> Image:
    """Return Poisson numbers by inversion: a small change of the rate changes few, as fits need."""
    counts = np.zeros(rate.shape, np.float32)
    share = np.exp(-rate.astype(np.float64))
    below = share.copy()
    for num in range(1, MOST_COUNTS):
        is_more = uniform > below
        if not is_more.any():
            break
        counts += is_more
        share *= rate / num
        below += share
    return counts


def _product(parts: Iterable[Array]) -> Image:
    """Return the outer product of three transfer functions."""
    z, y, x = parts
    return np.asarray(z[:, None, None] * y[:, None] * x, np.float32)


def _spectrum(volume: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(dctn(volume, norm="ortho"))


def _filtered(volume: NDArray[Any], transfer: Image) -> Image:
    """Filter a volume, mirrored at its borders."""
    return np.asarray(idctn(_spectrum(volume) * transfer, norm="ortho"))
