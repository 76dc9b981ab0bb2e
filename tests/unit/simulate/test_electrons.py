"""Electrons and X-rays in the crystals: tables, the library of tracks, and where energy goes."""

import math

import numpy as np
import pytest

from tubepet.simulate.fast import electrons, kernels, setup, tables

WATER, ALUMINIUM, LYSO = tables.MATERIALS[1:4]


@pytest.fixture(scope="module")
def library():
    return electrons.library()


@pytest.fixture(scope="module")
def ring(scanner):
    return setup.ring(scanner, tables.photons())


@pytest.mark.parametrize(
    ("material", "energy_kev", "mev_cm2_g", "g_cm2"),
    [
        (WATER, 100.0, 4.115, 0.01431),
        (WATER, 200.0, 2.793, 0.04488),
        (ALUMINIUM, 100.0, 3.177, 0.01872),
        (ALUMINIUM, 200.0, 2.178, 0.05812),
    ],
)
def test_stopping_power_and_range_are_those_of_estar(material, energy_kev, mev_cm2_g, g_cm2):
    """Berger et al., NISTIR 4999 (ESTAR).

    2 %: the atoms' excitation energies make 69 eV for water, where ESTAR has the liquid's 75 eV.
    """
    loss = electrons.stopping_kev_per_mm(material, np.array([energy_kev]))[0]
    assert loss * 10 / material.g_cm3 / 1e3 == pytest.approx(mev_cm2_g, rel=0.02)
    path_mm = np.interp(energy_kev, electrons.energies_kev(), electrons.matter(material).range_mm)
    assert path_mm / 10 * material.g_cm3 == pytest.approx(g_cm2, rel=0.02)


def test_tracks_keep_to_their_range(library):
    """A track starts at 0 along z, and is never further from there than it went."""
    node_mm = np.interp(library.node_kev, electrons.energies_kev(), electrons.matter(LYSO).range_mm)
    for k in range(0, electrons.NUM_NODES - 1, 5):
        far_mm = np.linalg.norm(library.places_mm[k], axis=2)
        assert np.abs(far_mm[:, k]).max() == 0
        way_mm = node_mm[k] - node_mm
        assert (far_mm[:, k:] <= way_mm[k:] * (1 + 1e-4) + 1e-9).all()
        # nearly straight on the first step, curled at the end
        first = library.places_mm[k][:, k + 1]
        assert first[:, 2].mean() > 0.4 * way_mm[k + 1]
        assert np.abs(first[:, :2].mean(axis=0)).max() < 0.15 * way_mm[k + 1]
        if k < electrons.NUM_NODES // 2:
            assert far_mm[:, -1].mean() < 0.6 * way_mm[-1]
        np.testing.assert_allclose(
            library.far_mm[k], far_mm[:, k:].max(axis=1), rtol=1e-6, atol=1e-9
        )


def test_first_deflection_follows_the_transport_mean_free_path():
    """<cos> of the direction decays as exp(-s / lambda): Lewis 1950, the exact first moment.

    lambda from the cross section by quadrature; 256 tracks and a step of 0.2 lambda: 4 sigma.
    """
    matter, kinetic_kev = electrons.matter(LYSO), 400.0
    i = int(np.argmin(np.abs(electrons.energies_kev() - kinetic_kev)))
    cosine = 1 - np.geomspace(1e-9, 2, 20_000)
    tau = electrons.energies_kev()[i] / tables.ELECTRON_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    half_sine = np.sqrt((1 - cosine) / 2)
    per_mm = 0.0
    low = np.zeros(matter.shares.shape[1])
    for z, high, screen in zip(matter.charge, matter.shares, matter.screening, strict=True):
        density = 2 * screen[i] * (1 + screen[i]) / (1 - cosine + 2 * screen[i]) ** 2
        alpha_z = math.pi * z / 137.035999 * math.sqrt(beta2)
        spin = 1 - beta2 * half_sine**2 + alpha_z * half_sine * (1 - half_sine)
        values = density * spin * (1 - cosine)
        mean = float(np.sum(-np.diff(cosine) * (values[1:] + values[:-1]) / 2))
        per_mm += (high[i] - low[i]) * matter.collisions[i] / kernels.SPIN_BOUND * mean
        low = high
    step_mm = 0.2 / per_mm
    nodes_mm = matter.range_mm[i] - np.array([0.0, step_mm])
    found = []
    for stream in range(256):
        places, ways = np.zeros((2, 2, 3))
        kernels.electron_track(
            7, stream, math.log(electrons.LEAST_KEV),
            (electrons.NUM_ROWS - 1) / math.log(electrons.MOST_KEV / electrons.LEAST_KEV),
            matter.collisions, matter.shares, matter.screening, matter.charge, nodes_mm,
            matter.range_mm, places, ways,
        )  # fmt: skip
        found.append(ways[1, 2])
    error = np.std(found) / 16
    # the electron slows down on the step, which shortens lambda by a few per cent
    assert np.mean(found) == pytest.approx(math.exp(-0.2), abs=4 * error + 0.01)


def spread(kernel, born, ring, library, num=2000):
    """Shares of an electron's energy at home and elsewhere, mean over repeats."""
    state = kernels.random_state(3, 0)
    home, others = 0.0, 0.0
    for i in range(num):
        born[8] = i % electrons.NUM_TRACKS
        crystals, scatters = np.full(32, -7), np.zeros((32, 2), np.int64)
        deposits = np.zeros((32, 2))
        crystals[0], _ = kernels.crystal_at(born[1], born[2], born[3], ring)
        deposits[0, 0] = born[7]
        kernel(born, crystals, deposits, scatters, 1, ring, library, state)
        assert (deposits[:, 0] > -1e-9).all() and deposits[:, 0].sum() <= born[7] + 1e-9
        home, others = home + deposits[0, 0] / num, others + deposits[1:, 0].sum() / num
    return home / born[7], others / born[7]


def electron(place, way, energy_kev):
    return np.array([0, *place, *way, energy_kev, 0.0, 0.0])


def test_an_electron_deep_in_a_crystal_stays(ring, library):
    born = electron((135.0, 0.5, 2.1), (0.0, 1.0, 0.0), 400.0)
    assert spread(kernels.spread_electron, born, ring, library) == (pytest.approx(1.0), 0.0)


def test_an_electron_at_a_face_shares_its_energy(ring, library):
    """1 um before a face it leaves for the neighbour, or comes back, and nothing is lost there.

    At the front face what leaves is lost.
    """
    outward = electron((135.0, 0.5, 2.1 + 1.999), (0.0, 0.0, 1.0), 400.0)
    home, others = spread(kernels.spread_electron, outward, ring, library)
    assert home < 0.6 and home + others == pytest.approx(1.0, abs=0.05)
    inward = electron((135.0, 0.5, 2.1 + 1.999), (0.0, 0.0, -1.0), 400.0)
    assert spread(kernels.spread_electron, inward, ring, library)[0] > home + 0.3
    front = electron((125.001, 0.5, 2.1), (-1.0, 0.0, 0.0), 400.0)
    home, others = spread(kernels.spread_electron, front, ring, library)
    assert others == 0.0 and 0.05 < home < 0.6


def test_an_x_ray_leaves_as_its_free_path_says(ring):
    """0.5 mm before the front face, in the middle of a crystal of 20 x 4 x 4 mm.

    What leaves through a plane at distance d is E2(mu d) / 2, E2 the exponential integral.
    """
    from scipy.special import expn

    energy_kev, cosine = 54.07, tables.photons().cosine
    free_mm = ring.free_mm[54]
    born = np.array([0, 125.5, 0.0, 2.1, 0.0, 0.0, 0.0, energy_kev, 0.0, 0.0])
    state = kernels.random_state(5, 0)
    lost, num = 0, 20_000
    for _ in range(num):
        born[8] = kernels.exponential(state) * free_mm
        crystals, scatters = np.full(32, -7), np.zeros((32, 2), np.int64)
        deposits = np.zeros((32, 2))
        crystals[0], _ = kernels.crystal_at(125.5, 0.0, 2.1, ring)
        deposits[0, 0] = energy_kev
        kernels.spread_ray(born, crystals, deposits, scatters, 1, ring, cosine, state)
        lost += deposits[:, 0].sum() < 1.0
    wanted = float(expn(2, 0.5 / free_mm)) / 2
    # Rayleigh scattering, taken as going straight on, lengthens the flight: 8 % of collisions
    error = math.sqrt(wanted / num)
    assert wanted - 4 * error < lost / num < 1.2 * wanted + 4 * error


def test_k_shell_of_lutetium(library):
    """Yield 0.944, K edge 63.3 keV (Bearden and Burr 1967); the jump of 5.2 leaves it 1 - 1/5.2."""
    assert library.binding_kev == pytest.approx(63.31, abs=0.02)
    assert library.lines[-1] == pytest.approx(0.944, abs=0.005)
    assert library.vacancy[0, 60] == 0 and library.vacancy[0, 70] == pytest.approx(0.80, abs=0.02)
    # two of the electrons of a formula unit Lu1.8 Y0.2 Si O5 per lutetium atom
    assert library.vacancy[1, 300] == pytest.approx(3.6 / (1.8 * 71 + 0.2 * 39 + 14 + 40))


def test_radiation_is_less_than_the_electron_has(library):
    for kev in (20, 100, 400):
        assert library.radiated_kev[kev].max() <= kev
    assert (np.diff(library.radiation[20:]) > 0).all() and library.radiation[10] == 0
    # yield of LYSO at 400 keV: a few per cent at most (ESTAR, lead: 3.4 %, silver: 1.5 %)
    share = library.radiation[400] * library.radiated_kev[400].mean() / 400
    assert 0.005 < share < 0.034


def test_photoelectrons_follow_sauter():
    """Cosine of 300 keV photoelectrons against the density, by quadrature."""
    tau = 300 / tables.ELECTRON_KEV
    beta = math.sqrt(tau * (tau + 2)) / (tau + 1)
    cosine = np.linspace(-1, 1, 4001)
    extra = 1 + (tau + 1) * tau * (tau - 1) / 2 * (1 - beta * cosine)
    density = (1 - cosine**2) / (1 - beta * cosine) ** 4 * extra
    mean = float((cosine * density).sum() / density.sum())
    state = kernels.random_state(1, 1)
    drawn = [kernels.sauter_cosine(300.0, state) for _ in range(20_000)]
    assert np.mean(drawn) == pytest.approx(mean, abs=4 * np.std(drawn) / math.sqrt(20_000))
