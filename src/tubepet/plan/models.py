"""The generators' names, what each needs, and the settings of its training.

Standard library only: the Snakefile imports it. The classes are in `tubepet.generate.models`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.plan.provenance import code_digest


@dataclass(frozen=True)
class Needs:
    """What a model reads besides the positron slices.

    Attributes
    ----------
    training, sampling : tuple of str
        Some of "ct" (CT slices), "memory" (their encoder and the bank of features) and "volumes"
        (whole images of training tubes).
    pretrain_keys, reconstruct_keys : tuple of str
        Keys of the config sections `pretrain` and `reconstruct` that its training reads.
    """

    training: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ()
    pretrain_keys: tuple[str, ...] = ()
    reconstruct_keys: tuple[str, ...] = ()


MODELS = {
    "vae": Needs(),
    "dcgan": Needs(),
    "wgan": Needs(),
    "fastgan": Needs(),
    "edm": Needs(),
    "flow": Needs(("volumes",)),
    # its encoder keeps the loss that it was pretrained with
    "paper": Needs(("ct", "memory"), ("ct",), pretrain_keys=("sigma_x", "beta")),
    "surrogate": Needs(("volumes",), reconstruct_keys=("num_iterations", "num_subsets")),
}
# Result files for each need, under the names that `generate.read` uses.
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
    "volumes": {
        "volumes": "results/reconstruct/volumes.npy",
        "fluid": "results/reconstruct/volume_drawings.npy",
        "volume_table": "results/reconstruct/volumes.parquet",
        "population": "results/reconstruct/population.json",
        "resolution": "results/reconstruct/resolution.json",
    },
}
VOLUMETRIC = ("surrogate", "flow")  # make whole volumes
# Trainings in the order in which they begin: with the longest first, cores end together. The last
# five take 143, 118, 104, 48 and 42 CPU-seconds in the default run (commit bbaa2ba).
LONGEST_FIRST = ("fastgan", "flow", "edm", "paper", "dcgan", "wgan", "surrogate", "vae")
FORMER_NAMES = {"ours": "surrogate"}  # to present ones, to read trained generators

# Keys of the section `generate` that every training reads.
COMMON_KEYS = (
    "batch_size", "ema_images", "augment", "lecam_weight", "r1_weight", "output",
    "precision", "checkpoint_every", "sample_every",
)  # fmt: skip


def present_name(name: str) -> str:
    """Return the present name of a model that may have a former one."""
    return FORMER_NAMES.get(name, name)


def priority(wildcards: Any) -> int:
    """Return Snakemake's priority of a model's training: more than that of other jobs, 1."""
    rising = LONGEST_FIRST[::-1]
    return 2 + (rising.index(wildcards.model) if wildcards.model in rising else 0)


def volumes_code(wildcards: Any) -> str:
    """Return the digest of the code behind the volumes of a model."""
    model = f"tubepet.generate.models.{wildcards.model}"
    return code_digest("tubepet.generate.trained", model, "tubepet.rng")


def files_of(needs: tuple[str, ...]) -> dict[str, str]:
    """Return the result files for some needs (keys of `FILES`), by name."""
    return {name: path for need in needs for name, path in FILES[need].items()}


def settings_of(
    model: str, section: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings that a model's training depends on, without those of other models.

    Parameters
    ----------
    model : str
        A name of `MODELS`.
    section : mapping
        The config section `generate`, or what a variant makes of it (`config.variant_section`).
    config : mapping
        The whole config.

    Returns
    -------
    dict
        Common keys, the filter of the reconstruction in pixels (standard deviation), keys of
        `pretrain` and `reconstruct`, and the model's own, which win.
    """
    image, pretrain = config["reconstruct"], config["pretrain"]
    settings = {key: section[key] for key in COMMON_KEYS}
    settings["filter_px"] = image["filter_fwhm_mm"] / FWHM_PER_SIGMA / image["pixel_mm"]
    settings |= {key: pretrain[key] for key in MODELS[model].pretrain_keys}
    settings |= {key: image[key] for key in MODELS[model].reconstruct_keys}
    return settings | section.get(model, {})
