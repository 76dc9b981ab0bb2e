"""Compare the fast engine with GATE: decays per CPU-second on the same voxels, in alternating runs.

The object is a tube of 25 mm outer radius, 100 mm length and 5 mm wall, with 1 MBq in water, at
voxels of 2, 1 and 0.5 mm. GATE with exact cylinders is compared with the fast engine on 1 mm
voxels. Times include singles, coincidences and the ROOT file, but not the set-up (Geant4's
initialisation, numba's compilation, tables). One thread.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import yaml
from record import record

from tubepet import io
from tubepet.simulate import engines, sources
from tubepet.simulate.geant4 import em_tables
from tubepet.types import Grid, Scanner, Volume

CONFIG = Path(__file__).parent.parent / "config" / "config.yaml"
ACTIVITY_BQ = 1e6
GATE_DECAYS, FAST_DECAYS = 60_000, 3_000_000
NUM_REPEATS = 3
RADIUS_MM, WALL_MM, LENGTH_MM = 20.0, 5.0, 100.0
TARGETS = {2.0: 140.0, 1.0: 200.0, 0.5: 200.0}  # by voxel, mm
ANALYTIC_TARGET = 70.0


def labelled(voxel_mm: float) -> Volume:
    width_mm = 2 * (RADIUS_MM + WALL_MM)
    shape = (int(LENGTH_MM / voxel_mm), int(width_mm / voxel_mm), int(width_mm / voxel_mm))
    grid = Grid.centred(shape, (voxel_mm, voxel_mm, voxel_mm))
    _, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    radius_mm = np.hypot(x, y)
    inside = np.where(radius_mm < RADIUS_MM + WALL_MM, 2, 0)
    return Volume(np.where(radius_mm < RADIUS_MM, 1, inside).astype(np.uint8), grid)


def active(labels: Volume) -> Volume:
    return Volume((labels.array == 1).astype(np.float32), labels.grid)


def tube(voxel_mm: float, folder: Path) -> dict[str, object]:
    labels = labelled(voxel_mm)
    paths = folder / f"labels_{voxel_mm}.nii.gz", folder / f"activity_{voxel_mm}.nii.gz"
    io.write_volume(paths[0], labels)
    io.write_volume(paths[1], active(labels))
    return sources.tube_source(*paths, labels.grid)


def cylinders() -> dict[str, object]:
    shape = {"bore_radius_mm": RADIUS_MM, "wall_mm": WALL_MM}
    what = {"tube": "tube", "family": "round", "defect": "none", "length_mm": LENGTH_MM}
    return sources.solid_source({**what, "geometry": shape})


def main() -> None:
    scanner = Scanner(**yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["scanner"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = em_tables.prepare("auto", "", folder / "g4data")

        def decays_per_cpu_s(engine: str, source: dict[str, object], decays: int) -> int:
            stats = engines.simulate(
                engine, "tube", source, ACTIVITY_BQ, decays / ACTIVITY_BQ, scanner,
                "G4EmStandardPhysics", facts, 1, 1, folder / "c.root",
                particle="back_to_back", delay_ns=500.0, device="cpu",
            )  # fmt: skip
            return int(stats["decays_per_cpu_s"])

        def compare(what: str, slow_source: dict[str, object], source: dict[str, object]) -> float:
            decays_per_cpu_s("fast", source, 1000)  # compile, or read the cache
            runs = [
                (decays_per_cpu_s("gate", slow_source, GATE_DECAYS),
                 decays_per_cpu_s("fast", source, FAST_DECAYS))
                for _ in range(NUM_REPEATS)
            ]  # fmt: skip
            ratio = statistics.median(fast / slow for slow, fast in runs)
            slow, fast = (statistics.median(column) for column in zip(*runs, strict=True))
            print(f"{what}: GATE {slow:,.0f}, fast {fast:,.0f}, {ratio:.0f} x")
            return ratio

        unit, peer = "times more decays per CPU-second", f"GATE 10 (opengate), {facts['tables']}"
        peer += " tables, G4EmStandardPhysics"
        voxels = {voxel_mm: tube(voxel_mm, folder) for voxel_mm in TARGETS}
        ratio = compare("exact cylinders", cylinders(), voxels[1.0])
        record("transport_analytic", ratio, ANALYTIC_TARGET, f"{unit}, exact cylinders", peer)
        ratios = {mm: compare(f"{mm} mm", source, source) for mm, source in voxels.items()}
        for mm in (0.5, 2.0, 1.0):
            name = "transport" if mm == 1.0 else f"transport_{mm}mm"
            record(name, ratios[mm], TARGETS[mm], f"{unit}, voxels of {mm:g} mm", peer)


if __name__ == "__main__":
    main()
