"""GATE against what is known without it: attenuation, solid angle, resolution, count rates.

A report beside the chain (target ``validate_gate``), not part of it. Every quantity stands beside
its expectation and a tolerance; nothing is tuned. The scanner has no dead time, so noise-equivalent
counts saturate instead of falling again.
"""

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import uproot
import xraylib
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from tubepet import rng
from tubepet.constants import FWHM_PER_SIGMA, LYSO_ATOMS, LYSO_G_CM3, PHOTON_KEV
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.simulate.geant4 import em_tables, gate
from tubepet.types import Scanner

# Mass attenuation with coherent scattering, cm2/g: Hubbell and Seltzer, NISTIR 5632 (DOI
# 10.18434/T4D01F). LYSO is no NIST material: xraylib (EPDL97).
NIST_CM2_G = {
    "G4_WATER": {
        60: 0.2059, 100: 0.1707, 200: 0.1370, 300: 0.1186, 500: 0.09687, 800: 0.07865, 1000: 0.07072
    },
    "G4_Al": {
        60: 0.2778, 100: 0.1704, 200: 0.1223, 300: 0.1042, 500: 0.08445, 800: 0.06841, 1000: 0.06146
    },
}  # fmt: skip
DENSITY_G_CM3 = {"G4_WATER": 1.0, "G4_Al": 2.699, "LYSO": LYSO_G_CM3}
LYSO_KEV = (60, 100, 200, 300, 500, 700)  # xraylib ends at 800 keV
LYSO_FORMULA = "".join(f"{symbol}{count}" for symbol, count in LYSO_ATOMS.items())
MEAN_FREE_PATHS = 1.3  # of the slabs: near 1.6, where mu is measured best, and survivors are many
NUM_PHOTONS = 60_000  # of each beam: 0.5 % on mu
NUM_DIRECTIONS = 400_000
ACCOLINEARITY_FWHM_DEG = 0.5  # GATE's default
POINT_DECAYS = 200_000
LINE_DECAYS = 200_000
RATE_DECAYS = 60_000  # at each activity
ACTIVITIES_MBQ = (0.2, 1.0, 4.0, 16.0, 64.0)
LINE_RADIUS_MM, LINE_SHARE = 0.5, 0.95  # line source; share of the scanner's length, in air
TUBE_MM = {"bore": 8.0, "outer": 11.0, "length": 24.0}  # a middling tube of the default run
OPEN_WINDOW_KEV = (1.0, 2 * PHOTON_KEV)
LIGHT_MM_PER_PS = 0.299792458
# Allowed differences from the expectation, beside three standard errors.
TOLERANCE = {"mu": 0.02, "sensitivity": 0.02, "energy_fwhm": 0.03, "time_fwhm": 0.03, "rates": 0.02}


def measure(
    scanner: Scanner, physics_list: str, facts: dict[str, Any], seed: int, scratch: Path
) -> dict[str, Any]:
    """Run all simulations (about a minute) and compare.

    Parameters
    ----------
    scanner : Scanner
    physics_list : str
        Name of a Geant4 physics list.
    facts : dict
        From `tables.prepare`.
    seed : int
        The run's seed.
    scratch : Path
        Existing folder for the simulations' files, which do not stay.

    Returns
    -------
    dict
        tables, note, sections attenuation, sensitivity, energy, time, rates (curves and points),
        and checks: list of {name, measured, expected, error, tolerance, is_met}.

    Raises
    ------
    InputError
        If the scanner is no ring of equal crystals.
    """
    if not scanner.is_even_ring:
        raise InputError(
            "scanner: got modules, dead crystals or efficiencies, expected a ring of equal "
            "crystals (validate_physics knows the solid angle of no other)"
        )
    em_tables.check(facts, physics_list)
    common = {"physics_list": physics_list, "delay_ns": 500.0, "particle": "back_to_back"}
    with tempfile.TemporaryDirectory(prefix=".part-", dir=scratch) as folder:
        attenuation = measure_attenuation(Path(folder), common, facts, seed)
        point = _open_singles(Path(folder), "point", scanner, common, facts, seed)
        line = _open_singles(Path(folder), "line", scanner, common, facts, seed)
        rates = measure_rates(Path(folder), scanner, common, facts, seed)
    result = {
        "tables": facts["tables"],
        "note": facts["note"],
        "physics_list": physics_list,
        "window_ns": scanner.coincidence_window_ns,
        "attenuation": attenuation,
        "sensitivity": compare_sensitivity(
            scanner, point, line, rng.stream(seed, "physics", "directions")
        ),
        "energy": fit_energy(scanner, point),
        "time": fit_time(scanner, point),
        "rates": rates,
    }
    result["checks"] = checks(result)
    failed = [check["name"] for check in result["checks"] if not check["is_met"]]
    log.info("%d checks, not met: %s", len(result["checks"]), ", ".join(failed) or "none")
    return result


def reference_cm2_g(material: str, energy_kev: int) -> float:
    """Return mu/rho with coherent scattering: NIST, for LYSO xraylib."""
    if material in NIST_CM2_G:
        return NIST_CM2_G[material][energy_kev]
    return float(xraylib.CS_Total_CP(LYSO_FORMULA, float(energy_kev)))


def xraylib_cm2_g(material: str, energy_kev: NDArray[np.float64]) -> list[float]:
    """Return mu/rho with coherent scattering by xraylib (below 800 keV), to draw a curve."""
    formula = {"G4_WATER": "H2O", "G4_Al": "Al", "LYSO": LYSO_FORMULA}[material]
    return [float(xraylib.CS_Total_CP(formula, float(e))) for e in energy_kev]


def measure_attenuation(
    folder: Path, common: dict[str, Any], facts: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """Shoot narrow beams through slabs; return mu/rho of each beam beside the reference."""
    energies = {material: tuple(known) for material, known in NIST_CM2_G.items()}
    energies["LYSO"] = LYSO_KEV
    beams: list[dict[str, Any]] = []
    for material, all_kev in energies.items():
        for energy_kev in all_kev:
            per_cm = reference_cm2_g(material, energy_kev) * DENSITY_G_CM3[material]
            thickness_mm = 10 * MEAN_FREE_PATHS / per_cm
            beams.append(
                {"material": material, "energy_kev": energy_kev, "thickness_mm": thickness_mm}
            )
    job = {
        **common,
        "folder": str(_new(folder, "slabs")),
        "seed": rng.derived_seed(seed, "physics", "slabs"),
        "num_photons": NUM_PHOTONS,
        "beams": beams,
    }
    environment = em_tables.environment(facts["root"])
    result = gate.run_worker("slabs", job, environment, "tubepet.validate.slab_worker")
    rows = []
    for beam, count in zip(beams, result["counts"], strict=True):
        share = count / NUM_PHOTONS
        per_g = 10 / (beam["thickness_mm"] * DENSITY_G_CM3[beam["material"]])  # cm2/g per path
        rows.append(
            {
                "material": beam["material"],
                "energy_kev": beam["energy_kev"],
                "cm2_g": -math.log(share) * per_g,
                "error_cm2_g": math.sqrt((1 - share) / count) * per_g,
                "reference_cm2_g": reference_cm2_g(beam["material"], beam["energy_kev"]),
                "reference": "NIST" if beam["material"] in NIST_CM2_G else "xraylib (EPDL97)",
            }
        )
    return rows


def _new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made.resolve()


def _open_singles(
    folder: Path,
    name: str,
    scanner: Scanner,
    common: dict[str, Any],
    facts: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Simulate a source in air on the axis, and return all its singles, whatever their energy.

    ``point``: 0.2 mm long, in the middle; ``line``: nearly as long as the scanner.
    """
    line_mm = LINE_SHARE * scanner.num_rings * scanner.axial_pitch_mm
    length_mm, num_decays = (0.2, POINT_DECAYS) if name == "point" else (line_mm, LINE_DECAYS)
    job = {
        **common,
        "folder": str(_new(folder, name)),
        "seed": rng.derived_seed(seed, "physics", name),
        "scanner": dataclasses.asdict(
            dataclasses.replace(scanner, energy_window_kev=OPEN_WINDOW_KEV)
        ),
        "source": {"kind": "cylinder", "radius_mm": 0.1, "length_mm": length_mm},
        "activity_bq": 1e4,  # pairs of decays 0.1 ms apart do not mix
        "duration_s": num_decays / 1e4,
    }
    result = gate.run_worker(name, job, em_tables.environment(facts["root"]))
    names = ["EventID", "EventPosition_Z", "GlobalTime", "TotalEnergyDeposit", "PostPosition_X"]
    names.append("PostPosition_Y")
    with uproot.open(folder / name / "singles.root") as file:
        singles = file["Singles"].arrays(names, library="np")
    return {"decays": result["decays"], "length_mm": length_mm, **singles}


def detection_probability(
    scanner: Scanner, z_mm: float, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the probability that a pair from a point on the axis leaves energy in any crystal.

    Chords through the box crystals and their gaps are exact; directions are drawn (0.1 %). A photon
    counts if it is absorbed or Compton scattered on its straight line; Rayleigh scattering leaves
    no energy. Air is left out (0.1 %). The pair is not quite collinear, which matters: a gap is
    seldom behind a gap.

    Parameters
    ----------
    scanner : Scanner
    z_mm : float
        Place of the decay on the axis.
    generator : numpy Generator

    Returns
    -------
    probability, solid_angle : float
        Solid angle: share of pairs of which at least one photon meets a crystal.
    """
    turn = generator.uniform(0, 2 * np.pi, NUM_DIRECTIONS)
    polar = np.arccos(generator.uniform(-1, 1, NUM_DIRECTIONS))
    spread = np.radians(ACCOLINEARITY_FWHM_DEG) / FWHM_PER_SIGMA
    tilt = generator.normal(0, spread, (2, NUM_DIRECTIONS))
    path_mm = _chord_mm(scanner, z_mm, turn, polar)
    path_mm += _chord_mm(
        scanner, z_mm, turn + np.pi + tilt[0] / np.sin(polar), np.pi - polar + tilt[1]
    )
    seen = 1 - np.exp(-lyso_mu_per_mm() * path_mm)
    return float(seen.mean()), float((path_mm > 0).mean())


def _chord_mm(
    scanner: Scanner, z_mm: float, turn: NDArray[np.float64], polar: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Length in crystals of rays from the axis; each stays in one column or leaves it for a gap."""
    columns = turn / (2 * np.pi) * scanner.num_columns
    off = np.abs(columns - np.rint(columns)) * 2 * np.pi / scanner.num_columns
    inner_mm = scanner.inner_radius_mm
    # Depth at which the ray leaves the side of its column.
    leave_mm = np.minimum(
        inner_mm + scanner.crystal_depth_mm,
        scanner.crystal_width_mm / 2 / np.maximum(np.tan(off), 1e-12),
    )
    slope = np.cos(polar) / (np.sin(polar) * np.cos(off))  # dz per depth
    slope = np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    start, end = (_crystal_length(scanner, z_mm + slope * u) for u in (inner_mm, leave_mm))
    inside_mm = (end - start) / slope / (np.sin(polar) * np.cos(off))
    return np.where(leave_mm > inner_mm, inside_mm, 0.0)


def _crystal_length(scanner: Scanner, z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of crystal between the lower end of the scanner and z."""
    from_end = z_mm / scanner.axial_pitch_mm + scanner.num_rings / 2
    ring = np.clip(np.floor(from_end), 0, scanner.num_rings - 1)
    gap_mm = (scanner.axial_pitch_mm - scanner.crystal_height_mm) / 2
    inside_mm = (from_end - ring) * scanner.axial_pitch_mm - gap_mm
    return ring * scanner.crystal_height_mm + np.clip(inside_mm, 0, scanner.crystal_height_mm)


def lyso_mu_per_mm() -> float:
    """Return LYSO's attenuation by what leaves energy at 511 keV: Compton and photoelectric."""
    total = xraylib.CS_Total_CP(LYSO_FORMULA, PHOTON_KEV)
    return float(total - xraylib.CS_Rayl_CP(LYSO_FORMULA, PHOTON_KEV)) * LYSO_G_CM3 / 10


def compare_sensitivity(
    scanner: Scanner,
    point: dict[str, Any],
    line: dict[str, Any],
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Compare the share of decays that leave energy with `detection_probability`."""
    edges = np.linspace(-line["length_mm"] / 2, line["length_mm"] / 2, 25)
    _, first = np.unique(line["EventID"], return_index=True)
    seen = np.histogram(line["EventPosition_Z"][first], edges)[0]
    emitted = line["decays"] / (len(edges) - 1)
    expected, solid_angle = detection_probability(scanner, 0.0, generator)
    found = len(np.unique(point["EventID"])) / point["decays"]
    low_kev, high_kev = scanner.energy_window_kev
    energy_kev = 1e3 * point["TotalEnergyDeposit"]
    in_window = point["EventID"][(energy_kev > low_kev) & (energy_kev < high_kev)]
    middles = (edges[1:] + edges[:-1]) / 2
    return {
        "solid_angle": solid_angle,
        "efficiency": expected / solid_angle,
        "expected": expected,
        "measured": found,
        "error": math.sqrt(found * (1 - found) / point["decays"]),
        "pairs_in_window": float((np.unique(in_window, return_counts=True)[1] > 1).sum())
        / point["decays"],
        "z_mm": middles.tolist(),
        "measured_by_z": (seen / emitted).tolist(),
        "error_by_z": (np.sqrt(seen) / emitted).tolist(),
        "expected_by_z": [detection_probability(scanner, float(z), generator)[0] for z in middles],
    }


def _gauss(x: NDArray[np.float64], height: float, mean: float, sigma: float) -> Any:
    return height * np.exp(-(((x - mean) / sigma) ** 2) / 2)


def _fit_peak(
    counts: NDArray[np.int64], edges: NDArray[np.float64], low: float, high: float, sigma: float
) -> dict[str, Any]:
    """Fit a Gaussian to the bins between `low` and `high`."""
    middles = (edges[1:] + edges[:-1]) / 2
    used = (middles > low) & (middles < high) & (counts > 0)
    start = (counts[used].max(), middles[used][np.argmax(counts[used])], sigma)
    values, covariance = curve_fit(
        _gauss, middles[used], counts[used], start, np.sqrt(counts[used]), absolute_sigma=True
    )
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "height": float(values[0]),
        "mean": float(values[1]),
        "fwhm": abs(float(values[2])) * FWHM_PER_SIGMA,
        "fwhm_error": math.sqrt(covariance[2, 2]) * FWHM_PER_SIGMA,
    }


def fit_energy(scanner: Scanner, point: dict[str, Any]) -> dict[str, Any]:
    """Fit the photopeak, keV; its lower half holds photons that left some energy elsewhere."""
    edges = np.arange(0.0, 701.0, 5.0)
    counts = np.histogram(1e3 * point["TotalEnergyDeposit"], edges)[0]
    sigma = scanner.energy_resolution * PHOTON_KEV / FWHM_PER_SIGMA
    fit = _fit_peak(counts, edges, PHOTON_KEV - 0.5 * sigma, PHOTON_KEV + 3 * sigma, sigma)
    return fit | {
        "expected_fwhm": scanner.energy_resolution * PHOTON_KEV,
        "expected_mean": PHOTON_KEV,
        "compton_edge_kev": PHOTON_KEV * 2 / 3,  # 2 E^2 / (m + 2 E) at E = m
    }


def fit_time(scanner: Scanner, point: dict[str, Any]) -> dict[str, Any]:
    """Fit the time difference of the two photons of a decay, ps.

    Expected: sqrt(2) times the resolution of a single, and the spread of the depths at which
    photons interact (an exponential, cut at the crystal's depth).
    """
    energy_kev = 1e3 * point["TotalEnergyDeposit"]
    low_kev, high_kev = scanner.energy_window_kev
    kept = np.flatnonzero((energy_kev > low_kev) & (energy_kev < high_kev))
    kept = kept[np.argsort(point["EventID"][kept], kind="stable")]
    first = np.flatnonzero(np.diff(point["EventID"][kept]) == 0)
    one, two = kept[first], kept[first + 1]
    is_right = point["PostPosition_X"][one] > point["PostPosition_X"][two]
    opposite = (
        point["PostPosition_X"][one] * point["PostPosition_X"][two]
        + point["PostPosition_Y"][one] * point["PostPosition_Y"][two]
    ) < 0
    difference_ps = 1e3 * (point["GlobalTime"][one] - point["GlobalTime"][two])
    difference_ps = np.where(is_right, difference_ps, -difference_ps)[opposite]
    edges = np.arange(-1000.0, 1001.0, 25.0)
    blur_ps = math.sqrt(2) * scanner.time_resolution_ps
    depth_mm = np.linspace(0, scanner.crystal_depth_mm, 2001)
    weight = np.exp(-lyso_mu_per_mm() * depth_mm)
    mean_mm = np.average(depth_mm, weights=weight)
    spread_mm = math.sqrt(np.average((depth_mm - mean_mm) ** 2, weights=weight))
    depth_ps = math.sqrt(2) * FWHM_PER_SIGMA * spread_mm / LIGHT_MM_PER_PS
    counts = np.histogram(difference_ps, edges)[0]
    fit = _fit_peak(counts, edges, -900, 900, blur_ps / FWHM_PER_SIGMA)
    return fit | {
        "expected_fwhm": math.hypot(blur_ps, depth_ps),
        "expected_mean": 0.0,
        "blur_fwhm": blur_ps,
        "depth_fwhm": depth_ps,
    }


def far_share(scanner: Scanner) -> float:
    """Return the share of column pairs that the sorter keeps, all columns alike."""
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    turn = np.pi * np.arange(scanner.num_columns) / scanner.num_columns
    return float(np.mean(2 * radius_mm * np.sin(turn) >= scanner.min_transaxial_distance_mm))


def measure_rates(
    folder: Path, scanner: Scanner, common: dict[str, Any], facts: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Simulate a line source in the tube at several activities.

    Expected, per second at activity A: trues and scatters in proportion to A (shares of all runs
    together), randoms R = window x singles^2 x `far_share`, NECR = T^2 / (T + S + R).
    """
    length_mm = TUBE_MM["length"]
    piece = {"radius_mm": TUBE_MM["bore"], "length_mm": length_mm, "middle_mm": [0.0, 0.0, 0.0]}
    source = {
        "kind": "solids",
        "wall": {"radius_mm": TUBE_MM["outer"], "length_mm": length_mm},
        "fluid": [piece | {"source_radius_mm": LINE_RADIUS_MM}],
        "shares": [1.0],
    }
    runs = []
    for mbq in ACTIVITIES_MBQ:
        name = f"rates_{mbq:g}_MBq"
        stats = gate.simulate(
            name, source, 1e6 * mbq, RATE_DECAYS / (1e6 * mbq), scanner,
            common["physics_list"], facts, rng.derived_seed(seed, "physics", name),
            folder / name / "coincidences.root",
            particle=common["particle"], delay_ns=common["delay_ns"],
        )  # fmt: skip
        keys = ("decays", "singles", "trues", "scatters", "randoms", "delayed")
        runs.append({"activity_mbq": mbq, **{key: stats[key] for key in keys}})
    decays, singles, trues, scatters = (
        sum(run[key] for run in runs) for key in ("decays", "singles", "trues", "scatters")
    )
    return {
        "runs": runs,
        "singles_per_decay": singles / decays,
        "trues_per_decay": trues / decays,
        "scatters_per_decay": scatters / decays,
        "scatter_fraction": scatters / (trues + scatters),
        "randoms_per_singles_squared_s": 1e-9 * scanner.coincidence_window_ns * far_share(scanner),
    }


def expected_rates(rates: dict[str, Any], activity_mbq: NDArray[np.float64]) -> dict[str, Any]:
    """Return the expected trues, scatters, randoms and NECR per second at activities in MBq."""
    per_s = 1e6 * activity_mbq
    true, scatter = rates["trues_per_decay"] * per_s, rates["scatters_per_decay"] * per_s
    random = rates["randoms_per_singles_squared_s"] * (rates["singles_per_decay"] * per_s) ** 2
    necr = true**2 / (true + scatter + random)
    return {"trues": true, "scatters": scatter, "randoms": random, "necr": necr}


def checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare each quantity: within tolerance of its expectation, or three standard errors."""
    rows = [
        _check(
            f"mu/rho {row['material']} {row['energy_kev']} keV, cm2/g", row["cm2_g"],
            row["reference_cm2_g"], row["error_cm2_g"], "mu",
        )
        for row in result["attenuation"]
    ]  # fmt: skip
    found = result["sensitivity"]
    rows.append(
        _check(
            "share of decays seen, central point", found["measured"], found["expected"],
            found["error"], "sensitivity",
        )
    )  # fmt: skip
    for key, unit in (("energy", "keV"), ("time", "ps")):
        fit = result[key]
        rows.append(
            _check(
                f"{key} FWHM, {unit}", fit["fwhm"], fit["expected_fwhm"], fit["fwhm_error"],
                f"{key}_fwhm",
            )
        )  # fmt: skip
    for run in result["rates"]["runs"]:
        duration_s = RATE_DECAYS / (1e6 * run["activity_mbq"])
        expected = expected_rates(result["rates"], np.array(1e-6 * run["decays"] / duration_s))
        for key in ("trues", "scatters", "randoms", "delayed"):
            is_random = key in ("randoms", "delayed")
            wanted = float(expected["randoms" if is_random else key]) * duration_s
            # One single in several random pairs: the variance of the number of near pairs of a
            # Poisson process of rate S is (1 + 4 S window) times its mean.
            per_window = 1e-9 * result["window_ns"] * run["singles"] / duration_s
            variance = wanted * (1 + 4 * per_window * is_random)
            name = f"{key} at {run['activity_mbq']:g} MBq"
            rows.append(_check(name, run[key], wanted, math.sqrt(max(variance, 1)), "rates"))
    return rows


def _check(
    name: str, measured: float, expected: float, error: float, tolerance: str
) -> dict[str, Any]:
    allowed = max(TOLERANCE[tolerance] * expected, 3 * error)
    return {
        "name": name,
        "measured": measured,
        "expected": expected,
        "error": error,
        "allowed": allowed,
        "is_met": bool(abs(measured - expected) <= allowed),
    }
