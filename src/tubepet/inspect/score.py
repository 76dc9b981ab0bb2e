"""The score test of every candidate defect, in list mode.

With l_i the expected rate of the line of event i (`Fitted.rates`), and d_i what a defect changes of
it, the derivative of the log-likelihood by the defect's amplitude a (0: none, 1: as in the bank) is

    T = sum_i d_i / l_i - sum over all LORs of what it changes of their counts
    F = sum_i (d_i / l_i)^2

with the fitted directions projected out of both, and z = T / sqrt(F): the locally most powerful
test (Rao 1948), and sqrt(F) the z that the defect itself is expected to have. List mode: Barrett,
White and Parra 1997, doi:10.1364/JOSAA.14.002914.

T is linear in the defect, so one gradient image (`Fitted.gradient`) of all events gives it for all
candidates. F, and what looks like the fitted directions, come from some of the lines.

The z of all candidates without any defect are drawn by multipliers: sum_i (w_i - 1) d_i / l_i with
Poisson w_i of mean 1 has the distribution that T has, neighbours' correlations included.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.inspect import kernels
from tubepet.inspect.fit import Fitted, Nuisance, some_rows
from tubepet.inspect.shapes import Bank

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
    none : float64 array, shape (draws, c)
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


def slopes(fitted: Fitted, bank: Bank) -> Array:
    """Return T of each candidate before anything is projected out, shape (c,)."""
    values = kernels.blob_means(fitted.gradient, fitted.model.grid, bank.blobs, fitted.psf)
    sums = np.bincount(bank.owner, values, minlength=len(bank))
    return np.asarray(fitted.activity_bq_mm3 * sums, np.float64)


def shares(fitted: Fitted, bank: Bank, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return d_i / l_i of some events, shape (rows, c)."""
    weights = fitted.activity_bq_mm3 / np.maximum(fitted.rates[rows], 1e-12)
    return kernels.blob_sums(fitted.model.lines, rows, weights, bank.blobs, bank.owner, fitted.psf)


def expected_z(fitted: Fitted, bank: Bank, num_lines: int) -> Array:
    """Estimate the z that each candidate has where it is, from few lines, shape (c,)."""
    every, more = some_rows(len(fitted.rows), num_lines)
    weight = fitted.weight * more
    part = shares(fitted, bank, fitted.rows[every])
    own = fitted.nuisance.shares[:, every].astype(np.float32)
    cross = weight * (own @ part)
    square = weight * np.einsum("ij,ij->j", part, part, dtype=np.float64)
    left = square - np.einsum("kj,kj->j", cross, fitted.nuisance.inverse @ cross)
    return np.asarray(np.sqrt(np.maximum(left, 0.0)), np.float64)


def score(
    fitted: Fitted, bank: Bank, nuisance: Nuisance, num_draws: int, random: np.random.Generator
) -> Scores:
    """Test every candidate.

    Parameters
    ----------
    bank : Bank
        Where the part lies (`Fitted.moved`).
    nuisance : Nuisance
        That of `fitted`, or with defects found before.
    num_draws : int
        Without a defect.
    random : Generator
        Of the draws.
    """
    own = nuisance.shares.astype(np.float32)
    square, cross = np.zeros(len(bank)), np.zeros((len(own), len(bank)))
    draws, drawn_own = np.zeros((num_draws, len(bank))), np.zeros((num_draws, len(own)))
    for begin in range(0, len(fitted.rows), LINES_PER_BLOCK):
        block = slice(begin, begin + LINES_PER_BLOCK)
        part = shares(fitted, bank, fitted.rows[block])
        multipliers = random.poisson(1.0, (num_draws, len(part))).astype(np.float32) - 1
        square += np.einsum("ij,ij->j", part, part)
        cross += own[:, block] @ part
        draws += multipliers @ part
        drawn_own += multipliers @ own[:, block].T
    weight = fitted.weight
    taken = nuisance.inverse @ (weight * cross)  # of every direction, what looks like the candidate
    value = slopes(fitted, bank) - nuisance.gradient @ taken
    information = weight * (square - np.einsum("kj,kj->j", cross, taken))
    none = np.sqrt(weight) * (draws - drawn_own @ taken)
    return Scores(value, information, none / np.sqrt(np.maximum(information, LEAST_INFORMATION)))
