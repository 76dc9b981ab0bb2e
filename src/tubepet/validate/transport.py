"""Compare GATE and the fast engine on the same tubes, and judge all of them together.

One case alone cannot show a small bias, so the counts of all cases are pooled: GATE's against the
fast engine's, scaled to as many decays. A count agrees if the pooled ratio differs from 1 by at
most its tolerance plus two standard errors. The errors must also be small enough that a difference
would show (`SEEN`). Otherwise the verdict is `TOO_FEW`, which is no agreement.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi_square

from tubepet import layout
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.simulate import engines
from tubepet.simulate.coincidences import branches, read_branches
from tubepet.types import Scanner
from tubepet.validate import cases

FAST_TIMES = 8  # times GATE's decays, so that GATE's errors dominate
ENGINES = ("gate", "fast")
AGREE, DISAGREE, TOO_FEW = "agree", "disagree", "not enough counts"
COUNTS = ("singles", "prompts", "trues", "scatters", "randoms")
FRACTION = "scatter_fraction"
# Allowed difference in per cent (of the scatter fraction: in points); those of scatters and of
# randoms, a tenth and a twentieth of the prompts, are worth 0.2 and 0.1 % of the prompts.
TOLERANCE = {
    "singles": 0.3, "prompts": 0.5, "trues": 0.5, "scatters": 2.0, "randoms": 2.0, FRACTION: 0.3,
}  # fmt: skip
SIGMAS = 2.0  # of the pooled ratio, added to the tolerance
# Differences that three standard errors must not hide, in the unit of TOLERANCE.
SEEN = {"run": {"singles": 1.0, "prompts": 1.0}, "full": TOLERANCE}
SEEN_SIGMAS = 3.0
MIN_P = 0.001  # of a test of shape or of spread, times their number (Bonferroni)
LEAST_COUNTS = 20  # in GATE's bin, or it is joined with its neighbour
TITLES = {
    "energy_kev": "energy of the singles in coincidences / keV",
    "axial_mm": "z of the middle of the line / mm",
    "radial_mm": "distance of the line from the axis / mm",
    "difference_mm": "difference of z of the ends / mm",
}


class Sample(NamedTuple):
    """One engine's acquisition: statistics, and counts per bin of `TITLES`."""

    stats: dict[str, Any]
    edges: dict[str, list[float]]
    counts: dict[str, list[int]]


def run_both(
    case: cases.Case,
    num_decays: float,
    scanner: Scanner,
    physics_list: str,
    g4data_facts: dict[str, Any],
    seed: int,
    delay_ns: float,
    device: str,
) -> dict[str, Any]:
    """Simulate a case with GATE and with the fast engine.

    Parameters
    ----------
    case : Case
    num_decays : float
        Expected decays by GATE; the fast engine follows `FAST_TIMES` as many.
    scanner, physics_list, g4data_facts, seed, delay_ns, device
        As in `engines.simulate`.

    Returns
    -------
    dict
        case (in words), gate and fast: a `Sample` each.
    """
    samples = []
    with tempfile.TemporaryDirectory() as folder:
        *described, activity_bq = cases.described(case, Path(folder))
        for engine, source, times in zip(("gate", "fast"), described, (1, FAST_TIMES), strict=True):
            path = Path(folder) / f"{engine}.root"
            stats = engines.simulate(
                engine, case.name, source, activity_bq, times * num_decays / activity_bq, scanner,
                physics_list, g4data_facts, seed, 1, path,
                particle="back_to_back", delay_ns=delay_ns, device=device,
            )  # fmt: skip
            samples.append(Sample(stats, *_histograms(path, scanner))._asdict())
    return {"case": case.sentence(), "gate": samples[0], "fast": samples[1]}


def _histograms(
    path: Path, scanner: Scanner
) -> tuple[dict[str, list[float]], dict[str, list[int]]]:
    data = read_branches(path, branches("PostPosition", "TotalEnergyDeposit"))
    x1, y1, z1, x2, y2, z2 = (data[f"PostPosition{i}_{axis}"] for i in (1, 2) for axis in "XYZ")
    differences_mm: NDArray[np.floating]
    if scanner.modules:
        length_mm = 2 * layout.half_length_mm(scanner)
        differences_mm = np.linspace(-length_mm, length_mm, 33) + 0.01
    else:
        length_mm = scanner.num_rings * scanner.axial_pitch_mm
        steps = np.arange(-scanner.num_rings, scanner.num_rings + 1, 4) + 0.5
        differences_mm = steps * scanner.axial_pitch_mm
    values = {
        "energy_kev": 1e3 * np.concatenate([data[f"TotalEnergyDeposit{i}"] for i in (1, 2)]),
        "axial_mm": (z1 + z2) / 2,
        "radial_mm": np.abs(x1 * y2 - x2 * y1) / np.hypot(x2 - x1, y2 - y1),
        "difference_mm": z2 - z1,
    }
    edges: dict[str, Any] = {
        "energy_kev": np.linspace(*scanner.energy_window_kev, 25),
        "axial_mm": np.linspace(-length_mm / 2, length_mm / 2, 33) + 0.01,  # no centre on an edge
        "radial_mm": np.linspace(0, layout.bore_mm(scanner), 51),
        "difference_mm": differences_mm,
    }
    counts = {key: np.histogram(values[key], edges[key])[0].tolist() for key in TITLES}
    return {key: edge.tolist() for key, edge in edges.items()}, counts


def two_samples(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, int]:
    """Compare the shapes of two histograms of Poisson counts, whatever their totals.

    Returns
    -------
    chi2, degrees of freedom
        Chi-square of homogeneity; bins of `a` below `LEAST_COUNTS` are joined with the next.
    """
    joined: list[list[int]] = [[0, 0]]
    for one, two in zip(a.tolist(), b.tolist(), strict=True):
        if joined[-1][0] >= LEAST_COUNTS:
            joined.append([0, 0])
        joined[-1][0] += one
        joined[-1][1] += two
    if len(joined) > 1 and joined[-1][0] < LEAST_COUNTS:
        rest = joined.pop()
        joined[-1] = [joined[-1][0] + rest[0], joined[-1][1] + rest[1]]
    table = np.array(joined, float)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(table.sum(), 1)
    value = float(((table - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
    return value, len(table) - 1


def pooled(results: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Pool a count over cases.

    Parameters
    ----------
    results : list of dict
        From `run_both`.
    key : str
        One of `COUNTS`.

    Returns
    -------
    dict
        percent: difference of the pooled ratio, fast over GATE, from 1; percent_sigma: its
        standard error; cases: the same of each (None where nothing was counted); chi2 and dof of
        the cases among themselves.
    """
    gate, fast = (np.array([_count(r, engine, key) for r in results]) for engine in ENGINES)
    if not (gate[:, 0].sum() and fast[:, 0].sum()):
        return {"percent": 0.0, "percent_sigma": np.inf, "cases": [], "chi2": 0.0, "dof": 0}
    ratio = fast[:, 0].sum() / gate[:, 0].sum()
    error = ratio * np.hypot(*(np.sqrt(n[:, 1].sum()) / n[:, 0].sum() for n in (gate, fast)))
    # Of the difference fast - ratio x GATE, which is defined without counts too.
    off = fast[:, 0] - ratio * gate[:, 0]
    variance = fast[:, 1] + ratio**2 * gate[:, 1]
    each: list[Any] = []
    for (n1, v1), (n2, v2) in zip(gate, fast, strict=True):
        sigma = n2 / n1 * np.sqrt(v1 / n1**2 + v2 / n2**2) if n1 and n2 else None
        each.append(None if sigma is None else [100 * float(n2 / n1 - 1), 100 * float(sigma)])
    return {
        "percent": 100 * float(ratio - 1),
        "percent_sigma": 100 * float(error),
        "cases": each,
        "chi2": float((off**2 / np.maximum(variance, 1e-9)).sum()),
        "dof": len(results) - 1,
    }


def _count(result: dict[str, Any], engine: str, key: str) -> tuple[float, float]:
    """Return a count, scaled to GATE's number of decays, and its variance.

    Counts of different decays are independent, so the variance is n times that of one of n decays.
    A decay gives k = 0, 1 or 2 singles, and 0 or 1 true or scattered pair. Randoms come in
    clusters: decays a and b that overlap give k_a k_b of them at once. So their variance is
    (E[k^2] / E[k])^2 times their number, about twice. A single can also be in several randoms. That
    is a factor 1 + 4 S window; with singles S and randoms R per second, S window is about R / S.
    """
    stats = result[engine]["stats"]
    decays, singles = max(stats["decays"], 1), max(stats["singles"], 1)
    scale = result["gate"]["stats"]["decays"] / decays
    pairs = stats["trues"] + stats["scatters"]
    square_share = 1 + 2 * pairs / singles  # E[k^2] / E[k]: two at once are a pair
    of_randoms = stats["randoms"] * square_share**2 * (1 + 4 * stats["randoms"] / singles)
    variance = {
        "singles": singles * (square_share - singles / decays),
        "prompts": pairs * (1 - pairs / decays) + of_randoms,
        "trues": stats["trues"] * (1 - stats["trues"] / decays),
        "scatters": stats["scatters"] * (1 - stats["scatters"] / decays),
        "randoms": of_randoms,
    }[key]
    return scale * stats[key], scale**2 * variance


def pooled_fraction(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Pool the scatter fraction over cases: S / (S + T) of all, in points (per cent).

    Returns
    -------
    dict
        gate, fast: the fractions; percent: their difference; percent_sigma.
    """
    values, variances = [], []
    for engine in ENGINES:
        scatters, trues = (
            np.array([_count(r, engine, key) for r in results]).sum(axis=0)
            for key in ("scatters", "trues")
        )
        total = scatters[0] + trues[0]
        if total == 0:
            return {"gate": 0.0, "fast": 0.0, "percent": 0.0, "percent_sigma": np.inf}
        share = scatters[0] / total
        values.append(float(share))
        variances.append(((1 - share) ** 2 * scatters[1] + share**2 * trues[1]) / total**2)
    return {
        "gate": values[0],
        "fast": values[1],
        "percent": 100 * (values[1] - values[0]),
        "percent_sigma": 100 * float(np.sqrt(sum(variances))),
    }


def judge(results: list[dict[str, Any]], scope: str) -> dict[str, Any]:
    """Judge the fast engine against GATE over all cases together.

    Parameters
    ----------
    results : list of dict
        From `run_both`.
    scope : str
        "run" or "full": what must be visible, see `SEEN`.

    Returns
    -------
    dict
        scope; counts and scatter_fraction (see `pooled`, with tolerance, agrees, is_seen); tests of
        shape and spread (chi2, dof, p, agrees); verdict, one of `AGREE`, `DISAGREE`, `TOO_FEW`;
        statement, in one sentence; cases, tables, decays and decays_per_cpu_s.
    """
    counts = {key: pooled(results, key) for key in COUNTS}
    fraction = pooled_fraction(results)
    for key, row in (*counts.items(), (FRACTION, fraction)):
        row["tolerance"] = TOLERANCE[key]
        row["agrees"] = bool(abs(row["percent"]) <= TOLERANCE[key] + SIGMAS * row["percent_sigma"])
        must_see = SEEN[scope].get(key, np.inf)
        row["is_seen"] = bool(SEEN_SIGMAS * row["percent_sigma"] <= must_see)
    tests = {f"shape of {key}": _shape(results, key) for key in TITLES}
    tests |= {
        f"spread of {key}": {"chi2": row.pop("chi2"), "dof": row.pop("dof")}
        for key, row in counts.items()
    }
    for row in tests.values():
        row["p"] = float(chi_square.sf(row["chi2"], row["dof"])) if row["dof"] else 1.0
        row["agrees"] = bool(row["p"] * len(tests) >= MIN_P)
    judged = {**counts, FRACTION: fraction, **tests}
    broken = [key for key, row in judged.items() if not row["agrees"]]
    unseen = [key for key, row in judged.items() if not row.get("is_seen", True)]
    verdict = DISAGREE if broken else TOO_FEW if unseen else AGREE
    decays = {engine: sum(r[engine]["stats"]["decays"] for r in results) for engine in ENGINES}
    return {
        "scope": scope,
        "verdict": verdict,
        "statement": _statement(verdict, broken, unseen, counts, decays, len(results)),
        "counts": {key: _finite(row) for key, row in counts.items()},
        FRACTION: _finite(fraction),
        "tests": tests,
        "cases": [r["case"] for r in results],
        "tables": results[0]["gate"]["stats"]["tables"],
        "decays": decays,
        "decays_per_cpu_s": {
            engine: [r[engine]["stats"]["decays_per_cpu_s"] for r in results] for engine in ENGINES
        },
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an error without counts is None."""
    known = bool(np.isfinite(row["percent_sigma"]))
    return row | {"percent_sigma": row["percent_sigma"] if known else None}


def _shape(results: list[dict[str, Any]], key: str) -> dict[str, Any]:
    tested = [
        two_samples(*(np.array(r[engine]["counts"][key]) for engine in ENGINES)) for r in results
    ]
    return {"chi2": sum(value for value, _ in tested), "dof": sum(dof for _, dof in tested)}


def _statement(
    verdict: str,
    broken: list[str],
    unseen: list[str],
    counts: dict[str, Any],
    decays: dict[str, int],
    num_cases: int,
) -> str:
    words = {
        AGREE: "agree in all counts and shapes",
        DISAGREE: f"disagree in {', '.join(broken)}",
        TOO_FEW: f"are not shown to agree: not enough counts to judge {', '.join(unseen)}",
    }
    shown = ", ".join(
        f"{key} {counts[key]['percent']:+.2f} ± {counts[key]['percent_sigma']:.2f} %"
        for key in ("singles", "prompts")
    )
    return (
        f"GATE ({decays['gate']:,} decays in {num_cases} tubes) and the fast engine "
        f"({decays['fast']:,}) {words[verdict]}; fast over GATE: {shown}."
    )


def require(judged: dict[str, Any], engine: str) -> None:
    """Log the verdict; stop a run that would rely on an engine which disagrees with GATE.

    Too few counts do not stop it; the report says so.

    Raises
    ------
    InputError
        If the engine is "fast" and the verdict is `DISAGREE`.
    """
    (log.info if judged["verdict"] == AGREE else log.warning)("%s", judged["statement"])
    if engine == "fast" and judged["verdict"] == DISAGREE:
        raise InputError(f"simulate.engine: got fast, expected gate, because {judged['statement']}")
