"""One fused list-mode MLEM iteration against two sparse matrix products on the same lines.

Peer: scipy's CSR matrix of the same Joseph weights, A x and A^T q, one thread; building it (numba)
counts, shared out over the default number of iterations. parallelproj, the field's reference, has
no wheel and is not used. CPU time per line, medians of interleaved runs. Lines are a uniform
cylinder's, straight to the crystals of the default scanner, as many as a default tube gives.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import scipy.sparse
import yaml
from record import record

from tubepet.reconstruct import geometry, kernels, projector
from tubepet.reconstruct.lines import Lines, em_sums
from tubepet.types import Grid, Scanner

NUM_LINES = 25_000
NUM_REPEATS = 9
CONFIG = Path(__file__).parent.parent / "config" / "config.yaml"


def cylinder_lines(scanner: Scanner, rng: np.random.Generator) -> Lines:
    """Lines of decays in a cylinder, radius 8 mm, length 24 mm, sorted as `mlem` sorts them."""
    num = 20 * NUM_LINES
    radius_mm = geometry.detection_radius_mm(scanner)
    r, phi = 8 * np.sqrt(rng.uniform(size=num)), rng.uniform(0, 2 * np.pi, num)
    x, y, z = r * np.cos(phi), r * np.sin(phi), rng.uniform(-12, 12, num)
    cosine, azimuth = rng.uniform(-1, 1, num), rng.uniform(0, 2 * np.pi, num)
    sine = np.sqrt(1 - cosine**2)
    dx, dy = sine * np.cos(azimuth), sine * np.sin(azimuth)
    along = x * dx + y * dy
    root = np.sqrt(along**2 + sine**2 * (radius_mm**2 - r**2))
    columns, rings, is_seen = [], [], np.ones(num, bool)
    for way in ((-along + root) / sine**2, (-along - root) / sine**2):
        turn = np.arctan2(y + way * dy, x + way * dx) / (2 * np.pi)
        columns.append(np.rint(turn * scanner.num_columns).astype(int) % scanner.num_columns)
        ring = np.rint((z + way * cosine) / scanner.axial_pitch_mm + (scanner.num_rings - 1) / 2)
        is_seen &= (ring >= 0) & (ring < scanner.num_rings)
        rings.append(np.clip(ring, 0, scanner.num_rings - 1).astype(int))
    seen = np.flatnonzero(is_seen)[:NUM_LINES]
    seen = seen[np.lexsort([columns[1][seen], columns[0][seen]])]
    first, second = (
        (ring[seen] * scanner.num_columns + column[seen]).astype(np.int32)
        for ring, column in zip(rings, columns, strict=True)
    )
    points = geometry.crystal_points_mm(scanner)
    return Lines(points, first, second, np.full(len(seen), 0.01))


@numba.njit
def _weights(points, first, second, grid, indptr, indices, data):  # type: ignore[no-untyped-def]
    """Fill a CSR matrix with Joseph weights (padded image); only count them if `data` is empty."""
    for n in range(len(first)):
        walk = kernels.ray(points, first[n], second[n], grid)
        at = indptr[n]
        if len(data) > 0:
            low, _, s0, s1, s2, u0, du, v0, dv, step_mm = walk
            for plane in range(low, walk[1] + 1):
                u, v = u0 + du * plane, v0 + dv * plane
                iu, iv = int(u), int(v)
                fu, fv = u - iu, v - iv
                corner = (plane + 1) * s0 + iu * s1 + iv * s2
                for offset, weight in (
                    (0, (1 - fu) * (1 - fv)),
                    (s2, (1 - fu) * fv),
                    (s1, fu * (1 - fv)),
                    (s1 + s2, fu * fv),
                ):
                    indices[at], data[at] = corner + offset, weight * step_mm
                    at += 1
        indptr[n + 1] = indptr[n] + 4 * max(walk[1] - walk[0] + 1, 0)


def system_matrix(lines: Lines, grid: Grid) -> scipy.sparse.csr_matrix:
    """Joseph weights of all lines, one row each, columns of the padded image."""
    numbers, ends = projector.grid_numbers(grid), (lines.points, lines.first, lines.second)
    indptr, none = np.zeros(len(lines.first) + 1, np.int32), np.zeros(0)
    _weights(*ends, numbers, indptr, np.zeros(0, np.int32), none)
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1])
    _weights(*ends, numbers, indptr, indices, data)
    shape = (len(lines.first), int(np.prod([n + 2 for n in grid.shape])))
    return scipy.sparse.csr_matrix((data, indices, indptr), shape=shape)


def cpu_us_per_line(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return (time.process_time() - start) * 1e6 / NUM_LINES


def main() -> None:
    projector.use_threads(1)
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    image = config["reconstruct"]
    grid = Grid.centred(
        (image["num_slices"], image["num_pixels"], image["num_pixels"]),
        (image["slice_mm"], image["pixel_mm"], image["pixel_mm"]),
    )
    lines = cylinder_lines(Scanner(**config["scanner"]), np.random.default_rng(1))
    activity = np.random.default_rng(2).uniform(0.5, 1.5, grid.shape)
    flat = projector.padded(activity).ravel()
    matrix = system_matrix(lines, grid)

    def build() -> scipy.sparse.csr_matrix:
        return system_matrix(lines, grid)

    def fused() -> np.ndarray:
        return em_sums(activity, grid, lines, 0, 1)

    def peer() -> np.ndarray:
        return matrix.T @ (1 / (matrix @ flat + lines.additive))

    ours_padded = projector.padded(fused()).ravel()
    theirs_inside = peer() * (projector.padded(np.ones(grid.shape)).ravel() > 0)
    error = np.abs(ours_padded - theirs_inside).max() / theirs_inside.max()
    assert error < 1e-12, f"fused and matrix disagree by {error}"
    times = [[cpu_us_per_line(task) for task in (fused, peer, build)] for _ in range(NUM_REPEATS)]
    ours, products, building = (statistics.median(column) for column in zip(*times, strict=True))
    theirs = products + building / image["num_iterations"]
    weights = matrix.nnz / NUM_LINES
    print(f"{NUM_LINES} lines, {weights:.0f} weights each; us CPU per line and iteration:")
    print(f"fused  {ours:.3f}, 16 bytes per line")
    print(f"matrix {products:.3f} and {building:.3f} once, {12 * weights:.0f} bytes per line")
    record(
        "mlem",
        theirs / ours,
        1.0,
        f"times less CPU per line and iteration, over {image['num_iterations']} iterations",
        f"scipy {scipy.__version__} CSR products, its building by numba shared out",
    )


if __name__ == "__main__":
    main()
