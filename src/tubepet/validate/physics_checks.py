"""Each quantity of the physics report beside its expectation, and whether it is near enough."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.validate import sensitivity

# Allowed differences from the expectation, beside three standard errors.
TOLERANCE = {
    "mu": 0.02, "sensitivity": 0.02, "energy_fwhm": 0.03, "time_fwhm": 0.03, "rates": 0.02,
    "xraylib": 0.002,  # its cross sections are NIST's but for interpolation
    "total": 0.01,  # Geant4's Compton fit is within 1 % of NIST's totals
    "photo": 0.02, "compton": 0.015,  # of tables that differ by as much among themselves
    "range": 0.01, "radiative": 0.15,  # ESTAR: 1 to 2 % of the collision, 5 % of the radiative part
    "pairs": 0.02,  # the efficiency of the window depends on direction, which a mean leaves out
    "engines": 0.01,
}  # fmt: skip


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
    rows.append(
        _check(
            "pairs in the window per decay, central point", found["pairs_in_window"],
            found["pairs_expected"], found["pairs_error"], "pairs",
        )
    )  # fmt: skip
    low, efficiency = found["least_window_efficiency"], found["window_efficiency"]
    rows.append(_in_band("efficiency of the window", efficiency, 0.0, low, 1.0))
    for key, unit in (("energy", "keV"), ("time", "ps")):
        fit = result[key]
        rows.append(
            _check(
                f"{key} FWHM, {unit}", fit["fwhm"], fit["expected_fwhm"], fit["fwhm_error"],
                f"{key}_fwhm",
            )
        )  # fmt: skip
    for run in result["rates"]["runs"]:
        duration_s = run["duration_s"]
        expected = expected_rates(result["rates"], np.array(1e-6 * run["decays"] / duration_s))
        for key in ("trues", "scatters", "randoms", "delayed"):
            is_random = key in ("randoms", "delayed")
            wanted = float(expected["randoms" if is_random else key]) * duration_s
            # One single in several random pairs: the variance of the number of near pairs of a
            # Poisson process of rate S is (1 + 4 S window) times its mean. And two decays that
            # overlap give up to four pairs at once, see `transport`.
            per_window = 1e-9 * result["window_ns"] * run["singles"] / duration_s
            at_once = (1 + 2 * (run["trues"] + run["scatters"]) / run["singles"]) ** 2
            variance = wanted * (at_once * (1 + 4 * per_window) if is_random else 1.0)
            name = f"{key} at {run['activity_mbq']:g} MBq"
            rows.append(_check(name, run[key], wanted, math.sqrt(max(variance, 1)), "rates"))
    return (
        rows + _photon_checks(result["photons"]) + _electron_checks(result) + _nema_checks(result)
    )


def _photon_checks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare cross sections of each material with other tables, where they differ most."""
    checked = []
    for material in dict.fromkeys(row["material"] for row in rows):
        mine = [row for row in rows if row["material"] == material]
        used = [row["engine"] or row["geant4"] for row in mine]
        ratios = {
            ("xraylib over NIST, total", "xraylib"): [
                row["xraylib"]["total"] / row["nist"] for row in mine
            ],
            ("engines over NIST, total", "total"): [
                one["total"] / row["nist"] for one, row in zip(used, mine, strict=True)
            ],
            ("engines over LLNL, photoelectric", "photo"): [
                one["photo"] / row["llnl"]["photo"] for one, row in zip(used, mine, strict=True)
            ],
            ("Geant4's Compton fit over LLNL", "compton"): [
                row["geant4"]["incoherent"] / row["llnl"]["incoherent"] for row in mine
            ],
            # Anomalous scattering, which NIST's leaves out, as a share of all attenuation.
            ("total with LLNL's coherent part over without", "total"): [
                1 + (row["llnl"]["coherent"] - row["xraylib"]["coherent"]) / row["nist"]
                for row in mine
            ],
        }
        for (name, tolerance), values in ratios.items():
            furthest = max(values, key=lambda value: abs(value - 1))
            checked.append(_check(f"{name}, {material}", furthest, 1.0, 0.0, tolerance))
    return checked


def _electron_checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare ranges with ESTAR's, and the substitute's bremsstrahlung with its radiative part."""
    rows = [
        _check(
            f"range of electrons in {row['material']}, {row['energy_kev']} keV, mm",
            row["range_mm"], row["reference_mm"], 0.0, "range",
        )
        for row in result["electrons"]
    ]  # fmt: skip
    for element in dict.fromkeys(row["element"] for row in result["radiative"]):
        ratios = [
            row["mev_cm2_g"] / row["reference_mev_cm2_g"]
            for row in result["radiative"]
            if row["element"] == element
        ]
        furthest = max(ratios, key=lambda value: abs(value - 1))
        name = f"substitute's bremsstrahlung over ESTAR's, {element}"
        rows.append(_check(name, furthest, 1.0, 0.0, "radiative"))
    return rows


def _nema_checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare both engines, and the simulated Inveon with what was measured."""
    rows = []
    for row in result["nema"]:
        what = f"{row['object']}, {row['scanner']} scanner"
        for key in ("trues", "scatter_fraction"):
            (gate_value, gate_error), (fast_value, fast_error) = row["gate"][key], row["fast"][key]
            if gate_value > 0:
                error = math.hypot(gate_error, fast_error)
                name = f"fast engine's {key.replace('_', ' ')}, {what}"
                rows.append(_check(name, fast_value, gate_value, error, "engines"))
        if row["scanner"] == "Inveon":
            is_point = row["object"] == "point"
            key = "sensitivity" if is_point else f"scatter fraction, {row['object']}"
            value, error = row["gate"]["trues" if is_point else "scatter_fraction"]
            low, high = sensitivity.band(key)
            rows.append(_in_band(f"GATE's {key}, Inveon", value, error, low, high))
    return rows


def _in_band(name: str, value: float, error: float, low: float, high: float) -> dict[str, Any]:
    """Check that a value lies between `low` and `high`, give or take three standard errors."""
    middle, half = (low + high) / 2, (high - low) / 2
    return {
        "name": name,
        "measured": value,
        "expected": middle,
        "error": error,
        "allowed": half + 3 * error,
        "is_met": bool(abs(value - middle) <= half + 3 * error),
    }


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
