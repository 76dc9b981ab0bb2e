"""Small GATE runs (a few seconds each) that all tests of this folder share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tubepet import io
from tubepet.simulate import sources
from tubepet.simulate.geant4 import em_tables, gate
from tubepet.types import Grid, Scanner, Volume

# A block of aluminium beside a small source, off the axis in every direction; no two axes alike.
GRID = Grid((16, 18, 20), (4.0, 4.0, 4.0), (-26.0, -40.0, -24.0))
SOURCE_INDEX = (7, 8, 9)  # z, y, x; the source fills two voxels along each axis
SOURCE_MM = np.array([14.0, -6.0, 4.0])  # x, y, z of its middle


@dataclass(frozen=True)
class Acquisition:
    """One finished simulation."""

    path: Path
    stats: dict[str, Any]
    scanner: Scanner


@pytest.fixture(scope="session")
def config(root: Path) -> dict[str, Any]:
    """Return the default config."""
    return yaml.safe_load((root / "config" / "config.yaml").read_text())


@pytest.fixture(scope="session")
def scanner(config: dict[str, Any]) -> Scanner:
    """Return the default scanner."""
    return Scanner(**config["scanner"])


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a substitute for the Geant4 tables."""
    return em_tables.prepare("substitute", "", tmp_path_factory.mktemp("g4") / "g4data")


@pytest.fixture(scope="session")
def block_source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return water with activity, and aluminium in the octant +x, -y, +z seen from it."""
    folder = tmp_path_factory.mktemp("block")
    labels, activity = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.float32)
    z, y, x = SOURCE_INDEX
    source = (slice(z, z + 2), slice(y, y + 2), slice(x, x + 2))
    labels[source], activity[source] = 1, 1.0
    labels[z + 1 : z + 8, y - 6 : y + 1, x + 1 : x + 8] = 2
    labels[source] = 1
    io.write_volume(folder / "labels.nii.gz", Volume(labels, GRID))
    io.write_volume(folder / "activity.nii.gz", Volume(activity, GRID))
    return sources.tube_source(folder / "labels.nii.gz", folder / "activity.nii.gz", GRID)


def _simulate(
    folder: Path,
    source: dict[str, Any],
    scanner: Scanner,
    tables: dict[str, Any],
    activity_bq: float,
    duration_s: float,
) -> Acquisition:
    path = folder / "coincidences.root"
    stats = gate.simulate(
        "block", source, activity_bq, duration_s, scanner, "G4EmStandardPhysics", tables, 11, path,
        particle="back_to_back", delay_ns=500.0,
    )  # fmt: skip
    assert [p.name for p in folder.iterdir()] == ["coincidences.root"]  # nothing left beside it
    return Acquisition(path, stats, scanner)


@pytest.fixture(scope="session")
def block(
    tmp_path_factory: pytest.TempPathFactory,
    block_source: dict[str, Any],
    scanner: Scanner,
    tables: dict[str, Any],
) -> Acquisition:
    """Simulate 60,000 decays in 0.1 s."""
    folder = tmp_path_factory.mktemp("run")
    return _simulate(folder, block_source, scanner, tables, 6e5, 0.1)


@pytest.fixture(scope="session")
def literal(
    tmp_path_factory: pytest.TempPathFactory,
    block_source: dict[str, Any],
    scanner: Scanner,
    tables: dict[str, Any],
) -> list[Acquisition]:
    """Simulate the literal protocol of the paper, 600 Bq and 0.1 s, twice."""
    return [
        _simulate(tmp_path_factory.mktemp("run"), block_source, scanner, tables, 600.0, 0.1)
        for _ in range(2)
    ]
