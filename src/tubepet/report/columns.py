"""Names of table columns for readers: words, unit, and an arrow for what is better.

↑ more is better, ↓ less is better, → near this value is better. Files and downloads keep short
names without spaces.
"""

from collections.abc import Mapping

import pandas as pd

from tubepet.evaluate.row_names import COPY, FLOOR

# The main five of Table 1. How near are images, are they told apart, are they like real ones, how
# many real ones do they cover, are they copies?
MAIN = ("frechet", "c2st", "precision", "coverage", "nearest_ratio")
ROWS = {FLOOR: "simulated, training tubes", COPY: "perfect copier"}

PLACES = {"x_mm": "x / mm", "y_mm": "y / mm", "z_mm": "z / mm"}
NAMES: dict[str, Mapping[str, str]] = {
    "verdicts": {
        "tube": "part", "family": "family", "defect": "true defect", "defect_mm": "true size / mm",
        "verdict": "verdict", "is_right_place": "in the right place", "largest_z": "largest z",
        "threshold_z": "z needed", "p_value": "p-value", "kind": "found as",
        "size_mm": "size found / mm", **PLACES,
    },
    "classes": {
        "class": "true defect", "parts": "parts", "found": "found", "share": "share found ↑",
        "smallest_mm": "smallest / mm", "largest_mm": "largest / mm",
        "a50_mm": "a50 / mm ↓", "a90_mm": "a90 / mm ↓", "a90_95_mm": "a90/95 / mm ↓",
        "found_in": "in the parts", "remark": "why there is no size",
    },
    "one_to_one": {
        "tube": "part", "family": "family", "defect": "true defect", "defect_mm": "true size / mm",
        "verdict": "verdict", "is_right_place": "in the right place",
        **{
            f"{key}_{image}": f"{name} {image}{unit} ↑"
            for image in ("short", "enhanced")
            for key, name, unit in (
                ("psnr", "PSNR", " / dB"), ("ssim", "SSIM", ""), ("ms_ssim", "MS-SSIM", "")
            )
        },
        "activity_bias": "short over long activity - 1 → 0",
    },
    "table1": {
        "model": "images", "frechet": "Fréchet distance ↓", "energy": "energy distance ↓",
        "precision": "precision ↑", "recall": "recall ↑", "density": "density → 1",
        "coverage": "coverage ↑", "c2st": "classifier accuracy → 0.5",
        "c2st_neighbours": "neighbours' accuracy → 0.5",
        "ms_ssim": "MS-SSIM of pairs → that of simulated",
        "nearest_ratio": "nearest-neighbour ratio → 1",
        "share_close": "share close to training → 0.05",
        "w1_activity": "activity W1 / σ ↓", "w1_radius": "bore radius W1 / σ ↓",
        "w1_intensity": "intensity W1 / σ ↓", "noise_factor": "noise factor → 1",
        "frechet_imagenet": "Fréchet distance, ImageNet ↓",
        "energy_imagenet": "energy distance, ImageNet ↓",
        "precision_imagenet": "precision, ImageNet ↑", "recall_imagenet": "recall, ImageNet ↑",
        "density_imagenet": "density, ImageNet → 1", "coverage_imagenet": "coverage, ImageNet ↑",
        "fid": "FID ↓", "num_images": "images made", "n": "images per draw",
        "num_test": "held-out slices", "image_size_px": "side / pixels",
        "feature_space": "features", "paper_ms_ssim": "paper's MS-SSIM", "paper_fid": "paper's FID",
    },
    "counts": {
        "tube": "part", "decays": "decays", "singles": "singles", "prompts": "coincidences",
        "trues": "trues", "scatters": "scatters", "randoms": "randoms", "intrinsic": "intrinsic",
        "delayed": "delayed", "seconds": "time to simulate / s",
        "sensitivity": "coincidences per decay", "scatter_fraction": "scatter fraction",
    },
    "cost": {
        "rule": "rule", "jobs": "jobs", "wall_s": "time / s", "longest_s": "longest job / s",
        "cpu_s": "CPU time / s", "peak_mb": "peak memory / MB",
    },
    "provenance": {"fact": "fact", "value": "value"},
}  # fmt: skip


def named(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with names of columns and rows for readers.

    A column without such a name, for instance a new metric, keeps its name.
    """
    shown = table.rename(columns=dict(NAMES[name]))
    if name == "table1":
        shown = shown.replace({shown.columns[0]: ROWS})
    return shown.replace({True: "yes", False: "no"}) if name != "provenance" else shown


def main_and_rest(table1: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split Table 1 into its main columns and the others; both have the model."""
    main = [f"{name}{end}" for name in MAIN for end in ("", "_low", "_high")]
    main = [column for column in main if column in table1]
    return table1[["model", *main]], table1.drop(columns=main)
