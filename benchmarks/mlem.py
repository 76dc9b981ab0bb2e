"""One fused list-mode MLEM iteration against two sparse matrix products on the same lines.

Peer: scipy's CSR matrix of the same Joseph weights, A x and A^T q, one thread (its building is not
counted). CPU time per line, medians of interleaved runs. Lines are a uniform cylinder's, straight
to the crystals of the default scanner, as many as a default tube gives.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse
import yaml
from record import record

from tubepet.reconstruct import geometry, mlem, projector
from tubepet.types import Grid, Scanner

NUM_LINES = 25_000
NUM_REPEATS = 9
CONFIG = Path(__file__).parent.parent / "config" / "config.yaml"


def cylinder_lines(scanner: Scanner, rng: np.random.Generator) -> mlem.Lines:
    """Lines of decays in a cylinder of radius 8 mm and length 24 mm, sorted as `mlem` sorts them."""
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
    return mlem.Lines(points, first, second, np.full(len(seen), 0.01))


def system_matrix(lines: mlem.Lines, grid: Grid) -> scipy.sparse.csr_matrix:
    """Joseph weights of all lines, one row each: every row is backprojected alone."""
    rows = []
    one = np.ones(1)
    for n in range(len(lines.first)):
        ends = (lines.first[n : n + 1], lines.second[n : n + 1])
        rows.append(scipy.sparse.csr_matrix(projector.back(one, grid, lines.points, *ends).ravel()))
    return scipy.sparse.vstack(rows, format="csr")


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
    matrix = system_matrix(lines, grid)

    def fused() -> np.ndarray:
        return mlem.em_sums(activity, grid, lines, 0, 1)

    def peer() -> np.ndarray:
        return matrix.T @ (1 / (matrix @ activity.ravel() + lines.additive))

    error = np.abs(fused().ravel() - peer()).max() / peer().max()
    assert error < 1e-12, f"fused and matrix disagree by {error}"
    times = [(cpu_us_per_line(fused), cpu_us_per_line(peer)) for _ in range(NUM_REPEATS)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{NUM_LINES} lines, {matrix.nnz / NUM_LINES:.0f} weights each")
    print(f"fused  {ours:.2f} us CPU per line, no memory per line")
    print(f"matrix {theirs:.2f} us CPU per line, {12 * matrix.nnz / NUM_LINES:.0f} bytes per line")
    record(
        "mlem",
        theirs / ours,
        1.0,
        "times less CPU per line and iteration",
        f"scipy {scipy.__version__} CSR matrix products, prebuilt",
    )


if __name__ == "__main__":
    main()
