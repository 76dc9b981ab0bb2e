import dataclasses
import itertools

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Listmode, Volume


@pytest.fixture(scope="module")
def tiny(scanner):
    return dataclasses.replace(
        scanner, num_rings=3, num_columns=16, min_transaxial_distance_mm=60.0
    )


def ones(scanner):
    return np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))


def block(grid):
    """Return a water-like block off centre."""
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    inside = (np.abs(z) < 8) & (np.abs(y - 1) < 6) & (np.abs(x + 2) < 5)
    return Volume(np.where(inside, 0.02, 0.0), grid)


@pytest.mark.parametrize("x_mm", [0.0, 1.5], ids=["quarter turns", "no symmetry"])
def test_equals_the_sum_over_a_list_of_all_pairs(tiny, x_mm):
    shape, voxel_mm = (5, 8, 8), (2.0, 2.0, 2.0)
    grid = Grid.centred(shape, voxel_mm)
    grid = Grid(shape, voxel_mm, (grid.origin_mm[0], grid.origin_mm[1], grid.origin_mm[2] + x_mm))
    pairs = np.array(list(itertools.combinations(range(tiny.num_crystals), 2)), np.int32)
    events = Listmode(
        pairs[:, 0], pairs[:, 1], np.zeros(len(pairs)), np.zeros(len(pairs), np.uint8)
    )
    ring1, ring2 = geometry.rings(events, tiny)
    efficiency = ones(tiny) * np.linspace(0.2, 0.4, tiny.num_rings)
    areas = geometry.lor_areas_mm2(tiny, efficiency)
    areas = areas[geometry.column_steps(events, tiny), np.abs(ring1 - ring2)]
    ends = (geometry.crystal_points_mm(tiny), events.crystal1, events.crystal2)
    got = sensitivity.geometric_sensitivity(tiny, grid, efficiency)
    assert np.allclose(got, Lines(grid, *ends).back(areas), rtol=1e-5)  # float32

    mu = block(Grid.centred((10, 20, 20), (2.0, 1.0, 1.0)))
    factors = np.exp(-Lines(mu.grid, *ends).forward(mu.array))
    instrument = Instrument(tiny, efficiency, Volume(got, grid))
    got = sensitivity.attenuated_sensitivity(instrument, mu, 1)
    assert np.allclose(got, Lines(grid, *ends).back(areas * factors), rtol=1e-5)  # float32


def test_a_subset_of_lines_gives_nearly_the_exact_attenuation(scanner, grid):
    geometric = sensitivity.geometric_sensitivity(scanner, grid, ones(scanner))
    instrument = Instrument(scanner, ones(scanner), Volume(geometric, grid))
    exact, strided = (
        sensitivity.attenuated_sensitivity(instrument, block(grid), n) for n in (1, 16)
    )
    assert 0.7 < exact.sum() / geometric.sum() < 0.95
    # this scanner has 1/144 of the default's pairs, so a 16th samples 12 times more coarsely
    assert np.sqrt(np.mean((strided - exact) ** 2) / np.mean(exact**2)) < 0.03
    assert strided.sum() == pytest.approx(exact.sum(), rel=0.005)


def test_no_attenuation_changes_nothing_whatever_the_stride(scanner, grid):
    geometric = sensitivity.geometric_sensitivity(scanner, grid, ones(scanner))
    air = Volume(np.zeros(grid.shape), grid)
    for stride in (1, 8):
        instrument = Instrument(scanner, ones(scanner), Volume(geometric, grid))
        got = sensitivity.attenuated_sensitivity(instrument, air, stride)
        # rounding decides along which axis a line of exactly 45 degrees is followed: one part in
        # a hundred in some voxels, unless symmetry evens it out
        tolerance = 0.03 if stride == 1 else 1e-5
        assert np.allclose(got, geometric, rtol=tolerance)
        assert np.sqrt(np.mean((got / geometric - 1) ** 2)) < tolerance / 10


def test_central_value_is_the_solid_angle(scanner):
    """With a gap-free detector the centre sees the part of all directions that hits the rings."""
    full = dataclasses.replace(scanner, crystal_height_mm=scanner.axial_pitch_mm)
    width_mm = 2 * np.pi * geometry.detection_radius_mm(full) / full.num_columns
    full = dataclasses.replace(full, crystal_width_mm=width_mm)
    grid = Grid.centred((1, 1, 1), (6.0, 6.0, 6.0))
    got = sensitivity.geometric_sensitivity(full, grid, ones(full)).item() / grid.voxel_volume_mm3
    half_mm = full.num_rings * full.axial_pitch_mm / 2
    fraction = half_mm / np.hypot(half_mm, geometry.detection_radius_mm(full))
    # a voxel of 6 mm averages over the discrete lines and a little over the axial fall-off
    assert got == pytest.approx(fraction, rel=0.08)


def test_too_large_a_stride_is_refused(tiny):
    grid = Grid.centred((24, 24, 24), (0.5, 0.5, 0.5))
    air, geometric = Volume(np.zeros(grid.shape), grid), np.ones(grid.shape)
    with pytest.raises(InputError, match="sensitivity_stride: got 999"):
        instrument = Instrument(tiny, ones(tiny), Volume(geometric, grid))
        sensitivity.attenuated_sensitivity(instrument, air, 999)
