"""Randoms of every crystal pair, from the delayed window.

A random pair joins two independent singles, so the mean counts of crystals i and j are s_i s_j for
all allowed pairs. With s_i = u(column) v(ring), the delayed counts give the s by maximum likelihood
(cf. the fan sums of Casey and Hoffman 1986, J Comput Assist Tomogr 10, 845). The likelihood is
greatest where the expected counts of every column and of every ring equal the measured ones. So the
delayed pairs determine num_columns + num_rings numbers; an estimate pair by pair would need
millions. The delayed window is as long as that of the prompts and both keep all good pairs, so no
scale is needed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.scanner import geometry
from tubepet.reconstruct.scanner.crystals import Crystals, is_coincidence
from tubepet.types import Listmode, Scanner

NUM_ROUNDS = 100  # the damped update gains a factor of two or more per round


def fit_singles(delayed: Listmode, scanner: Scanner) -> NDArray[np.float64]:
    """Fit s of the module's formula, in roots of counts.

    Parameters
    ----------
    delayed : Listmode
        Pairs of the delayed window, over the whole acquisition.

    Returns
    -------
    float64 array, shape (num_crystals,)
        s_i s_j are the expected randoms of an allowed pair. All zero if there are no pairs.
    """
    if len(delayed) == 0:
        return np.zeros(scanner.num_crystals)
    crystals = np.concatenate([delayed.crystal1, delayed.crystal2])
    ring, column = np.divmod(crystals, scanner.num_columns)
    fans = np.bincount(column, minlength=scanner.num_columns).astype(np.float64)
    allowed = allowed_columns(scanner)
    # u (allowed u) = fans has one positive solution; the root damps the update
    by_column = np.sqrt(fans / max(allowed.sum(axis=0).mean(), 1.0))
    for _ in range(NUM_ROUNDS):
        partners = allowed @ by_column
        new = np.divide(fans, partners, out=np.zeros_like(fans), where=partners > 0)
        by_column = np.sqrt(by_column * new)
    by_ring = np.bincount(ring, minlength=scanner.num_rings) / len(ring)
    return np.outer(by_ring, by_column).ravel()


def fit_crystals(delayed: Listmode, crystals: Crystals) -> NDArray[np.float64]:
    """Fit one s for each crystal, in any arrangement; parameters and returns as `fit_singles`."""
    ids = np.concatenate([delayed.crystal1, delayed.crystal2])
    fans = np.bincount(ids, minlength=len(crystals)).astype(np.float64)
    places, place = np.unique(crystals.readouts_mm.round(6), axis=0, return_inverse=True)
    _, example = np.unique(place, return_index=True)
    pairs = np.meshgrid(example, example, indexing="ij")
    allowed = is_coincidence(crystals, *(ids.ravel() for ids in pairs)).reshape(len(places), -1)
    singles = np.sqrt(fans / max(1.0, float(np.sqrt(fans.sum()))))
    for _ in range(NUM_ROUNDS):
        partners = (allowed @ np.bincount(place, singles))[place]
        new = np.divide(fans, partners, out=np.zeros_like(fans), where=partners > 0)
        singles = np.sqrt(singles * new)
    return singles


def allowed_columns(scanner: Scanner) -> NDArray[np.float64]:
    """Return 1 where two columns can be in coincidence, shape (num_columns, num_columns)."""
    column = np.arange(scanner.num_columns)
    step = np.abs(column[:, None] - column)
    step = np.minimum(step, scanner.num_columns - step)
    return geometry.is_allowed_step(scanner)[step].astype(np.float64)


def from_singles(
    by_ring: Sequence[int], by_column: Sequence[int], duration_s: float, scanner: Scanner
) -> NDArray[np.float64]:
    """Compute s from counted singles, s_i s_j = 2 tau S_i S_j / T, without the delayed window.

    Parameters
    ----------
    by_ring, by_column : sequence of int
        Singles in the energy window during the acquisition (`stats.json`).
    duration_s : float
        T.

    Returns
    -------
    float64 array, shape (num_crystals,)
        As `fit_singles`.
    """
    singles = np.outer(by_ring, by_column) / max(sum(by_ring), 1)
    pairs_s = 2 * scanner.coincidence_window_ns * 1e-9 / duration_s
    return singles.ravel() * np.sqrt(pairs_s)


def event_counts(singles: NDArray[np.float64], events: Listmode) -> NDArray[np.float64]:
    """Return the expected randoms of the crystal pair of every event, shape (n,)."""
    return singles[events.crystal1] * singles[events.crystal2]


def lor_counts(singles: NDArray[np.float64], scanner: Scanner) -> NDArray[np.float64]:
    """Sum the randoms of all pairs with equal column step and rings.

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1, num_rings, num_rings)
    """
    table = singles.reshape(scanner.num_rings, scanner.num_columns)
    counts = np.zeros((scanner.num_columns // 2 + 1, scanner.num_rings, scanner.num_rings))
    for step in np.flatnonzero(geometry.is_allowed_step(scanner)):
        counts[step] = table @ np.roll(table, -step, axis=1).T
        if 2 * step == scanner.num_columns:
            counts[step] /= 2
    return (counts + counts.transpose(0, 2, 1)) / 2
