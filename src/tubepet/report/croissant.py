"""The slice data set as a Croissant description: its files, and every column of its tables.

Croissant 1.0 (http://mlcommons.org/croissant/1.0) is JSON-LD that programs for machine learning
read. It knows tables: an array is a file to it, whose rows are the rows of the tables.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import tubepet
from tubepet import checksums, io

Entity = dict[str, Any]
CROISSANT = "http://mlcommons.org/croissant/"
OF_CROISSANT = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format "
    "includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated "
    "replace samplingRate separator source subField transform"
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": CROISSANT,
    "rai": f"{CROISSANT}RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in OF_CROISSANT.split()},
}
CITATION = (  # that of CITATION.cff, as BibTeX
    "@software{tubepet, author = {{The tubepet founders}}, title = {tubepet: from aluminium tubes "
    f"simulated by GATE to generated positron images}}, version = {{{tubepet.__version__}}}}}"
)
ENCODINGS = {
    ".npy": "application/x-npy", ".parquet": "application/x-parquet", ".json": "application/json",
}  # fmt: skip
TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}
FILES = {
    "slices.npy": "reconstructed images in Bq/mm3, cross sections of the tubes",
    "fluid.npy": "share of each voxel that is fluid, which holds the emitters",
    "expected.npy": "that share at the resolution of the images, without noise",
    "defect.npy": "1 where the defect reaches the voxel, else 0",
    "slices.parquet": "Where each slice comes from.",
    "labels.parquet": "What is true in each slice.",
    "slices.json": "Slices and tubes by split, size of a voxel in mm, scale in Bq/mm3.",
    "population.json": "What tubes were drawn from: shapes, defects and their sizes, grid.",
}
PLACES = {
    f"{side}_{end}_{unit}": f"Box of the defect, {side} {end}est, {text}"
    for unit, text in (
        ("px", "as a pixel edge; 0 without a defect."),
        ("mm", "in mm from the middle of the image; 0 without a defect."),
    )
    for end in ("low", "high")
    for side in ("x", "y")
}
SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
COLUMNS = {
    "i_slice": "Row of this slice in all arrays.",
    "tube": "Name of the tube.",
    "split": "To learn from (train), to choose by (val) or held out (test); by whole tubes.",
    "family": "Shape of the tube.",
    "defect": "Kind of the tube's defect, or none.",
    "has_defect": "The box of the defect reaches the slice.",
    "z_mm": "Place along the tube's axis in mm, 0 in its middle.",
    "is_cut": "The defect itself reaches the slice.",
    "fluid_change_mm3": "Fluid in mm3 that the defect adds to the slice; below 0: takes away.",
    "end_mm": "Distance in mm to the nearer end of the fluid; below 0: beyond it.",
    **PLACES,
}


def write(path: Path, files: Iterable[Path], made: Mapping[str, Any]) -> None:
    """Describe the files of the slice data set, beside them.

    Parameters
    ----------
    path : Path
        JSON-LD to write.
    files : iterable of Path
        Those that `FILES` names, all in the folder of `path`.
    made : mapping
        How: `engine`, and `activity_bq`, `per` and `duration_s` of the protocol; `num_parts`:
        how many shapes are the user's own.
    """
    found = {file.name: file for file in files}
    tables = [name.removesuffix(".parquet") for name in found if name.endswith(".parquet")]
    info = io.read_json(found["slices.json"])
    ended = datetime.fromtimestamp(found["slices.npy"].stat().st_mtime, UTC)
    whole = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{CROISSANT}1.0",
        "name": "Simulated PET slices of tubes",
        "description": _description(info, io.read_json(found["population.json"]), made),
        "license": {
            "@type": "sc:CreativeWork",
            "name": "Licence of the data",
            "description": "Whoever made the run decides on its results.",
        },
        "creator": {"@type": "sc:Organization", "name": "Whoever made the run, not recorded"},
        "version": tubepet.__version__,
        "datePublished": ended.date().isoformat(),
        "citeAs": CITATION,
        "distribution": [_file(file) for file in found.values()],
        "recordSet": [_splits(), *(_records(name, found[f"{name}.parquet"]) for name in tables)],
    }
    # no line end: a sealed file (tubepet.checksums) has a key more, a checksum of the data set
    io.write_text(path, json.dumps(whole, indent=2))


def _description(info: Mapping[str, Any], population: Mapping[str, Any], made: Any) -> str:
    slices, tubes = info["num_slices"], info["num_tubes"]
    splits = ", ".join(f"{slices[name]} of {tubes[name]} in {name}" for name in slices)
    phantom = population["phantom"]
    return (
        f"Everything is simulated: {sum(tubes.values())} closed metal tubes with fluid that emits "
        f"positrons ({made['activity_bq']:g} Bq per {made['per']}), seen by a PET scanner for "
        f"{made['duration_s']:g} s, imaged, and cut into {sum(slices.values())} slices across "
        f"(slices and tubes by split: {splits}). Shapes: {', '.join(phantom['families'])}. "
        f"Defects: {', '.join(phantom['defects'])}. Shapes of the user's own: "
        f"{made['num_parts']}. Photons: engine {made['engine']}. Row by row the arrays belong to "
        f"the tables. Made by tubepet {tubepet.__version__}."
    )


def _file(path: Path) -> Entity:
    text = FILES[path.name]
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        text = f"{array.dtype} array of shape {array.shape}: {text}."
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": text,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": ENCODINGS[path.suffix],
        "sha256": checksums.of_file(path),
    }


def _records(name: str, path: Path) -> Entity:
    """Return a table, one record a row."""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": FILES[path.name],
        "key": {"@id": f"{name}/i_slice"},
        "field": list(_fields(name, path)),
    }


def _splits() -> Entity:
    """Return what the names of the splits mean."""
    kinds = {"name": "sc:Text", "url": "sc:URL"}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"splits/{name}", "name": name, "dataType": kind}
            for name, kind in kinds.items()
        ],
        "data": [{"splits/name": name, "splits/url": url} for name, url in SPLITS.items()],
    }


def _fields(name: str, path: Path) -> Iterator[Entity]:
    for column, dtype in io.read_table(path).dtypes.items():
        yield {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": column,
            "description": COLUMNS[str(column)],
            "dataType": TYPES.get(dtype.kind, "sc:Text"),
            "source": {"fileObject": {"@id": path.name}, "extract": {"column": column}},
            **({"references": {"field": {"@id": "splits/name"}}} if column == "split" else {}),
        }
