"""The expected values of the physics report, by hand, and its figures."""

import dataclasses
import math

import numpy as np
import pytest

from tubepet.types import Scanner
from tubepet.validate import physics, physics_checks, physics_figures


@pytest.fixture
def closed(scanner: Scanner) -> Scanner:
    """Return a scanner whose front faces leave no gap."""
    width_mm = 2 * scanner.inner_radius_mm * math.tan(math.pi / scanner.num_columns)
    return dataclasses.replace(
        scanner, crystal_width_mm=width_mm * (1 + 1e-9), crystal_height_mm=scanner.axial_pitch_mm
    )


def probability(scanner: Scanner, z_mm: float) -> dict[str, float]:
    return physics.detection_probability(scanner, z_mm, np.random.default_rng(1))


def test_solid_angle_of_a_closed_ring(closed: Scanner, monkeypatch) -> None:
    monkeypatch.setattr(physics, "ACCOLINEARITY_FWHM_DEG", 0.0)
    half_mm = closed.num_rings * closed.axial_pitch_mm / 2
    exact = half_mm / math.hypot(half_mm, closed.inner_radius_mm)
    # 0.07 % from 400,000 directions
    assert probability(closed, 0.0)["solid_angle"] == pytest.approx(exact, rel=4e-3)


def test_opaque_crystals_see_what_meets_them(scanner: Scanner, monkeypatch) -> None:
    monkeypatch.setattr(physics, "lyso_mu_per_mm", lambda: 1e6)
    found = probability(scanner, 20.0)
    assert found["any"] == pytest.approx(found["solid_angle"], rel=1e-3)
    # One or both of two photons: their number is that of decays seen and of pairs.
    assert found["photons"] == pytest.approx(found["any"] + found["both"], rel=1e-9)


def test_pairs_in_a_closed_ring_of_no_depth_of_field(closed: Scanner, monkeypatch) -> None:
    """Opaque crystals see both photons of the middle or none: the pairs are the solid angle."""
    monkeypatch.setattr(physics, "ACCOLINEARITY_FWHM_DEG", 0.0)
    monkeypatch.setattr(physics, "lyso_mu_per_mm", lambda: 1e6)
    found = probability(closed, 0.0)
    assert found["both"] == pytest.approx(found["solid_angle"], rel=1e-9)


def test_least_window_efficiency_by_hand(scanner: Scanner) -> None:
    """A third of what leaves energy at 511 keV is absorbed at once; 511 keV is in the window."""
    photo, compton = (
        function(physics.LYSO_FORMULA, 511.0)
        for function in (physics.xraylib.CS_Photo_CP, physics.xraylib.CS_Compt_CP)
    )
    found = physics.least_window_efficiency(scanner)
    assert found == pytest.approx(photo / (photo + compton), rel=1e-4)
    half = dataclasses.replace(scanner, energy_window_kev=(511.0, 2000.0))
    assert physics.least_window_efficiency(half) == pytest.approx(found / 2, rel=1e-4)


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
        expected = physics_checks.expected_rates(rates, np.array(mbq))
        seconds = physics.RATE_DECAYS / (1e6 * mbq)
        counts = {key: float(expected[key]) * seconds for key in ("trues", "scatters", "randoms")}
        runs.append(
            {"activity_mbq": mbq, "duration_s": seconds, "decays": physics.RATE_DECAYS}
            | counts | {"delayed": counts["randoms"], "singles": 0.5 * physics.RATE_DECAYS}
        )  # fmt: skip
    row = {"cm2_g": 0.1, "reference_cm2_g": 0.1, "error_cm2_g": 1e-3, "energy_kev": 100}
    peak = {"fwhm": 80.0, "expected_fwhm": 80.0, "fwhm_error": 1.0, "expected_mean": 511.0,
            "height": 9.0, "edges": [0.0, 500.0, 700.0], "counts": [1, 9]}  # fmt: skip
    parts = {"total": 1.0, "photo": 0.4, "incoherent": 0.5, "coherent": 0.1}
    photons = {"energy_kev": 100, "nist": 1.0, "engine": parts} | dict.fromkeys(
        ("xraylib", "geant4", "llnl"), parts
    )
    scanned = {
        "point": {"trues": [0.07, 1e-3], "scatter_fraction": [0.0, 0.0]},
        "mouse": {"trues": [0.04, 1e-3], "scatter_fraction": [0.07, 1e-3]},
        "rat": {"trues": [0.02, 1e-3], "scatter_fraction": [0.18, 1e-3]},
    }
    return {
        "window_ns": 10.0,
        "attenuation": [
            row | {"material": name, "reference": "NIST"} for name in physics_figures.NAMES
        ],
        "sensitivity": {
            "measured": 0.6, "expected": 0.6, "error": 1e-3, "z_mm": [0.0],
            "expected_by_z": [0.6], "measured_by_z": [0.6], "error_by_z": [0.01],
            "pairs_in_window": 0.14, "pairs_expected": 0.14, "pairs_error": 1e-3,
            "window_efficiency": 0.7, "least_window_efficiency": 0.3,
        },
        "energy": peak | {"compton_edge_kev": 340.7},
        "time": peak,
        "rates": rates | {"runs": runs},
        "photons": [photons | {"material": name} for name in physics_figures.NAMES],
        "electrons": [
            {"material": name, "energy_kev": 100, "range_mm": 0.1, "reference_mm": 0.1}
            for name in physics_figures.NAMES
        ],
        "radiative": [
            {"element": "Lu", "energy_kev": 100, "mev_cm2_g": 1.0, "reference_mev_cm2_g": 1.0}
        ],
        "nema": [
            {"scanner": "Inveon", "object": what, "gate": counts, "fast": counts}
            for what, counts in scanned.items()
        ],
    }  # fmt: skip


def test_checks_are_met_and_fail_by_name() -> None:
    good = made_up()
    assert all(check["is_met"] for check in physics_checks.checks(good))
    good["energy"]["fwhm"] = 90.0
    good["rates"]["runs"][1]["delayed"] *= 1.5
    bad = [check["name"] for check in physics_checks.checks(good) if not check["is_met"]]
    assert bad == ["energy FWHM, keV", "delayed at 10 MBq"]


def change_pairs(result: dict) -> None:
    result["sensitivity"]["pairs_in_window"] = 0.144


def change_window(result: dict) -> None:
    result["sensitivity"]["window_efficiency"] = 0.2


def change_photo(result: dict) -> None:
    parts = result["photons"][2]["engine"]
    result["photons"][2]["engine"] = parts | {"photo": 0.43}


def change_xraylib(result: dict) -> None:
    parts = result["photons"][0]["xraylib"]
    result["photons"][0]["xraylib"] = parts | {"total": 1.01}


def change_range(result: dict) -> None:
    result["electrons"][0]["range_mm"] = 0.103


def change_bremsstrahlung(result: dict) -> None:
    result["radiative"][0]["mev_cm2_g"] = 1.4


def change_engine(result: dict) -> None:
    rows = result["nema"]
    rows[1] = rows[1] | {"fast": {"trues": [0.046, 1e-3], "scatter_fraction": [0.07, 1e-3]}}


def change_scanner(result: dict) -> None:
    far = {"trues": [0.13, 1e-3], "scatter_fraction": [0.0, 0.0]}
    result["nema"][0] = result["nema"][0] | {"gate": far, "fast": far}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_pairs, "pairs in the window per decay, central point"),
        (change_window, "efficiency of the window"),
        (change_photo, "engines over LLNL, photoelectric, LYSO"),
        (change_xraylib, "xraylib over NIST, total, G4_WATER"),
        (change_range, "range of electrons in G4_WATER, 100 keV, mm"),
        (change_bremsstrahlung, "substitute's bremsstrahlung over ESTAR's, Lu"),
        (change_engine, "fast engine's trues, mouse, Inveon scanner"),
        (change_scanner, "GATE's sensitivity, Inveon"),
    ],
)
def test_each_independent_check_can_fail(change, named: str) -> None:
    result = made_up()
    change(result)
    bad = [check["name"] for check in physics_checks.checks(result) if not check["is_met"]]
    assert bad == [named]


def test_necr_by_hand() -> None:
    found = physics_checks.expected_rates(made_up()["rates"], np.array([1.0]))
    true, scatter, random = 1e5, 2e4, 8e-9 * (5e5) ** 2
    assert found["necr"] == pytest.approx(true**2 / (true + scatter + random))


def test_figures_show_points_and_expectation() -> None:
    result = made_up()
    figures = [
        physics_figures.draw_attenuation(result["attenuation"]),
        physics_figures.draw_sensitivity(result["sensitivity"]),
        physics_figures.draw_peak(result["energy"], "energy in keV"),
        physics_figures.draw_rates(result["rates"]),
        physics_figures.draw_photons(result["photons"], result["attenuation"]),
        physics_figures.draw_electrons(result["electrons"], result["radiative"]),
        physics_figures.draw_nema(result["nema"]),
        physics_figures.draw_official(
            [
                {"element": "Lu", "kind": kind, "energies_kev": [100], "ratio": [1.01]}
                for kind in ("photoelectric", "rayleigh", "bremsstrahlung")
            ],
            "made up",
        ),
    ]
    for figure in figures:
        assert all((axes.lines or axes.patches) and axes.get_ylabel() for axes in figure.axes)
        physics_figures.plt.close(figure)
