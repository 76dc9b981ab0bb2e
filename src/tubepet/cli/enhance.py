"""`tubepet enhance`: apply a trained network to the image of a short acquisition."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tubepet
from tubepet import io
from tubepet.cli.ranges import Number
from tubepet.cli.reconstruct import read_scanner
from tubepet.errors import InputError, shown
from tubepet.formats import dicom_pet
from tubepet.logs import log
from tubepet.phantom.spec import FAMILIES
from tubepet.reconstruct.scanner import fingerprint
from tubepet.types import Volume

if TYPE_CHECKING:
    from tubepet.enhance.trained import Origin


def read_image(path: Path) -> tuple[Volume, dict[str, Any]]:
    """Read an image and its settings: NIfTI, with NAME.json beside it if it exists, or DICOM."""
    if path.is_dir() or path.suffix == ".dcm":
        return dicom_pet.read_image(path)
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    settings = io.read_json(sidecar) if sidecar.is_file() else {}
    return io.read_volume(path, is_ours=False), settings if isinstance(settings, dict) else {}


def _origin(
    path: Path, settings: dict[str, Any], scanner_path: Path | None, duration_s: float | None,
    family: str | None,
) -> "Origin":  # fmt: skip
    """Return the facts of the image: from the options, else from its settings."""
    from tubepet.enhance.trained import Origin

    told_s, scanner = settings.get("duration_s"), settings.get("scanner")
    if duration_s is None and isinstance(told_s, int | float) and told_s > 0:
        duration_s = float(told_s)
    if scanner_path:
        scanner = fingerprint.scanner_hash(read_scanner(scanner_path))
    known = scanner if isinstance(scanner, str) else None
    return Origin(path.name, known, duration_s, family, settings)


@click.command()
@click.argument("image_path", metavar="IMAGE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--model",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of a trained network, for instance results/enhance/plain.",
)
@click.option(
    "--scanner",
    "scanner_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of IMAGE: config.yaml (section scanner). Default: what is written with the image.",
)
@click.option(
    "--duration-s",
    type=Number(min=0, min_open=True),
    help="Length of the acquisition of IMAGE, s. Default: what is written with the image.",
)
@click.option("--family", type=click.Choice(FAMILIES), help="Of the part.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="New NAME.nii.gz (facts beside it as NAME.json), NAME.dcm or folder for DICOM.",
)
def enhance(
    image_path: Path, folder: Path, scanner_path: Path | None, duration_s: float | None,
    family: str | None, output: Path,
) -> None:  # fmt: skip
    """Make of an image of a short acquisition what a long one might show.

    IMAGE is NIfTI or DICOM PET (a folder, or one .dcm), in Bq/mm3 or Bq/ml. An image of another
    scanner or other voxels than the network was trained on is refused; that its dose, family or
    reconstruction differ, or are not known, is said. The result is no measurement.
    """
    from tubepet.enhance import trained

    is_nifti = output.name.endswith(".nii.gz")
    sidecar = output.with_name(output.name.removesuffix(".nii.gz") + ".json")
    if output.exists() or (is_nifti and sidecar.exists()):
        raise InputError(f"--output: got {output}, which exists already, expected a new name")
    if not is_nifti:
        dicom_pet.is_folder(output)
    model = trained.read_trained(folder)
    image, settings = read_image(image_path)
    origin = _origin(image_path, settings, scanner_path, duration_s, family)
    concerns = trained.check(model, image, origin)
    for sentence in concerns:
        log.warning("%s: %s", image_path.name, sentence)
    made = trained.apply(model, image)
    facts = {
        "image": image_path.name, "network": model.name, "concerns": concerns,
        "trained_on": asdict(model.trained_on), "note": "enhanced, not measured",
        "tubepet": tubepet.__version__,
    }  # fmt: skip
    if is_nifti:
        io.write_volume(output, made)
        io.write_json(sidecar, facts)
    else:
        _write_dicom(output, made, image_path, facts)
    click.echo(shown(f"{output}: {image_path.name} enhanced by {model.name}"))


def _write_dicom(output: Path, made: Volume, image_path: Path, facts: dict[str, Any]) -> None:
    derivation = (
        f"Enhanced by network {facts['network']} of tubepet {tubepet.__version__} from "
        f"{image_path.name}. Not a measurement."
    )
    name = image_path.name.removesuffix(".nii.gz").removesuffix(".dcm")
    component = dicom_pet.Component(name, derivation=derivation)
    is_folder = dicom_pet.is_folder(output)
    write = dicom_pet.write_series if is_folder else dicom_pet.write_multiframe
    write(output, made, component, facts)
