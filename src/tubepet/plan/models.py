"""What models read and are told."""

from collections.abc import Mapping
from typing import Any

NEEDS = {
    "paper": {"train": ("ct", "memory"), "sample": ("ct",)},
    "ours": {"train": ("drawings",)},
}
FILES = {
    "ct": {
        "ct_images": "results/ct/slices.npy",
        "ct_table": "results/ct/slices.parquet",
        "ct_info": "results/ct/slices.json",
    },
    "memory": {
        "vae": "results/pretrain/vae.safetensors",
        "vae_info": "results/pretrain/vae.json",
        "bank": "results/features/bank.safetensors",
    },
    "drawings": {
        "fluid": "results/reconstruct/fluid.npy",
        "expected": "results/reconstruct/expected.npy",
        "labels": "results/reconstruct/labels.parquet",
        "population": "results/reconstruct/population.json",
    },
}
COMMON_KEYS = (
    "batch_size", "ema_images", "augment", "lecam_weight", "r1_weight", "output",
    "precision", "checkpoint_every", "sample_every",
)  # fmt: skip


def files_of(model: str, step: str) -> dict[str, str]:
    """Return what a model reads besides the slices, by name, to ``train`` or to ``sample``."""
    needs = NEEDS.get(model, {}).get(step, ())
    return {name: path for need in needs for name, path in FILES[need].items()}


def settings_of(model: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the common keys that training reads, and the model's own: no other model's."""
    section, image = config["gan"], config["reconstruct"]
    settings = {key: section[key] for key in COMMON_KEYS}
    settings["filter_px"] = image["filter_fwhm_mm"] / 2.3548 / image["pixel_mm"]
    if model == "paper":  # its encoder keeps the loss that it was pretrained with
        settings |= {key: config["pretrain"][key] for key in ("sigma_x", "beta")}
    return settings | section[model]
