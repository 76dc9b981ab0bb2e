"""Read the training data of a generator from the files that its rule names."""

from collections.abc import Mapping

import numpy as np
from safetensors.torch import load_file

from tubepet import io
from tubepet.dataset.drawing import read_population
from tubepet.dataset.slices import Slices
from tubepet.errors import InputError
from tubepet.generate.data import Data, Volumes, ct_images, positron_images
from tubepet.pretrain.vae import load_vae
from tubepet.reconstruct.projection.blur import mean_mm
from tubepet.reconstruct.read import read_kernel


def read_data(paths: Mapping[str, str]) -> Data:
    """Read the training slices, and the other data that a model needs.

    Parameters
    ----------
    paths : mapping
        Paths by the names of the rules' inputs: `images`, `table` and `info` of the positron
        slices. If the model needs them (`plan.models.MODELS`), also `ct_images`, `ct_table`,
        `ct_info`, `vae`, `vae_info`, `bank`, `volumes`, `fluid`, `volume_table`, `population` and
        `resolution`.

    Raises
    ------
    InputError
        If a file is damaged, or files do not belong together.
    """
    slices = Slices.read(paths["images"], paths["table"], paths["info"])
    real = positron_images(slices.images, slices.split == "train", slices.scale_bq_mm3)
    ct = vae = features = None
    if "ct_images" in paths:
        is_train = io.read_table(paths["ct_table"])["split"].to_numpy(str) == "train"
        window_hu = io.read_json(paths["ct_info"])["window_hu"]
        ct = ct_images(io.read_array(paths["ct_images"]), is_train, window_hu)
    if "vae" in paths:
        vae = load_vae(paths["vae"], io.read_json(paths["vae_info"]))
    if "bank" in paths:
        features = load_file(io.checked(paths["bank"]))
    volumes = _read_volumes(paths, len(real)) if "volumes" in paths else None
    return Data(real, ct, vae, features, volumes)


def _read_volumes(paths: Mapping[str, str], num_slices: int) -> Volumes:
    """Read the first volumes that together hold `num_slices` training slices, or all."""
    images, fluid = io.read_array(paths["volumes"]), io.read_array(paths["fluid"])
    held = io.read_table(paths["volume_table"])["num_slices"].to_numpy().cumsum()
    if images.shape != fluid.shape or len(images) != len(held):
        raise InputError(
            f"{paths['volumes']}: got shape {images.shape}, expected that of {paths['fluid']}, "
            f"{fluid.shape}, and {len(held)} tubes as {paths['volume_table']} says"
        )
    chosen = slice(0, int(np.searchsorted(held, num_slices)) + 1)
    population = read_population(io.read_json(paths["population"]))
    arrays = np.asarray(images[chosen]), np.asarray(fluid[chosen])
    return Volumes(*arrays, population, mean_mm(read_kernel(paths["resolution"])))
