"""Measure the cost of the sensitivity image: exact, by symmetry, and from every 64th pair.

The last is for an attenuating tube; its time does not include the geometric image, which all tubes
share. Times are CPU times, medians of interleaved runs. NRMSE is after the resolution model, as in
MLEM.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import yaml
from record import record

from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import blur, kernels, sensitivity
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Scanner, Volume

NUM_REPEATS = 5
CORE = (blur.Gaussian(1.0, 2.3, 3.6),)  # of calibrate_resolution in the default run
LARGEST_NRMSE, STRIDE = 0.012, 64
CONFIG = Path(__file__).parent.parent / "config" / "config.yaml"


def tube_mu() -> Volume:
    """Return a map of water (radius 8 mm) in 3 mm of aluminium, 24 mm long, 1/mm (NIST XCOM)."""
    grid = Grid.centred((26, 26, 26), (1.0, 1.0, 1.0))
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    radius = np.hypot(x, y)
    mu = np.select([radius < 8, radius < 11], [0.0096, 0.0226]) * (np.abs(z) < 12)
    return Volume(mu, grid)


def per_line_us(scanner: Scanner) -> float:
    """Return the CPU time, us, of one line of the exact sum in a large image with attenuation."""
    grid = Grid.centred((64, 128, 128), (2.0, 1.5, 1.5))
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    mu = np.where((np.hypot(x, y) < 60) & (np.abs(z) < 50), 0.0096, 0.0)
    tasks, shares = sensitivity._tasks(scanner, sensitivity._steps_through(grid, scanner), False)
    tasks, shares = tasks[::64], shares[::64]
    efficiency = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    numbers, times = kernels.grid_numbers(grid), []
    for _ in range(NUM_REPEATS):
        total = np.zeros(kernels.num_padded(grid))
        start = time.process_time()
        kernels.lor_sums(
            geometry.crystal_points_mm(scanner), geometry.lor_areas_mm2(scanner, efficiency),
            tasks, shares, scanner.num_rings, scanner.num_columns, False, 1, numbers,
            kernels.padded(mu), numbers, kernels.private_images(grid), total[:0], total,
        )  # fmt: skip
        times.append(time.process_time() - start)
    return statistics.median(times) / len(tasks) / scanner.num_rings**2 * 1e6


def main() -> None:
    kernels.use_threads(1)
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    image, scanner = config["reconstruct"], Scanner(**config["scanner"])
    grid = Grid.centred(
        (image["num_slices"], image["num_pixels"], image["num_pixels"]),
        (image["slice_mm"], image["pixel_mm"], image["pixel_mm"]),
    )
    efficiency = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    geometric = sensitivity.geometric_sensitivity(scanner, grid, efficiency)
    instrument = Instrument(scanner, efficiency, Volume(geometric, grid))
    steps = sensitivity._steps_through(grid, scanner)
    num_pairs = geometry.num_column_pairs(scanner)[steps].sum() * scanner.num_rings**2

    def plain(is_symmetric: bool) -> float:
        start = time.process_time()
        sensitivity._sums(scanner, grid, efficiency, None, 1, True, is_symmetric)
        return time.process_time() - start

    times = [(plain(False), plain(True)) for _ in range(NUM_REPEATS)]
    all_s, symmetric_s = (statistics.median(column) for column in zip(*times, strict=True))

    def attenuated(n: int) -> tuple[np.ndarray, float]:
        start = time.process_time()
        found = sensitivity.attenuated_sensitivity(instrument, tube_mu(), n)
        return blur.blurred(found, grid, CORE), time.process_time() - start

    attenuated(1)  # compiled
    runs = [(attenuated(1), attenuated(STRIDE)) for _ in range(NUM_REPEATS)]
    exact, strided = runs[0][0][0], runs[0][1][0]
    exact_s, strided_s = (statistics.median(run[i][1] for run in runs) for i in (0, 1))
    nrmse = float(np.sqrt(np.mean((strided - exact) ** 2) / np.mean(exact**2)))
    print(f"{num_pairs:.3g} pairs: {all_s:.2f} CPU s, by symmetry {symmetric_s:.2f}")
    unit = "us CPU per LOR, attenuated, 128 x 128 x 64 voxels (smaller is better)"
    record("sensitivity_exact", per_line_us(scanner), 0.7, unit, "limit")
    record("sensitivity_symmetric", all_s / symmetric_s, 7.0, "times less CPU", "all pairs")
    print(
        f"exact {exact_s:.3f} CPU s; every {STRIDE}th pair {strided_s:.3f} CPU s, NRMSE {nrmse:.2%}"
    )
    record(
        "sensitivity_nrmse",
        nrmse,
        LARGEST_NRMSE,
        f"NRMSE, stride {STRIDE} (smaller is better)",
        "exact sum",
    )
    record("sensitivity", exact_s / strided_s, 20.0, "times less CPU", "exact sum over all pairs")


if __name__ == "__main__":
    main()
