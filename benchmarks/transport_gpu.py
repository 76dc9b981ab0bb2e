"""Compare the fast engine on a GPU with all cores of the same machine: decays per second.

The object is the tube of `transport.py`. Times run from photons to pairs of both windows, without
files and compilation. Two more numbers are recorded. One is the share of time in which the GPU
follows photons and hands over their singles; in the rest the CPU sorts them into pairs. The other
is the difference of the numbers of singles, in standard deviations. Without a GPU nothing is
recorded.
"""

import math
import os
import time
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml
from record import record
from transport import ACTIVITY_BQ, CONFIG, active, labelled

from tubepet.simulate.fast import cuda, setup, tables, transport
from tubepet.types import Scanner

NUM_DECAYS = {"cpu": 3e7, "cuda": 1e8}
NUM_ROUNDS = 3
VOXELS_MM = (2.0, 1.0, 0.5)
DELAY_NS = 500.0
TARGET = 1.0  # a GPU that all cores outrun is of no use


def spent_s(
    what: Any, photons: tables.Photons, scanner: Scanner, device: str, num_decays: float, seed: int
) -> tuple[float, int, int]:
    """Return seconds, decays and singles of one acquisition."""
    start_s, decays, singles = time.perf_counter(), 0, 0
    for batch in transport.batches(
        what, photons, ACTIVITY_BQ, num_decays / ACTIVITY_BQ, scanner, DELAY_NS, seed,
        os.cpu_count() or 1, device,
    ):  # fmt: skip
        decays, singles = batch.num_decays, singles + int(batch.singles.sum())
    return time.perf_counter() - start_s, decays, singles


def followed_s(what: Any, photons: tables.Photons, scanner: Scanner, num_decays: float) -> float:
    """Return the seconds in which the GPU follows these decays and hands over their singles."""
    fixed = setup.fixed(*what, scanner, photons)
    num_slices = math.ceil(num_decays / transport.DECAYS_PER_SLICE["cuda"])
    edges_ns = np.linspace(0, num_decays / ACTIVITY_BQ * 1e9, num_slices + 1)
    start_s = time.perf_counter()
    for _ in transport._followed(0, edges_ns, ACTIVITY_BQ, fixed, None, 1, "cuda"):
        pass
    return time.perf_counter() - start_s


def main() -> None:
    """Measure, if there is a GPU."""
    if not cuda.is_available():
        print("transport_gpu: skipped, there is no GPU")
        return
    scanner = Scanner(**yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["scanner"])
    photons = tables.photons()
    for voxel_mm in VOXELS_MM:
        labels = labelled(voxel_mm)
        what = setup.tube(labels, active(labels), scanner, photons)
        for device in NUM_DECAYS:
            spent_s(what, photons, scanner, device, 1e6, 0)  # compile
        runs = [
            {d: spent_s(what, photons, scanner, d, n, seed) for d, n in NUM_DECAYS.items()}
            for seed in range(NUM_ROUNDS)
        ]
        speeds = {d: median(r[d][1] / r[d][0] for r in runs) for d in NUM_DECAYS}
        seconds = median(r["cuda"][0] for r in runs)
        # a decay gives few singles, so their number is nearly Poisson
        rates = {d: sum(r[d][2] for r in runs) / sum(r[d][1] for r in runs) for d in NUM_DECAYS}
        variance = sum(rates[d] * (1 + rates[d]) / sum(r[d][1] for r in runs) for d in NUM_DECAYS)
        record(
            name=f"transport_gpu_{voxel_mm:g}mm",
            ratio=speeds["cuda"] / speeds["cpu"],
            target=TARGET,
            unit="decays per second, GPU over all cores",
            peer=f"the same engine on {os.cpu_count()} cores",
            device=torch.cuda.get_device_name(),
            gpu_decays_per_s=speeds["cuda"],
            cpu_decays_per_s=speeds["cpu"],
            followed_share=followed_s(what, photons, scanner, NUM_DECAYS["cuda"]) / seconds,
            singles_apart_sigma=(rates["cuda"] - rates["cpu"]) / math.sqrt(variance),
        )


if __name__ == "__main__":
    main()
