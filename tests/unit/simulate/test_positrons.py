"""Positrons: energies against published ones, ranges by hand, places against their moments."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.simulate import sources
from tubepet.simulate.fast import kernels, positrons, setup, tables
from tubepet.types import Grid, Volume

AIR, WATER, ALUMINIUM = 0, 1, 2
N = 4000


@pytest.fixture(scope="module")
def photons():
    return tables.photons()


@pytest.fixture(scope="module")
def ring(scanner, photons):
    return setup.ring(scanner, photons)


def box_of(labels, voxel_mm, scanner, photons):
    grid = Grid.centred(labels.shape, (voxel_mm,) * 3)
    ones = Volume(np.ones(labels.shape, np.float32), grid)
    return setup.tube(Volume(labels, grid), ones, scanner, photons)[1]


def places(table, box, ring, start=(0.0, 0.0, 0.0), seed=1, num=N):
    state = kernels.random_state(seed, 0)
    return np.array(
        [kernels.follow_positron(*start, table, box, ring, state) for _ in range(num)], float
    )


def of_energy(table, kev):
    return table._replace(energies_kev=np.array([kev, kev + 1e-9]))


# Means of the transitions in the Table of Radionuclides: 249.8, (0.8768 x 836.0 + 0.0119 x 352.6)
# / 0.8887, and 278.0 keV. The shape agrees within 0.3 %; without the Fermi function it is 4 % off.
@pytest.mark.parametrize(
    ("isotope", "mean_kev", "end_kev"),
    [("F18", 249.8, 633.9), ("Ga68", 829.5, 1899.1), ("Cu64", 278.0, 653.1)],
)
def test_energies_are_the_published_ones(isotope, mean_kev, end_kev):
    borders_kev = sources.positron_kev(isotope)
    assert (borders_kev[1:] + borders_kev[:-1]).mean() / 2 == pytest.approx(mean_kev, rel=0.005)
    assert borders_kev[0] == 0 and borders_kev[-1] == pytest.approx(end_kev, abs=1e-6)
    assert (np.diff(borders_kev) > 0).all()


@pytest.mark.parametrize("isotope", ["F18", "Ga68"])
def test_spectra_are_those_of_betashape(isotope):
    """Tables of BetaShape 2.2 (Mougeot) that opengate brings; quantiles are off by up to 0.6 %."""
    spec = importlib.util.find_spec("opengate")
    name = f"sources/beta_plus_spectra/{isotope}/beta+_{isotope}_tot.bs"
    lines = (Path(spec.origin).parent / name).read_text().split("E(keV)")[1].splitlines()[1:]
    kev, density, _ = np.array([line.split() for line in lines if line.strip()], float).T
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) * np.diff(kev))])
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    ours = np.interp(shares, np.linspace(0, 1, 513), sources.positron_kev(isotope))
    np.testing.assert_allclose(ours, np.interp(shares, below / below[-1], kev), rtol=0.007)


def test_an_isotope_without_data_is_named():
    with pytest.raises(InputError, match=r"simulate\.isotope: got O15, expected .*F18, Ga68, Cu64"):
        positrons.positrons("O15")


def test_stopping_power_and_range_by_hand():
    water, kev = tables.MATERIALS[WATER], np.array([1000.0])
    # tau 1.95695, beta2 0.885565: 0.153538 MeV cm2/mol x 0.555087 mol/g / beta2 x
    # (19.5999 - 0.6240 of the Bhabha term - 0.2612 of the density effect)
    found = positrons.stopping_kev_per_mm(water, kev)[0] * 0.01
    assert found == pytest.approx(1.8011, rel=1e-3)
    # tau = 1.95695: gamma beta = 2.78279, x = 0.44448, x1 - x = 2.35592
    delta = 2 * math.log(10) * 0.44448 - 3.5801 + 0.09116 * 2.35592**3.4773
    assert positrons.density_effect(water, kev / tables.ELECTRON_KEV)[0] == pytest.approx(
        delta, rel=1e-3
    )
    table = positrons.positrons("Ga68")
    fine_kev = np.geomspace(positrons.LEAST_KEV, table.rungs_kev[30], 20001)
    per_kev = 1 / positrons.stopping_kev_per_mm(water, fine_kev)
    range_mm = ((per_kev[1:] + per_kev[:-1]) / 2 * np.diff(fine_kev)).sum()
    assert table.range_mm[WATER, 30] == pytest.approx(range_mm, rel=1e-4)  # 20 rows per rung


def test_a_straight_positron_goes_its_range(scanner, photons, ring):
    """Without scattering, energy loss alone: the range, whatever voxels are crossed."""
    table = positrons.positrons("F18")
    straight = of_energy(table._replace(bend=np.zeros_like(table.bend)), table.rungs_kev[25])
    for voxel_mm in (0.1, 8.0):
        box = box_of(np.full((20, 20, 20), WATER, np.uint8), voxel_mm, scanner, photons)
        start = (0.01, 0.02, 0.03)
        found = places(straight, box, ring, start, num=50)[:, :3] - start
        np.testing.assert_allclose(
            np.linalg.norm(found, axis=1), table.range_mm[WATER, 25], rtol=1e-4
        )


def test_ranges_scale_with_density(scanner, photons, ring):
    """Water of a tenth of the density: the same random numbers, ten times as far."""
    box = box_of(np.full((1, 1, 1), WATER, np.uint8), 80.0, scanner, photons)
    dense = places(positrons.positrons("F18"), box, ring, num=300)
    air, water, aluminium = tables.VOXELS
    voxels = air, replace(water, g_cm3=0.1), aluminium
    thin = places(positrons.positrons("F18", voxels), box, ring, num=300)
    np.testing.assert_allclose(thin[:, :3], 10 * dense[:, :3], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("material", [WATER, ALUMINIUM])
def test_mean_square_of_the_distance(material, scanner, photons, ring):
    """Lewis: <r2> = 2 int int exp(-bend between two places of the path), whatever the angles."""
    table = positrons.positrons("F18")
    kev = table.rungs_kev[28]
    fine_kev = np.linspace(positrons.LEAST_KEV, kev, 1500)
    path_mm = np.interp(fine_kev, table.rungs_kev, table.range_mm[material])
    bend = np.interp(fine_kev, table.rungs_kev, table.bend[material])
    along = np.exp(-np.abs(bend[:, None] - bend[None]))
    wanted = np.trapezoid(np.trapezoid(along, path_mm, axis=1), path_mm)
    box = box_of(np.full((1, 1, 1), material, np.uint8), 80.0, scanner, photons)
    square = (places(of_energy(table, kev), box, ring)[:, :3] ** 2).sum(axis=1)
    # steps of a tenth of the energy err by 1 %; the rest is 4 sigma
    error = 0.01 * wanted + 4 * square.std() / math.sqrt(N)
    assert abs(square.mean() - wanted) < error


def test_a_border_between_equal_materials_is_none(scanner, photons, ring):
    """Aluminium that behaves like water: distances do not know of the borders."""
    table = positrons.positrons("F18")
    same = table._replace(
        range_mm=table.range_mm[[0, WATER, WATER]], bend=table.bend[[0, WATER, WATER]]
    )
    labels = np.full((1, 1, 24), WATER, np.uint8)
    labels[..., ::2] = ALUMINIUM  # slabs of 0.25 mm
    grid = Grid.centred(labels.shape, (40.0, 40.0, 0.25))
    ones = Volume(np.ones(labels.shape, np.float32), grid)
    slabs = setup.tube(Volume(labels, grid), ones, scanner, photons)[1]
    whole = box_of(np.full((1, 1, 1), WATER, np.uint8), 80.0, scanner, photons)
    cut, free = (
        np.abs(places(same, box, ring, (0.1, 0.0, 0.0), seed)[:, 0] - 0.1)
        for seed, box in ((3, slabs), (4, whole))
    )
    error = math.sqrt((cut.var() + free.var()) / N)
    assert abs(cut.mean() - free.mean()) < 4 * error
    assert cut.std() == pytest.approx(free.std(), rel=0.06)  # 4 sigma of both


def test_a_positron_in_air_flies_to_the_ring(scanner, photons, ring):
    table = positrons.positrons("Ga68")
    box = box_of(np.full((1, 1, 1), AIR, np.uint8), 10.0, scanner, photons)
    found = places(of_energy(table, 1500.0), box, ring, num=200)
    # 1.5 MeV go 5 m in air; 120 mm take 30 keV
    assert (found[:, 4] == 1).all()
    radius = np.hypot(found[:, 0], found[:, 1])
    np.testing.assert_allclose(radius, scanner.inner_radius_mm, atol=1e-6)
    assert (found[:, 3] < 1500).all() and np.median(found[:, 3]) > 1400
    stopped = places(of_energy(table, 50.0), box, ring, num=200)
    reach_mm = np.interp(50.0, table.rungs_kev, table.range_mm[AIR])
    assert (np.linalg.norm(stopped[:, :3], axis=1) <= reach_mm + 1e-3).all()


def test_singles_of_positrons(scanner, photons):
    """In a large block, positrons move decays by little: nearly as many singles, other numbers."""
    grid = Grid.centred((8, 8, 8), (4.0, 4.0, 4.0))
    labels = np.full(grid.shape, WATER, np.uint8)
    activity = np.zeros(grid.shape, np.float32)
    activity[3:5, 3:5, 3:5] = 1
    source, box = setup.tube(Volume(labels, grid), Volume(activity, grid), scanner, photons)
    counts = []
    for table in (positrons.NONE, positrons.positrons("F18")):
        fixed = setup.fixed(source._replace(positrons=table), box, scanner, photons)
        decays, reals, _ = kernels.decay_slice(3, 0, 0.0, 1e9, 40000.0, *fixed)
        assert abs(decays - 40000) < 5 * 200
        counts.append(len(reals) / decays)
        x = reals[:, kernels.X_MM]  # of the decay, not of the annihilation
        assert np.abs(x).max() <= 4.0
    assert counts[1] == pytest.approx(counts[0], abs=5 * math.sqrt(2 * 2 * counts[0] / 40000))
