"""Compare each test tube's short, enhanced and long images, and choose tubes for a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from tubepet import io
from tubepet.dataset.slices import Slices
from tubepet.enhance.pairs import select
from tubepet.enhance.quality import rescaled, score, tube_means
from tubepet.inspect.judge import NEAR_MM
from tubepet.inspect.part import of_truth, onto_image
from tubepet.types import Grid

Image = NDArray[np.float32]
QUALITY = ("psnr", "ssim", "ms_ssim")


@dataclass(frozen=True)
class Inspected:
    """The result of the inspection in one slice.

    Attributes
    ----------
    z : float array, shape (H, W)
        z of the likeliest defect.
    crosses_mm : list of (x, y)
        Indications within `NEAR_MM` of the slice.
    words : str
        The verdict.
    """

    z: NDArray[np.floating[Any]]
    crosses_mm: list[tuple[float, float]]
    words: str


@dataclass(frozen=True)
class Row:
    """One slice of one tube: drawing, images and inspection.

    Attributes
    ----------
    words : str
        Caption: tube, family, defect, z.
    drawn_bq_mm3 : float array, shape (H, W)
        Activity as drawn, without the defect.
    wall : float array, shape (H, W)
        Volume fraction of the wall as drawn.
    defect : uint8 array, shape (H, W)
        1 where the defect changes the material.
    images_bq_mm3 : dict of float32 array, shape (H, W)
        short, enhanced, long.
    quality : dict of dict
        `QUALITY` of the short and the enhanced slice against the long one.
    inspected : Inspected
    pixel_mm : float
    """

    words: str
    drawn_bq_mm3: NDArray[np.float64]
    wall: NDArray[np.float64]
    defect: NDArray[np.uint8]
    images_bq_mm3: dict[str, Image]
    quality: dict[str, dict[str, float]]
    inspected: Inspected
    pixel_mm: float


@dataclass(frozen=True)
class Findings:
    """The results of the inspection of all tubes.

    Attributes
    ----------
    table : DataFrame
        From `tubepet.inspect.judge.judged`.
    verdicts : mapping of dict
        ``verdict.json`` by tube.
    maps : mapping of path
        ``map.nii.gz`` by tube.
    """

    table: pd.DataFrame
    verdicts: Mapping[str, dict[str, Any]]
    maps: Mapping[str, str | Path]


@dataclass(frozen=True)
class Compared:
    """Short and enhanced slices of test tubes, measured against the long ones.

    Attributes
    ----------
    tubes : DataFrame
        One row per test tube: tube, family, defect, defect_mm; verdict and is_right_place, empty
        without an inspection; psnr (dB), ssim and ms_ssim with `_short` and `_enhanced`, means over
        its slices; activity_bias, which is the same for both images.
    slices : DataFrame
        One row per test slice: i_slice, and psnr, ssim and ms_ssim with `_short` and `_enhanced`.
    images_bq_mm3 : dict of float32 array, shape (N, H, W)
        Test slices by name: short, enhanced, long.
    """

    tubes: pd.DataFrame
    slices: pd.DataFrame
    images_bq_mm3: dict[str, Image]


def compare(
    network: nn.Module, short: Slices, long: Slices, truths: Sequence[dict[str, Any]],
    found: Findings,
) -> Compared:  # fmt: skip
    """Measure short and enhanced slices of test tubes against the long ones.

    Parameters
    ----------
    network : Module
        Trained on training tubes.
    short, long : Slices
        Row by row the same, with one scale.
    truths : sequence of dict
        ``truth.json`` of all tubes.
    found : Findings
    """
    test = select(short, long, "test")
    images = {"short": test.short, "enhanced": rescaled(network, test), "long": test.long}
    scores = {name: score(images[name], test) for name in ("short", "enhanced")}
    slices = pd.DataFrame({"i_slice": np.flatnonzero(short.split == "test")})
    slices = slices.join([_renamed(one[list(QUALITY)], name) for name, one in scores.items()])
    means = {name: tube_means(one) for name, one in scores.items()}
    tubes = [truth for truth in truths if truth["tube"] in means["short"].index]
    facts = pd.DataFrame([_facts(truth) for truth in tubes]).set_index("tube")
    verdicts = found.table.set_index("tube")[["verdict", "is_right_place"]]
    facts = facts.join([verdicts, *(_renamed(m[list(QUALITY)], n) for n, m in means.items())])
    facts = facts.join(means["short"]["activity_bias"])
    scale = np.float32(short.scale_bq_mm3)
    in_bq_mm3 = {name: image * scale for name, image in images.items()}
    return Compared(facts.reset_index(), slices, in_bq_mm3)


def _renamed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table.add_suffix(f"_{name}")


def _facts(truth: Mapping[str, Any]) -> dict[str, Any]:
    size_mm = truth["defects"][0]["size_mm"] if truth["defects"] else np.nan
    return {key: truth[key] for key in ("tube", "family", "defect")} | {"defect_mm": size_mm}


def chosen(table: pd.DataFrame) -> list[str]:
    """Return the tubes to show, by a fixed rule.

    For each class of defect it is the first tube whose defect was found in the right place. The
    first tube whose defect was missed or called elsewhere follows. If there are none of these, it
    is the first tube of all.
    """
    has_verdict = (table["defect"] != "none") & table["verdict"].notna()
    is_found = has_verdict & table["is_right_place"].eq(True)
    shown = [*table[is_found].drop_duplicates("defect")["tube"]]
    shown += [*table[has_verdict & ~is_found]["tube"][:1]]
    return [str(tube) for tube in shown or table["tube"][:1]]


def rows(
    compared: Compared, dataset: Slices, defect: NDArray[np.uint8],
    truths: Sequence[dict[str, Any]], phantom: Mapping[str, Any], found: Findings,
) -> list[Row]:  # fmt: skip
    """Return, for each of the chosen tubes, the slice in which the defect changes most pixels.

    Without a defect it is the middle slice.

    Parameters
    ----------
    compared : Compared
    dataset : Slices
        Short or long.
    defect : uint8 array, shape (N, H, W)
        `Drawings.defect` of all slices of the data set, see `tubepet.dataset.drawing`.
    truths, found
        As for `compare`.
    phantom : mapping
        Config section `phantom`: voxel_mm and supersampling.
    """
    of_tube = {truth["tube"]: truth for truth in truths}
    images, made = compared.images_bq_mm3, []
    for tube in chosen(compared.tubes):
        own = dataset.tubes[tube]
        areas = [int(defect[i].sum()) for i in own]
        i_slice = int(own[int(np.argmax(areas)) if any(areas) else len(own) // 2])
        z_mm = float(dataset.table["z_mm"].iloc[i_slice])
        i_test = int(np.flatnonzero(compared.slices["i_slice"] == i_slice)[0])
        size = images["short"].shape[1:]
        grid = Grid.centred((1, *size), (dataset.slice_mm, dataset.pixel_mm, dataset.pixel_mm))
        grid = Grid(grid.shape, grid.voxel_mm, (z_mm, *grid.origin_mm[1:]))
        truth = of_tube[tube]
        part = of_truth(truth, dict(phantom))
        concentration = truth["activity_total_bq"] / truth["fluid_volume_mm3"]
        scores = compared.slices.iloc[i_test]
        made.append(
            Row(
                words=_words(truth, z_mm),
                drawn_bq_mm3=part.on_image(grid)[0] * concentration,
                wall=onto_image(part.wall, grid)[0],
                defect=np.asarray(defect[i_slice]),
                images_bq_mm3={name: image[i_test] for name, image in images.items()},
                quality={
                    name: {key: float(scores[f"{key}_{name}"]) for key in QUALITY}
                    for name in ("short", "enhanced")
                },
                inspected=_inspected(found, tube, z_mm),
                pixel_mm=dataset.pixel_mm,
            )
        )
    return made


def _words(truth: Mapping[str, Any], z_mm: float) -> str:
    defects = [f"{one['class']}, {one['size_mm']:.1f} mm" for one in truth["defects"][:1]]
    return "\n".join(
        [truth["tube"], truth["family"].replace("_", " "), *(defects or ["no defect"]),
         f"z = {z_mm:.1f} mm"]
    )  # fmt: skip


def _inspected(found: Findings, tube: str, z_mm: float) -> Inspected:
    verdict, volume = found.verdicts[tube], io.read_volume(found.maps[tube])
    level = int(np.abs(volume.grid.axes_mm()[0] - z_mm).argmin())
    near = [one for one in verdict["indications"] if abs(one["z_mm"] - z_mm) <= NEAR_MM]
    words = str(verdict["verdict"])
    if verdict["indications"]:
        first = verdict["indications"][0]
        words += f"\n{first['kind'].replace('_', ' ')}, {first['size_mm']:.1f} mm"
    if verdict["threshold_z"] is not None:
        words += f"\nlargest z {verdict['largest_z']:.1f}, needed {verdict['threshold_z']:.1f}"
    return Inspected(volume.array[level], [(one["x_mm"], one["y_mm"]) for one in near], words)
