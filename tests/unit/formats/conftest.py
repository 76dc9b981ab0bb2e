"""A small scanner, and coincidences of a cylinder on it."""

import numpy as np
import pytest

from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Listmode, Scanner


@pytest.fixture(scope="session")
def scanner() -> Scanner:
    return Scanner(
        num_rings=10, num_columns=48, inner_radius_mm=40.0, crystal_depth_mm=20.0,
        crystal_width_mm=4.0, crystal_height_mm=4.0, axial_pitch_mm=4.2, energy_resolution=0.15,
        time_resolution_ps=300.0, energy_window_kev=(350.0, 650.0), coincidence_window_ns=10.0,
        min_transaxial_distance_mm=50.0,
    )  # fmt: skip


@pytest.fixture(scope="session")
def grid() -> Grid:
    return Grid.centred((10, 24, 24), (2.0, 1.0, 1.0))


@pytest.fixture(scope="session")
def events(scanner: Scanner) -> Listmode:
    """Pairs of opposite crystals with times of their own."""
    rng = np.random.default_rng(5)
    first = rng.integers(scanner.num_crystals, size=200)
    second = (first + scanner.num_columns // 2) % scanner.num_columns
    second += scanner.num_columns * rng.integers(scanner.num_rings, size=200)
    return Listmode(
        first.astype(np.int32), second.astype(np.int32), rng.normal(size=200),
        np.zeros(200, np.uint8),
    )  # fmt: skip


@pytest.fixture(scope="session")
def centres_mm(scanner: Scanner) -> np.ndarray:
    """Centres of the crystals, where GATE 10's readout puts singles."""
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    points = geometry.crystal_points_mm(scanner)
    return points * ([radius_mm / geometry.detection_radius_mm(scanner)] * 2 + [1])
