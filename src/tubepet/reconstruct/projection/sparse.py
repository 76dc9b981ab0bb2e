"""MLEM for few events: all weights in a sparse matrix on the voxels that their lines touch.

With few lines the work per voxel of the image outweighs the work per line; on touched voxels only,
60 events cost a thousandth of a full image's iteration. Below `FEW_LINES` this is quicker than
`lines.em_sums` (`make bench NAME=mlem`), at about 5 kB per line.
"""

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray

from tubepet.reconstruct.projection import joseph, kernels
from tubepet.reconstruct.projection.lines import Lines
from tubepet.types import Grid

FEW_LINES = 5_000


def system_matrix(lines: Lines, grid: Grid) -> tuple[scipy.sparse.csr_matrix, NDArray[np.int64]]:
    """Compute the weights of all lines.

    Returns
    -------
    csr_matrix of float32, shape (n, k)
        P on the touched voxels, mm (with time of flight: no unit).
    int64 array, shape (k,)
        Which voxels of the flattened image the columns are.
    """
    numbers, starts = joseph.grid_numbers(grid), np.zeros(len(lines.first) + 1, np.int64)
    ends = (lines.points, lines.first, lines.second, lines.tof_mm, lines.tof_table)
    nothing = np.zeros(0, np.int64), np.zeros(0, np.float32)
    kernels.matrix_rows(*ends, numbers, starts, *nothing)
    voxels, values = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.float32)
    kernels.matrix_rows(*ends, numbers, starts, voxels, values)
    places = np.full(grid.shape, -1)
    places.ravel()[:] = np.arange(places.size)
    inside = np.pad(places.transpose(1, 2, 0), (1, 2), constant_values=-1).ravel()[voxels]
    values[inside < 0] = 0
    touched, columns = np.unique(np.maximum(inside, 0), return_inverse=True)
    shape = (len(lines.first), len(touched))
    return scipy.sparse.csr_matrix((values, columns.astype(np.int32), starts), shape), touched


def iterate(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    num_iterations: int,
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Run MLEM as `algorithms.iterate` does with one subset and without a resolution model."""
    matrix, touched = system_matrix(lines, grid)
    transposed = matrix.T.tocsr()
    seen = sensitivity_s.ravel()[touched]
    image = np.where(seen > 0, start.ravel()[touched], 0.0)
    factor = np.divide(1.0, seen, out=np.zeros_like(seen), where=seen > 0)
    # voxels that no line touches count in the first image and are 0 ever after
    untouched = np.where(sensitivity_s > 0, start, 0.0).ravel()
    untouched[touched] = 0
    others = float((sensitivity_s.ravel() * untouched).sum()), float(untouched.sum())
    trace = []
    for iteration in range(num_iterations + 1):
        expected = matrix @ image + lines.additive
        fit = float(np.log(expected).sum() - (seen * image).sum())
        total_bq = float(image.sum()) * grid.voxel_volume_mm3
        if iteration == 0:
            fit, total_bq = fit - others[0], total_bq + others[1] * grid.voxel_volume_mm3
        trace.append((iteration, fit, fit, total_bq))
        if iteration == num_iterations:
            break
        image *= factor * (transposed @ (1 / expected))
    full = np.where(num_iterations == 0, untouched, 0.0)
    full[touched] = image
    columns = ["iteration", "log_likelihood", "objective", "total_bq"]
    return full.reshape(grid.shape), pd.DataFrame(trace, columns=columns)
