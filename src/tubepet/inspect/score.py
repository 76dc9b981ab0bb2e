"""The score test of every candidate defect, in list mode.

With l_i the expected rate of the line of event i (`Fitted.rates`), and d_i what a defect changes of
it, the derivative of the log-likelihood by the defect's amplitude a (0: none, 1: as in the bank) is

    T = sum_i d_i / l_i - sum over all LORs of what it changes of their counts
    F = sum_i (d_i / l_i)^2

with the fitted directions projected out of both, and z = T / sqrt(F): the locally most powerful
test (Rao 1948), and sqrt(F) the z that the defect itself is expected to have. List mode: Barrett,
White and Parra 1997, doi:10.1364/JOSAA.14.002914.

The z of all candidates without any defect are drawn by multipliers: sum_i (w_i - 1) d_i / l_i with
Poisson w_i of mean 1 has the distribution that T has, neighbours' correlations included.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.inspect import kernels
from tubepet.inspect.fit import Fitted, Nuisance
from tubepet.inspect.shapes import Bank
from tubepet.reconstruct.projection.blur import blurred, gaussian
from tubepet.reconstruct.projection.lines import Lines

Array = NDArray[np.float64]
LINES_PER_BLOCK = 4096  # 80 MB of single precision with 5000 candidates
NUM_DRAWS = 256  # of the distribution without a defect
LEAST_INFORMATION = 1e-6


@dataclass(frozen=True)
class Scores:
    """The test of every candidate of a bank.

    Attributes
    ----------
    score, information : float64 array, shape (c,)
        T and F.
    none : float64 array, shape (NUM_DRAWS, c)
        z of as many acquisitions without a defect.
    """

    score: Array
    information: Array
    none: Array

    @property
    def z(self) -> Array:
        """How many standard deviations each candidate is away from none."""
        return np.asarray(self.score / np.sqrt(np.maximum(self.information, LEAST_INFORMATION)))

    @property
    def expected_z(self) -> Array:
        """What z each candidate has on average where it is."""
        return np.asarray(np.sqrt(np.maximum(self.information, 0.0)))


def expected_changes(fitted: Fitted, bank: Bank) -> Array:
    """Return what each candidate changes of the counts of all LORs, shape (c,).

    That is the mean of the sensitivity over each blob, blurred; near the axis, where many LORs
    cross, it changes within a millimetre. The blobs of one kind and size are taken for spheres of
    their mean width.
    """
    grid, activity = fitted.model.grid, fitted.activity_bq_mm3
    seen = blurred(fitted.model.sensitivity_s, grid, fitted.psf) / grid.voxel_volume_mm3
    at = (bank.blobs[:, 3:0:-1] - grid.origin_mm) / grid.voxel_mm
    variance = bank.blobs[:, [4, 7, 9]].mean(axis=1)
    groups = bank.table.groupby(["kind", "size_mm"], sort=False).ngroup().to_numpy()[bank.owner]
    values = np.zeros(len(at))
    for group in np.unique(groups):
        here = groups == group
        width_mm = FWHM_PER_SIGMA * float(np.sqrt(variance[here].mean()))
        image = blurred(seen, grid, gaussian(width_mm))
        values[here] = map_coordinates(image, at[here].T, order=1, mode="nearest")
    changes = np.bincount(bank.owner, bank.blobs[:, 0] * values, minlength=len(bank))
    return np.asarray(activity * changes, np.float64)


def shares(fitted: Fitted, bank: Bank, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return d_i / l_i of some events, shape (rows, c)."""
    lines: Lines = fitted.model.lines
    weights = fitted.activity_bq_mm3 / np.maximum(fitted.rates[rows], 1e-12)
    return kernels.blob_sums(lines, rows, weights, bank.blobs, bank.owner, fitted.psf)


def information(fitted: Fitted, bank: Bank, nuisance: Nuisance, num_lines: int) -> Array:
    """Estimate F from some of the lines only, evenly taken.

    Returns
    -------
    float64 array, shape (c,)
    """
    rows = np.arange(0, len(fitted.rates), max(len(fitted.rates) // num_lines, 1))
    weight = len(fitted.rates) / max(len(rows), 1)
    part, own = shares(fitted, bank, rows), nuisance.shares[:, rows].astype(np.float32)
    inverse = np.linalg.inv(weight * (own @ own.T) + np.diag(nuisance.prior))
    cross = weight * (own @ part)
    square = weight * np.einsum("ij,ij->j", part, part, dtype=np.float64)
    return np.asarray(square - np.einsum("kj,kj->j", cross, inverse @ cross))


def score(fitted: Fitted, bank: Bank, nuisance: Nuisance, random: np.random.Generator) -> Scores:
    """Test every candidate.

    Parameters
    ----------
    bank : Bank
        Where the part lies (`Fitted.moved`).
    nuisance : Nuisance
        That of `fitted`, or with defects found before.
    random : Generator
        Of the draws without a defect.
    """
    num, num_lines = len(bank), len(fitted.rates)
    total, square = np.zeros(num), np.zeros(num)
    cross = np.zeros((len(nuisance.totals), num))
    draws = np.zeros((NUM_DRAWS, num))
    own = nuisance.shares
    drawn_own = np.zeros((NUM_DRAWS, len(own)))
    for begin in range(0, num_lines, LINES_PER_BLOCK):
        rows = np.arange(begin, min(begin + LINES_PER_BLOCK, num_lines))
        part = shares(fitted, bank, rows)
        multipliers = random.poisson(1.0, (NUM_DRAWS, len(rows))).astype(np.float32) - 1
        total += part.sum(axis=0, dtype=np.float64)
        square += np.einsum("ij,ij->j", part, part)
        cross += own[:, rows].astype(np.float32) @ part
        draws += multipliers @ part
        drawn_own += multipliers @ own[:, rows].T.astype(np.float32)
    inverse = np.linalg.inv(own @ own.T + np.diag(nuisance.prior))
    taken = inverse @ cross  # of every direction, what looks like the candidate
    left = own.sum(axis=1) - nuisance.totals
    value = total - expected_changes(fitted, bank) - left @ taken
    information = square - np.einsum("kj,kj->j", cross, taken)
    none = (draws - drawn_own @ taken) / np.sqrt(np.maximum(information, LEAST_INFORMATION))
    return Scores(value, information, none)
