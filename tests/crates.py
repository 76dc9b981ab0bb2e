"""Check the crate of a run against RO-Crate 1.1 and Workflow Run Crate 0.5."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
}
ABSOLUTE = re.compile(r"https?://|pkg:")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the entities of a crate by their @id; an id that stands twice is an error."""
    whole = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert whole.keys() == {"@context", "@graph"}  # another key would make a named graph of it
    standard, terms = whole["@context"]
    assert standard == "https://w3id.org/ro/crate/1.1/context" and terms.keys() == {"sha256"}
    entities = {entity["@id"]: entity for entity in whole["@graph"]}
    assert len(entities) == len(whole["@graph"])
    return entities


def many(value: Any) -> list[Any]:
    """Return a value as a list: RO-Crate writes one alone without."""
    return value if isinstance(value, list) else [value]


def references(value: Any) -> Iterator[str]:
    """Yield all ids that a value refers to."""
    for one in many(value):
        if isinstance(one, dict):
            yield one["@id"]


def problems(folder: Path) -> Iterator[str]:
    """Say what is wrong with a crate.

    - Every reference leads to an entity of the crate, or is an absolute address.
    - Every file and folder is there, with the size and the SHA-256 that are written.
    - The crate names its three profiles, all of its files, and a workflow as its main entity.
    - One action made all results with this workflow, from some files; it began and ended.
    - Every parameter of the workflow has examples, which say that they are.
    """
    entities = read(folder)
    for name, entity in entities.items():
        for key, value in entity.items():
            for target in references(value):
                if target not in entities and not ABSOLUTE.match(target):
                    yield f"{name}: {key}: {target} is nowhere"
        kinds = many(entity["@type"])
        if {"File", "Dataset"} & set(kinds):
            yield from _damage(folder / unquote(name), entity)
    yield from _shape(entities)


def _damage(path: Path, entity: dict[str, Any]) -> Iterator[str]:
    if "Dataset" in many(entity["@type"]):
        if not path.is_dir():
            yield f"{path}: no folder"
    elif not path.is_file():
        yield f"{path}: no file"
    elif entity["contentSize"] != str(path.stat().st_size):
        yield f"{path}: another size"
    elif entity["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        yield f"{path}: another content"


def _shape(entities: dict[str, dict[str, Any]]) -> Iterator[str]:
    root = entities["./"]
    files = {name for name, one in entities.items() if "File" in many(one["@type"])}
    if set(references(root["conformsTo"])) != PROFILES:
        yield "the crate has other profiles"
    if not files <= set(references(root["hasPart"])):
        yield "the crate lacks files as parts"
    (main,) = references(root["mainEntity"])
    if entities[main]["@type"] != ["File", "SoftwareSourceCode", "ComputationalWorkflow"]:
        yield "the main entity is no workflow"
    (action,) = [one for one in entities.values() if one["@type"] == "CreateAction"]
    made = set(references(action["result"])) | set(references(action["object"]))
    if not files <= made | {main} or [*references(action["instrument"])] != [main]:
        yield "the action lacks files or the workflow"
    if not action["startTime"] < action["endTime"]:
        yield "the action has no time"
    for what in [*references(entities[main]["input"]), *references(entities[main]["output"])]:
        examples = [*references(entities[what]["workExample"])]
        if not examples or any(entities[one]["exampleOfWork"] != {"@id": what} for one in examples):
            yield f"{what}: no examples"
