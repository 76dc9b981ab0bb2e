"""Data tables for Geant4 11.4: the official ones if they are there, else a substitute from xraylib.

First step of the simulate stage; it must run before anything imports opengate_core, which would
try to download the official tables. `environment` gives the variables that stop that.

The substitute holds what the photon and electron models of the standard lists `PHYSICS_LISTS` read
for the elements in use, in the file formats of Geant4 11.4.0 (G4LivermorePhotoElectricModel,
G4LivermoreRayleighModel, G4SeltzerBergerModel). Compton scattering, ionisation, multiple scattering
and annihilation need no file. Simplified: shares of the subshells are frozen above 195 keV, and
bremsstrahlung is the Bethe-Heitler formula 3BN with the Elwert factor. Relaxation is in
`relaxation_tables`. Ions and radioactive decays are impossible.

`tubepet tables check DIR` says in one sentence which tables a run takes.
"""

import hashlib
import importlib.util
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xraylib
from numpy.typing import NDArray
from scipy.optimize import nnls

from tubepet.constants import FINE_STRUCTURE
from tubepet.errors import InputError
from tubepet.simulate.geant4 import relaxation_tables

# Environment variable and folder of each data set (Geant4 11.4.0).
DATA_SETS = {
    "G4LEDATA": "G4EMLOW8.8",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE3.0",
    "G4NEUTRONHPDATA": "G4NDL4.7.1",
    "G4LEVELGAMMADATA": "PhotonEvaporation6.1.2",
    "G4RADIOACTIVEDATA": "RadioactiveDecay6.1.2",
    "G4PARTICLEXSDATA": "G4PARTICLEXS4.2",
    "G4PIIDATA": "G4PII1.3",
    "G4REALSURFACEDATA": "RealSurface2.2",
    "G4SAIDXSDATA": "G4SAIDDATA2.0",
    "G4ABLADATA": "G4ABLA3.3",
    "G4INCLDATA": "G4INCL1.3",
    "G4CHANNELINGDATA": "G4CHANNELING2.0",
}
# What the physics lists of the config, all electromagnetic, read; they run without the others.
NEEDED_SETS = ("G4LEDATA", "G4ENSDFSTATEDATA")
# Air: C N O Ar; water: H O; LYSO: Lu Y Si O; the others: `tubepet.phantom.materials`.
ELEMENTS = (
    "H", "C", "N", "O", "Al", "Si", "Ar", "Ti", "Cr", "Fe", "Ni", "Cu", "Zn", "Y", "Lu",
)  # fmt: skip
# Lists that the substitute serves; the others need further tables.
PHYSICS_LISTS = (
    "G4EmStandardPhysics",
    "G4EmStandardPhysics_option1",
    "G4EmStandardPhysics_option2",
)
MARKER = "SUBSTITUTE.txt"  # lies in a substitute tree, so that none is ever taken for official
NOTES = {
    "official": "Geant4 ran on its official data tables.",
    "substitute": (
        "Geant4 ran on a substitute for its official data tables, computed from xraylib: photon "
        "attenuation between 30 and 1000 keV agrees with NIST within 2 %, ranges of electrons "
        "within 1 %; fluorescence is approximate, ions and radioactive decays impossible."
    ),
}

TABLES_TO_MEV = 0.75  # the models read tables below this energy and a fitted sum above
TABLE_END_MEV = 0.8  # end of xraylib's tables
TABLE_START_MEV = 1.001e-4  # and their start
SHELL_SHARES_TO_KEV = 195.0  # end of xraylib's subshell tables (Kissel)
ELECTRON_MASS_MEV = 0.51099895  # CODATA 2018
R0_SQUARED_MBARN = 79.40788  # classical electron radius squared (2.8179403 fm)^2


def prepare(choice: str, official_dir: str, target: Path) -> dict[str, Any]:
    """Find the official tables or build the substitute.

    Parameters
    ----------
    choice : str
        ``auto`` (official if found), ``official`` or ``substitute``.
    official_dir : str
        Folder that holds the official data sets; "" stands for opengate's own folder.
    target : Path
        Folder to make; it holds the substitute tree, or a note where the official tables are.

    Returns
    -------
    dict
        tables ("official" or "substitute"), note, root (folder of the data sets), elements and
        xraylib_version and tables_sha256 (None for official).

    Raises
    ------
    InputError
        If official tables are asked for and a data set is missing.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = find_official(choice, official_dir)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as scratch:
        part = Path(scratch) / target.name
        part.mkdir()
        if folder is not None:
            (part / "OFFICIAL.txt").write_text(f"The official tables are in {folder}\n")
            facts = _facts("official", folder)
        else:
            build_substitute(part)
            own = {"elements": list(ELEMENTS), "xraylib_version": xraylib.__version__}
            facts = _facts("substitute", target, **own, tables_sha256=_sum_of_tree(part))
        part.rename(target)
    return facts


def find_official(choice: str, official_dir: str) -> Path | None:
    """Return the folder of the official tables, or None where the substitute is to be used.

    Parameters and errors as for `prepare`.
    """
    if choice == "substitute":
        return None
    folder = Path(official_dir) if official_dir else _opengate_folder()
    missing = [DATA_SETS[key] for key in NEEDED_SETS if not (folder / DATA_SETS[key]).is_dir()]
    if not missing and not (folder / MARKER).exists():
        return folder
    if choice == "official":
        what = f"folder {missing[0]} is missing" if missing else f"{MARKER} lies there"
        raise InputError(
            f"simulate.g4_data: got 'official', but {what} in {folder}; expected the data sets of "
            "Geant4 11.4 (set simulate.g4_data_dir), or 'auto' or 'substitute'"
        )
    if official_dir:
        what = f"without {missing[0]}" if missing else f"with {MARKER}"
        raise InputError(
            f"simulate.g4_data_dir: got {official_dir} {what}, expected a folder with the official "
            "data sets of Geant4 11.4, or '' to do without"
        )
    return None


def _facts(tables: str, root: Path, **own: Any) -> dict[str, Any]:
    unknown = {"elements": None, "xraylib_version": None, "tables_sha256": None}
    return {"tables": tables, "note": NOTES[tables], "root": str(root)} | unknown | own


def _sum_of_tree(root: Path) -> str:
    """SHA-256 of names and contents of all files but hidden ones (Snakemake's time stamp)."""
    whole = hashlib.sha256()
    for folder, _, names in sorted(os.walk(root, followlinks=True)):
        for path in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
            whole.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()


def _opengate_folder() -> Path:
    """Where opengate keeps its download (found without importing opengate_core)."""
    spec = importlib.util.find_spec("opengate_core")
    if spec is None or spec.origin is None:
        raise InputError("opengate_core: not installed, expected the package opengate")
    return Path(spec.origin).parent / "geant4_data"


def check(facts: dict[str, Any], physics_list: str) -> None:
    """Check the tables before Geant4 starts: what it misses, it answers with a silent abort.

    Raises
    ------
    InputError
        Names the missing file, or the list that the substitute cannot serve.
    """
    root = Path(facts["root"])
    needed = [root / DATA_SETS[key] for key in NEEDED_SETS]
    if facts["tables"] == "substitute":
        if physics_list not in PHYSICS_LISTS:
            raise InputError(
                f"simulate.physics_list: got {physics_list}, expected one of "
                f"{', '.join(PHYSICS_LISTS)} (the others need the official Geant4 tables)"
            )
        if lacking := sorted(set(ELEMENTS) - set(facts["elements"])):
            raise InputError(
                f"{root}: got tables without {lacking[0]}, expected all elements of the materials "
                f"({', '.join(ELEMENTS)}); run rule prepare_g4data again"
            )
        needed += [root / name for symbol in facts["elements"] for name in _element_files(symbol)]
    for path in needed:
        if not path.exists():
            raise InputError(f"{path}: missing Geant4 data, expected it from rule prepare_g4data")
    if facts["tables"] == "substitute" and _sum_of_tree(root) != facts["tables_sha256"]:
        wrong = [str(root)]
        if needed[0].is_symlink():  # from a cache: the folder is our own, what is in it are links
            wrong.append(str(needed[0].resolve().parent))
        raise InputError(
            f"{root}: got damaged tables, their content does not fit tables_sha256 of g4data.json "
            f"(delete {' and '.join(wrong)} to have them made again)"
        )


def environment(root: str) -> dict[str, str]:
    """Return the variables that point Geant4 at `root`, to be set before opengate is imported."""
    folder = Path(root).resolve()
    # GATEONRTD is opengate's switch for its documentation build: no check, no download.
    return {"GATEONRTD": "1", **{key: str(folder / name) for key, name in DATA_SETS.items()}}


def build_substitute(root: Path) -> None:
    """Write the substitute tree for `ELEMENTS` into the existing folder `root`."""
    for name in DATA_SETS.values():
        (root / name).mkdir()
    (root / MARKER).write_text(NOTES["substitute"] + "\n")
    (root / DATA_SETS["G4ENSDFSTATEDATA"] / "ENSDFSTATE.dat").touch()
    for symbol in ELEMENTS:
        texts = {**photoelectric_files(symbol), **rayleigh_files(symbol), **brems_files(symbol)}
        _write(root, texts)
    _write(root / DATA_SETS["G4LEDATA"], relaxation_tables.files())


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _element_files(symbol: str) -> list[str]:
    z = xraylib.SymbolToAtomicNumber(symbol)
    low = DATA_SETS["G4LEDATA"]
    return [
        f"{low}/epics2017/phot/pe-cs-{z}.dat",
        f"{low}/epics2017/phot/pe-high-{z}.dat",
        f"{low}/epics2017/phot/pe-low-{z}.dat",
        f"{low}/epics2017/rayl/re-cs-{z}.dat",
        f"{low}/brem_SB/br{z}",
    ]


def _log_grid(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Logarithmic grid whose ends lie just inside [low, high]."""
    return np.geomspace(low * (1 + 1e-6), high * (1 - 1e-6), count)


def _vector(energy_mev: NDArray[np.float64], value: NDArray[np.float64], extra: str = "") -> str:
    """Text of a G4PhysicsFreeVector."""
    count = len(energy_mev)
    head = f"{energy_mev[0]:.8g} {energy_mev[-1]:.8g} {count}{extra}\n"
    return head + "".join(f"{e:.8g} {v:.8g}\n" for e, v in zip(energy_mev, value, strict=True))


def _photo_barn(z: int, energy_mev: float) -> float:
    """Total photoelectric cross section in barn per atom (EPDL97)."""
    return float(xraylib.CSb_Photo(z, 1e3 * energy_mev))


def _edges(z: int) -> list[tuple[int, float]]:
    """(xraylib shell index, edge in MeV) of the known shells, innermost first."""
    index = list(relaxation_tables.SHELLS).index
    return [(index(name), mev) for name, mev in relaxation_tables.edges_mev(z).items()]


def _shell_shares(z: int, edges: list[tuple[int, float]], energy_mev: float) -> NDArray[np.float64]:
    """Share of each shell in the photoelectric cross section, sum 1 (Kissel)."""
    energy_kev = min(1e3 * energy_mev, SHELL_SHARES_TO_KEV)
    shares = np.zeros(len(edges))
    for i, (i_shell, edge_mev) in enumerate(edges):
        if energy_kev > 1e3 * edge_mev:
            try:
                # xraylib's partial cross sections are per electron of the subshell
                per_electron = xraylib.CSb_Photo_Partial(z, i_shell, energy_kev)
                shares[i] = per_electron * xraylib.ElectronConfig(z, i_shell)
            except ValueError:  # not tabulated: its share is below the others' error
                continue
    if shares.sum() == 0:  # below all tabulated shells: the innermost open one takes it
        shares[next(i for i, (_, edge) in enumerate(edges) if energy_kev > 1e3 * edge)] = 1.0
    return shares / shares.sum()


def photoelectric_files(symbol: str) -> dict[str, str]:
    """Texts of the photoelectric files of one element, by path below the root.

    Tables hold sigma E^3 (barn MeV^3) against E (MeV). Above `TABLES_TO_MEV` the model sums
    a_i / E^(i+1), i = 0..5; the coefficients are fitted, not negative, and continuous there.
    """
    z = xraylib.SymbolToAtomicNumber(symbol)
    folder = f"{DATA_SETS['G4LEDATA']}/epics2017/phot"
    edges = _edges(z)
    k_edge_mev = edges[0][1]

    def table(energy_mev: NDArray[np.float64], extra: str = "") -> str:
        value = [_photo_barn(z, e) * e**3 for e in energy_mev]
        return _vector(energy_mev, np.array(value), extra)

    above = _log_grid(max(k_edge_mev, TABLE_START_MEV), TABLE_END_MEV, 240)
    files = {f"{folder}/pe-cs-{z}.dat": table(above, f"\n{len(above)}")}
    if len(edges) > 1:
        below = _log_grid(TABLE_START_MEV, k_edge_mev, 400)
        jumps = [e * side for _, e in edges[1:] for side in (1 - 1e-6, 1 + 1e-6)]
        jumps = [e for e in jumps if below[0] < e < below[-1]]
        below = np.unique(np.concatenate([below, jumps]))
        files[f"{folder}/pe-le-cs-{z}.dat"] = table(below, f"\n{len(below)}")
        text = ""
        for i, (_, edge_mev) in enumerate(edges):
            energy = _log_grid(max(edge_mev, TABLE_START_MEV), TABLE_END_MEV, 60)
            value = [_shell_shares(z, edges, e)[i] * _photo_barn(z, e) * e**3 for e in energy]
            text += _vector(energy, np.array(value), f" {i}")
        files[f"{folder}/pe-ss-cs-{z}.dat"] = text

    energy = _log_grid(0.3, TABLE_END_MEV, 80)
    barn = np.array([_photo_barn(z, e) for e in energy])
    powers = np.array([energy ** -(i + 1.0) for i in range(6)]).T
    fit, _ = nnls(powers / barn[:, None], np.ones(len(energy)))  # relative least squares
    at_join = sum(fit[i] * TABLES_TO_MEV ** -(i + 1.0) for i in range(6))
    fit *= _photo_barn(z, TABLES_TO_MEV) / at_join
    shares = np.cumsum(_shell_shares(z, edges, TABLES_TO_MEV))
    text = f"{len(edges)} {len(edges)} {TABLES_TO_MEV}\n"
    for (_, edge_mev), share in zip(edges, shares, strict=True):
        text += f"{edge_mev:.8g} " + " ".join(f"{share * a:.8g}" for a in fit) + "\n"
    files[f"{folder}/pe-high-{z}.dat"] = files[f"{folder}/pe-low-{z}.dat"] = text
    return files


def rayleigh_files(symbol: str) -> dict[str, str]:
    """Text of the Rayleigh file of one element: sigma E^2 (mm2 MeV2) against E (MeV)."""
    z = xraylib.SymbolToAtomicNumber(symbol)
    energy = _log_grid(TABLE_START_MEV, TABLE_END_MEV, 300)
    mm2_per_barn = 1e-22
    value = np.array([xraylib.CSb_Rayl(z, 1e3 * e) * mm2_per_barn * e**2 for e in energy])
    first = 1e-5  # MeV; the cross section is constant towards zero
    energy = np.concatenate([[first], energy])
    value = np.concatenate([[value[0] * (first / energy[1]) ** 2], value])
    path = f"{DATA_SETS['G4LEDATA']}/epics2017/rayl/re-cs-{z}.dat"
    return {path: _vector(energy, value, f"\n{len(energy)}")}


def scaled_brems_mbarn(
    z: int, kinetic_mev: NDArray[np.float64], photon_share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scaled bremsstrahlung cross section (beta^2 / Z^2) k dsigma/dk in mbarn.

    Bethe-Heitler formula 3BN with the Elwert factor, capped above 2 MeV by complete screening
    (3BS), of Koch & Motz 1959, DOI 10.1103/RevModPhys.31.920.

    Parameters
    ----------
    kinetic_mev, photon_share : float64 array
        Kinetic energy T of the electron in MeV, and k / T; they broadcast.

    Returns
    -------
    float64 array
    """
    e0 = kinetic_mev / ELECTRON_MASS_MEV + 1  # energies and momenta in units of the electron's mass
    k = np.clip(photon_share, 1e-7, 1 - 1e-5) * kinetic_mev / ELECTRON_MASS_MEV
    e = e0 - k
    p0, p = np.sqrt(e0**2 - 1), np.sqrt(e**2 - 1)
    eps0, eps = 2 * np.log(e0 + p0), 2 * np.log(e + p)
    log_term = 2 * np.log((e * e0 + p * p0 - 1) / k)
    bracket = (
        4 / 3
        - 2 * e * e0 * (p**2 + p0**2) / (p0 * p) ** 2
        + eps0 * e / p0**3
        + eps * e0 / p**3
        - eps * eps0 / (p0 * p)
        + log_term
        * (
            8 * e * e0 / (3 * p0 * p)
            + k**2 / (p0 * p) ** 3 * ((e0 * e) ** 2 + (p0 * p) ** 2)
            + k
            / (2 * p0 * p)
            * (
                (e0 * e + p0**2) / p0**3 * eps0
                - (e0 * e + p**2) / p**3 * eps
                + 2 * k * e * e0 / (p * p0) ** 2
            )
        )
    )
    sigma = FINE_STRUCTURE * R0_SQUARED_MBARN * p / p0 * bracket
    ratio = e / e0
    screened = (1 + ratio**2 - 2 / 3 * ratio) * np.log(183 * z ** (-1 / 3)) + ratio / 9
    cap = 4 * FINE_STRUCTURE * R0_SQUARED_MBARN * screened
    sigma = np.where(kinetic_mev > 2.0, np.minimum(sigma, cap), sigma)
    beta0, beta = p0 / e0, p / e
    strength = 2 * np.pi * FINE_STRUCTURE * z
    elwert = beta0 / beta * np.expm1(-strength / beta0) / np.expm1(-strength / beta)
    return np.maximum(sigma * elwert * beta0**2, 1e-3)


def brems_files(symbol: str) -> dict[str, str]:
    """Text of the bremsstrahlung file of one element (a G4Physics2DVector over k/T and ln T)."""
    z = xraylib.SymbolToAtomicNumber(symbol)
    share = np.concatenate(
        [[1e-12, 0.025, 0.05, 0.075], np.arange(0.1, 0.9, 0.05),
         [0.9, 0.925, 0.95, 0.97, 0.99, 0.995, 0.999, 0.9999, 0.99999, 1.0]]
    )  # fmt: skip
    decade = np.array([1, 1.5, 2, 3, 4, 5, 6, 8])
    kinetic_mev = np.concatenate([10.0**n * decade for n in range(-3, 4)] + [[1e4]])
    table = scaled_brems_mbarn(z, kinetic_mev[:, None], share[None, :])
    lines = [f"4 {len(share)} {len(kinetic_mev)}", " ".join(f"{x:.6g}" for x in share)]
    lines += [" ".join(f"{math.log(t):.8g}" for t in kinetic_mev)]
    lines += [" ".join(f"{value:.5e}" for value in row) for row in table]
    return {f"{DATA_SETS['G4LEDATA']}/brem_SB/br{z}": "\n".join(lines) + "\n"}


def sentence(official_dir: str) -> str:
    """Say which tables a run with ``simulate.g4_data: auto`` takes, and what they are good for.

    Raises
    ------
    InputError
        If `official_dir` is given and holds no official tables.
    """
    folder = find_official("auto", official_dir)
    if folder is None:
        return NOTES["substitute"].replace("Geant4 ran", "Geant4 runs")
    return (
        f"Geant4 runs on the official data tables in {folder}: good for every physics list of the "
        "config, electrons and fluorescence included."
    )
