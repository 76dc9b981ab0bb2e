"""A small scanner, and coincidences made without the projector: straight lines to crystals."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Listmode, Scanner

Simulate = Callable[[NDArray[np.float64], np.random.Generator], Listmode]


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


def listmode(crystal1: NDArray[np.integer], crystal2: NDArray[np.integer]) -> Listmode:
    num = len(crystal1)
    return Listmode(
        crystal1.astype(np.int32), crystal2.astype(np.int32), np.zeros(num), np.zeros(num, np.uint8)
    )


@pytest.fixture(scope="session")
def simulate(scanner: Scanner) -> Simulate:
    """Send a photon pair from every point in a random direction; the detector has no gaps."""

    def run(points_mm: NDArray[np.float64], rng: np.random.Generator) -> Listmode:
        cosine, azimuth = (
            rng.uniform(-1, 1, len(points_mm)),
            rng.uniform(0, 2 * np.pi, len(points_mm)),
        )
        radius_mm = geometry.detection_radius_mm(scanner)
        sine = np.sqrt(1 - cosine**2)
        dx, dy = sine * np.cos(azimuth), sine * np.sin(azimuth)
        along = points_mm[:, 0] * dx + points_mm[:, 1] * dy
        square = dx**2 + dy**2
        depth = radius_mm**2 - points_mm[:, 0] ** 2 - points_mm[:, 1] ** 2
        root = np.sqrt(along**2 + square * depth)
        crystals, is_seen = [], np.ones(len(points_mm), bool)
        for sign in (1, -1):
            way = (-along + sign * root) / square
            x, y = points_mm[:, 0] + way * dx, points_mm[:, 1] + way * dy
            z = points_mm[:, 2] + way * cosine
            column = np.rint(np.arctan2(y, x) / (2 * np.pi) * scanner.num_columns).astype(int)
            ring = np.rint(z / scanner.axial_pitch_mm + (scanner.num_rings - 1) / 2)
            is_seen &= (ring >= 0) & (ring < scanner.num_rings)
            ring = np.clip(ring, 0, scanner.num_rings - 1).astype(int)
            crystals.append(ring * scanner.num_columns + column % scanner.num_columns)
        events = listmode(crystals[0][is_seen], crystals[1][is_seen])
        is_allowed = geometry.is_allowed_step(scanner)[geometry.column_steps(events, scanner)]
        return listmode(events.crystal1[is_allowed], events.crystal2[is_allowed])

    return run


@pytest.fixture(scope="session")
def cylinder_points() -> Callable[..., NDArray[np.float64]]:
    """Draw points uniformly from a cylinder around the axis."""

    def draw(
        num: int, radius_mm: float, half_mm: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        r, phi = radius_mm * np.sqrt(rng.uniform(size=num)), rng.uniform(0, 2 * np.pi, num)
        z = rng.uniform(-half_mm, half_mm, num)
        return np.column_stack([r * np.cos(phi), r * np.sin(phi), z])

    return draw
