"""The input of a reconstruction: settings, instrument, measurement, and the model of all lines."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.projection.blur import Kernel
from tubepet.reconstruct.projection.lines import BACKENDS, Lines
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Grid, Listmode, Scanner, Volume

Efficiency = NDArray[np.float64] | Crystals


@dataclass(frozen=True)
class Settings:
    """How images are made; the fields are keys of the config section `reconstruct`.

    Attributes
    ----------
    algorithm : str
        ``mlem``, ``map_rdp`` or ``tv`` (see `priors`).
    prior_strength : float
        Weight of the prior, in units of the mean of G s (see `em`) where that is > 0; 0: no prior.
    psf : Kernel
        Blur in the resolution model; empty: none.
    filter_fwhm_mm : float
        Width of the Gaussian that smooths the finished image; 0: none.
    tof : bool
        Whether time differences are used, with the scanner's time resolution. Needs pairs of the
        delayed window.
    """

    num_iterations: int
    num_subsets: int = 1
    algorithm: str = "mlem"
    prior_strength: float = 0.0
    stopping: str = "fixed"
    psf: Kernel = ()
    filter_fwhm_mm: float = 0.0
    sensitivity_stride: int = 1
    tof: bool = False
    backend: str = "numba"

    @property
    def has_prior(self) -> bool:
        """Whether the objective is more than the likelihood."""
        return self.algorithm != "mlem" and self.prior_strength > 0

    @property
    def kind_of_lines(self) -> type[Lines]:
        """Lines with the projector of the iterations."""
        return BACKENDS[self.backend]


@dataclass(frozen=True)
class Instrument:
    """A calibrated scanner and the grid of the image to make.

    Attributes
    ----------
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings), or Crystals
        Pair efficiency by column step and ring difference (`calibration`). If the scanner is no
        ring of equal crystals: its calibrated crystals (`normalisation`).
    geometric : Volume
        `sensitivity.geometric_sensitivity` on the grid of the image, mm3.
    seen_kev : float64 array, optional
        `detection.detection_table` of the scanner; None: computed where it is needed.
    around : Grid, optional
        Lines that pass through this wider grid are used; None: those through the image.
    """

    scanner: Scanner
    efficiency: Efficiency
    geometric: Volume
    seen_kev: NDArray[np.float64] | None = None
    around: Grid | None = None

    @property
    def grid(self) -> Grid:
        """The grid of the image."""
        return self.geometric.grid

    @property
    def field(self) -> Grid:
        """The grid through which lines pass that are used."""
        return self.around or self.grid


@dataclass(frozen=True)
class Measurement:
    """Events of one acquisition, and the object in the scanner.

    Attributes
    ----------
    events : Listmode
        Prompts; their truth codes are not used.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    duration_s : float
    delayed : Listmode, optional
        Pairs of the delayed window. With them, randoms are estimated from them and scatter is
        simulated. Without, both are one smooth density fitted beside the object (`tail_fit`).
    """

    events: Listmode
    mu: Volume
    duration_s: float
    delayed: Listmode | None = None


@dataclass(frozen=True)
class Acquisition:
    """The model of one acquisition, ready for `em.iterate`.

    Attributes
    ----------
    lines : Lines
        Coincidences through the image, sorted so that neighbours touch the same voxels.
    sensitivity_s : float64 array, shape (nz, ny, nx)
        Expected counts per Bq/mm3 in a voxel, mm3 s.
    start : float64 array, shape (nz, ny, nx)
        First image, Bq/mm3, >= 0. It or the additive term explains every line.
    background_counts : float
        Scatter and randoms on all LORs through the image.
    log_scale : float
        Part of the log-likelihood that no image changes.
    """

    lines: Lines
    sensitivity_s: NDArray[np.float64]
    start: NDArray[np.float64]
    background_counts: float = 0.0
    log_scale: float = 0.0

    @property
    def grid(self) -> Grid:
        """The grid of the image."""
        return self.lines.grid

    def part(self, rows: NDArray[np.integer], share: float = 1.0) -> "Acquisition":
        """Return the acquisition of some of the events, in a share of the time."""
        return replace(self, lines=self.lines.part(rows), sensitivity_s=self.sensitivity_s * share)
