"""From the files that a rule names to what a model learns from: the reader of this stage."""

from collections.abc import Mapping

import torch
from safetensors.numpy import load_file

from tubepet import io
from tubepet.dataset.drawing import read_population
from tubepet.dataset.slices import Slices
from tubepet.generate.data import Data, Drawn, ct_images, positron_images
from tubepet.pretrain.vae import load_vae


def read_data(paths: Mapping[str, str]) -> Data:
    """Read the training rows of every image set, and what else a model asks for.

    Parameters
    ----------
    paths : mapping
        Paths by the names of the rules' inputs: `images`, `table` and `info` of the positron
        slices; `ct_images`, `ct_table`, `ct_info`, `vae`, `vae_info`, `bank`, `fluid`, `expected`,
        `labels` and `population` as far as the model needs them (`plan.models.MODELS`).

    Raises
    ------
    InputError
        If a file is damaged or belongs to something else.
    """
    slices = Slices.read(paths["images"], paths["table"], paths["info"])
    real = positron_images(slices.images, slices.split == "train", slices.scale_bq_mm3)
    ct = vae = bank = None
    num_pca = 0
    if "ct_images" in paths:
        is_train = io.read_table(paths["ct_table"])["split"].to_numpy(str) == "train"
        window_hu = io.read_json(paths["ct_info"])["window_hu"]
        ct = ct_images(io.read_array(paths["ct_images"]), is_train, window_hu)
    if "vae" in paths:
        vae = load_vae(paths["vae"], io.read_json(paths["vae_info"]))
    if "bank" in paths:
        tensors = load_file(io.checked(paths["bank"]))
        bank, num_pca = torch.from_numpy(tensors["bank"]), len(tensors["pca_components"])
    drawn = None
    if "fluid" in paths:
        fluid, expected = (slices.drawn(paths[name]) for name in ("fluid", "expected"))
        end_mm = slices.labels(paths["labels"])["end_mm"].to_numpy(float)
        population = read_population(io.read_json(paths["population"]))
        drawn = Drawn(fluid, expected, end_mm, slices.tube, population)
    return Data(real, ct, vae, bank, num_pca, drawn)
