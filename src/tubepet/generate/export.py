"""A trained generator as one ONNX graph, for programs that have neither torch nor tubepet.

Chance stays outside: random numbers are inputs, so the same numbers give the same images. The
output is in Bq/mm3. https://onnx.ai
"""

import json
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import tubepet
from tubepet import io
from tubepet.errors import InputError
from tubepet.generate.trained import Generator

OPSET = 20  # the first whose DFT serves both directions of the output filter
OUTPUT = "image_bq_mm3"
REFUSED = {
    "edm": "a sample of it takes many passes through its network, not one",
    "paper": "it is queried with CT slices, a batch of them mixed as in training",
}

Inputs = dict[str, Tensor]


def _numbered(maps: list[Tensor]) -> Inputs:
    return {f"noise_{i}": noise for i, noise in enumerate(maps)}


def _code(network: Any, num: int, rng: torch.Generator) -> Inputs:
    return {"z": torch.randn(num, network.latent_size, generator=rng)}


def _code_and_pixels(network: Any, num: int, rng: torch.Generator) -> Inputs:
    side = network.image_size
    return _code(network, num, rng) | {"noise": torch.randn(num, 1, side, side, generator=rng)}


def _code_and_maps(network: Any, num: int, rng: torch.Generator) -> Inputs:
    z, *maps = network.draw_noise(num, rng)
    return {"z": z} | _numbered(maps)


def _drawing_and_maps(network: Any, num: int, rng: torch.Generator) -> Inputs:
    side = network.image_size
    drawing, end_mm = torch.rand(num, 2, side, side, generator=rng), torch.rand(num, generator=rng)
    return {"drawing": drawing, "end_mm": end_mm} | _numbered(network.draw_noise(num, rng))


# Inputs of each model's graph: all N(0, 1) but these two, which `tubepet.dataset.drawing` gives.
HOLDS = {
    "drawing": "fluid fractions, 0 to 1",
    "end_mm": "distance from the nearer end of the fluid, mm",
}
INPUTS: dict[str, Callable[[Any, int, torch.Generator], Inputs]] = {
    "vae": _code_and_pixels,
    "dcgan": _code,
    "wgan": _code,
    "fastgan": _code_and_maps,
    "ours": _drawing_and_maps,
}

# How the network is called with them, where it is not by `forward(*inputs)`.
CALLS: dict[str, Callable[..., Tensor]] = {
    "vae": lambda network, z, noise: network.draw(z, noise),
    "ours": lambda network, drawing, end_mm, *noise: network(drawing, end_mm, list(noise)),
}


class Physical(nn.Module):
    """Inputs of the graph -> activity in Bq/mm3, (B, H, W)."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.network = generator.network
        self.call = CALLS.get(generator.name, lambda network, *inputs: network(*inputs))
        self.scale_bq_mm3 = generator.scale_bq_mm3

    def forward(self, *inputs: Tensor) -> Tensor:
        """See the class."""
        image = self.call(self.network, *inputs).squeeze(1)
        return (image + 1) / 2 * self.scale_bq_mm3


def example(generator: Generator, num: int, rng: torch.Generator) -> Inputs:
    """Return inputs of the graph for `num` images, by name.

    Raises
    ------
    InputError
        If no plain graph can carry the model.
    """
    if generator.name in REFUSED:
        raise InputError(
            f"--model: got {generator.name!r}, which cannot be one ONNX graph: "
            f"{REFUSED[generator.name]}; expected one of {', '.join(INPUTS)}"
        )
    return INPUTS[generator.name](generator.network, num, rng)


def write_onnx(path: str | os.PathLike[str], generator: Generator) -> dict[str, str]:
    """Write the graph, its weights and what must be known of them into one file.

    Parameters
    ----------
    path : path
    generator : Generator
        From `tubepet.generate.trained.read_generator`.

    Returns
    -------
    dict
        The metadata of the file; `inputs` is JSON: the shape of each and what it holds.

    Raises
    ------
    InputError
        If no plain graph can carry the model.
    """
    inputs = example(generator, 2, torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch")
    described = {
        name: {
            "shape": ["batch", *value.shape[1:]],
            "holds": HOLDS.get(name, "N(0, 1)"),
        }
        for name, value in inputs.items()
    }
    facts = {
        "model": generator.name,
        "seed": str(generator.facts.get("seed", "unknown")),
        "scale_bq_mm3": str(generator.scale_bq_mm3),
        "pixel_mm": str(generator.pixel_mm),
        "slice_mm": str(generator.slice_mm),
        "inputs": json.dumps(described),
        "unit": "Bq/mm3",
        "tubepet": tubepet.__version__,
        "code": str(generator.facts["code"]),
        "note": "generated, not measured",
    }
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # it misses torchvision, which is unused
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        program = torch.onnx.export(
            Physical(generator).eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(facts)
    with io.atomic(path) as part:
        program.save(part, external_data=False)
    return facts
