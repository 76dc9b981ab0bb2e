"""Read a trained network from its folder, check that an image suits it, and apply it.

The folder `results/enhance/<network>` holds `network.safetensors` and `network.json`. The latter's
`trained_on` says scanner, voxels, activity, durations, families and reconstruction of the training
images.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tubepet.enhance.network import Enhancer
from tubepet.enhance.quality import enhanced, load_enhancer, with_measured_total
from tubepet.errors import InputError
from tubepet.reconstruct.projection.blur import blurred, gaussian
from tubepet.reconstruct.scanner.fingerprint import scanner_hash
from tubepet.training.folder import checked_sizes, read_facts
from tubepet.types import Scanner, Volume

FORMAT = 1  # of network.json
# Of the dose (activity times duration). Noise goes with its root, so this is 22 % (our choice).
MOST_DOSE_RATIO = 1.5
SMOOTHING_MM = 3.0  # FWHM, before the object is separated from its surroundings


@dataclass(frozen=True)
class TrainedOn:
    """The properties of the training images.

    Attributes
    ----------
    scale_bq_mm3 : float
        The activity that is 1 for the network.
    num_pixels, pixel_mm, slice_mm
        Of the slices.
    scanner : str
        From `fingerprint.scanner_hash`.
    activity_bq_mm3 : float or None
        Of the fluid. None if it is given per tube, so that concentrations differ.
    short_s, long_s : float
        Durations of the acquisitions that the network takes and imitates.
    families : list of str
        Of the training tubes.
    image : dict
        Settings of the reconstruction (config section `reconstruct`).
    """

    scale_bq_mm3: float
    num_pixels: int
    pixel_mm: float
    slice_mm: float
    scanner: str
    activity_bq_mm3: float | None
    short_s: float
    long_s: float
    families: list[str]
    image: dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """What is known of an image to be enhanced; None is unknown.

    Attributes
    ----------
    name : str
        Of the file.
    scanner : str or None
        From `fingerprint.scanner_hash`.
    duration_s : float or None
    family : str or None
    settings : dict
        Settings that stand beside the image, or in it.
    """

    name: str
    scanner: str | None
    duration_s: float | None
    family: str | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A network and what it was trained on."""

    name: str
    network: Enhancer
    trained_on: TrainedOn


def trained_on(
    table: pd.DataFrame, info: Mapping[str, Any], scanner: Mapping[str, Any],
    protocol: Mapping[str, Any], image: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of `TrainedOn`, for `network.json`.

    Parameters
    ----------
    table, info
        `split` and `family` of each slice; scale and voxels.
    scanner : mapping
        Config section `scanner`.
    protocol : mapping
        Config section `protocol`.
    image : mapping
        num_pixels, and settings of the reconstruction.
    """
    is_train = table["split"] == "train"
    return asdict(
        TrainedOn(
            scale_bq_mm3=info["scale_bq_mm3"],
            num_pixels=image["num_pixels"],
            pixel_mm=info["pixel_mm"],
            slice_mm=info["slice_mm"],
            scanner=scanner_hash(Scanner(**scanner)),
            activity_bq_mm3=protocol["activity_bq"] if protocol["per"] == "mm3" else None,
            short_s=protocol["duration_s"],
            long_s=protocol["reference_duration_s"],
            families=sorted(table.loc[is_train, "family"].unique()),
            image={key: value for key, value in image.items() if key != "num_pixels"},
        )
    )


def read_trained(folder: Path) -> Trained:
    """Read the folder of a trained network.

    Raises
    ------
    InputError
        If a file is missing or damaged, or lacks `trained_on`.
    """
    path = folder / "network.json"
    facts = read_facts(path, FORMAT, "results/enhance/plain")
    try:
        told = TrainedOn(**facts["trained_on"])
        checked_sizes(path, vars(told))
        sizes = [told.num_pixels, told.short_s]
        if not all(np.isfinite(sizes)) or min(sizes) <= 0:
            raise ValueError(f"sizes {sizes}")
        network = load_enhancer(path.with_suffix(".safetensors"), facts["arguments"])
    except InputError:
        raise
    except Exception as error:  # networks answer to foreign arguments in many ways
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: got what no version of tubepet wrote ({reason}), expected a trained network"
        ) from error
    return Trained(str(facts.get("network")), network, told)


def check(trained: Trained, image: Volume, origin: Origin) -> list[str]:
    """Refuse an image of another scanner or other voxels; list other differences.

    Returns
    -------
    list of str
        A sentence for each of scanner, dose, family and settings that is unknown or differs from
        those of training.

    Raises
    ------
    InputError
        If unit, scanner, voxels or size differ.
    """
    told = trained.trained_on
    if not image.note.startswith("Bq/mm3"):
        raise InputError(f"{origin.name}: got unit {image.note or 'none'!r:.60}, expected Bq/mm3")
    voxel_mm = (told.slice_mm, told.pixel_mm, told.pixel_mm)
    size = (told.num_pixels, told.num_pixels)
    if image.grid.shape[1:] != size or not np.allclose(image.grid.voxel_mm, voxel_mm, rtol=1e-4):
        raise InputError(
            f"{origin.name}: got slices of {_shown(image.grid.shape[1:], image.grid.voxel_mm)}, "
            f"expected {_shown(size, voxel_mm)}, on which {trained.name} was trained"
        )
    if origin.scanner is not None and origin.scanner != told.scanner:
        raise InputError(
            f"{origin.name}: got an image of scanner {origin.scanner}, expected {told.scanner}, on "
            f"whose images {trained.name} was trained"
        )
    unknown = [] if origin.scanner else ["its scanner is not known (--scanner)"]
    return [*unknown, *_dose(told, image, origin), *_family(told, origin), *_settings(told, origin)]


def _shown(size: tuple[int, ...], voxel_mm: tuple[float, ...]) -> str:
    z, y, x = voxel_mm
    return f"{size[0]} x {size[1]} pixels of {y:g} x {x:g} mm, {z:g} mm apart"


def _dose(told: TrainedOn, image: Volume, origin: Origin) -> list[str]:
    if origin.duration_s is None:
        return [f"its duration is not known (--duration-s); trained on {told.short_s:g} s"]
    if told.activity_bq_mm3 is None:
        return []
    dose = origin.duration_s * concentration_bq_mm3(image)
    expected = told.short_s * told.activity_bq_mm3
    if 1 / MOST_DOSE_RATIO <= dose / expected <= MOST_DOSE_RATIO:
        return []
    return [
        f"its dose is about {dose:.3g} Bq s/mm3; trained on {expected:.3g} ({told.short_s:g} s at "
        f"{told.activity_bq_mm3:g} Bq/mm3)"
    ]


def _family(told: TrainedOn, origin: Origin) -> list[str]:
    known = ", ".join(told.families)
    if origin.family is None:
        return [f"the family of the part is not known (--family); trained on {known}"]
    return (
        []
        if origin.family in told.families
        else [f"the part is {origin.family}; trained on {known}"]
    )


def _settings(told: TrainedOn, origin: Origin) -> list[str]:
    return [
        f"it was made with {key} {origin.settings[key]}; trained on {value}"
        for key, value in told.image.items()
        if key in origin.settings and origin.settings[key] != value
    ]


def concentration_bq_mm3(image: Volume) -> float:
    """Return the concentration in the object: the median of voxels above half of the largest.

    Both are taken after a blur of `SMOOTHING_MM`.
    """
    smooth = blurred(np.maximum(image.array, 0), image.grid, gaussian(SMOOTHING_MM))
    return float(np.median(smooth[smooth >= smooth.max() / 2]))


def apply(trained: Trained, image: Volume) -> Volume:
    """Apply a network to all slices; the image keeps its total activity.

    Parameters
    ----------
    image : Volume
        Bq/mm3, accepted by `check`.
    """
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    short = np.ascontiguousarray(image.array, np.float32) / np.float32(
        trained.trained_on.scale_bq_mm3
    )
    made = with_measured_total(
        enhanced(trained.network.eval(), short), short, np.full(len(short), "all")
    )
    note = f"Bq/mm3; enhanced by network {trained.name}, not a measurement"
    scale = np.float32(trained.trained_on.scale_bq_mm3)
    return Volume(made * scale, image.grid, note)
