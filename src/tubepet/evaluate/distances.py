"""Distances between two sets of feature vectors (n, d), and nearest training images.

Frechet: Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X. Energy: Szekely & Rizzo 2013,
doi:10.1016/j.jspi.2013.03.018. Precision and recall: Kynkaanniemi et al. 2019, arXiv:1904.06991;
density and coverage: Naeem et al. 2020, arXiv:2002.09797. Slices of one tube are alike, so pairs of
them count nowhere within a set.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from tubepet.dataset.stack import Images
from tubepet.dataset.symmetries import NUM_SYMMETRIES, turned

Array = NDArray[np.float64]
Tubes = NDArray[np.int64]

CHUNK = 512  # images compared at once by blocks, which bounds the memory
NUM_PAIRS = 64  # images compared at once pixel by pixel
BLOCKS = 64  # least number along each side of an image
NUM_KEPT = 8  # most pairs compared pixel by pixel, for each image, at the first attempt
ROUNDING = 1e-4  # of the sum of squares; bound on the error of 64 x 64 products in float32


def frechet(x: Array, y: Array) -> float:
    """Return |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)); covariances may be singular."""
    cov_x, cov_y = (np.atleast_2d(np.cov(a, rowvar=False)) for a in (x, y))
    # C_x C_y is similar to a positive semidefinite matrix: its eigenvalues are real and >= 0
    root_trace = np.sqrt(np.clip(np.linalg.eigvals(cov_x @ cov_y).real, 0, None)).sum()
    shift = np.square(x.mean(0) - y.mean(0)).sum()
    return float(shift + np.trace(cov_x) + np.trace(cov_y) - 2 * root_trace)


def energy(x: Array, y: Array, x_tubes: Tubes, y_tubes: Tubes) -> float | None:
    """Return the energy distance 2 E|x - y| - E|x - x'| - E|y - y'|, unbiased: it may be negative.

    Parameters
    ----------
    x, y : float64 array, shape (n, d) and (m, d)
    x_tubes, y_tubes : int array, shape (n,) and (m,)
        Pairs of one tube do not count. None is returned if a set has one tube only.
    """
    within = []
    for set_, tubes in ((x, x_tubes), (y, y_tubes)):
        is_apart = tubes[:, None] != tubes
        if not is_apart.any():
            return None
        within.append(cdist(set_, set_)[is_apart].mean())
    return float(2 * cdist(x, y).mean() - sum(within))


def _radii(features: Array, tubes: Tubes, k: int) -> Array:
    """Return the distance of each row to its k-th neighbour of another tube."""
    distance = np.where(tubes[:, None] == tubes, np.inf, cdist(features, features))
    return np.partition(distance, k - 1, axis=1)[:, k - 1]


def prdc(
    real: Array, fake: Array, real_tubes: Tubes, fake_tubes: Tubes, k: int
) -> dict[str, float]:
    """Return precision, recall, density and coverage.

    Balls reach to the k-th neighbour of another tube.
    """
    real_radius, fake_radius = _radii(real, real_tubes, k), _radii(fake, fake_tubes, k)
    distance = cdist(real, fake)  # (real, fake)
    in_real_ball = distance < real_radius[:, None]
    return {
        "precision": float(in_real_ball.any(0).mean()),
        "recall": float((distance < fake_radius[None, :]).any(1).mean()),
        "density": float(in_real_ball.sum(0).mean() / k),
        "coverage": float(in_real_ball.any(1).mean()),
    }


class Seen(NamedTuple):
    """Images and their means over square blocks, which bound the distances of images from below.

    `rest` is the norm of an image less its blocks, `square` the squared norm of the image.
    """

    images: Images  # (N, H, W)
    blocks: NDArray[np.float32]  # (N, h, w), times the block's side
    rest: NDArray[np.float32]  # (N,)
    square: NDArray[np.float32]  # (N,)

    def cut(self, rows: NDArray[np.intp]) -> "Seen":
        """Return some of the images."""
        return Seen(self.images[rows], self.blocks[rows], self.rest[rows], self.square[rows])


def seen(images: Images) -> Seen:
    """Compute the blocks of images (N, H, W), once for several calls of `nearest_training`."""
    sizes = images.shape[1:]
    fits = [b for b in (2, 4, 8) if all(n % b == 0 and n // b >= BLOCKS for n in sizes)]
    side = max(fits, default=1)
    parts = []
    for start in range(0, len(images), NUM_PAIRS):
        exact = np.asarray(images[start : start + NUM_PAIRS], np.float64)
        square = np.square(exact).sum((1, 2))
        shape = (len(exact), sizes[0] // side, side, sizes[1] // side, side)
        blocks = exact.reshape(shape).sum((2, 4)) / side
        rest = np.sqrt(np.maximum(square - np.square(blocks).sum((1, 2)), 0))
        parts.append([a.astype(np.float32) for a in (blocks, rest, square)])
    return Seen(images, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def nearest_training(
    images: Images,
    training: Images | Seen,
    tubes: tuple[NDArray[np.str_], NDArray[np.str_]] | None = None,
) -> tuple[Array, NDArray[np.intp]]:
    """Return the distance (root mean square, units of the images) to the nearest training image.

    Training images also count rotated by 90 degrees and mirrored. The answer is exact. Blocks of
    pixels give a lower bound for each pair. Pairs are compared pixel by pixel, in the order of
    their bounds, until the next bound exceeds the smallest distance.

    Parameters
    ----------
    images, training : array or Stack, shape (N, H, W) and (M, H, W)
        For several calls with the same training images give the result of `seen`.
    tubes : tuple of two str arrays, shape (N,) and (M,), optional
        The tubes of images and training images; pairs of the same tube do not count.

    Returns
    -------
    distance : float64 array, shape (N,)
        inf where no training image counts.
    index : int array, shape (N,)
        Index of the training image, the first of equals.
    """
    theirs = training if isinstance(training, Seen) else seen(training)
    parts = []
    for start in range(0, len(images), CHUNK):
        cut = slice(start, start + CHUNK)
        is_own = None if tubes is None else tubes[0][cut, None] == tubes[1]
        parts.append(_nearest(seen(images[cut]), theirs, is_own, NUM_KEPT))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _nearest(
    own: Seen, theirs: Seen, is_own: NDArray[np.bool_] | None, num_kept: int
) -> tuple[Array, NDArray[np.intp]]:
    """Compare pairs in the order of their bounds, while one may be nearer."""
    bounds, pairs = _closest_bounds(own, theirs, is_own, num_kept)
    best, found = np.full(len(bounds), np.inf), np.zeros(len(bounds), np.intp)
    for k in range(num_kept):
        is_open = _may_be_nearer(bounds[:, k], best)
        if not len(is_open):
            break
        pair = pairs[is_open, k]
        square = _squares(own.images, is_open, theirs.images, pair)
        before, index = best[is_open], pair // NUM_SYMMETRIES
        is_better = (square < before) | ((square == before) & (index < found[is_open]))
        best[is_open[is_better]], found[is_open[is_better]] = square[is_better], index[is_better]
    distance = np.sqrt(best / np.prod(own.images.shape[1:]))
    unsure = _may_be_nearer(bounds[:, -1], best)
    if len(unsure):
        mask = None if is_own is None else is_own[unsure]
        distance[unsure], found[unsure] = _nearest(own.cut(unsure), theirs, mask, 8 * num_kept)
    return distance, found


def _may_be_nearer(bounds: NDArray[np.float32], best: Array) -> NDArray[np.intp]:
    """Return the rows whose pair counts and may be as near as the nearest found."""
    return np.flatnonzero(np.isfinite(bounds) & (bounds <= best))


def _closest_bounds(
    own: Seen, theirs: Seen, is_own: NDArray[np.bool_] | None, num_kept: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return the `num_kept` + 1 lowest bounds of squared distances, sorted, and their pairs.

    A pair is 8 * index + symmetry of the training image. All other pairs have at least the last
    bound.
    """
    flat = own.blocks.reshape(len(own.blocks), -1)
    bounds = np.full((len(flat), num_kept + 1), np.inf, np.float32)
    pairs = np.zeros(bounds.shape, np.intp)
    for start in range(0, len(theirs.square), CHUNK):
        cut = slice(start, start + CHUNK)
        blocks, rest = theirs.blocks[cut], theirs.rest[cut]
        squares = own.square[:, None] + theirs.square[cut]
        for turn in range(NUM_SYMMETRIES):
            turned_blocks = turned(blocks, turn).reshape(len(blocks), -1)
            product = flat @ turned_blocks.T + own.rest[:, None] * rest
            new = squares * np.float32(1 - ROUNDING) - 2 * product
            if is_own is not None:
                new[is_own[:, cut]] = np.inf
            pair = NUM_SYMMETRIES * (start + np.arange(len(turned_blocks))) + turn
            all_bounds = np.concatenate([bounds, new], axis=1)
            all_pairs = np.concatenate([pairs, np.broadcast_to(pair, new.shape)], axis=1)
            kept = np.argpartition(all_bounds, num_kept, axis=1)[:, : num_kept + 1]
            bounds, pairs = (np.take_along_axis(a, kept, 1) for a in (all_bounds, all_pairs))
    order = np.lexsort((pairs, bounds))
    return np.take_along_axis(bounds, order, 1), np.take_along_axis(pairs, order, 1)


def _squares(
    images: Images, rows: NDArray[np.intp], training: Images, pairs: NDArray[np.intp]
) -> Array:
    """Return the squared distances of images and turned training images, pair by pair."""
    squares = np.empty(len(rows))
    for start in range(0, len(rows), NUM_PAIRS):
        cut = slice(start, start + NUM_PAIRS)
        index, turns = np.divmod(pairs[cut], NUM_SYMMETRIES)
        first = np.asarray(images[rows[cut]], np.float64)
        second = np.asarray(training[index], np.float64)
        for turn in np.unique(turns):
            second[turns == turn] = turned(second[turns == turn], turn)
        squares[cut] = np.square(first - second).sum((1, 2))
    return squares
