"""Describe a finished run as a Workflow Run RO-Crate: workflow, inputs, results, software, times.

The profile is Workflow Run Crate 0.5 (doi:10.1371/journal.pone.0309210) on RO-Crate 1.1. Every file
has its size and SHA-256. Neither person nor machine is named; paths of own data are those of the
config.
"""

import json
import mimetypes
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml

import tubepet
from tubepet import checksums, io
from tubepet.root import ROOT

Entity = dict[str, Any]
NAME = "ro-crate-metadata.json"
WORKFLOW, CONFIG = "crate/workflow", "crate/config.yaml"
SNAKEFILE = f"{WORKFLOW}/Snakefile"
RO_CRATE = "https://w3id.org/ro/crate/1.1"
CONTEXT = [f"{RO_CRATE}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
OF_WORKFLOWS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
OF_PARAMETERS = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
DESCRIBING = ("describe_slices", "make_crate")  # rules, maybe days after the run
ENCODINGS = {
    ".gz": "application/gzip", ".md": "text/markdown", ".npy": "application/x-npy",
    ".safetensors": "application/octet-stream", ".yaml": "application/yaml", "": "text/plain",
}  # fmt: skip


def write(
    folder: Path,
    config: Mapping[str, Any],
    given: Mapping[str, str],
    results: Mapping[str, Sequence[str]],
) -> None:
    """Copy workflow and config into the folder of results, and write the description there.

    Parameters
    ----------
    folder : Path
        Of the results; its `benchmarks` tell when jobs ran.
    config : mapping
        The whole config.
    given : mapping
        Paths of the user's own data, by config key.
    results : mapping
        Paths of the main results, by kind.
    """
    shutil.copytree(
        ROOT / "workflow", folder / WORKFLOW, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    io.write_text(folder / CONFIG, yaml.safe_dump(dict(config), sort_keys=False))
    when = period(folder / "benchmarks")
    config_file = _file(folder, folder / CONFIG, "config")
    own_data = [_own_data(key, path) for key, path in given.items()]
    files = [_file(folder, Path(path), what) for what in results for path in results[what]]
    software = [*_software()]
    graph = [
        *_crate([config_file, *files], when),
        *_workflow(folder, results, software),
        *_run([config_file, *own_data], files, when),
        *(_parameter(what, [config_file, *files]) for what in ("config", *results)),
        config_file,
        *own_data,
        *files,
        *software,
    ]
    # without a line end the file is not sealed: the key of a seal (tubepet.checksums) beside @graph
    # would make a named graph of it
    io.write_text(folder / NAME, json.dumps({"@context": CONTEXT, "@graph": graph}, indent=2))


def _crate(files: Sequence[Entity], when: tuple[str, str]) -> Iterator[Entity]:
    """Yield the entities of the metadata file, the crate, its licence and its profiles."""
    yield _entity(
        NAME, "CreativeWork", about=_ref("./"), conformsTo=_refs([RO_CRATE, WORKFLOW_CRATE])
    )
    yield _entity(
        "./",
        "Dataset",
        name=f"Run of tubepet {tubepet.__version__}",
        description="Main results of a run: metal tubes with positron emitters are simulated, "
        "imaged and inspected, and image generators are trained on them.",
        datePublished=when[1],
        license=_ref("#licence"),
        conformsTo=_refs(PROFILES),
        mainEntity=_ref(SNAKEFILE),
        mentions=_ref("#run"),
        hasPart=_refs([SNAKEFILE, f"{WORKFLOW}/", *(file["@id"] for file in files)]),
    )
    text = "Whoever made the run decides on its results. The workflow is under the MIT licence."
    yield _entity("#licence", "CreativeWork", name="Licence of the results", description=text)
    for address, (name, version) in PROFILES.items():
        yield _entity(address, "CreativeWork", name=name, version=version)


def _workflow(folder: Path, results: Iterable[str], software: Sequence[Entity]) -> Iterator[Entity]:
    """Yield the workflow, the folder that holds it, and its language."""
    found = commit(ROOT)
    yield _file(folder, folder / SNAKEFILE) | _entity(
        SNAKEFILE,
        ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        name="tubepet",
        version=tubepet.__version__,
        **({"identifier": f"git commit {found}"} if found else {}),
        license=_ref("https://spdx.org/licenses/MIT"),
        conformsTo=_ref(OF_WORKFLOWS),
        programmingLanguage=_ref(SNAKEMAKE),
        input=_refs(["#config"]),
        output=_refs(f"#{what}" for what in results),
        softwareRequirements=_refs(one["@id"] for one in software),
    )
    text = "Rules, scripts, schema and templates of the workflow."
    yield _entity(f"{WORKFLOW}/", "Dataset", name="Workflow", description=text)
    home = "https://snakemake.readthedocs.io"
    yield _entity(
        SNAKEMAKE, "ComputerLanguage", name="Snakemake", version=metadata.version("snakemake"),
        url=home, identifier=home,
    )  # fmt: skip


def _run(
    inputs: Sequence[Entity], files: Sequence[Entity], when: tuple[str, str]
) -> Iterator[Entity]:
    """Yield the run, and its maker, who is not named."""
    yield _entity(
        "#run",
        "CreateAction",
        name=f"Run of tubepet {tubepet.__version__}",
        description="From the begin of the first job to the end of the last one.",
        instrument=_ref(SNAKEFILE),
        object=_refs(one["@id"] for one in inputs),
        result=_refs(file["@id"] for file in files),
        agent=_ref("#agent"),
        startTime=when[0],
        endTime=when[1],
        actionStatus="http://schema.org/CompletedActionStatus",
    )
    yield _entity("#agent", "Organization", name="Whoever made the run, not recorded")


def _parameter(what: str, files: Sequence[Entity]) -> Entity:
    """Return a kind of files that the workflow reads or writes, with its files in this run."""
    examples = [file["@id"] for file in files if file["exampleOfWork"] == _ref(f"#{what}")]
    return _entity(
        f"#{what}", "FormalParameter", name=what, additionalType="File",
        conformsTo=_ref(OF_PARAMETERS), workExample=_refs(examples),
    )  # fmt: skip


def _file(folder: Path, path: Path, what: str = "") -> Entity:
    """Return a file of the crate, named by its path in the folder."""
    name = str(path.relative_to(folder))
    guessed = mimetypes.guess_type(path.with_suffix(path.suffix.lower()))[0]
    return _entity(
        quote(name),
        "File",
        name=name,
        encodingFormat=ENCODINGS.get(path.suffix) or guessed,
        contentSize=str(path.stat().st_size),
        sha256=checksums.of_file(path),
        **({"exampleOfWork": _ref(f"#{what}")} if what else {}),
    )


def _own_data(key: str, path: str) -> Entity:
    """Return data of the user, which are not copied."""
    found = _entity(f"#{key}", "PropertyValue", name=key, value=path)
    return found | ({"sha256": checksums.of_file(path)} if Path(path).is_file() else {})


def _software() -> Iterator[Entity]:
    """Yield Python and the packages that tubepet requires, in their installed versions."""
    version = platform.python_version()
    yield _entity(
        f"pkg:generic/python@{version}", "SoftwareApplication", name="Python", version=version,
        url="https://www.python.org",
    )  # fmt: skip
    needed = (re.split(r"[^\w.-]", one)[0] for one in metadata.requires("tubepet") or ())
    for name in sorted(needed):
        found = metadata.metadata(name)
        addresses = [one.split(", ")[::-1] for one in found.get_all("Project-URL", [])]
        homes = found.get_all("Home-page", [])
        homes += [url for url, label in addresses if re.match("home|source|repo", label, re.I)]
        yield _entity(
            f"pkg:pypi/{name}@{found['Version']}", "SoftwareApplication", name=name,
            version=found["Version"], **({"url": homes[0]} if homes else {}),
        )  # fmt: skip


def _entity(address: str, kind: str | list[str], **properties: Any) -> Entity:
    return {"@id": address, "@type": kind, **properties}


def _ref(name: str) -> Entity:
    return {"@id": name}


def _refs(names: Iterable[str]) -> Entity | list[Entity]:
    """Return references; a single one is no list, as RO-Crate requires."""
    found = [_ref(name) for name in names]
    return found[0] if len(found) == 1 else found


def commit(root: Path) -> str:
    """Return the commit of a checkout, with `-dirty` if files differ from it; "" for a wheel."""
    if not (root / ".git").exists():  # a wheel may be installed inside another repository
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    done = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def period(folder: Path) -> tuple[str, str]:
    """Return when the first job began and the last one ended, in UTC.

    Parameters
    ----------
    folder : Path
        Of the benchmark files. Each is written at the end of its job, and has the job's duration.
        Jobs that describe a finished run do not count.
    """
    of_jobs = (path for path in folder.rglob("*.tsv") if path.stem not in DESCRIBING)
    ends_s = {path: path.stat().st_mtime for path in of_jobs}
    begins_s = (ends_s[path] - pd.read_csv(path, sep="\t")["s"].iloc[0] for path in ends_s)
    begin, end = (
        datetime.fromtimestamp(float(seconds), UTC).isoformat(timespec="seconds")
        for seconds in (min(begins_s), max(ends_s.values()))
    )
    return begin, end
