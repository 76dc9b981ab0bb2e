"""The fast engine against GATE: decays per CPU-second on the same voxels, in one run, alternating.

A tube of 25 mm radius and 100 mm length, wall 5 mm, water with activity inside, 1 MBq, at 2, 1 and
0.5 mm voxels; the ratio kept is that at 1 mm. Set-up is left out on both sides (Geant4's seconds,
numba's compilation and tables); singles, coincidences and the ROOT file are in. One thread.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import yaml
from record import record

from tubepet import io
from tubepet.simulate import engines, g4data, gate
from tubepet.types import Grid, Scanner, Volume

CONFIG = Path(__file__).parent.parent / "config" / "config.yaml"
ACTIVITY_BQ = 1e6
GATE_DECAYS, FAST_DECAYS = 60_000, 3_000_000
NUM_REPEATS = 3
VOXELS_MM = (2.0, 1.0, 0.5)


def tube(voxel_mm: float, folder: Path) -> dict[str, object]:
    shape = (int(100 / voxel_mm), int(50 / voxel_mm), int(50 / voxel_mm))
    grid = Grid.centred(shape, (voxel_mm, voxel_mm, voxel_mm))
    _, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    radius_mm = np.hypot(x, y)
    labels = np.where(radius_mm < 20, 1, np.where(radius_mm < 25, 2, 0)).astype(np.uint8)
    paths = folder / f"labels_{voxel_mm}.nii.gz", folder / f"activity_{voxel_mm}.nii.gz"
    io.write_volume(paths[0], Volume(labels, grid))
    io.write_volume(paths[1], Volume((labels == 1).astype(np.float32), grid))
    return gate.tube_source(*paths, grid)


def main() -> None:
    scanner = Scanner(**yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["scanner"])
    ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = g4data.prepare("auto", "", folder / "g4data")

        def decays_per_cpu_s(engine: str, source: dict[str, object], decays: int) -> int:
            stats = engines.simulate(
                engine, "tube", source, ACTIVITY_BQ, decays / ACTIVITY_BQ, scanner,
                "G4EmStandardPhysics", facts, 1, 1, folder / "c.root",
                particle="back_to_back", delay_ns=500.0, device="cpu",
            )  # fmt: skip
            return int(stats["decays_per_cpu_s"])

        for voxel_mm in VOXELS_MM:
            source = tube(voxel_mm, folder)
            decays_per_cpu_s("fast", source, 1000)  # compile, or read the cache
            runs = [
                (decays_per_cpu_s("gate", source, GATE_DECAYS),
                 decays_per_cpu_s("fast", source, FAST_DECAYS))
                for _ in range(NUM_REPEATS)
            ]  # fmt: skip
            ratios[voxel_mm] = statistics.median(fast / slow for slow, fast in runs)
            slow, fast = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"{voxel_mm} mm: GATE {slow:,.0f}, fast {fast:,.0f}, {ratios[voxel_mm]:.0f} x")
    record(
        "transport",
        ratios[1.0],
        200.0,
        "times more decays per CPU-second, voxels of 1 mm",
        f"GATE 10 (opengate), {facts['tables']} tables, G4EmStandardPhysics",
    )


if __name__ == "__main__":
    main()
