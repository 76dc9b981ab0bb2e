"""Files that no rule makes: Geant4's tables, efficiencies, the user's CT and attenuation maps.

Standard library only.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tubepet.errors import InputError
from tubepet.plan import shards


def check_former_results(folder: Path) -> None:
    """Refuse to go on beside results of a former version.

    Raises
    ------
    InputError
        If `folder` holds generators under the former name of their stage.
    """
    if (folder / "gan").is_dir():
        raise InputError(
            f"{folder / 'gan'}: got results of a former version, which called this stage gan and "
            "the model surrogate ours, expected results/generate: move or delete the folder"
        )


def at_planning(look: Callable[[Mapping[str, Any]], Any], section: Mapping[str, Any]) -> Any:
    """Return a param of a rule that looks at files when its job is planned.

    As a plain value it would look at each start of Snakemake, twice for each job on a cluster.
    """

    def param(wildcards: Any) -> Any:
        return look(section)

    return param


# Maps that make_phantom writes, by value of `reconstruct.attenuation`; other values are paths.
OWN_MAPS = {"nominal": "mu_nominal.nii.gz", "truth": "mu.nii.gz"}


def attenuation_map(attenuation: str, first_tube: str) -> Callable[[Any], str]:
    """Return a function of wildcards: the attenuation map with which a tube is reconstructed.

    Parameters
    ----------
    attenuation : str
        Config key `reconstruct.attenuation`; in a path ``{tube}`` stands for the tube.
    first_tube : str
        The tube whose map the tube ``literal`` takes.
    """

    def path(wildcards: Any) -> str:
        tube = wildcards.tube
        if attenuation in OWN_MAPS:
            return f"results/phantom/{tube}/{OWN_MAPS[attenuation]}"
        return attenuation.replace("{tube}", first_tube if tube == "literal" else tube)

    return path


def official_tables(simulate: Mapping[str, Any]) -> list[Any]:
    """Return the folder of Geant4's official tables and the names in it; [] if there is none.

    Parameters
    ----------
    simulate : mapping
        Config section.
    """
    spec = importlib.util.find_spec("opengate_core")
    opengate = Path(str(spec.origin)).parent / "geant4_data" if spec else Path()
    folder = Path(simulate["g4_data_dir"] or opengate)
    if simulate["g4_data"] == "substitute" or not folder.is_dir():
        return []
    return [str(folder), sorted(path.name for path in folder.iterdir())]


def efficiencies(scanner: Mapping[str, Any]) -> str:
    """Return the hash of the file of the crystals' efficiencies; "" without one.

    Parameters
    ----------
    scanner : mapping
        Config section.
    """
    if not scanner["efficiencies"]:
        return ""
    return hashlib.sha256(Path(scanner["efficiencies"]).read_bytes()).hexdigest()


def part_paths(part: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that an entry of `phantom.parts` names, by its keys."""
    paths = {key: str(part[key]) for key in ("body", "cavity", "labels", "table") if key in part}
    return paths | ({"defect.file": str(part["defect"]["file"])} if "defect" in part else {})


def own_data(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the paths of the user's own data that the config names, by key."""
    named = {
        "ct.source_dir": config["ct"]["source_dir"],
        "simulate.g4_data_dir": config["simulate"]["g4_data_dir"],
        "scanner.efficiencies": config["scanner"]["efficiencies"],
    }
    if config["reconstruct"]["attenuation"] not in OWN_MAPS:
        named["reconstruct.attenuation"] = config["reconstruct"]["attenuation"]
    for tube, part in config["phantom"]["parts"].items():
        named |= {f"phantom.parts.{tube}.{key}": path for key, path in part_paths(part).items()}
    return {key: path for key, path in named.items() if path}


def part_files(part: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each file of an own part."""
    paths = part_paths(part).items()
    return {key: hashlib.sha256(Path(path).read_bytes()).hexdigest() for key, path in paths}


def ct_source(ct: Mapping[str, Any]) -> dict[str, str]:
    """Return where the slices are and in which format: the user's folder or the stand-in.

    Parameters
    ----------
    ct : mapping
        Config section.
    """
    return {
        "source_dir": ct["source_dir"],
        "standin_dir": "results/ct/standin",
        "file_format": ct["format"] if ct["source_dir"] else "deeplesion",
    }


def ct_index(ct: Mapping[str, Any]) -> list[str]:
    """Return DeepLesion's index if it is there; if it is missing, the reader says so later.

    Parameters
    ----------
    ct : mapping
        Config section, with a `source_dir`.
    """
    if ct["format"] != "deeplesion":
        return []
    return [str(path) for path in Path(ct["source_dir"]).glob("DL_info.csv")]


def ct_listing(ct: Mapping[str, Any]) -> str:
    """Return a hash of names, sizes and times of all files of the user's CT; "" for the stand-in.

    As inputs, 150,000 files would slow down every plan.
    """
    return shards.listing(ct["source_dir"]) if ct["source_dir"] else ""
