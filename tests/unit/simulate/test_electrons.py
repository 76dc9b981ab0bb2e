"""Electrons and X-rays in the crystals: tables, the library of tracks, deposited energy."""

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
    np.testing.assert_array_equal(library.places_mm[:, 0], 0)
    np.testing.assert_array_equal(library.ways[:, 0], [[0, 0, 1]] * electrons.NUM_TRACKS)
    for k in range(0, electrons.NUM_NODES - 1, 5):
        moved = library.places_mm - library.places_mm[:, k : k + 1]
        far_mm = np.linalg.norm(moved, axis=2)
        way_mm = node_mm[k] - node_mm
        assert (far_mm[:, k:] <= way_mm[k:] * (1 + 1e-4) + 1e-6).all()
        # nearly straight on the first step, curled at the end
        ahead_mm = np.einsum("ni,ni->n", moved[:, k + 1], library.ways[:, k])
        assert ahead_mm.mean() > 0.4 * way_mm[k + 1]
        if k < electrons.NUM_NODES // 2:
            assert far_mm[:, -1].mean() < 0.6 * way_mm[-1]
        np.testing.assert_allclose(
            library.far_mm[k], far_mm[:, k:].max(axis=1), rtol=1e-3, atol=1e-6
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
    assert others == 0.0 and 0.02 < home < 0.6


def hairpin(z_mm):
    """Return a library with one track along z through these places, which loses 100 keV a step."""
    num = len(z_mm)
    return electrons.library()._replace(
        places_mm=np.array([[[0.0, 0.0, z] for z in z_mm]]),
        ways=np.array([[[0.0, 0.0, 1.0]] * num]),
        node_mm=np.linspace(0.3, 0.0, num),
        node_kev=np.linspace(300.0, 0.0, num),
        stretch=np.ones(513),
        node=np.zeros(513, np.int64),
    )


@pytest.mark.parametrize(
    ("z_mm", "home_kev"),
    [
        # straight on, 0.02 mm before the face: a fifth of a step stays
        ((0.0, 0.1, 0.2, 0.3), 20.0),
        # 40 keV before the face, 60 and 30 on the other side, and the rest after the return
        ((0.0, 0.05, -0.05, -0.15), 40.0 + 70.0 + 100.0),
    ],
)
def test_an_electron_loses_on_each_side_of_a_gap_what_it_has_there(ring, z_mm, home_kev):
    """By hand; the gap of 0.34 mm is wider than a step and costs nothing, either way."""
    ring = ring._replace(half_height_mm=1.93)
    born = electron((135.0, 0.5, 2.1 + 1.91), (0.0, 0.0, 1.0), 300.0)
    born[9] = 0.02
    crystals, scatters = np.full(32, -7), np.zeros((32, 2), np.int64)
    deposits = np.zeros((32, 2))
    crystals[0], _ = kernels.crystal_at(*born[1:4], ring)
    deposits[0, 0] = 300.0
    num = kernels.spread_electron(
        born, crystals, deposits, scatters, 1, ring, hairpin(z_mm), kernels.random_state(3, 0)
    )
    assert num == 2 and crystals[1] == crystals[0] + ring.num_columns
    assert deposits[:2, 0] == pytest.approx([home_kev, 300.0 - home_kev], abs=0.02)


def escaping(ring, margin_mm, energy_kev, num=20_000):
    """Share of X-rays that leave the ring from so far behind its front face; angles isotropic."""
    place = 125.0 + margin_mm, 0.0, 2.1  # in the middle of a crystal of 20 x 4 x 4 mm
    cosine = np.zeros((2, 4, 129, tables.NUM_QUANTILES), np.float32)
    cosine += np.linspace(-1, 1, tables.NUM_QUANTILES, dtype=np.float32)
    state = kernels.random_state(5, 0)
    born, lost = np.zeros((1, kernels.BORN)), 0
    for _ in range(num):
        crystals, scatters = np.full(32, -7), np.zeros((32, 2), np.int64)
        deposits = np.zeros((32, 2))
        crystals[0], _ = kernels.crystal_at(*place, ring)
        deposits[0, 0] = energy_kev
        if kernels.keep_ray(0, *place, energy_kev, margin_mm, ring, born, 0, state):
            kernels.spread_ray(born[0], crystals, deposits, scatters, 1, ring, cosine, state)
        lost += deposits[:, 0].sum() < 1.0
    return lost / num


@pytest.mark.parametrize("margin_mm", [0.02, 0.3, 0.5])
def test_an_x_ray_leaves_as_its_free_path_says(ring, margin_mm):
    """Where every collision ends it, E2(mu d) / 2 leave through a plane at distance d.

    E2 is the exponential integral; the other faces are far.
    """
    from scipy.special import expn

    wanted = float(expn(2, margin_mm / ring.free_mm[54])) / 2
    found = escaping(ring._replace(shares=np.ones_like(ring.shares)), margin_mm, 54.07)
    assert found == pytest.approx(wanted, abs=4 * math.sqrt(wanted / 20_000))


def test_an_x_ray_that_scatters_at_once_still_leaves(ring):
    """Where all collisions are Rayleigh's nothing stays, however near the first one is."""
    shares = np.zeros_like(ring.shares)
    shares[:, :, kernels.RAYLEIGH] = 1.0
    assert escaping(ring._replace(shares=shares), 0.5, 54.07, num=2000) == 1.0


def test_scattered_x_rays_leave_as_in_a_plain_simulation(ring):
    """Half a millimetre behind a plane, with isotropic scattering one time in two.

    Followed collision by collision, and nothing decided before.
    """
    rng, num = np.random.default_rng(1), 100_000
    depth_mm, left = np.full(num, 0.5), 0
    while len(depth_mm):
        step_mm = rng.exponential(ring.free_mm[54], len(depth_mm))
        depth_mm = depth_mm - step_mm * rng.uniform(-1, 1, len(depth_mm))
        left += (depth_mm < 0).sum()
        depth_mm = depth_mm[(depth_mm >= 0) & (rng.uniform(size=len(depth_mm)) < 0.5)]
    wanted = left / num
    shares = np.full_like(ring.shares, 0.5)
    shares[:, :, kernels.RAYLEIGH] = 1.0
    found = escaping(ring._replace(shares=shares), 0.5, 54.07)
    assert found == pytest.approx(wanted, abs=4 * math.sqrt(wanted / 20_000))


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
