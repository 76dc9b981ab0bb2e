"""The test of every candidate defect, in list mode.

The line of event i has the expected rate l_i, and a defect changes it by d_i. The derivative of the
log-likelihood by the defect's amplitude a (0: none, 1: as in the bank) is T, with the variance F:

    T = sum_i d_i / l_i - sum over all LORs of the change of their counts
    F = sum_i (d_i / l_i)^2

The fitted directions are projected out of both. T / sqrt(F) is the score test (Rao 1948; in list
mode Barrett, White and Parra 1997, doi:10.1364/JOSAA.14.002914). sqrt(F) is the z that the defect
is expected to have. A defect that adds activity increases its own F, which lowers T / sqrt(F). So
where that is large, z is the signed root of the likelihood ratio,

    z^2 = 2 max over a of [a T + sum_i (log(1 + a d_i / l_i) - a d_i / l_i)],

which without a defect is nearer to the normal distribution (Barndorff-Nielsen 1986,
doi:10.1093/biomet/73.2.307).

T is linear in the defect, so one gradient image (`Fitted.gradient`) of all events gives it for all
candidates. The sums over d_i / l_i come from some of the lines if there are many.

Scores without any defect are drawn for all candidates by multipliers: sum_i w_i d_i / l_i with
normal w_i has the covariance of T.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.inspect import kernels
from tubepet.inspect.fit import Fitted, Nuisance, some_rows
from tubepet.inspect.shapes import Bank

Array = NDArray[np.float64]
LINES_PER_BLOCK = 4096
FEW_LINES = 4000  # enough for an expected z
NUM_DRAWS = 256  # of the distribution without a defect
LEAST_INFORMATION = 1e-6
LEAST_EVENTS = 4  # that tell of a defect; fewer are no sum of many, and their F is chance
LARGE_Z = 2.0  # below, both tests agree as well as needed
NUM_STEPS = 4
LEAST_CHANGE = -0.9  # of a rate, by a void


@dataclass(frozen=True)
class Scores:
    """The test of every candidate of a bank.

    Attributes
    ----------
    z : float64 array, shape (c,)
        By how many standard deviations the events differ from the drawing as this defect would.
    expected_z : float64 array, shape (c,)
        Mean z if the defect is there, at these counts.
    none : float64 array, shape (draws, c)
        z in drawn acquisitions without a defect.
    """

    z: Array
    expected_z: Array
    none: Array


def slopes(fitted: Fitted, bank: Bank) -> Array:
    """Return T of each candidate before anything is projected out, shape (c,)."""
    values = kernels.blob_means(fitted.gradient, bank.blobs, fitted.line_blur)
    sums = np.bincount(bank.owner, values, minlength=len(bank))
    return np.asarray(fitted.activity_bq_mm3 * sums, np.float64)


def shares(fitted: Fitted, bank: Bank, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return d_i / l_i of some events, shape (rows, c)."""
    weights = fitted.activity_bq_mm3 / fitted.rates[rows]
    return kernels.blob_sums(fitted.line_blur, rows, weights, bank.blobs, bank.owner)


def expected_z(fitted: Fitted, bank: Bank) -> Array:
    """Estimate the mean z of each candidate if it is there, from few lines, shape (c,).

    It is 0 where F comes from fewer than `LEAST_EVENTS` events, by Kish's effective number.
    """
    every, more = some_rows(len(fitted.rows), FEW_LINES)
    weight = fitted.weight * more
    part = shares(fitted, bank, fitted.rows[every])
    own = fitted.nuisance.shares[:, every].astype(np.float32)
    cross = weight * (own @ part)
    square = weight * np.einsum("ij,ij->j", part, part, dtype=np.float64)
    np.square(part, out=part)  # of thousands of candidates: no copy
    fourth = weight * np.einsum("ij,ij->j", part, part, dtype=np.float64)
    is_told = square**2 >= LEAST_EVENTS * fourth
    left = square - np.einsum("kj,kj->j", cross, fitted.nuisance.inverse @ cross)
    return np.asarray(np.sqrt(np.maximum(left, 0.0)) * is_told, np.float64)


class Candidates:
    """The candidates of a bank, as the lines see them: d_i / l_i, in blocks of lines."""

    def __init__(self, fitted: Fitted, bank: Bank) -> None:
        self.weight, num = fitted.weight, len(fitted.rows)
        self.slopes = slopes(fitted, bank)
        self.blocks = [slice(i, i + LINES_PER_BLOCK) for i in range(0, num, LINES_PER_BLOCK)]
        self.shares = [shares(fitted, bank, fitted.rows[block]) for block in self.blocks]

    def score(self, nuisance: Nuisance, num_draws: int, random: np.random.Generator) -> Scores:
        """Test every candidate.

        Parameters
        ----------
        nuisance : Nuisance
            Directions of the fit, and of defects found before.
        num_draws : int
            Number of drawn acquisitions without a defect.
        random : Generator
            For the draws.
        """
        own, num = nuisance.shares.astype(np.float32), len(self.slopes)
        square, cross = np.zeros(num), np.zeros((len(own), num))
        draws, drawn_own = np.zeros((num_draws, num)), np.zeros((num_draws, len(own)))
        for block, part in zip(self.blocks, self.shares, strict=True):
            multipliers = random.standard_normal((num_draws, len(part)), np.float32)
            square += np.einsum("ij,ij->j", part, part)
            cross += own[:, block] @ part
            draws += multipliers @ part
            drawn_own += multipliers @ own[:, block].T
        weight = self.weight
        taken = nuisance.inverse @ (weight * cross)  # how much of each direction looks like it
        lost = weight * np.einsum("kj,kj->j", cross, taken)
        slope = self.slopes - nuisance.gradient @ taken
        root = np.sqrt(np.maximum(weight * square - lost, LEAST_INFORMATION))
        none = np.sqrt(weight) * (draws - drawn_own @ taken) / root
        z = slope / root
        large = np.flatnonzero(z > LARGE_Z)
        z[large] = self._roots(large, own, taken, slope, slope / root**2)
        return Scores(z, root, none)

    def _roots(
        self, which: NDArray[np.int64], own: NDArray[np.float32], taken: Array, slope: Array,
        start: Array,
    ) -> Array:  # fmt: skip
        """Return the root of the likelihood ratio of some candidates, by Newton's method."""
        fitted = taken[:, which].astype(np.float32)
        chosen = [
            part[:, which] - own[:, block].T @ fitted
            for block, part in zip(self.blocks, self.shares, strict=True)
        ]
        amplitude, gain = start[which], np.zeros(len(which))
        for _ in range(NUM_STEPS):
            value, first, second = np.zeros(len(which)), slope[which], np.zeros(len(which))
            for part in chosen:
                change = np.maximum(amplitude.astype(np.float32) * part, LEAST_CHANGE)
                ratio = part / (1 + change)
                value += self.weight * (np.log1p(change) - change).sum(axis=0)
                first -= self.weight * np.einsum("ij,ij->j", ratio, change)
                second += self.weight * np.einsum("ij,ij->j", ratio, ratio)
            gain = np.maximum(gain, amplitude * slope[which] + value)
            step = first / np.maximum(second, LEAST_INFORMATION)
            amplitude = np.clip(amplitude + step, 0.0, 2 * amplitude)
        return np.asarray(np.sqrt(2 * gain))
