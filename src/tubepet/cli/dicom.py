"""`tubepet dicom`: NIfTI images of the workflow as DICOM with the names of DICONDE."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from tubepet import io
from tubepet.errors import InputError
from tubepet.formats import dicom_pet

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
MATERIAL = "aluminium; filled with water and a positron emitter"


def component_of(truth: dict[str, Any]) -> dicom_pet.Component:
    """Describe a simulated part by its `truth.json`."""
    geometry = truth["geometry"]
    defects = [
        f"{d['class']} {d['size_mm']:.2f} mm at z {d['z_mm']:.2f} mm" for d in truth["defects"]
    ]
    return dicom_pet.Component(
        truth["tube"],
        inspection="Positron emission tomography, simulated",
        material=geometry.get("made_of", MATERIAL),
        notes=f"Family {truth['family']}. True defects: {'; '.join(defects) or 'none'}.",
        thickness_mm=geometry.get("wall_mm"),  # an own part may have no one wall
        is_synthetic=True,
    )


@click.command()
@click.argument("image_path", metavar="IMAGE.nii.gz", type=EXISTING)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="NAME.dcm for one multi-frame file, or a new folder for a file per slice.",
)
@click.option(
    "--truth",
    "truth_path",
    type=EXISTING,
    help="truth.json of a simulated tube: name, wall and true defects; marks it as simulated.",
)
@click.option(
    "--settings",
    "settings_path",
    type=EXISTING,
    help="JSON for the image comments: stats.json, or what `tubepet reconstruct` wrote beside it.",
)
@click.option("--name", help="Component name and id. Default: that of --truth, or the file's.")
def dicom(
    image_path: Path, output: Path, truth_path: Path | None, settings_path: Path | None,
    name: str | None,
) -> None:  # fmt: skip
    """Write an image in Bq/mm3 as DICOM PET in Bq/ml.

    Patient and study stand for component and inspection, as in DICONDE (ASTM E2339).
    """
    is_folder = dicom_pet.is_folder(output)
    image = io.read_volume(image_path, is_ours=False)
    if not image.note.startswith("Bq/mm3"):
        raise InputError(f"{image_path}: got unit {image.note or 'none'!r}, expected Bq/mm3")
    if output.exists():
        raise InputError(f"--output: got {output}, expected a new NAME.dcm or a new folder")
    settings = io.read_json(settings_path) if settings_path else {}
    if truth_path:
        component = component_of(io.read_json(truth_path))
    else:
        component = dicom_pet.Component(image_path.name.removesuffix(".nii.gz"))
    if name:
        component = replace(component, name=name)
    settings = settings | {"image": image_path.name, "note": image.note}
    made = datetime.fromtimestamp(image_path.stat().st_mtime)  # the same file gives the same DICOM
    write = dicom_pet.write_series if is_folder else dicom_pet.write_multiframe
    write(output, image, component, settings, made=made)
