"""The expectations of the physics report, by hand, and the figures."""

import dataclasses
import math

import numpy as np
import pytest

from tubepet.types import Scanner
from tubepet.validate import physics, physics_figures


@pytest.fixture
def closed(scanner: Scanner) -> Scanner:
    """Return a scanner whose front faces leave no gap."""
    width_mm = 2 * scanner.inner_radius_mm * math.tan(math.pi / scanner.num_columns)
    return dataclasses.replace(
        scanner, crystal_width_mm=width_mm * (1 + 1e-9), crystal_height_mm=scanner.axial_pitch_mm
    )


def probability(scanner: Scanner, z_mm: float) -> tuple[float, float]:
    return physics.detection_probability(scanner, z_mm, np.random.default_rng(1))


def test_solid_angle_of_a_closed_ring(closed: Scanner, monkeypatch) -> None:
    monkeypatch.setattr(physics, "ACCOLINEARITY_FWHM_DEG", 0.0)
    half_mm = closed.num_rings * closed.axial_pitch_mm / 2
    exact = half_mm / math.hypot(half_mm, closed.inner_radius_mm)
    # 0.07 % from 400,000 directions
    assert probability(closed, 0.0)[1] == pytest.approx(exact, rel=4e-3)


def test_opaque_crystals_see_what_meets_them(scanner: Scanner, monkeypatch) -> None:
    monkeypatch.setattr(physics, "lyso_mu_per_mm", lambda: 1e6)
    seen, solid_angle = probability(scanner, 20.0)
    assert seen == pytest.approx(solid_angle, rel=1e-3)


def test_thin_crystals_absorb_by_their_depth(closed: Scanner, monkeypatch) -> None:
    """Photons across the axis cross the whole depth: 1 - exp(-2 mu d) for the pair."""
    monkeypatch.setattr(physics, "ACCOLINEARITY_FWHM_DEG", 0.0)
    turn, polar = np.zeros(1), np.full(1, np.pi / 2)
    on_crystal_mm = closed.axial_pitch_mm / 2
    assert physics._chord_mm(closed, on_crystal_mm, turn, polar) == pytest.approx(20.0)
    aslant = physics._chord_mm(closed, on_crystal_mm, turn, np.full(1, np.pi / 3))
    assert aslant == pytest.approx(20.0 / math.sin(math.pi / 3))


def test_chord_leaves_out_gaps(scanner: Scanner) -> None:
    """At 45 degrees 20 mm of depth are 20 mm of z: 4.76 pitches of which 4 / 4.2 is crystal."""
    z_mm = np.linspace(-81, -39, 400)
    chords = [
        physics._chord_mm(scanner, z, np.zeros(1), np.full(1, np.pi / 4)).item() for z in z_mm
    ]
    assert np.mean(chords) == pytest.approx(20 * math.sqrt(2) * 4.0 / 4.2, rel=5e-3)
    gap_turn = np.full(1, math.pi / scanner.num_columns)  # between two columns
    assert physics._chord_mm(scanner, 2.1, gap_turn, np.full(1, np.pi / 2)) == 0


def test_far_share_by_counting(scanner: Scanner) -> None:
    angle = 2 * np.pi * np.arange(scanner.num_columns) / scanner.num_columns
    place = 135.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    apart_mm = np.linalg.norm(place[:, None] - place[None], axis=2)
    assert physics.far_share(scanner) == pytest.approx(np.mean(apart_mm >= 60.0))


def test_typed_references_are_those_of_xraylib() -> None:
    for material, known in physics.NIST_CM2_G.items():
        below = [kev for kev in known if kev < 800]
        other = physics.xraylib_cm2_g(material, np.array(below, float))
        np.testing.assert_allclose([known[kev] for kev in below], other, rtol=0.01)


def test_fits_find_known_widths(scanner: Scanner) -> None:
    generator = np.random.default_rng(3)
    count = 40_000
    single_ns = 0.3 / np.sqrt(2) / physics.FWHM_PER_SIGMA  # 300 ps are those of a pair
    decay = np.repeat(np.arange(count), 2)
    sigma_kev = 0.15 * 511 / physics.FWHM_PER_SIGMA
    point = {
        "EventID": decay,
        "TotalEnergyDeposit": 1e-3 * generator.normal(511, sigma_kev, 2 * count),
        "GlobalTime": 1e5 * decay + generator.normal(0, single_ns, 2 * count),
        "PostPosition_X": np.tile([135.0, -135.0], count),
        "PostPosition_Y": np.zeros(2 * count),
    }
    energy, time = physics.fit_energy(scanner, point), physics.fit_time(scanner, point)
    assert energy["fwhm"] == pytest.approx(76.65, rel=0.02)
    assert energy["mean"] == pytest.approx(511, abs=1)
    assert time["fwhm"] == pytest.approx(300, rel=0.02)
    assert abs(time["mean"]) < 4
    assert time["expected_fwhm"] > time["blur_fwhm"] == pytest.approx(300, abs=0.01)


def made_up() -> dict:
    """Return a result in which everything is as expected."""
    rates = {
        "singles_per_decay": 0.5, "trues_per_decay": 0.1, "scatters_per_decay": 0.02,
        "scatter_fraction": 1 / 6, "randoms_per_singles_squared_s": 8e-9,
    }  # fmt: skip
    runs = []
    for mbq in (1.0, 10.0):
        expected = physics.expected_rates(rates, np.array(mbq))
        seconds = physics.RATE_DECAYS / (1e6 * mbq)
        counts = {key: float(expected[key]) * seconds for key in ("trues", "scatters", "randoms")}
        runs.append(
            {"activity_mbq": mbq, "decays": physics.RATE_DECAYS, "delayed": counts["randoms"]}
            | counts | {"singles": 0.5 * physics.RATE_DECAYS}
        )  # fmt: skip
    row = {"cm2_g": 0.1, "reference_cm2_g": 0.1, "error_cm2_g": 1e-3, "energy_kev": 100}
    peak = {"fwhm": 80.0, "expected_fwhm": 80.0, "fwhm_error": 1.0, "expected_mean": 511.0,
            "height": 9.0, "edges": [0.0, 500.0, 700.0], "counts": [1, 9]}  # fmt: skip
    return {
        "window_ns": 10.0,
        "attenuation": [
            row | {"material": name, "reference": "NIST"} for name in physics_figures.NAMES
        ],
        "sensitivity": {
            "measured": 0.6, "expected": 0.6, "error": 1e-3, "z_mm": [0.0],
            "expected_by_z": [0.6], "measured_by_z": [0.6], "error_by_z": [0.01],
        },
        "energy": peak | {"compton_edge_kev": 340.7},
        "time": peak,
        "rates": rates | {"runs": runs},
    }  # fmt: skip


def test_checks_are_met_and_fail_by_name() -> None:
    good = made_up()
    assert all(check["is_met"] for check in physics.checks(good))
    good["energy"]["fwhm"] = 90.0
    good["rates"]["runs"][1]["delayed"] *= 1.5
    bad = [check["name"] for check in physics.checks(good) if not check["is_met"]]
    assert bad == ["energy FWHM, keV", "delayed at 10 MBq"]


def test_necr_by_hand() -> None:
    found = physics.expected_rates(made_up()["rates"], np.array([1.0]))
    true, scatter, random = 1e5, 2e4, 8e-9 * (5e5) ** 2
    assert found["necr"] == pytest.approx(true**2 / (true + scatter + random))


def test_figures_show_points_and_expectation() -> None:
    result = made_up()
    figures = [
        physics_figures.draw_attenuation(result["attenuation"]),
        physics_figures.draw_sensitivity(result["sensitivity"]),
        physics_figures.draw_peak(result["energy"], "energy in keV"),
        physics_figures.draw_rates(result["rates"]),
    ]
    for figure in figures:
        assert all(axes.lines and axes.get_ylabel() for axes in figure.axes)
        physics_figures.plt.close(figure)
