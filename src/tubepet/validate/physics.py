"""Compare GATE with what is known without it: attenuation, solid angle, resolution, count rates.

This is a report of its own (target ``validate_gate``), not part of the default run. Every quantity
stands beside its expectation and a tolerance; nothing is tuned. Expectations know no dead time, so
noise-equivalent counts saturate instead of falling again.
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
from scipy.stats import norm

from tubepet import rng
from tubepet.constants import FWHM_PER_SIGMA, LYSO_ATOMS, LYSO_G_CM3, PHOTON_KEV
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.simulate.geant4 import em_tables, gate
from tubepet.types import Scanner
from tubepet.validate import (
    cross_sections,
    electrons,
    official,
    physics_checks,
    references,
    sensitivity,
)

# Mass attenuation with coherent scattering, cm2/g: Hubbell and Seltzer, NISTIR 5632 (DOI
# 10.18434/T4D01F). NIST has no LYSO: it is the mean of its elements, by mass.
NIST_CM2_G = {
    "G4_WATER": {
        60: 0.2059, 100: 0.1707, 200: 0.1370, 300: 0.1186, 500: 0.09687, 800: 0.07865, 1000: 0.07072
    },
    "G4_Al": {
        60: 0.2778, 100: 0.1704, 200: 0.1223, 300: 0.1042, 500: 0.08445, 800: 0.06841, 1000: 0.06146
    },
}  # fmt: skip
DENSITY_G_CM3 = {"G4_WATER": 1.0, "G4_Al": 2.699, "LYSO": LYSO_G_CM3}
LYSO_KEV = (80, 100, 200, 300, 400, 500, 600)  # of `references.KEV`
NOT_COMPARED = "No official Geant4 tables are here: the substitute was not compared with them."
LYSO_FORMULA = "".join(f"{symbol}{count}" for symbol, count in LYSO_ATOMS.items())
MEAN_FREE_PATHS = 1.3  # of the slabs: near 1.6, where mu is measured best, and survivors are many
NUM_PHOTONS = 150_000  # of each beam: 0.3 % on mu
NUM_DIRECTIONS = 400_000
ACCOLINEARITY_FWHM_DEG = 0.5  # GATE's default
POINT_DECAYS = 200_000
LINE_DECAYS = 200_000
RATE_DECAYS = 60_000  # at each activity
ACTIVITIES_MBQ = (0.2, 1.0, 4.0, 16.0, 64.0)
LINE_RADIUS_MM, LINE_SHARE = 0.5, 0.95  # line source; share of the scanner's length, in air
TUBE_MM = {"bore": 8.0, "outer": 11.0, "length": 24.0}  # a medium-sized tube of the default run
OPEN_WINDOW_KEV = (1.0, 2 * PHOTON_KEV)
LIGHT_MM_PER_PS = 0.299792458


def measure(
    scanner: Scanner, physics_list: str, facts: dict[str, Any], seed: int, scratch: Path
) -> dict[str, Any]:
    """Run all simulations (two to three minutes of CPU) and compare.

    Parameters
    ----------
    scanner : Scanner
    physics_list : str
        Name of a Geant4 physics list.
    facts : dict
        From `em_tables.prepare`.
    seed : int
        The run's seed.
    scratch : Path
        Existing folder for the simulations' files, which do not stay.

    Returns
    -------
    dict
        tables, note, physics_list, window_ns; attenuation, sensitivity, energy, time, rates (curves
        and points), photons, electrons, radiative, bremsstrahlung, nema (see `cross_sections`,
        `electrons` and `sensitivity`); official (None without official tables), official_note; and
        checks: list of {name, measured, expected, error, allowed, is_met}.

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
    common: dict[str, Any] = {
        "physics_list": physics_list,
        "delay_ns": 500.0,
        "particle": "back_to_back",
    }
    with tempfile.TemporaryDirectory(prefix=".part-", dir=scratch) as folder:
        attenuation = measure_attenuation(Path(folder), common, facts, seed)
        point = _open_singles(Path(folder), "point", scanner, common, facts, seed)
        line = _open_singles(Path(folder), "line", scanner, common, facts, seed)
        rates = measure_rates(Path(folder), scanner, common, facts, seed)
        ranges = electrons.measure(_new(Path(folder), "electrons"), physics_list, facts, seed)
        nema = sensitivity.measure(
            scanner, physics_list, facts, seed, common["delay_ns"], Path(folder)
        )
        is_official = facts["tables"] == "official"
        compared = official.compare(Path(facts["root"]), Path(folder)) if is_official else None
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
        "photons": cross_sections.compare(),
        "electrons": ranges,
        "radiative": electrons.radiative_rows(),
        "bremsstrahlung": electrons.bremsstrahlung(scanner.energy_window_kev[0]),
        "nema": nema,
        "official": compared,
        "official_note": official.sentence(compared) if compared else NOT_COMPARED,
    }
    result["checks"] = physics_checks.checks(result)
    failed = [check["name"] for check in result["checks"] if not check["is_met"]]
    log.info("%d checks, not met: %s", len(result["checks"]), ", ".join(failed) or "none")
    return result


def reference_cm2_g(material: str, energy_kev: int) -> float:
    """Return NIST's mu/rho with coherent scattering, for LYSO by the mixture rule."""
    if material in NIST_CM2_G:
        return NIST_CM2_G[material][energy_kev]
    mixed = references.mixed(references.TOTAL_CM2_G, material)
    return float(mixed[references.KEV.index(energy_kev)])


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
                "reference": "NIST",
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
        "activity_bq": 1e4,  # decays 0.1 ms apart do not mix
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
) -> dict[str, float]:
    """Return how likely pairs from a point on the axis leave energy in crystals.

    Chords through the box crystals and their gaps are exact; directions are drawn (0.1 %). A photon
    counts if it is absorbed or Compton scattered on its straight line; Rayleigh scattering leaves
    no energy. Air is left out (0.1 %). The photons of a pair are not quite collinear. This matters:
    the photon opposite to one in a gap seldom meets a gap too.

    Parameters
    ----------
    scanner : Scanner
    z_mm : float
        Place of the decay on the axis.
    generator : numpy Generator

    Returns
    -------
    dict
        any: of at least one photon; both: of both; photons: their mean number; solid_angle: share
        of pairs of which at least one photon meets a crystal.
    """
    turn = generator.uniform(0, 2 * np.pi, NUM_DIRECTIONS)
    polar = np.arccos(generator.uniform(-1, 1, NUM_DIRECTIONS))
    spread = np.radians(ACCOLINEARITY_FWHM_DEG) / FWHM_PER_SIGMA
    tilt = generator.normal(0, spread, (2, NUM_DIRECTIONS))
    paths_mm = np.stack(
        [
            _chord_mm(scanner, z_mm, turn, polar),
            _chord_mm(
                scanner, z_mm, turn + np.pi + tilt[0] / np.sin(polar), np.pi - polar + tilt[1]
            ),
        ]
    )
    seen = 1 - np.exp(-lyso_mu_per_mm() * paths_mm)
    return {
        "any": float((1 - (1 - seen).prod(axis=0)).mean()),
        "both": float(seen.prod(axis=0).mean()),
        "photons": float(seen.sum(axis=0).mean()),
        "solid_angle": float((paths_mm.sum(axis=0) > 0).mean()),
    }


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
    """Compare decays that leave energy, and pairs in the window, with `detection_probability`.

    Expected pairs in the window: the probability that both photons leave energy, times the square
    of the window's efficiency. This is the share of photons leaving energy that are singles in the
    window. It lies between that of photoelectric absorption alone and 1.
    """
    edges = np.linspace(-line["length_mm"] / 2, line["length_mm"] / 2, 25)
    _, first = np.unique(line["EventID"], return_index=True)
    seen = np.histogram(line["EventPosition_Z"][first], edges)[0]
    emitted = line["decays"] / (len(edges) - 1)
    expected = detection_probability(scanner, 0.0, generator)
    found = len(np.unique(point["EventID"])) / point["decays"]
    low_kev, high_kev = scanner.energy_window_kev
    energy_kev = 1e3 * point["TotalEnergyDeposit"]
    in_window = point["EventID"][(energy_kev > low_kev) & (energy_kev < high_kev)]
    middles = (edges[1:] + edges[:-1]) / 2
    efficiency = len(in_window) / (point["decays"] * expected["photons"])
    pairs = float((np.unique(in_window, return_counts=True)[1] > 1).sum()) / point["decays"]
    return {
        "solid_angle": expected["solid_angle"],
        "efficiency": expected["any"] / expected["solid_angle"],
        "expected": expected["any"],
        "measured": found,
        "error": math.sqrt(found * (1 - found) / point["decays"]),
        "window_efficiency": efficiency,
        "least_window_efficiency": least_window_efficiency(scanner),
        "pairs_expected": expected["both"] * efficiency**2,
        "pairs_in_window": pairs,
        "pairs_error": math.sqrt(pairs * (1 - pairs) / point["decays"]),
        "z_mm": middles.tolist(),
        "measured_by_z": (seen / emitted).tolist(),
        "error_by_z": (np.sqrt(seen) / emitted).tolist(),
        "expected_by_z": [
            detection_probability(scanner, float(z), generator)["any"] for z in middles
        ],
    }


def least_window_efficiency(scanner: Scanner) -> float:
    """Return the window's efficiency if only photons absorbed at once were in it."""
    photo = xraylib.CS_Photo_CP(LYSO_FORMULA, PHOTON_KEV)
    share = photo / (photo + xraylib.CS_Compt_CP(LYSO_FORMULA, PHOTON_KEV))
    sigma_kev = scanner.energy_resolution * PHOTON_KEV / FWHM_PER_SIGMA
    low, high = (norm.cdf((kev - PHOTON_KEV) / sigma_kev) for kev in scanner.energy_window_kev)
    return float(share * (high - low))


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
    """Fit the photopeak (keV) without its lower flank, where photons left energy elsewhere too."""
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
    blur_ps = math.sqrt(2) * scanner.single_fwhm_ps
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


def tube_solids(source_radius_mm: float = TUBE_MM["bore"]) -> dict[str, Any]:
    """Describe a medium-sized tube as exact solids, active out to a radius."""
    length_mm = TUBE_MM["length"]
    piece = {"radius_mm": TUBE_MM["bore"], "length_mm": length_mm, "middle_mm": [0.0, 0.0, 0.0]}
    return {
        "kind": "solids",
        "wall": {"radius_mm": TUBE_MM["outer"], "length_mm": length_mm},
        "fluid": [piece | {"source_radius_mm": source_radius_mm}],
        "shares": [1.0],
    }


def measure_rates(
    folder: Path, scanner: Scanner, common: dict[str, Any], facts: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Simulate a line source in the tube at several activities.

    Expected per second at activity A: trues T and scatters S are proportional to A, by their shares
    in all runs together. Randoms R are window x singles^2 x `far_share`. NECR is T^2 / (T + S + R).
    """
    source = tube_solids(LINE_RADIUS_MM)
    runs = []
    for mbq in ACTIVITIES_MBQ:
        name = f"rates_{mbq:g}_MBq"
        stats = gate.simulate(
            name, source, 1e6 * mbq, RATE_DECAYS / (1e6 * mbq), scanner,
            common["physics_list"], facts, rng.derived_seed(seed, "physics", name),
            folder / name / "coincidences.root",
            particle=common["particle"], delay_ns=common["delay_ns"],
        )  # fmt: skip
        keys = ("decays", "duration_s", "singles", "trues", "scatters", "randoms", "delayed")
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
